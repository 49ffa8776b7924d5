"""SQL fragments that read configured product columns as text, ids, whole credits or times, and checks of values."""

from collections.abc import Sequence
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from credit_pipeline.adapters.postgres.connections import ArrowCursor
from credit_pipeline.adapters.postgres.table_columns import Column, TableColumns
from credit_pipeline.domain.errors import StoreError
from credit_pipeline.domain.subjects.ids import AccountId

_WHOLE = frozenset({"int2", "int4", "int8"})
_AS_TEXT = frozenset({"text", "varchar"})
# BETWEEN also excludes NaN and infinity, which sort above every number.
_BROKEN = "count(*) FILTER (WHERE {column} <> trunc({column}) OR NOT {column} BETWEEN -9e18 AND 9e18)"


def text(column: Column) -> sql.Composable:
    """The column as text."""
    return column.identifier if column.type in _AS_TEXT else sql.SQL("{}::text").format(column.identifier)


def id_text(column: Column, *, uuids: bool) -> sql.Composable:
    """An id as text. `uuids`: ids are UUIDs, which a text column may hold in upper case."""
    if uuids and column.type in _AS_TEXT:
        return sql.SQL("lower(btrim({}))").format(column.identifier)
    return text(column)


def instant(column: Column) -> sql.Composable:
    """The column as timestamptz, null if infinite; times without a zone are UTC."""
    name = column.identifier
    if column.type == "timestamptz":
        return sql.SQL("CASE WHEN isfinite({0}) THEN {0} END").format(name)
    return sql.SQL("CASE WHEN isfinite({0}) THEN {0}::timestamp AT TIME ZONE 'UTC' END").format(name)


def since(column: Column, setting: str) -> sql.Composable:
    """The time in a setting, cast to the column's type so that the column's index can be used."""
    value = sql.SQL("(SELECT current_setting({})::timestamptz {})")
    zone = sql.SQL("" if column.type == "timestamptz" else "AT TIME ZONE 'UTC'")
    return value.format(sql.Literal(setting), zone)


def whole(cursor: ArrowCursor, table: TableColumns, column: Column) -> sql.Composable:
    """The column as bigint credits. Raises StoreError if it holds fractions, NaN or infinity."""
    if column.type == "int8":
        return column.identifier
    if column.type not in _WHOLE:
        count = sql.SQL(_BROKEN).format(column=column.identifier)
        cursor.execute(sql.SQL("SELECT {} FROM {}").format(count, table.identifier).as_string(None))
        broken = cursor.fetchall()[0][0]
        if broken:
            raise StoreError(
                f"{table.system}: column `{column.name}` of table `{table.name}` has {broken:,} values that are "
                f"not whole credits: correct those rows, or `{column.key}` in defs.yaml"
            )
    return sql.SQL("{}::bigint").format(column.identifier)


def among(
    account: Column, accounts: Sequence[AccountId] | None, *, uuids: bool = False
) -> tuple[sql.Composable, list[str] | None]:
    """A condition that can use the column's index, and the ids to bind as $1, without those its type cannot hold.

    For `accounts` None the condition is true and nothing is bound.
    """
    if accounts is None:
        return sql.SQL("true"), None
    if account.type == "uuid":
        return _equals_any(account.identifier, "uuid"), [
            str(account_id) for account_id in accounts if _is_uuid(account_id)
        ]
    if account.type in _WHOLE:
        fitting = [str(one) for one in accounts if one.isascii() and one.isdecimal() and int(one) < 1 << 63]
        return _equals_any(account.identifier, "bigint"), fitting
    wanted = [one.lower() if uuids else str(one) for one in accounts]
    return sql.SQL("{} = ANY ($1::text[])").format(id_text(account, uuids=uuids)), wanted


def fetch(cursor: ArrowCursor, query: sql.Composable, bound: Sequence[str] | None = None) -> pa.Table:
    """The query's rows. Without bound ids the driver uses COPY."""
    if bound is None:
        cursor.execute(query.as_string(None))
    else:
        parameters = pa.record_batch({"accounts": pa.array([list(bound)], pa.list_(pa.string()))})
        cursor.execute(query.as_string(None), parameters=parameters)
    return cursor.fetch_arrow_table()


def check_one_row_each(table: TableColumns, account: Column, ids: pa.ChunkedArray) -> None:
    """Raises StoreError if a row has no account or an account has several rows."""
    check_accounts(table, account, ids.null_count)
    more = 0 if account.unique else len(ids) - pc.count_distinct(ids).as_py()
    if more:
        raise StoreError(
            f"{table.system}: table `{table.name}` has {more:,} rows more than accounts in `{account.name}`, where one "
            f"row an account is needed: remove the duplicates, or correct `{account.key}` in defs.yaml"
        )


def check_accounts(table: TableColumns, account: Column, without: int) -> None:
    """Raises StoreError if `without`, the number of rows without an account, is not 0."""
    if without:
        raise StoreError(
            f"{table.system}: table `{table.name}` has {without:,} rows without an account in "
            f"`{account.name}`: correct those rows, or `{account.key}` in defs.yaml"
        )


def _equals_any(name: sql.Identifier, kind: str) -> sql.Composable:
    return sql.SQL("{} = ANY ($1::text[]::{}[])").format(name, sql.SQL(kind))


def _is_uuid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True
