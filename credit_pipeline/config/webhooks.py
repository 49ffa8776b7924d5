"""The section `webhooks` of `defs.yaml`: the product's own table of webhooks it could not handle.

Without it the product hands them over by the function `credit_pipeline.record_webhook`.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from credit_pipeline.config.values import Identifier, Section, Text, refused

_Word = Annotated[Text, Field(min_length=1)]


class WebhookStatuses(Section):
    """The product's words for the state of a webhook."""

    failed: Annotated[tuple[_Word, ...], Field(min_length=1)] = ("failed",)
    """These ask for a repair."""
    repaired: _Word | None = None
    """Written afterwards; None: nothing is."""
    dead: _Word | None = None
    """Written where the repair was given up; None: nothing is."""

    @model_validator(mode="after")
    def _an_end_is_no_beginning(self) -> Self:
        if {self.repaired, self.dead} & set(self.failed):
            raise refused("a word of `failed` stands for an end too, so the row would come back: use another word")
        return self


class WebhookTable(Section):
    """The table, in the store's schema. A row's account column or its body says which account it is about."""

    table: Identifier
    id: Identifier = "id"
    status: Identifier = "status"
    received: Identifier = "received_at"
    type: Identifier | None = None
    account: Identifier | None = None
    body: Identifier | None = None
    attempts: Identifier | None = None
    error: Identifier | None = None
    statuses: WebhookStatuses = WebhookStatuses()

    @model_validator(mode="after")
    def _says_whose(self) -> Self:
        if self.account is None and self.body is None:
            raise refused("nothing says whose a webhook is: name the column of its `account`, of its `body`, or both")
        return self

    @property
    def written_back(self) -> bool:
        """Whether outcomes are written to the product's table."""
        return self.statuses.repaired is not None or self.statuses.dead is not None
