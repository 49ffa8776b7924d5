"""Keeps our schema in a separate database, one per product database, when we have read-only access.

The database is on the server that keeps Dagster's history: that of the working folder, unless a variable names another.
It has no write functions, so nothing can be applied from it. Once `init` has run in the product's database, only the
schema there counts.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from importlib.resources import files

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from credit_pipeline.adapters.postgres.connections import libpq_url
from credit_pipeline.adapters.postgres.transactions import Cursor, Transactions, connect, translated
from credit_pipeline.config.system import CreditSystem

DAGSTER_URL = "CREDIT_PIPELINE_DAGSTER_URL"
HOME = "CREDIT_PIPELINE_HOME"

Server = Callable[[], str | None]
"""Returns the URL of a database on the history server, or None if there is no server. Called only when needed."""
Place = tuple[CreditSystem, str]
"""Where our schema is: the system, whose `url_env` names the database in error messages, and its URL."""

# Everyone may read the catalogue, so a schema without access is distinguished from a missing one.
_SCHEMA = """
SELECT c.oid IS NOT NULL AS there,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                AND pg_catalog.has_table_privilege(c.oid, 'SELECT'), false) AS readable
FROM (SELECT 1) AS one
LEFT JOIN (pg_catalog.pg_namespace AS n
           JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'control')
    ON n.nspname = 'credit_pipeline'
"""
_INSTALLED = "SELECT FROM credit_pipeline.control WHERE system = %s"
_MAY_ASK = "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS may"
_CLUSTER = "SELECT system_identifier::text AS place FROM pg_catalog.pg_control_system()"
_ADDRESS = "SELECT pg_catalog.inet_server_addr()::text || ':' || pg_catalog.inet_server_port()::text AS place"

_EXISTS = "SELECT FROM pg_catalog.pg_database WHERE datname = %s"
_LIMITS = "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = '60s'"
# Serialises concurrent first runs.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('credit_pipeline init'))"
_CONTROL = "SELECT pg_catalog.to_regclass('credit_pipeline.control') IS NOT NULL AS there"
_RENEWED = "SELECT FROM credit_pipeline.control WHERE system = %s AND config_hash = %s"
# Plans here are only shown and never approved, so a new plan has no approvals to inherit. Without pins the guards
# refuse every live run.
_NOTHING_TO_INHERIT = """
CREATE OR REPLACE FUNCTION credit_pipeline.inherit(plan_id text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS ''
"""
_SYSTEM = """
INSERT INTO credit_pipeline.control (system, environment, config_hash, provider) VALUES (%s, %s, %s, %s)
ON CONFLICT (system) DO UPDATE SET config_hash = EXCLUDED.config_hash
"""


def server_of(environ: Mapping[str, str]) -> Server | None:
    """The history server that the environment names, or None."""
    url = environ.get(DAGSTER_URL, "").strip()
    return (lambda: url) if url else None


def history_variable(environ: Mapping[str, str]) -> str:
    """The variable to name in error messages about that server."""
    return DAGSTER_URL if server_of(environ) else HOME


def database_for(cursor: Cursor, system: str) -> str | None:
    """The name of the history database for this product's database; None if our schema is in the product's database.

    Also None if there is a schema that may not be read: without it our own corrections would look like losses.
    """
    row = cursor.execute(_SCHEMA).fetchone()
    assert row is not None
    if row["there"] and (not row["readable"] or cursor.execute(_INSTALLED, (system,)).fetchone() is not None):
        return None
    return _name(cursor, system)


def open_history(system: CreditSystem, url: str, name: str, env: str) -> Place:
    """The history database `name` on the server of `url`, created or upgraded if needed.

    `env` is the variable that error messages name. Raises StoreError if the server refuses to create it.
    """
    server = libpq_url(url, system.name, env)
    here = make_conninfo(server, dbname=name)
    if not _exists(server, name, system.name, env):
        _create(server, name, system.name, env)
    if not _is_ready(here, system, env):
        _install(here, system, env)
    return _place(system, env), here


def left_behind(system: CreditSystem, product: str, server: Server, env: str) -> Place | None:
    """The history kept for the product's database at `product` before `init`, or None."""
    product_database = Transactions(
        libpq_url(product, system.name, system.store.url_env), system.name, system.store.url_env
    )
    with closing(product_database) as transactions, transactions.begin() as cursor:
        name = _name(cursor, system.name)
    found = server()
    if found is None or not _exists(url := libpq_url(found, system.name, env), name, system.name, env):
        return None
    return open_history(system, url, name, env)


def _name(cursor: Cursor, system: str) -> str:
    """A name by cluster and database, as in the pins; a replica shares its primary's."""
    may = cursor.execute(_MAY_ASK).fetchone()
    assert may is not None
    row = cursor.execute(_CLUSTER if may["may"] else _ADDRESS).fetchone()
    assert row is not None
    identity = f"{row['place']}/{cursor.connection.info.dbname}/{system}"
    return f"history_{system[:32]}_{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def _exists(server: str, name: str, system: str, env: str) -> bool:
    with translated(system, env), connect(server, system, env) as connection:
        return connection.execute(_EXISTS, (name,)).fetchone() is not None


def _create(server: str, name: str, system: str, env: str) -> None:
    connection = connect(server, system, env)
    with translated(system, env), closing(connection):
        connection.autocommit = True  # CREATE DATABASE cannot run in a transaction
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return  # created by a concurrent run


def _is_ready(url: str, system: CreditSystem, env: str) -> bool:
    with closing(Transactions(url, system.name, env)) as transactions, transactions.begin() as cursor:
        row = cursor.execute(_CONTROL).fetchone()
        assert row is not None
        return bool(row["there"]) and cursor.execute(_RENEWED, (system.name, _version())).fetchone() is not None


def _install(url: str, system: CreditSystem, env: str) -> None:
    from credit_pipeline.adapters.install.schema_versions import schema_transaction, to_newest  # Alembic takes a while

    with schema_transaction(url, system.name, env) as (outer, cursor):
        cursor.execute(_LIMITS)
        cursor.execute(_ONE_AT_A_TIME)
        to_newest(outer, cursor, system.name)
        cursor.execute(_NOTHING_TO_INHERIT)
        cursor.execute(_SYSTEM, (system.name, system.environment, _version(), system.billing.provider))


def _version() -> str:
    """A hash of everything installed here: a history database with another hash is upgraded."""
    folder = files("credit_pipeline.adapters.install") / "migrations" / "sql"
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.iterdir(), key=lambda file: file.name)]
    return hashlib.sha256("\n".join((*texts, _NOTHING_TO_INHERIT)).encode()).hexdigest()


def _place(system: CreditSystem, env: str) -> CreditSystem:
    return replace(system, store=system.store.model_copy(update={"url_env": env}))
