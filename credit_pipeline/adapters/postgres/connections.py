"""Connects to a product's Postgres: parses users' URLs, opens Arrow transactions, explains drivers' errors.

The errors of both drivers, ADBC and psycopg, are explained here, because either may connect first.
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

# Parameters of other drivers that hosting companies put into their URLs; libpq rejects unknown parameters.
_FOREIGN_PARAMETERS = frozenset(
    {"pgbouncer", "connection_limit", "pool_timeout", "pool_size", "socket_timeout", "statement_cache_size"}
    | {"prepared_statements", "prepare_threshold", "schema", "sslaccept", "supa"}
)
_LIMITS = ("SET LOCAL lock_timeout = '10s'", "SET LOCAL statement_timeout = '10min'")
_READ_ONLY = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL row_security = off",  # hidden rows are an error, not an empty store
)

ArrowCursor = adbc.Cursor


def libpq_url(url: str, system: str, env: str) -> str:
    """A user's URL in libpq's form, without a driver in the scheme and without other drivers' parameters.

    Raises ConfigurationError, which names the variable and never its value.
    """
    plain = url.strip()
    scheme, mark, rest = plain.partition("://")
    if mark and scheme.partition("+")[0] in {"postgres", "postgresql"}:
        place, _, query = rest.partition("?")
        kept = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in _FOREIGN_PARAMETERS]
        plain = f"postgresql://{place}" + (f"?{'&'.join(kept)}" if kept else "")
    elif mark or "=" not in plain:
        raise _not_a_url(system, env)
    try:
        conninfo_to_dict(plain)
    except psycopg.Error:  # its text quotes parts of the URL, so it is not repeated
        raise _not_a_url(system, env) from None
    return plain


@contextmanager
def arrow_transaction(url: str, system: str, env: str, *, read_only: bool) -> Iterator[ArrowCursor]:
    """One explicit ADBC transaction; commits at the end, rolls back on any error.

    A read-only one is repeatable-read and fails if row-level security hides rows. ADBC runs a query without parameters
    as COPY (measured: half the time), so bulk queries get their values through `remember_setting`.
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
    """The driver's cache of a database's types; it holds no connection.

    Cached per process, because loading it takes eight times as long as connecting (measured: 41 of 47 ms). Types
    created later arrive as unnamed binary, so our queries cast to built-in types.
    """
    return adbc._SharedDatabase(adbc_driver_postgresql.connect(url))


def remember_setting(cursor: ArrowCursor, name: str, value: str) -> None:
    """Sets `current_setting(name)` until the transaction ends, for queries that run as COPY."""
    cursor.execute("SELECT set_config($1, $2, true)", parameters=(name, value))
    cursor.fetchall()


@contextmanager
def explained(system: str, env: str) -> Iterator[None]:
    """Turns both drivers' errors into ours. Their texts may contain a host, a user or a row, so they are dropped."""
    try:
        yield
    except (psycopg.Error, adbc.Error) as error:
        raise explain(error, system, env) from None


def explain(error: Exception, system: str, env: str) -> CreditPipelineError:
    """A driver's error as one of ours, with a sentence for the user."""
    cause: Any = getattr(error, "orig", error)  # SQLAlchemy wraps the driver's own
    state, message = getattr(cause, "sqlstate", None), _primary(cause)
    if state is None:
        return _unreachable(str(cause), system, env)
    ours = "credit_pipeline" in message
    if state in {"42P01", "3F000", "42883"} and ours:
        return NotInstalled(
            f"{system}: credit_pipeline is not installed in this database: run `credit-pipeline init {system}`"
        )
    for prefix, sentence in _BY_STATE.items():
        if state.startswith(prefix):
            kind = ConfigurationError if prefix in {"28", "3D"} else StoreError
            return kind(f"{system}: " + sentence.format(env=env, message=message, system=system))
    # Errors of classes 22 and 23 quote row values; only those about names and rights are safe to repeat.
    what = f" ({message})" if state.startswith("42") and message else ""
    return StoreError(
        f"{system}: the database of {env} refused a statement with SQLSTATE {state}{what}: look it up in its log"
    )


_BY_STATE = {
    "28": "the database of {env} refused the user or the password: correct {env}",
    "3D": "the database that {env} names does not exist: correct {env}",
    "42501": "the database user of {env} lacks a right ({message}): grant it, or use a user that has it",
    "53": "the database of {env} is out of connections, memory or disk space: free some and run again",
    "55P03": "another transaction holds a lock that this one needs: run again",
    "40": "the transaction conflicted with another one: run again",
    "57014": "the database of {env} cancelled a statement that took too long: run again when it is less busy",
    "57": "the database of {env} ended the connection: run again once it is up",
    "08": "the connection to the database of {env} was lost: run again",
    "25006": "the database of {env} is read-only: give {env} the primary's URL",
}
_BY_MESSAGE = (
    ("password authentication failed", "refused the user or the password", "correct {env}", ConfigurationError),
    ("no password supplied", "requires a password", "put it into {env}", ConfigurationError),
    (
        "permission denied for database",
        "does not let this user connect",
        "grant CONNECT on it or correct {env}",
        StoreError,
    ),
    ("role ", "does not know this user", "correct {env}", ConfigurationError),
    ("database ", "does not have a database of this name", "correct {env}", ConfigurationError),
    ("pg_hba.conf", "does not admit this user from here", "correct {env} or the server's pg_hba.conf", StoreError),
    ("translate host name", "has an unknown host name", "correct {env}", ConfigurationError),
    ("resolve", "has an unknown host name", "correct {env}", ConfigurationError),
    ("timeout", "did not answer in time", "check {env} and the network", StoreError),
    ("too many", "has no free connection", "close some and run again", StoreError),
    ("starting up", "is starting up", "run again in a moment", StoreError),
    ("shutting down", "is shutting down", "run again once it is up", StoreError),
    ("SSL", "failed the TLS handshake", "check `sslmode` in {env}", ConfigurationError),
    ("certificate", "failed the TLS handshake", "check `sslmode` in {env}", ConfigurationError),
    ("refused", "is not running where {env} points", "start it or correct {env}", StoreError),
    ("No such file", "is not running where {env} points", "start it or correct {env}", StoreError),
    ("closed the connection", "ended the connection", "run again once it is up", StoreError),
)


def _unreachable(text: str, system: str, env: str) -> CreditPipelineError:
    # The server's own message follows FATAL; host and user precede it and may contain any text.
    _, fatal, rest = text.partition("FATAL:")
    message = rest if fatal else text
    for sign, what, remedy, kind in _BY_MESSAGE:
        if sign in message and (fatal or sign not in {"role ", "database "}):
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
