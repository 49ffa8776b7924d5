"""Opens what needs the product's database alone, for commands that ask nothing of billing: its keys need not be set.

All gateways of a run are opened in `connect.py`, which also knows what must be in the environment.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from credit_pipeline.adapters.connect import Role, database_of, history_of
from credit_pipeline.adapters.history.home import Server, history_word
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.services.collect.ports import Store
from credit_pipeline.services.findings.ports import Lifecycle
from credit_pipeline.services.plans.ports import PlanStore

if TYPE_CHECKING:
    from credit_pipeline.adapters.install.rights import Rights


@contextmanager
def open_lifecycle(
    system: CreditSystem, environ: Mapping[str, str], *, server: Server | None = None
) -> Iterator[Lifecycle]:
    """The system's lifecycle, closed at the end. What people decide goes through the approver's login, if it has one.

    With a `server` for histories it is that of the history where the product's database has no schema of ours; without
    one it is always the product's. Raises ConfigurationError where the database's variable is missing.
    """
    from credit_pipeline.adapters.findings.lifecycle import PostgresLifecycle
    from credit_pipeline.adapters.history.memory import PostgresMemory

    system, url = database_of(system, environ, Role.APPROVER)
    if server is not None:
        with closing(PostgresMemory(system, url)) as memory:
            system, url = history_of(system, memory, environ, server) or (system, url)
    with closing(PostgresLifecycle(url, system)) as lifecycle:
        yield lifecycle


@contextmanager
def open_left_behind(
    system: CreditSystem, product: str, environ: Mapping[str, str], server: Server
) -> Iterator[Lifecycle | None]:
    """The lifecycle kept elsewhere for the database at `product` before `init`; None where there is none."""
    from credit_pipeline.adapters.findings.lifecycle import PostgresLifecycle
    from credit_pipeline.adapters.history.home import left_behind

    place = left_behind(system, product, server, history_word(environ))
    if place is None:
        yield None
        return
    with closing(PostgresLifecycle(place[1], place[0])) as lifecycle:
        yield lifecycle


@contextmanager
def open_plans(system: CreditSystem, environ: Mapping[str, str], role: Role = Role.READER) -> Iterator[PlanStore]:
    """The system's plans and their audit, closed at the end: to be read, or, as the approver, to be decided."""
    from credit_pipeline.adapters.plans.store import PostgresPlans

    system, url = database_of(system, environ, role)
    with closing(PostgresPlans(url, system)) as plans:
        yield plans


def open_store(system: CreditSystem, environ: Mapping[str, str]) -> Store:
    """The product's balances, read-only. Nothing is contacted before it is read."""
    from credit_pipeline.adapters.stores.counter import CounterStore
    from credit_pipeline.adapters.stores.ledger import LedgerStore

    system, url = database_of(system, environ, Role.READER)
    return LedgerStore(system, url) if system.ledger else CounterStore(system, url)


def writing_rights(system: CreditSystem, environ: Mapping[str, str]) -> "Rights":
    """What the user that plans and applies may do."""
    from credit_pipeline.adapters.install.rights import rights_of

    return rights_of(*database_of(system, environ, Role.CORRECTOR))
