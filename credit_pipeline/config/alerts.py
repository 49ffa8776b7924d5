"""The section `alerts` of `defs.yaml`: who is told about what needs a person, and how.

Addresses that are secrets, a webhook's and a mail server's, stand in the environment; the file names the variables.
"""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from credit_pipeline.config.values import EnvName, Flag, Section, Text, refused

_MOST_RECIPIENTS = 20


def _mailbox(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,185}", text):
        raise refused("this must be one plain e-mail address, such as billing@example.com, without a name before it")
    return text


_Mailbox = Annotated[Text, AfterValidator(_mailbox)]


class WebhookAlerts(Section):
    """An address that takes Slack's JSON, https only."""

    url_env: EnvName


class EmailAlerts(Section):
    """Mail through the server whose URL the variable holds."""

    smtp_url_env: EnvName
    sender: Annotated[_Mailbox, Field(alias="from")]
    to: Annotated[tuple[_Mailbox, ...], Field(min_length=1, max_length=_MOST_RECIPIENTS)]


class AlertsConfig(Section):
    """Where people are told. Each sink gets everything."""

    log: Flag = True
    webhook: WebhookAlerts | None = None
    email: EmailAlerts | None = None

    @model_validator(mode="after")
    def _somebody_is_told(self) -> Self:
        if not (self.log or self.webhook or self.email):
            raise refused("nobody would be told of anything: leave `log` on, or name a `webhook` or an `email`")
        return self

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that hold the addresses."""
        webhook = (self.webhook.url_env,) if self.webhook else ()
        return (*webhook, *((self.email.smtp_url_env,) if self.email else ()))
