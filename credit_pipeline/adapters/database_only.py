"""Opens what needs the product's database alone, for commands that ask nothing of billing: its keys need not be set.

All gateways of a run are opened in `connect.py`, which also knows what must be in the environment.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from credit_pipeline.adapters.connect import check_environment
from credit_pipeline.services.ports import Lifecycle, PlanStore, Store
from credit_pipeline.services.system import CreditSystem


@contextmanager
def open_lifecycle(system: CreditSystem, environ: Mapping[str, str]) -> Iterator[Lifecycle]:
    """The system's lifecycle, closed at the end. Raises ConfigurationError where the database's variable is missing."""
    from credit_pipeline.adapters.lifecycle_store import PostgresLifecycle

    with closing(PostgresLifecycle(_url(system, environ), system)) as lifecycle:
        yield lifecycle


@contextmanager
def open_plans(system: CreditSystem, environ: Mapping[str, str]) -> Iterator[PlanStore]:
    """The system's plans and their audit, closed at the end."""
    from credit_pipeline.adapters.plan_store import PostgresPlans

    with closing(PostgresPlans(_url(system, environ), system)) as plans:
        yield plans


def open_store(system: CreditSystem, environ: Mapping[str, str]) -> Store:
    """The product's balances, read-only. Nothing is contacted before it is read."""
    from credit_pipeline.adapters.store_counter import CounterStore
    from credit_pipeline.adapters.store_ledger import LedgerStore

    url = _url(system, environ)
    return LedgerStore(system, url) if system.ledger else CounterStore(system, url)


def _url(system: CreditSystem, environ: Mapping[str, str]) -> str:
    """The database's URL as a person gave it; the other variables count as set."""
    name = system.store.url_env
    check_environment(system, dict.fromkeys(system.env_names, "not asked for") | {name: environ.get(name, "")})
    return environ[name]
