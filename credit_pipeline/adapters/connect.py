"""Opens all gateways of one system for the length of a run. Nothing is contacted before it is first used.

The environment is looked at here and nowhere else: a missing variable is one sentence for its own system only.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.ports import Gateways, Store
from credit_pipeline.services.system import CreditSystem, LedgerStoreConfig, StripeConfig, WixConfig

if TYPE_CHECKING:
    from credit_pipeline.adapters.billing_stripe import StripeBilling
    from credit_pipeline.adapters.billing_wix import WixBilling


@contextmanager
def open_gateways(system: CreditSystem, home: Path, environ: Mapping[str, str]) -> Iterator[Gateways]:
    """The system's gateways, closed at the end. `home` is the working folder that keeps the snapshots.

    Raises ConfigurationError where a variable is missing or is not what it should be.
    """
    # Heavy imports: a command that shows help need not wait for database drivers.
    from credit_pipeline.adapters.memory import PostgresMemory
    from credit_pipeline.adapters.plan_store import PostgresPlans
    from credit_pipeline.adapters.postgres import libpq_url
    from credit_pipeline.adapters.snapshots import ParquetSnapshots

    check_environment(system, environ)
    url = libpq_url(environ[system.store.url_env], system.name, system.store.url_env)
    with (
        closing(_billing(system, environ)) as billing,
        closing(PostgresMemory(system, url)) as memory,
        closing(PostgresPlans(url, system)) as plans,
    ):
        yield Gateways(
            billing=billing,
            store=_store(system, url),
            memory=memory,
            plans=plans,
            snapshots=ParquetSnapshots(system.name, home / "snapshots"),
        )


def check_environment(system: CreditSystem, environ: Mapping[str, str]) -> None:
    """Raises ConfigurationError naming every variable that must be set for this system and is not."""
    meaning = {system.store.url_env: "the credit store's Postgres URL", **system.billing.variables}
    missing = [f"{name} to {what}" for name, what in meaning.items() if not environ.get(name, "").strip()]
    if missing:
        raise ConfigurationError(f"{system.name}: set {' and '.join(missing)}")


def _store(system: CreditSystem, url: str) -> Store:
    from credit_pipeline.adapters.store_counter import CounterStore
    from credit_pipeline.adapters.store_ledger import LedgerStore

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
    from credit_pipeline.adapters.billing_wix import WixBilling

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
    from credit_pipeline.adapters.billing_stripe import StripeBilling

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
