"""What `init` does in a product's database: our schema, the pins, and the system's write functions, in one transaction.

Repeating it is safe. It renews the functions and never changes a pin: not the environment, not an allowance.
The functions' text is `write_functions.py`'s; what the product's tables must look like is `product_table.py`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg import sql
from psycopg.rows import dict_row

from credit_pipeline.adapters import migrations
from credit_pipeline.adapters.postgres import explain, libpq_url
from credit_pipeline.adapters.product_function import check_add
from credit_pipeline.adapters.product_needs import table_needs
from credit_pipeline.adapters.product_table import check_product_table, check_writable
from credit_pipeline.adapters.transactions import Connection, Cursor, connect, translated
from credit_pipeline.adapters.write_functions import config_hash, render
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.system import CreditSystem, LedgerStoreConfig

_MIGRATIONS = Path(migrations.__file__).parent
_SCHEMA = _MIGRATIONS / "sql" / "schema.sql"
OLDEST_SERVER = 13

# Two `init` at once take turns: transaction-level, so that a pooler cannot keep it.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('credit_pipeline init'))"
_LIMITS = (
    "SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = '60s'; SET LOCAL search_path = pg_catalog, pg_temp"
)
_PIN_SYSTEM = """
INSERT INTO credit_pipeline.control AS pinned (system, environment, config_hash)
    VALUES ({system}, {environment}, {config})
    ON CONFLICT (system) DO UPDATE SET config_hash = EXCLUDED.config_hash
    WHERE pinned.environment = EXCLUDED.environment;
"""
_PIN_PLAN = """
INSERT INTO credit_pipeline.catalogue (system, plan, label, credits, rank)
    VALUES ({system}, {plan}, {label}, {credits}, {rank})
    ON CONFLICT (system, plan) DO NOTHING;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallReport:
    """What is installed now. `differences` are sentences: where the YAML disagrees with a pin, the pin stands."""

    system: str
    environment: str
    server_version: int
    schema_version: str
    first: bool
    renewed: bool
    """Whether the functions were of something else before: other columns, or another version of this code."""
    pinned: Mapping[str, int]
    differences: tuple[str, ...]


def install(url: str, system: CreditSystem) -> InstallReport:
    """Installs or renews one system in the database at `url`. Everything or nothing.

    Raises ConfigurationError where the database does not fit the YAML, StoreError where it cannot be written.
    """
    functions, env = render(system), system.store.url_env
    url = libpq_url(url, system.name, env)
    unique = check_product_table(url, system)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(url, system.name, env),
        poolclass=sqlalchemy.NullPool,
        hide_parameters=True,
    )
    try:
        with translated(system.name, env), engine.begin() as outer:
            connection = cast(Connection, outer.connection.driver_connection)
            cursor = connection.cursor(row_factory=dict_row)
            cursor.execute(_LIMITS)
            version = _check_server(cursor, system)
            check_writable(cursor, system, unique=unique)
            if isinstance(system.store, LedgerStoreConfig):
                check_add(cursor, system, system.store)
            cursor.execute(_ONE_AT_A_TIME)
            schema_version = _migrate(outer, cursor, system)
            before = cursor.execute(
                "SELECT environment, config_hash FROM credit_pipeline.control WHERE system = %s", (system.name,)
            ).fetchone()
            if before is not None and before["environment"] != system.environment:
                raise ConfigurationError(
                    f"{system.name}: this database is pinned to environment `{before['environment']}`, but the YAML "
                    f"says `{system.environment}`: correct `environment` in defs.yaml, "
                    f"or use {system.environment}'s own database"
                )
            cursor.execute(_pins(system).encode())
            cursor.execute(functions.encode())
            pinned = _pinned(cursor, system)
            return InstallReport(
                system=system.name,
                environment=system.environment,
                server_version=version,
                schema_version=schema_version,
                first=before is None,
                renewed=before is not None and before["config_hash"] != config_hash(system),
                pinned=pinned,
                differences=_differences(system, pinned),
            )
    except sqlalchemy.exc.DBAPIError as error:
        raise explain(error, system.name, env) from None
    finally:
        engine.dispose()


