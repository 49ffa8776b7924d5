"""psycopg transactions on a product's Postgres, with time limits and translated errors.

Only explicit transactions: a killed client's autocommit statement still commits. Only `SET LOCAL` and no prepared
statements, so that PgBouncer's transaction pooling works.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from credit_pipeline.adapters.postgres.connections import explain
from credit_pipeline.domain.errors import CreditPipelineError, NotInstalled, PlanError, StoreError

Row = dict[str, Any]
Cursor = psycopg.Cursor[Row]
Connection = psycopg.Connection[tuple[Any, ...]]

_LIMITS = """
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp
"""
_CONTENTION = frozenset({"40P01", "40001", "55P03"})


class Contended(StoreError):
    """Lock contention with another transaction; retrying may succeed."""


def connect(url: str, system: str, env: str) -> Connection:
    """A connection to the product's database. `env` is the variable that error messages name."""
    with translated(system, env):
        return psycopg.connect(
            url, prepare_threshold=None, application_name=f"credit_pipeline {system}", connect_timeout=10
        )


class Transactions:
    """One connection, opened on first use and reopened if lost; one transaction at a time."""

    def __init__(self, url: str, system: str, env: str = "the credit store") -> None:
        self._url = url
        self._system = system
        self._env = env
        self._connection: Connection | None = None
        self._turn = threading.Lock()

    @contextmanager
    def begin(self, *, snapshot: bool = False) -> Iterator[Cursor]:
        """A transaction with time limits; commits at the end, rolls back on any error.

        Read committed, so that a statement that waited for a lock sees what was committed meanwhile; `snapshot` makes
        it repeatable read.
        """
        with self._turn, translated(self._system, self._env):
            connection = self._open()
            level = psycopg.IsolationLevel
            connection.isolation_level = level.REPEATABLE_READ if snapshot else level.READ_COMMITTED
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute(_LIMITS)
                yield cursor

    def close(self) -> None:
        """Closes the connection; the next transaction opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed or self._connection.broken:
            self.close()
            self._connection = connect(self._url, self._system, self._env)
        return self._connection


@contextmanager
def translated(system: str, env: str) -> Iterator[None]:
    """Turns psycopg errors into ours: PlanError from the write path, Contended, NotInstalled, else as `explain`."""
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error, system, env) from None  # its text may contain a host, a user or a row


def _translated(error: psycopg.Error, system: str, env: str) -> CreditPipelineError:
    state, constraint = error.sqlstate or "", error.diag.constraint_name or ""
    if state.startswith("CP"):
        return PlanError(error.diag.message_primary or f"{system}: the plan was refused")
    if constraint.endswith("_system_fkey"):
        return NotInstalled(f"{system}: not installed in this database: run `credit-pipeline init {system}`")
    if state in _CONTENTION:
        return Contended(str(explain(error, system, env)))
    return explain(error, system, env)
