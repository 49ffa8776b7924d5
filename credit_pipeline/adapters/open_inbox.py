"""Opens the failed webhooks or the sync requests of one system without billing, so that no API key is needed."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from credit_pipeline.adapters.connect import Role, database_of
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.services.sync.ports import Inbox, SyncRequests


@contextmanager
def open_inbox(system: CreditSystem, environ: Mapping[str, str], role: Role = Role.CORRECTOR) -> Iterator[Inbox]:
    """The system's failed webhooks, closed at the end. Raises ConfigurationError if the variable is missing."""
    from credit_pipeline.adapters.inbox.webhooks import PostgresInbox

    system, url = database_of(system, environ, role)
    with closing(PostgresInbox(url, system)) as inbox:
        yield inbox


@contextmanager
def open_sync_requests(system: CreditSystem, environ: Mapping[str, str]) -> Iterator[SyncRequests]:
    """The system's sync requests, closed at the end. Raises ConfigurationError if the variable is missing."""
    from credit_pipeline.adapters.inbox.sync_requests import PostgresSyncRequests

    system, url = database_of(system, environ, Role.CORRECTOR)
    with closing(PostgresSyncRequests(url, system)) as requests:
        yield requests