def print_sql(system: CreditSystem) -> str:
    """All of it as one script, for a DBA to read and run as the role that the pipeline connects as."""
    script = ScriptDirectory.from_config(_alembic())
    revisions = list(reversed(list(script.walk_revisions())))
    parts = [
        f"-- credit_pipeline for system {system.name}, into a database where it is not installed yet.\n"
        "-- Run it as the role that the pipeline connects as (it will own the functions), which needs CREATE on the\n"
        "-- database, USAGE on the product's schema, and\n"
        f"{_rights(system)}"
        "BEGIN;",
        _SCHEMA.read_text(encoding="utf-8"),
        *(revision.module.SQL.read_text(encoding="utf-8") for revision in revisions),
        "CREATE TABLE credit_pipeline.schema_version (version_num varchar(32) NOT NULL,\n"
        "    CONSTRAINT schema_version_pkc PRIMARY KEY (version_num));",
        sql.SQL("INSERT INTO credit_pipeline.schema_version VALUES ({});")
        .format(sql.Literal(revisions[-1].revision))
        .as_string(None),
        render(system),
        _pins(system),
        "COMMIT;\n",
    ]
    return "\n".join(parts)


def _rights(system: CreditSystem) -> str:
    """What the role needs on the product's own tables and functions, a comment line each."""
    store = system.store
    lines = [
        f"{', '.join(need.rights)} on {sql.Identifier(store.schema, need.table).as_string(None)}"
        for need in table_needs(store)
    ]
    if isinstance(store, LedgerStoreConfig):
        add = sql.Identifier(store.schema, store.add.name).as_string(None)
        entries = sql.Identifier(store.schema, store.transactions.table).as_string(None)
        lines.append(f"EXECUTE on function {add}; INSERT on {entries} too, unless it is SECURITY DEFINER")
    return "".join(f"--   {line}\n" for line in lines)


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _check_server(cursor: Cursor, system: CreditSystem) -> int:
    version = cursor.connection.info.server_version // 10_000
    if version < OLDEST_SERVER:
        raise ConfigurationError(
            f"{system.name}: this server is Postgres {version}, and {OLDEST_SERVER} is the oldest that works: "
            "upgrade it"
        )
    row = cursor.execute("SELECT pg_is_in_recovery() AS standby").fetchone()
    if row is not None and row["standby"]:
        raise ConfigurationError(
            f"{system.name}: this server is a read-only standby: give `{system.store.url_env}` the primary's URL"
        )
    return version


def _migrate(outer: sqlalchemy.Connection, cursor: Cursor, system: CreditSystem) -> str:
    cursor.execute(_SCHEMA.read_text(encoding="utf-8").encode())
    config = _alembic()
    config.attributes["connection"] = outer
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise ConfigurationError(
            f"{system.name}: the installed schema is of a newer version than this program: upgrade credit-pipeline"
        ) from None
    row = cursor.execute("SELECT version_num FROM credit_pipeline.schema_version").fetchone()
    assert row is not None
    return str(row["version_num"])


def _pins(system: CreditSystem) -> str:
    name = sql.Literal(system.name)
    parts = [
        sql.SQL(_PIN_SYSTEM).format(
            system=name, environment=sql.Literal(system.environment), config=sql.Literal(config_hash(system))
        )
    ]
    for plan in system.catalogue.plans:
        words = {"plan": plan.name, "label": plan.label, "credits": plan.credits, "rank": plan.rank}
        parts.append(sql.SQL(_PIN_PLAN).format(system=name, **{key: sql.Literal(word) for key, word in words.items()}))
    return sql.Composed(parts).as_string(None)


def _pinned(cursor: Cursor, system: CreditSystem) -> dict[str, int]:
    rows = cursor.execute(
        "SELECT plan, credits FROM credit_pipeline.catalogue WHERE system = %s ORDER BY rank", (system.name,)
    )
    return {row["plan"]: row["credits"] for row in rows}


def _differences(system: CreditSystem, pinned: Mapping[str, int]) -> tuple[str, ...]:
    keep = f"the pin stands until `credit-pipeline init {system.name} --accept-catalogue`"
    changed = (
        f"{plan.name}: pinned at {pinned[plan.name]:,} credits, the YAML says {plan.credits:,}: {keep}"
        for plan in system.catalogue.plans
        if pinned[plan.name] != plan.credits
    )
    gone = (
        f"{name}: pinned at {credits:,} credits, but not in the YAML any more: {keep}"
        for name, credits in pinned.items()
        if system.catalogue.named(name) is None
    )
    return (*changed, *gone)
