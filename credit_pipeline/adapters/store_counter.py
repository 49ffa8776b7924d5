"""The balances of a counter store, read from the product's own table as Arrow at COPY speed (port Store).

Read only: one repeatable-read transaction that fails where rows would be hidden from it. What can be wrong with the
configured names is told in `table_columns`; what the numbers mean is the domain's.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from credit_pipeline.adapters.postgres import ArrowCursor, arrow_transaction, libpq_url
from credit_pipeline.adapters.table_columns import Column, TableColumns, look_up
from credit_pipeline.domain.errors import StoreError
from credit_pipeline.domain.ids import AccountId
from credit_pipeline.services.ports import COUNTER_BALANCES
from credit_pipeline.services.system import CreditSystem

_WHOLE = frozenset({"int2", "int4", "int8"})
_AS_TEXT = frozenset({"text", "varchar"})
# NaN and the infinities are greater than every number, so that BETWEEN refuses them too.
_BROKEN = "count(*) FILTER (WHERE {column} <> trunc({column}) OR NOT {column} BETWEEN -9e18 AND 9e18)"


class CounterStore:
    """The Store of one system whose accounts are rows with a plan label, credits granted and credits used."""

    def __init__(self, system: CreditSystem, url: str) -> None:
        self._system = system.name
        self._store = system.store
        self._env = system.store.url_env
        self._url = libpq_url(url, system.name, self._env)

    def read(self, accounts: Sequence[AccountId] | None = None) -> pa.Table:
        """All balances, or those asked for, in schema COUNTER_BALANCES. An unknown number is null, not zero.

        Raises ConfigurationError where a table or column is not as configured, StoreError where the database cannot
        be read, hides rows, or holds accounts without an id, twice, or with fractions of a credit.
        """
        store = self._store
        with arrow_transaction(self._url, self._system, self._env, read_only=True) as cursor:
            table = look_up(cursor, self._system, store.schema, "store.table", store.table)
            account = table.column("store.account", store.account)
            total, used = (
                table.number(key, name) for key, name in (("store.total", store.total), ("store.used", store.used))
            )
            chosen = sql.SQL(", ").join(
                [
                    sql.SQL("{} AS account_id").format(_text(account)),
                    sql.SQL("{} AS label").format(_text(table.column("store.label", store.label))),
                    sql.SQL("{} AS total").format(self._whole(cursor, table, total)),
                    sql.SQL("{} AS used").format(self._whole(cursor, table, used)),
                ]
            )
            query = sql.SQL("SELECT {} FROM {}").format(chosen, table.identifier)
            if accounts is None:
                cursor.execute(query.as_string(None))
            else:
                where, wanted = _among(account, accounts)
                parameters = pa.record_batch({"accounts": pa.array([wanted], pa.list_(pa.string()))})
                cursor.execute((query + where).as_string(None), parameters=parameters)
            found: pa.Table = cursor.fetch_arrow_table()
        self._check_accounts(found["account_id"], known_unique=account.unique)
        return found.cast(COUNTER_BALANCES)

    def catalogue(self) -> Mapping[str, int]:
        """The product's own plan table, label → credits; a plan without a label or an amount says nothing."""
        plans = self._store.plans
        if plans is None:
            return {}
        with arrow_transaction(self._url, self._system, self._env, read_only=True) as cursor:
            table = look_up(cursor, self._system, self._store.schema, "store.plans.table", plans.table)
            label = table.column("store.plans.label", plans.label)
            credits = table.number("store.plans.credits", plans.credits)
            query = sql.SQL("SELECT {} AS label, {} AS credits FROM {}").format(
                _text(label), self._whole(cursor, table, credits), table.identifier
            )
            cursor.execute(query.as_string(None))
            rows = [row for row in cursor.fetch_arrow_table().to_pylist() if None not in row.values()]
        known: dict[str, int] = {row["label"]: row["credits"] for row in rows}
        if any(known[row["label"]] != row["credits"] for row in rows):
            raise StoreError(
                f"{self._system}: table `{table.name}` gives one plan two amounts of credits: "
                "leave one row a plan, or correct `store.plans` in defs.yaml"
            )
        return known

    def _whole(self, cursor: ArrowCursor, table: TableColumns, column: Column) -> sql.Composable:
        """The column as bigint. Fractions are refused, not rounded; where the type has none, nothing is counted."""
        if column.type == "int8":
            return column.identifier
        if column.type not in _WHOLE:
            count = sql.SQL(_BROKEN).format(column=column.identifier)
            cursor.execute(sql.SQL("SELECT {} FROM {}").format(count, table.identifier).as_string(None))
            broken = cursor.fetchall()[0][0]
            if broken:
                raise StoreError(
                    f"{self._system}: column `{column.name}` of table `{table.name}` has {broken:,} values that are "
                    f"not whole credits: correct those rows, or `{column.key}` in defs.yaml"
                )
        return sql.SQL("{}::bigint").format(column.identifier)

    def _check_accounts(self, ids: pa.ChunkedArray, *, known_unique: bool) -> None:
        where = f"table `{self._store.schema}.{self._store.table}`"
        if ids.null_count:
            raise StoreError(
                f"{self._system}: {where} has {ids.null_count:,} rows without an account in "
                f"`{self._store.account}`: correct those rows, or `store.account` in defs.yaml"
            )
        more = 0 if known_unique else len(ids) - pc.count_distinct(ids).as_py()
        if more:
            raise StoreError(
                f"{self._system}: {where} has {more:,} rows more than accounts in `{self._store.account}`, where one "
                "row an account is needed: remove the duplicates, or correct `store.account` in defs.yaml"
            )


def _text(column: Column) -> sql.Composable:
    return column.identifier if column.type in _AS_TEXT else sql.SQL("{}::text").format(column.identifier)


def _among(account: Column, wanted: Sequence[AccountId]) -> tuple[sql.Composable, list[str]]:
    """A filter that can use the column's index, and the ids that its type can hold; the others cannot exist."""
    if account.type == "uuid":
        return _equals_any(account, sql.SQL("uuid")), [str(word) for word in wanted if _is_uuid(word)]
    if account.type in _WHOLE:
        fitting = [str(word) for word in wanted if word.isascii() and word.isdecimal() and int(word) < 1 << 63]
        return _equals_any(account, sql.SQL("bigint")), fitting
    return sql.SQL(" WHERE {} = ANY ($1::text[])").format(_text(account)), [str(word) for word in wanted]


def _equals_any(account: Column, kind: sql.SQL) -> sql.Composable:
    return sql.SQL(" WHERE {} = ANY ($1::text[]::{}[])").format(account.identifier, kind)


def _is_uuid(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True
