"""Opens all gateways of one system for a run, and resolves the environment variables that they need.

Nothing is contacted before first use, with one exception: if there is a history server, the product's database is
queried at once for our schema. Without the schema, memory and plans are kept on the history server. A missing variable
affects only its own system.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from credit_pipeline.adapters.history.home import Place, Server, history_variable, open_history, server_of
from credit_pipeline.config.billing import StripeConfig, WixConfig
from credit_pipeline.config.store import LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem
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
    """The system's gateways, closed at the end. `home` is the working folder, which keeps the snapshots.

    `server` replaces the history server that the environment names. Raises ConfigurationError if a variable is missing
    or invalid.
    """
    # Heavy imports, which commands such as --help should not wait for.
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
        history = history_of(system, memory, environ, server)
        if history is not None:
            corrector, correcting = history
            memory = opened.enter_context(closing(PostgresMemory(corrector, correcting)))
        yield Gateways(
            billing=billing,
            store=_store(reader, reading),
            memory=memory,
            plans=opened.enter_context(closing(PostgresPlans(correcting, corrector))),
            snapshots=ParquetSnapshots(system.name, home / "snapshots"),
            inbox=inbox,
            outbox=opened.enter_context(closing(PostgresOutbox(correcting, corrector))),
            at_home=history is not None,
        )


def history_of(
    system: CreditSystem, memory: "PostgresMemory", environ: Mapping[str, str], server: Server | None
) -> Place | None:
    """Where the history is kept if `memory`'s database has no schema of ours; None if it has one or there is no server.

    Raises StoreError if either database cannot be reached.
    """
    server = server or server_of(environ)
    name = memory.absent() if server is not None else None
    url = server() if server is not None and name is not None else None
    if url is None or name is None:
        return None
    return open_history(system, url, name, history_variable(environ))


class Role(Enum):
    """The purpose of a connection. If its own variable is not set, the common one is used, then another role's."""

    READER = "reader"
    CORRECTOR = "corrector"
    APPROVER = "approver"


def database_of(system: CreditSystem, environ: Mapping[str, str], role: Role) -> tuple[CreditSystem, str]:
    """The system, with `url_env` set to the variable found, and the database's URL for that role.

    Raises ConfigurationError if no variable is set or its value is not a URL.
    """
    from credit_pipeline.adapters.postgres.connections import libpq_url

    for name in _urls_of(system, role):
        if environ.get(name, "").strip():
            found = replace(system, store=system.store.model_copy(update={"url_env": name}))
            return found, libpq_url(environ[name], system.name, name)
    raise ConfigurationError(f"{system.name}: set {system.store.url_env} to {_POSTGRES}")


def missing_variables(system: CreditSystem, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Required variable that is not set → what to set it to. A database URL for any one role is enough."""
    urls = _urls_of(system, Role.READER)
    is_set = any(environ.get(name, "").strip() for name in urls)
    wanted = {**({} if is_set else {system.store.url_env: _POSTGRES}), **system.billing.variables}
    return {name: what for name, what in wanted.items() if not environ.get(name, "").strip()}


def check_environment(system: CreditSystem, environ: Mapping[str, str]) -> None:
    """Raises ConfigurationError, naming every required variable of this system that is not set."""
    missing = [f"{name} to {what}" for name, what in missing_variables(system, environ).items()]
    if missing:
        raise ConfigurationError(f"{system.name}: set {' and '.join(missing)}")


def billing_identity(system: CreditSystem, environ: Mapping[str, str]) -> Mapping[str, str] | None:
    """The identity of the provider account that the variables name; None if they are not all set."""
    if not all(environ.get(name, "").strip() for name in system.billing.variables):
        return None
    with closing(_billing(system, environ)) as billing:
        return billing.identity()


_POSTGRES = "the credit store's Postgres URL"


def _urls_of(system: CreditSystem, role: Role) -> list[str]:
    """The variables that may hold the URL for this role, best first. Only approvers use the approver's."""
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
    base_url, name = _base_url(system.billing, environ)
    if isinstance(system.billing, WixConfig):
        return _wix(system.name, system.billing, environ, base_url, name)
    return _stripe(system, system.billing, environ, base_url, name)


def _base_url(billing: WixConfig | StripeConfig, environ: Mapping[str, str]) -> tuple[str, str]:
    """The API's base URL, and the setting that error messages name."""
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
