"""Reaching a product's Postgres: users' URLs, Arrow transactions, and what a driver's error means in one sentence.

Both drivers' errors are named here, ADBC's and psycopg's, because either may meet them first. Writing transactions
on psycopg begin in `transactions`; no query of the product or of our schema lives here.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any

import adbc_driver_manager.dbapi as adbc
import adbc_driver_postgresql
import psycopg
from adbc_driver_manager import AdbcConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from credit_pipeline.domain.errors import ConfigurationError, CreditPipelineError, NotInstalled, StoreError

# Parameters of other drivers that hosting companies put into the URLs they show; libpq refuses words it does not know.
_FOREIGN_PARAMETERS = frozenset(
    {"pgbouncer", "connection_limit", "pool_timeout", "pool_size", "socket_timeout", "statement_cache_size"}
    | {"prepared_statements", "prepare_threshold", "schema", "sslaccept", "supa"}
)
_LIMITS = ("SET LOCAL lock_timeout = '10s'", "SET LOCAL statement_timeout = '10min'")
_READ_ONLY = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL row_security = off",  # hidden rows are an error and not an empty store
)

ArrowCursor = adbc.Cursor


def libpq_url(url: str, system: str, env: str) -> str:
    """A user's URL as libpq reads it: no driver's name in the scheme, no other driver's parameters.

    Raises ConfigurationError naming the variable, never its value.
    """
    plain = url.strip()
    scheme, mark, rest = plain.partition("://")
    if mark and scheme.partition("+")[0] in {"postgres", "postgresql"}:
        place, _, query = rest.partition("?")
        kept = [word for word in query.split("&") if word and word.partition("=")[0] not in _FOREIGN_PARAMETERS]
        plain = f"postgresql://{place}" + (f"?{'&'.join(kept)}" if kept else "")
    elif mark or "=" not in plain:
        raise _not_a_url(system, env)
    try:
        conninfo_to_dict(plain)
    except psycopg.Error:  # its text quotes parts of the URL, so it does not go on
        raise _not_a_url(system, env) from None
    return plain


@contextmanager
def arrow_transaction(url: str, system: str, env: str, *, read_only: bool) -> Iterator[ArrowCursor]:
    """One explicit transaction that carries Arrow at COPY speed; commits at the end, rolls back on any error.

    Read-only ones are repeatable-read and refuse to see less than all rows. ADBC runs a query without parameters as
    COPY (measured: half the time), so what a bulk query needs to know is handed over by `remember_setting`.
    """
    with explained(system, env):
        whole = make_conninfo(url, application_name=f"credit_pipeline {system}")
        if "connect_timeout" not in conninfo_to_dict(url):
            whole = make_conninfo(whole, connect_timeout=10)
        with _connect(whole) as connection, closing(connection.cursor()) as cursor:
            for statement in (*(_READ_ONLY if read_only else ()), *_LIMITS):
                cursor.execute(statement)
            yield cursor
            connection.commit()


def _connect(url: str) -> adbc.Connection:
    database = _database(url)
    return adbc.Connection(database.clone(), AdbcConnection(database._db))


@lru_cache(maxsize=32)
def _database(url: str) -> adbc._SharedDatabase:
    """What the driver learns of a database before its first connection: the types. No connection is kept for it.

    Learnt once a process, since it takes eight times as long as a connection (measured: 41 of 47 ms). A type that is
    made later comes as unnamed binary, so our queries cast to built-in types.
    """
    return adbc._SharedDatabase(adbc_driver_postgresql.connect(url))


def remember_setting(cursor: ArrowCursor, name: str, value: str) -> None:
    """Binds a value to `current_setting(name)` until the transaction ends, for queries that run as COPY."""
    cursor.execute("SELECT set_config($1, $2, true)", parameters=(name, value))
    cursor.fetchall()


@contextmanager
def explained(system: str, env: str) -> Iterator[None]:
    """Turns both drivers' errors into our own; their texts may hold a host, a user or a row, so they do not go on."""
    try:
        yield
    except (psycopg.Error, adbc.Error) as error:
        raise explain(error, system, env) from None


