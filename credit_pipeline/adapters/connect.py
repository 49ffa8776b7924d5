"""Opens all gateways of one system for the length of a run. Nothing is contacted before it is first used.

The environment is looked at here and nowhere else: a missing variable is one sentence for its own system only.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.ports import Gateways
from credit_pipeline.services.system import CreditSystem


@contextmanager
def open_gateways(system: CreditSystem, home: Path, environ: Mapping[str, str]) -> Iterator[Gateways]:
    """The system's gateways, closed at the end. `home` is the working folder that keeps the snapshots.

    Raises ConfigurationError where a variable is missing or is not what it should be.
    """
    # Heavy imports: a command that shows help need not wait for database drivers.
    from credit_pipeline.adapters.billing_wix import WixBilling
    from credit_pipeline.adapters.memory import PostgresMemory
    from credit_pipeline.adapters.plan_store import PostgresPlans
    from credit_pipeline.adapters.postgres import libpq_url
    from credit_pipeline.adapters.snapshots import ParquetSnapshots
    from credit_pipeline.adapters.store_counter import CounterStore

    check_environment(system, environ)
    billing = system.billing
    url = libpq_url(environ[system.store.url_env], system.name, system.store.url_env)
    replaced = environ.get(billing.base_url_env, "").strip() if billing.base_url_env else ""
    with (
        closing(
            WixBilling(
                system=system.name,
                base_url=replaced or billing.base_url,
                app_id=environ[billing.app_id_env],
                app_secret=environ[billing.app_secret_env],
                in_flight=billing.in_flight,
                per_minute_per_instance=billing.per_minute_per_instance,
                base_url_name=billing.base_url_env if replaced and billing.base_url_env else "`billing.base_url`",
                credentials_name=f"{billing.app_id_env} and {billing.app_secret_env}",
            )
        ) as wix,
        closing(PostgresMemory(system, url)) as memory,
        closing(PostgresPlans(url, system)) as plans,
    ):
        yield Gateways(
            billing=wix,
            store=CounterStore(system, url),
            memory=memory,
            plans=plans,
            snapshots=ParquetSnapshots(system.name, home / "snapshots"),
        )


def check_environment(system: CreditSystem, environ: Mapping[str, str]) -> None:
    """Raises ConfigurationError naming every variable that must be set for this system and is not."""
    meaning = {
        system.store.url_env: "the credit store's Postgres URL",
        system.billing.app_id_env: "the Wix app's id",
        system.billing.app_secret_env: "the Wix app's secret",
    }
    missing = [f"{name} to {meaning[name]}" for name in system.env_names if not environ.get(name, "").strip()]
    if missing:
        raise ConfigurationError(f"{system.name}: set {' and '.join(missing)}")
