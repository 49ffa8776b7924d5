"""What `init` does in a product's database: our schema, the pins, and the system's write functions, in one transaction.

Safe to repeat. It renews the functions, keeps the kind of install it finds, walled or not, and changes no pin unless a
person asks for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy
from psycopg import sql

from credit_pipeline.adapters.install.pins import (
    Billing,
    accept_catalogue,
    differences,
    pinned_credits,
    pins_sql,
    repin,
)
from credit_pipeline.adapters.install.product_function import check_add
from credit_pipeline.adapters.install.product_grants import database_grants, product_grants
from credit_pipeline.adapters.install.product_needs import needs_of
from credit_pipeline.adapters.install.product_table import (
    check_nobody_else_creates,
    check_product_table,
    check_writable,
)
from credit_pipeline.adapters.install.roles import (
    ROLES_SQL,
    Walls,
    become_owner,
    build_walls,
    leave,
    neighbours,
    notes,
    owner_found,
    step_back,
)
from credit_pipeline.adapters.install.schema_versions import SCHEMA, schema_transaction, to_newest, versions
from credit_pipeline.adapters.install.witness import set_witness
from credit_pipeline.adapters.install.write_functions import config_hash, render
from credit_pipeline.adapters.postgres.connections import libpq_url
from credit_pipeline.adapters.postgres.transactions import Cursor
from credit_pipeline.config.store import LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.findings.ports import Decided

OLDEST_SERVER = 13

# Two `init` at once take turns: transaction-level, so that a pooler cannot keep it.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('credit_pipeline init'))"
_LIMITS = (
    "SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = '60s'; SET LOCAL search_path = pg_catalog, pg_temp"
)

_SINGLE = """\
-- Run it as the role that the pipeline connects as (it will own the functions), which needs CREATE on the
-- database, USAGE on the product's schema, and
"""
_WALLED = """\
-- Walled: run it as a superuser, or as who owns the product's tables and may make roles. It makes four roles that
-- cannot log in, named for the database; put logins into them with GRANT afterwards. Where row-level security is on for
-- the product's tables, give the owner role and those logins BYPASSRLS.
"""
_UNPINNED = """\
-- Billing is not pinned by it: its variables were not set when this was printed. Print it again, or run init later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallReport:
    """What is installed now. `differences` name the pins that the YAML contradicts; the pins stay in force."""

    system: str
    environment: str
    server_version: int
    schema_version: str
    first: bool
    renewed: bool
    """Whether the functions were of something else before: other columns, or another version of this code."""
    pinned: Mapping[str, int]
    differences: tuple[str, ...]
    install: str
    """`walled` or `single-role`."""
    four_eyes: bool
    notes: tuple[str, ...] = ()
    """What a person may have to do besides, a sentence each."""
    logins: tuple[str, ...] = ()
    """The statements with which a DBA puts logins into the roles of a walled install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Options of an install. A changed pin stores a person's name and reason."""

    walled: bool = False
    repin: Decided | None = None
    accept_catalogue: Decided | None = None
    witness: bool | None = None
    """True installs it, False removes it, None leaves it as it is."""
    by: Decided | None = field(default=None)
    """Who asked for the witness."""


def install(
    url: str, system: CreditSystem, billing: Billing | None = None, wanted: Wanted | None = None
) -> InstallReport:
    """Installs or renews one system in the database at `url`. Everything or nothing. `billing` is pinned where given.

    Raises ConfigurationError where the database does not fit the YAML, StoreError where it cannot be written.
    """
    wanted, env = wanted or Wanted(), system.store.url_env
    render(system)  # a name that may not be one is refused before anything is asked
    url = libpq_url(url, system.name, env)
    unique = check_product_table(url, system)
    with schema_transaction(url, system.name, env) as (outer, cursor):
        return _installed(outer, cursor, system, unique, billing, wanted)


