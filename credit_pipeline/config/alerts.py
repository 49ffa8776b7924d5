"""The keys of `alerts` in `defs.yaml`: who is told of what needs a person, and how. Nothing is contacted.

Addresses that are secrets, a webhook's and a mail server's, stand in the environment; the file names the variables.
"""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from credit_pipeline.config.system import AlertsConfig, EmailAlerts, WebhookAlerts
from credit_pipeline.config.values import EnvName, Flag, Section, Text, refused

_ALERTS = AlertsConfig()
_MOST_RECIPIENTS = 20


def _mailbox(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,185}", text):
        raise refused("this must be one plain e-mail address, such as billing@example.com, without a name before it")
    return text


_Mailbox = Annotated[Text, AfterValidator(_mailbox)]


class WebhookAlertWords(Section):
    """An address that takes Slack's JSON, https only."""

    url_env: EnvName


class EmailAlertWords(Section):
    """Mail through one server."""

    model_config = ConfigDict(**Section.model_config, populate_by_name=False)

    smtp_url_env: EnvName
    sender: Annotated[_Mailbox, Field(alias="from")]
    to: Annotated[tuple[_Mailbox, ...], Field(min_length=1, max_length=_MOST_RECIPIENTS)]


class AlertsWords(Section):
    """Where people are told. Each sink gets everything."""

    log: Flag = _ALERTS.log
    webhook: WebhookAlertWords | None = None
    email: EmailAlertWords | None = None

    @model_validator(mode="after")
    def _somebody_is_told(self) -> Self:
        if not (self.log or self.webhook or self.email):
            raise refused("nobody would be told of anything: leave `log` on, or name a `webhook` or an `email`")
        return self


def alerts_config(words: AlertsWords) -> AlertsConfig:
    """The sinks as they are opened from."""
    return AlertsConfig(
        log=words.log,
        webhook=WebhookAlerts(url_env=words.webhook.url_env) if words.webhook else None,
        email=EmailAlerts(**dict(words.email)) if words.email else None,
    )
