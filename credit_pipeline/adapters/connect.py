"""Opens all gateways of one system for the length of a run. Nothing is contacted before it is first used.

But where there is a server for histories the product's database is asked at once whether our schema is in it: if not,
memory and plans are those of `home_history.py`.
The environment is looked at here and nowhere else: a missing variable is one sentence for its own system only.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from credit_pipeline.adapters.history.home import Place, Server, history_word, open_history, server_of
from credit_pipeline.config.system import CreditSystem, LedgerStoreConfig, StripeConfig, WixConfig
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.collect.ports import Store
from credit_pipeline.services.gateways import Gateways

if TYPE_CHECKING:
    from credit_pipeline.adapters.billing.stripe.billing import StripeBilling
    from credit_pipeline.adapters.billing.wix.billing import WixBilling
    from credit_pipeline.adapters.history.memory import PostgresMemory


@contextmanager
def open_gateways(
    system: CreditSystem, home: Path, environ: Mapping[str, str], *, server: Server | None = None
) -> Iterator[Gateways]:
    """The system's gateways, closed at the end. `home` is the working folder that keeps the snapshots.

    `server` is where histories are kept, if not on the one that the environment names. Raises ConfigurationError where
    a variable is missing or is not what it should be.
    """
    # Heavy imports: a command that shows help need not wait for database drivers.
    from credit_pipeline.adapters.alerts.outbox import PostgresOutbox
    from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
    from credit_pipeline.adapters.history.memory import PostgresMemory
    from credit_pipeline.adapters.inbox.webhooks import PostgresInbox
    from credit_pipeline.adapters.plans.store import PostgresPlans

    check_environment(system, environ)
    reader, reading = database_of(system, environ, Role.READER)
    corrector, correcting = database_of(system, environ, Role.CORRECTOR)
    with ExitStack() as opened:
        billing = opened.enter_context(closing(_billing(system, environ)))
        memory = opened.enter_context(closing(PostgresMemory(reader, reading, recorder=(corrector, correcting))))
        inbox = opened.enter_context(closing(PostgresInbox(correcting, corrector)))
        kept = history_of(system, memory, environ, server)
        if kept is not None:
            corrector, correcting = kept
            memory = opened.enter_context(closing(PostgresMemory(corrector, correcting)))
        yield Gateways(
            billing=billing,
            store=_store(reader, reading),
            memory=memory,
            plans=opened.enter_context(closing(PostgresPlans(correcting, corrector))),
            snapshots=ParquetSnapshots(system.name, home / "snapshots"),
            inbox=inbox,
            outbox=opened.enter_context(closing(PostgresOutbox(correcting, corrector))),
            at_home=kept is not None,
        )


def history_of(
    system: CreditSystem, memory: "PostgresMemory", environ: Mapping[str, str], server: Server | None
) -> Place | None:
    """Where the history is kept that `memory`'s database has no schema for; None where it has one, or nobody keeps it.

    Raises StoreError where one of the two cannot be asked.
    """
    server = server or server_of(environ)
    name = memory.absent() if server is not None else None
    url = server() if server is not None and name is not None else None
    if url is None or name is None:
        return None
    return open_history(system, url, name, history_word(environ))


class Role(Enum):
    """What a connection is for. Where its own variable is not set, the common one is used, then one of the others."""

    READER = "reader"
    CORRECTOR = "corrector"
    APPROVER = "approver"


def database_of(system: CreditSystem, environ: Mapping[str, str], role: Role) -> tuple[CreditSystem, str]:
    """The database's URL for that role, and the system whose `url_env` names the variable it came from.

    Raises ConfigurationError where none of them is set, or it is no URL.
    """
    from credit_pipeline.adapters.postgres.connections import libpq_url

    for name in _urls_of(system, role):
        if environ.get(name, "").strip():
            found = replace(system, store=replace(system.store, url_env=name))
            return found, libpq_url(environ[name], system.name, name)
    raise ConfigurationError(f"{system.name}: set {system.store.url_env} to {_POSTGRES}")


def missing_variables(system: CreditSystem, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Every variable that must be set for this system and is not → what to set it to.

    One URL of the database is enough, whichever role it is of.
    """
    urls = _urls_of(system, Role.READER)
    is_set = any(environ.get(name, "").strip() for name in urls)
    wanted = {**({} if is_set else {system.store.url_env: _POSTGRES}), **system.billing.variables}
    return {name: what for name, what in wanted.items() if not environ.get(name, "").strip()}


