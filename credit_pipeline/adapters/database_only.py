"""Opens adapters that need only the product's database, and checks that plans can be saved there. Needs no API keys."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from credit_pipeline.adapters.connect import Role, database_of, history_of
from credit_pipeline.adapters.history.home import Server, history_variable
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import NotInstalled
from credit_pipeline.services.collect.ports import Store
from credit_pipeline.services.findings.ports import Lifecycle
from credit_pipeline.services.plans.ports import PlanStore
from credit_pipeline.services.reconcile.ports import MemoryStore

if TYPE_CHECKING:
    from credit_pipeline.adapters.install.rights import Rights


@contextmanager
def open_lifecycle(
    system: CreditSystem, environ: Mapping[str, str], *, server: Server | None = None
) -> Iterator[Lifecycle]:
    """The system's lifecycle, closed at the end; uses the approver's login if there is one.

    With a history `server`, it is the lifecycle kept there if the product's database has no schema of ours. Raises
    ConfigurationError if the database's variable is missing.
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
    """The lifecycle kept on the history server for the database at `product` before `init`, or None."""
    from credit_pipeline.adapters.findings.lifecycle import PostgresLifecycle
    from credit_pipeline.adapters.history.home import left_behind

    place = left_behind(system, product, server, history_variable(environ))
    if place is None:
        yield None
        return
    with closing(PostgresLifecycle(place[1], place[0])) as lifecycle:
        yield lifecycle


@contextmanager
def open_plans(system: CreditSystem, environ: Mapping[str, str], role: Role = Role.READER) -> Iterator[PlanStore]:
    """The system's plans and audit, closed at the end: to read them or, as approver, to decide about them."""
    from credit_pipeline.adapters.plans.store import PostgresPlans

    system, url = database_of(system, environ, role)
    with closing(PostgresPlans(url, system)) as plans:
        yield plans


def open_store(system: CreditSystem, environ: Mapping[str, str]) -> Store:
    """The product's store, read-only. Nothing is contacted before the first read."""
    from credit_pipeline.adapters.stores.counter import CounterStore
    from credit_pipeline.adapters.stores.ledger import LedgerStore

    system, url = database_of(system, environ, Role.READER)
    return LedgerStore(system, url) if system.ledger else CounterStore(system, url)


def writing_rights(system: CreditSystem, environ: Mapping[str, str]) -> "Rights":
    """The rights of the database user that saves and applies plans."""
    from credit_pipeline.adapters.install.rights import rights_of

    return rights_of(*database_of(system, environ, Role.CORRECTOR))


def missing_to_write(system: CreditSystem, environ: Mapping[str, str]) -> str | None:
    """What must be done before plans can be applied, as a sentence; None if nothing."""
    rights = writing_rights(system, environ)
    if rights.missing is not None:
        return f"{rights.missing}; check, health and account work"
    return _no_schema(system) if rights.install is None else None


def require_writable(system: CreditSystem, environ: Mapping[str, str]) -> None:
    """Raises NotInstalled if plans cannot be saved and applied. Its message names what to run: init, or a GRANT."""
    missing = missing_to_write(system, environ)
    if missing is not None:
        raise NotInstalled(missing)


def require_installed(system: CreditSystem, memory: MemoryStore) -> None:
    """Raises NotInstalled if there is nowhere to keep a plan."""
    if not memory.installed():
        raise NotInstalled(_no_schema(system))


def _no_schema(system: CreditSystem) -> str:
    return f"{system.name}: the database has no schema credit_pipeline: run credit-pipeline init {system.name}"
