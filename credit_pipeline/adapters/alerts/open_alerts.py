"""Opens what alerts need, the outbox and the sinks of one system, by what the environment says.

A variable that is not set, or not what it should be, makes its own sink fail and no other: that sink says so at every
message, so it is seen where failed deliveries are.
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
    """The system's alerts, closed at the end: those of its history where the product's database has no schema of ours.

    `server` is where histories are kept, if not on the one that the environment names. Raises ConfigurationError where
    the database's variable is missing.
    """
    from credit_pipeline.adapters.alerts.outbox import PostgresOutbox
    from credit_pipeline.adapters.history.memory import PostgresMemory

    system, url = database_of(system, environ, role)
    with ExitStack() as opened:
        outbox = opened.enter_context(closing(PostgresOutbox(url, system)))
        if not outbox.installed():
            memory = opened.enter_context(closing(PostgresMemory(system, url)))
            kept = history_of(system, memory, environ, server)
            if kept is not None:
                outbox = opened.enter_context(closing(PostgresOutbox(kept[1], kept[0])))
        yield outbox


def sinks_of(system: CreditSystem, environ: Mapping[str, str]) -> list[Sink]:
    """The sinks of the YAML, in the order in which they are told. Nothing is contacted before a message is sent."""
    from credit_pipeline.adapters.alerts.mail import EmailSink
    from credit_pipeline.adapters.alerts.sinks import LogSink, SilentSink, WebhookSink

    alerts, name = system.alerts, system.name
    sinks: list[Sink] = [LogSink(name)] if alerts.log else []
    try:
        if alerts.webhook:
            sinks.append(WebhookSink(name, _value(name, environ, alerts.webhook.url_env), alerts.webhook.url_env))
    except DeliveryFailed as why:
        sinks.append(SilentSink(WebhookSink.name, str(why)))
    try:
        if alerts.email:
            sinks.append(EmailSink(name, _value(name, environ, alerts.email.smtp_url_env), alerts.email))
    except DeliveryFailed as why:
        sinks.append(SilentSink(EmailSink.name, str(why)))
    return sinks


def _value(system: str, environ: Mapping[str, str], env: str) -> str:
    value = environ.get(env, "").strip()
    if not value:
        raise DeliveryFailed(f"{system}: set {env}: alerts go to the address in it", down=True)
    return value