def check_environment(system: CreditSystem, environ: Mapping[str, str]) -> None:
    """Raises ConfigurationError naming every variable that must be set for this system and is not."""
    missing = [f"{name} to {what}" for name, what in missing_variables(system, environ).items()]
    if missing:
        raise ConfigurationError(f"{system.name}: set {' and '.join(missing)}")


def billing_identity(system: CreditSystem, environ: Mapping[str, str]) -> Mapping[str, str] | None:
    """Whose account at the provider the variables name; None where they are not all set."""
    if not all(environ.get(name, "").strip() for name in system.billing.variables):
        return None
    with closing(_billing(system, environ)) as billing:
        return billing.identity()


_POSTGRES = "the credit store's Postgres URL"


def _urls_of(system: CreditSystem, role: Role) -> list[str]:
    """The variables that may hold it, best first. The approver's is no door for a pipeline."""
    store = system.store
    own = {
        Role.READER: (store.reader_url_env, store.url_env, store.corrector_url_env),
        Role.CORRECTOR: (store.corrector_url_env, store.url_env, store.reader_url_env),
        Role.APPROVER: (store.approver_url_env, store.url_env, store.corrector_url_env, store.reader_url_env),
    }[role]
    return [name for name in own if name is not None]


def _store(system: CreditSystem, url: str) -> Store:
    from credit_pipeline.adapters.stores.counter import CounterStore
    from credit_pipeline.adapters.stores.ledger import LedgerStore

    return LedgerStore(system, url) if isinstance(system.store, LedgerStoreConfig) else CounterStore(system, url)


def _billing(system: CreditSystem, environ: Mapping[str, str]) -> "WixBilling | StripeBilling":
    base_url, name = _address(system.billing, environ)
    if isinstance(system.billing, WixConfig):
        return _wix(system.name, system.billing, environ, base_url, name)
    return _stripe(system, system.billing, environ, base_url, name)


def _address(billing: WixConfig | StripeConfig, environ: Mapping[str, str]) -> tuple[str, str]:
    """The API's address, and what a person would correct it by."""
    replaced = environ.get(billing.base_url_env, "").strip() if billing.base_url_env else ""
    if replaced and billing.base_url_env:
        return replaced, billing.base_url_env
    return billing.base_url, "`billing.base_url`"


def _wix(system: str, billing: WixConfig, environ: Mapping[str, str], base_url: str, name: str) -> "WixBilling":
    from credit_pipeline.adapters.billing.wix.billing import WixBilling

    return WixBilling(
        system=system,
        base_url=base_url,
        app_id=environ[billing.app_id_env],
        app_secret=environ[billing.app_secret_env],
        in_flight=billing.in_flight,
        per_minute_per_instance=billing.per_minute_per_instance,
        base_url_name=name,
        credentials_name=f"{billing.app_id_env} and {billing.app_secret_env}",
    )


def _stripe(
    system: CreditSystem, billing: StripeConfig, environ: Mapping[str, str], base_url: str, name: str
) -> "StripeBilling":
    from credit_pipeline.adapters.billing.stripe.billing import StripeBilling

    return StripeBilling(
        system=system.name,
        base_url=base_url,
        key=environ[billing.key_env].strip(),
        version=billing.version,
        subject=billing.subject,
        plan=billing.plan,
        per_second=billing.per_second,
        lookback=system.policy.lookback,
        base_url_name=name,
        credentials_name=billing.key_env,
    )
