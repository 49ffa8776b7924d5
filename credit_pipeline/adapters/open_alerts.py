"""Opens the outbox and the sinks of one system from the environment.

A missing or invalid variable affects only its own sink, which fails every message with the reason, so that it shows up
among the failed deliveries.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

from credit_pipeline.adapters.connect import Role, database_of, history_of
from credit_pipeline.adapters.history.home import Server
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.services.alerts.ports import DeliveryFailed, Outbox, Sink


@contextmanager
def open_outbox(
    system: CreditSystem, environ: Mapping[str, str], role: Role = Role.CORRECTOR, *, server: Server | None = None
) -> Iterator[Outbox]:
    """The system's outbox, closed at the end: in the product's database or, without our schema there, in its history.

    `server` replaces the history server that the environment names. Raises ConfigurationError if the database's
    variable is missing.
    """
    from credit_pipeline.adapters.alerts.outbox import PostgresOutbox
    from credit_pipeline.adapters.history.memory import PostgresMemory

    system, url = database_of(system, environ, role)
    with ExitStack() as opened:
        outbox = opened.enter_context(closing(PostgresOutbox(url, system)))
        if not outbox.installed():
            memory = opened.enter_context(closing(PostgresMemory(system, url)))
            history = history_of(system, memory, environ, server)
            if history is not None:
                outbox = opened.enter_context(closing(PostgresOutbox(history[1], history[0])))
        yield outbox


def sinks_of(system: CreditSystem, environ: Mapping[str, str]) -> list[Sink]:
    """The configured sinks, in delivery order. Nothing is contacted before a message is sent."""
    from credit_pipeline.adapters.alerts.mail import EmailSink
    from credit_pipeline.adapters.alerts.sinks import LogSink, SilentSink, WebhookSink

    alerts, name = system.alerts, system.name
    sinks: list[Sink] = [LogSink(name)] if alerts.log else []
    try:
        if alerts.webhook:
            sinks.append(WebhookSink(name, _value(name, environ, alerts.webhook.url_env), alerts.webhook.url_env))
    except DeliveryFailed as error:
        sinks.append(SilentSink(WebhookSink.name, str(error)))
    try:
        if alerts.email:
            sinks.append(EmailSink(name, _value(name, environ, alerts.email.smtp_url_env), alerts.email))
    except DeliveryFailed as error:
        sinks.append(SilentSink(EmailSink.name, str(error)))
    return sinks


def _value(system: str, environ: Mapping[str, str], env: str) -> str:
    value = environ.get(env, "").strip()
    if not value:
        raise DeliveryFailed(f"{system}: set {env}: alerts go to the address in it", down=True)
    return value