def _installed(
    outer: sqlalchemy.Connection,
    cursor: Cursor,
    system: CreditSystem,
    unique: frozenset[str],
    billing: Billing | None,
    wanted: Wanted,
) -> InstallReport:
    cursor.execute(_LIMITS)
    version = _check_server(cursor, system)
    cursor.execute(_ONE_AT_A_TIME)
    owner = owner_found(cursor)
    if owner is not None:
        become_owner(cursor, system, owner)
    elif not wanted.walled:
        _check_product(cursor, system, unique)
    schema_version = to_newest(outer, cursor, system.name)
    before = cursor.execute(
        "SELECT environment, config_hash FROM credit_pipeline.control WHERE system = %s", (system.name,)
    ).fetchone()
    if before is not None and wanted.repin is not None:
        before = {**before, "environment": repin(cursor, system, billing, wanted.repin)}
    _check_environment(system, before)
    cursor.execute(pins_sql(system, billing).encode())
    if wanted.accept_catalogue is not None:
        accept_catalogue(cursor, system, wanted.accept_catalogue)
    cursor.execute(render(system).encode())
    walls = None
    if owner is not None or wanted.walled:
        step_back(cursor)
        walls = _walled(cursor, system, unique)
    witness = set_witness(cursor, system, wanted.witness, wanted.by, owner=walls.owner if walls else None)
    found = differences(cursor, system, billing)
    row = cursor.execute(
        "SELECT install, four_eyes FROM credit_pipeline.control WHERE system = %s", (system.name,)
    ).fetchone()
    assert row is not None
    report = InstallReport(
        system=system.name,
        environment=system.environment,
        server_version=version,
        schema_version=schema_version,
        first=before is None,
        renewed=before is not None and before["config_hash"] != config_hash(system),
        pinned=pinned_credits(cursor, system),
        differences=found,
        install=row["install"],
        four_eyes=row["four_eyes"],
        notes=(
            *(notes(cursor, system, walls) if walls else ()),
            *(neighbours(cursor, system) if walls and owner is None else ()),
            *witness,
        ),
        logins=walls.logins() if walls else (),
    )
    if walls is not None:
        leave(cursor, walls)
    return report


def _walled(cursor: Cursor, system: CreditSystem, unique: frozenset[str]) -> Walls:
    walls = build_walls(cursor, system)
    become_owner(cursor, system, walls.owner)
    _check_product(cursor, system, unique)
    step_back(cursor)
    return walls


def _check_product(cursor: Cursor, system: CreditSystem, unique: frozenset[str]) -> None:
    """Check that the functions' owner can write the product's tables, and that nobody can trick it into more."""
    check_writable(cursor, system, unique=unique)
    check_nobody_else_creates(cursor, system)
    if isinstance(system.store, LedgerStoreConfig):
        check_add(cursor, system, system.store)


def _check_environment(system: CreditSystem, before: Mapping[str, object] | None) -> None:
    if before is not None and before["environment"] != system.environment:
        raise ConfigurationError(
            f"{system.name}: this database is pinned to environment `{before['environment']}`, but the YAML "
            f"says `{system.environment}`: correct `environment` in defs.yaml, or use {system.environment}'s own "
            f"database; where this one is meant, run init {system.name} --repin --as YOU --reason WHY"
        )


def print_sql(system: CreditSystem, *, walled: bool = False, billing: Billing | None = None) -> str:
    """All of it as one script, for a DBA to read and run as the role that the pipeline connects as; walled, as a
    superuser or as who owns the product's tables and may make roles. `billing` is pinned where given."""
    sql_of = versions()
    parts = [
        f"-- credit_pipeline for system {system.name}, into a database where it is not installed yet.",
        (_WALLED if walled else _SINGLE + _rights(system)).rstrip(),
        *([] if billing else [_UNPINNED]),
        "BEGIN;",
        SCHEMA.read_text(encoding="utf-8"),
        *sql_of.values(),
        "CREATE TABLE credit_pipeline.schema_version (version_num varchar(32) NOT NULL,\n"
        "    CONSTRAINT schema_version_pkc PRIMARY KEY (version_num));",
        sql.SQL("INSERT INTO credit_pipeline.schema_version VALUES ({});")
        .format(sql.Literal(list(sql_of)[-1]))
        .as_string(None),
        render(system),
        pins_sql(system, billing),
        *([ROLES_SQL(encoding="utf-8"), *product_grants(system), database_grants()] if walled else []),
        "COMMIT;\n",
    ]
    return "\n".join(parts)


def _rights(system: CreditSystem) -> str:
    """What the role needs on the product's own tables and functions, a comment line each."""
    store = system.store
    lines = [
        f"{', '.join(need.rights)} on {sql.Identifier(store.schema, need.table).as_string(None)}"
        for need in needs_of(system)
    ]
    if isinstance(store, LedgerStoreConfig):
        add = sql.Identifier(store.schema, store.add.function).as_string(None)
        entries = sql.Identifier(store.schema, store.transactions.table).as_string(None)
        lines.append(f"EXECUTE on function {add}; INSERT on {entries} too, unless it is SECURITY DEFINER")
    return "".join(f"--   {line}\n" for line in lines)


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
