"""Opens the doors' records alone, for a sensor's tick or a command that asks nothing of billing: it needs no key.

The gateways of a run are opened in `connect.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from credit_pipeline.adapters.connect import Role, database_of
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.services.sync.ports import Inbox, SyncRequests


@contextmanager
def open_inbox(system: CreditSystem, environ: Mapping[str, str], role: Role = Role.CORRECTOR) -> Iterator[Inbox]:
    """The system's failed webhooks, closed at the end. Raises ConfigurationError where the variable is missing."""
    from credit_pipeline.adapters.inbox.webhooks import PostgresInbox

    system, url = database_of(system, environ, role)
    with closing(PostgresInbox(url, system)) as inbox:
        yield inbox


@contextmanager
def open_sync_requests(system: CreditSystem, environ: Mapping[str, str]) -> Iterator[SyncRequests]:
    """The system's requests for a sync, closed at the end. Raises as `open_inbox` does."""
    from credit_pipeline.adapters.inbox.sync_requests import PostgresSyncRequests

    system, url = database_of(system, environ, Role.CORRECTOR)
    with closing(PostgresSyncRequests(url, system)) as requests:
        yield requests