def explain(error: Exception, system: str, env: str) -> CreditPipelineError:
    """A driver's error as one sentence for the person at the terminal."""
    cause: Any = getattr(error, "orig", error)  # SQLAlchemy wraps the driver's own
    state, said = getattr(cause, "sqlstate", None), _primary(cause)
    if state is None:
        return _unreachable(str(cause), system, env)
    ours = "credit_pipeline" in said or 'schema "credit_pipeline"' in said
    if state in {"42P01", "3F000", "42883"} and ours:
        return NotInstalled(
            f"{system}: credit_pipeline is not installed in this database: run `credit-pipeline init {system}`"
        )
    for prefix, sentence in _BY_STATE.items():
        if state.startswith(prefix):
            kind = ConfigurationError if prefix in {"28", "3D"} else StoreError
            return kind(f"{system}: " + sentence.format(env=env, said=said, system=system))
    # Classes 22 and 23 quote values of rows; only errors about names and rights are safe to repeat.
    what = f" ({said})" if state.startswith("42") and said else ""
    return StoreError(
        f"{system}: the database of {env} refused a statement with SQLSTATE {state}{what}: look it up in its log"
    )


_BY_STATE = {
    "28": "the database of {env} refused the user or the password: correct {env}",
    "3D": "the database that {env} names does not exist: correct {env}",
    "42501": "the database user of {env} lacks a right ({said}): grant it, or use a user that has it",
    "53": "the database of {env} is out of connections, memory or disk space: free some and run again",
    "55P03": "another transaction held what this one needs: run again",
    "40": "another transaction was in the way: run again",
    "57014": "the database of {env} cancelled a statement that took too long: run again when it is less busy",
    "57": "the database of {env} ended the connection: run again once it is up",
    "08": "the connection to the database of {env} was lost: run again",
    "25006": "the database of {env} is read-only: give {env} the primary's URL",
}
_TROUBLE = (
    ("password authentication failed", "refused the user or the password", "correct {env}", ConfigurationError),
    ("no password supplied", "wants a password", "put it into {env}", ConfigurationError),
    ("permission denied for database", "does not let this user in", "grant CONNECT on it or correct {env}", StoreError),
    ("role ", "does not know this user", "correct {env}", ConfigurationError),
    ("database ", "does not have a database of this name", "correct {env}", ConfigurationError),
    ("pg_hba.conf", "does not admit this user from here", "correct {env} or the server's pg_hba.conf", StoreError),
    ("translate host name", "has a host name that nobody knows", "correct {env}", ConfigurationError),
    ("resolve", "has a host name that nobody knows", "correct {env}", ConfigurationError),
    ("timeout", "did not answer in time", "check {env} and the network", StoreError),
    ("too many", "has no connection left", "free some and run again", StoreError),
    ("starting up", "is starting up", "run again in a moment", StoreError),
    ("shutting down", "is shutting down", "run again once it is up", StoreError),
    ("SSL", "could not agree on TLS", "check `sslmode` in {env}", ConfigurationError),
    ("certificate", "could not agree on TLS", "check `sslmode` in {env}", ConfigurationError),
    ("refused", "is not running where {env} points", "start it or correct {env}", StoreError),
    ("No such file", "is not running where {env} points", "start it or correct {env}", StoreError),
    ("closed the connection", "ended the connection", "run again once it is up", StoreError),
)


def _unreachable(text: str, system: str, env: str) -> CreditPipelineError:
    # What the server itself said comes after FATAL; before it stand host and user, which may hold any word.
    _, fatal, rest = text.partition("FATAL:")
    words = rest if fatal else text
    for sign, what, remedy, kind in _TROUBLE:
        if sign in words and (fatal or sign not in {"role ", "database "}):
            return kind(f"{system}: the database of {env} {what}: {remedy}".format(env=env))
    return StoreError(f"{system}: the database of {env} cannot be reached: check {env} and the server")


def _primary(error: Any) -> str:
    if isinstance(error, psycopg.Error):
        return error.diag.message_primary or ""
    details = dict(getattr(error, "details", None) or ())
    return bytes(details.get(b"PG_DIAG_MESSAGE_PRIMARY", b"")).decode("utf-8", "replace")


def _not_a_url(system: str, env: str) -> ConfigurationError:
    return ConfigurationError(
        f"{system}: {env} is not a Postgres URL: write it as postgresql://user:password@host:5432/database, "
        "with special characters of the password percent-encoded"
    )
