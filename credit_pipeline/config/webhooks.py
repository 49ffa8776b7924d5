"""The keys of `webhooks` in `defs.yaml`: the product's own table of webhooks it could not handle.

Without the section the product hands them over by the function `credit_pipeline.record_webhook`. Nothing is contacted.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from credit_pipeline.config.system import WebhookTable
from credit_pipeline.config.values import Identifier, Section, Text, refused

_TABLE = WebhookTable(table="", failed=())
_Word = Annotated[Text, Field(min_length=1)]


class WebhookStatusWords(Section):
    """The product's words for what became of a webhook."""

    failed: Annotated[tuple[_Word, ...], Field(min_length=1)] = ("failed",)
    repaired: _Word | None = _TABLE.repaired
    dead: _Word | None = _TABLE.dead

    @model_validator(mode="after")
    def _an_end_is_no_beginning(self) -> Self:
        if {self.repaired, self.dead} & set(self.failed):
            raise refused("a word of `failed` stands for an end too, so the row would come back: use another word")
        return self


class WebhookWords(Section):
    """The table, in the store's schema, and its columns."""

    table: Identifier
    id: Identifier = _TABLE.id
    status: Identifier = _TABLE.status
    received: Identifier = _TABLE.received
    type: Identifier | None = _TABLE.type
    account: Identifier | None = _TABLE.account
    body: Identifier | None = _TABLE.body
    attempts: Identifier | None = _TABLE.attempts
    error: Identifier | None = _TABLE.error
    statuses: WebhookStatusWords = WebhookStatusWords()

    @model_validator(mode="after")
    def _says_whose(self) -> Self:
        if self.account is None and self.body is None:
            raise refused("nothing says whose a webhook is: name the column of its `account`, of its `body`, or both")
        return self


def webhook_table(words: WebhookWords) -> WebhookTable:
    """The table as the gateways need it."""
    columns = {key: value for key, value in words if key != "statuses"}
    return WebhookTable(**columns, **dict(words.statuses))
