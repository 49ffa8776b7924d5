"""The sandbox's second product: bestauth's tables in the embedded server, and what its app writes there.

It writes product tables as the product does.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import LiteralString

import psycopg
from psycopg import sql

from credit_pipeline.sandbox.scenarios.bestauth.tables import TABLES, Changes, Failure, Row
from credit_pipeline.sandbox.scenarios.wix_app.life import State

NAME = "bestauth"

_STAGE = "CREATE TEMP TABLE IF NOT EXISTS {stage} (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
_COPY = "COPY {stage} ({columns}) FROM STDIN"
_PUT = "INSERT INTO {table} SELECT * FROM {stage} ON CONFLICT ({key}) DO UPDATE SET {values}"
_ENTER = "COPY {table} ({columns}) FROM STDIN"
_DROP = "DELETE FROM {table} WHERE {key}::text = ANY(%s)"
# Every decrease of a balance, whatever its cause; a removed row loses what it held.
_LOST = """
SELECT coalesce(sum(greatest(0, old_balance - coalesce(new_balance, 0))), 0)::bigint
FROM balance_changes WHERE id > %s
"""
_STATES = """
WITH ledger AS (
    SELECT user_id, coalesce(sum(amount) FILTER (WHERE type <> 'usage'), 0)::bigint AS total
    FROM points_transactions GROUP BY user_id
), accounts AS (
    SELECT user_id FROM points_balances UNION SELECT user_id FROM subscriptions_consolidated
    UNION SELECT user_id FROM ledger UNION SELECT supabase_user_id FROM user_id_mapping
)
SELECT a.user_id::text, t.tier, coalesce(l.total, 0), coalesce(l.total, 0) - b.balance
FROM accounts a LEFT JOIN ledger l USING (user_id) LEFT JOIN points_balances b USING (user_id)
    LEFT JOIN subscriptions_consolidated t USING (user_id)
"""


class Bestauth:
    """The product's database, on one connection. A context manager that closes it."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, application_name=NAME)

    def __enter__(self) -> "Bestauth":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def create(self) -> None:
        """Tables, functions and policies, in an empty database."""
        schema = files("credit_pipeline.sandbox.scenarios.bestauth").joinpath("product.sql").read_text(encoding="utf-8")
        database = sql.Identifier(self._connection.info.dbname)
        with self._connection.transaction():
            self._connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
            self._connection.execute(schema.encode())

    def write(self, changes: Changes) -> None:
        """Writes changes with COPY, in one transaction."""
        with self._connection.transaction():
            for kind, table in TABLES.items():
                gone, rows = changes.gone[kind], list(changes.rows[kind].values())
                columns: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
                if gone:
                    self._connection.execute(_query(_DROP, table, columns), (list(gone),))
                if rows and kind is Failure:
                    self._copy(_query(_ENTER, table, columns), rows)
                elif rows:
                    self._connection.execute(_query(_STAGE, table, columns))
                    self._copy(_query(_COPY, table, columns), rows)
                    self._connection.execute(_query(_PUT, table, columns))

    def refresh_statistics(self) -> None:
        """Updates statistics after a bulk load; without them the planner expects empty tables."""
        for table in TABLES.values():
            self._connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))

    def states(self) -> Mapping[str, State]:
        """Every account as a counter: total is all transactions but spending, used is total minus balance."""
        return {account: State(*held) for account, *held in self._connection.execute(_STATES)}

    def last_change(self) -> int:
        """The number of the newest row of the product's audit; 0 before the first."""
        return self._number("SELECT coalesce(max(id), 0) FROM balance_changes", ())

    def credits_lost(self, since: int) -> int:
        """Sum of the decreases of balances after that row of the product's audit."""
        return self._number(_LOST, (since,))

    def _copy(self, query: sql.Composed, rows: list[Row]) -> None:
        with self._connection.cursor().copy(query) as copy:
            for row in rows:
                copy.write_row(row)

    def _number(self, query: str, parameters: tuple[int, ...]) -> int:
        row = self._connection.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return int(row[0])


def _query(text: LiteralString, table: str, columns: tuple[str, ...]) -> sql.Composed:
    """The statement for one table; its first column is the key."""
    each = [sql.Identifier(name) for name in columns]
    return sql.SQL(text).format(
        table=sql.Identifier(table),
        stage=sql.Identifier(f"new_{table}"),
        columns=sql.SQL(", ").join(each),
        key=each[0],
        values=sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(name) for name in each[1:]),
    )
