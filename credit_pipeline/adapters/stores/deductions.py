"""The product's deduct function (can it be called?) and its table of failed deductions.

No credits are spent: a probe runs in a transaction that is rolled back.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from credit_pipeline.adapters.postgres.connections import ArrowCursor
from credit_pipeline.adapters.postgres.table_columns import Column, look_up
from credit_pipeline.adapters.postgres.transactions import Cursor, Row, connect, translated
from credit_pipeline.adapters.stores.column_values import instant, text
from credit_pipeline.config.store import FailureTable, ProductFunction
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.ports import FailedSpend

# Uses pg_proc_proname_args_nsp_index. Input parameters come first; the last pronargdefaults of them have defaults.
_FUNCTIONS = """
SELECT p.pronargs AS inputs, p.pronargdefaults AS defaults, p.proargnames AS names, p.proargmodes::text[] AS modes,
       ARRAY(SELECT pg_catalog.format_type(t, NULL) FROM unnest(p.proargtypes) AS t) AS types,
       has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE') AS allowed
FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.proname = %s AND n.nspname = %s AND p.prokind = 'f'
"""
# The function may use unqualified names: its schema comes first, then the login's search_path.
_AS_THE_PRODUCT = """
SELECT set_config('search_path', quote_ident(%s) || ', ' || current_setting('search_path'), true),
       set_config('lock_timeout', '2s', true), set_config('statement_timeout', '10s', true)
"""
_FAILURES = """
SELECT {account} AS account, {at} AS at, {amount} AS amount, {reason} AS reason
FROM {table} WHERE {at} >= $1::text::timestamptz AND {account} IS NOT NULL ORDER BY {at} DESC
"""
_WHOLE_OR_NULL = "CASE WHEN {0} = trunc({0}) AND {0} BETWEEN -9e18 AND 9e18 THEN {0}::bigint END"
_REASON_LENGTH = 200
_NOT_THE_FUNCTIONS_FAULT = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.ReadOnlySqlTransaction,
)


def can_deduct(
    url: str, system: str, env: str, schema: str, deduct: ProductFunction, account: AccountId, *, probe: bool
) -> bool:
    """Whether the login may execute the function; `probe` also executes it for one credit and rolls back.

    Raises ConfigurationError if no function takes the configured parameters, StoreError if the database cannot be
    reached or the balance row stays locked.
    """
    with connect(url, system, env) as connection, translated(system, env):
        try:
            with connection.cursor(row_factory=dict_row) as cursor:
                function = _resolve(cursor, system, schema, deduct)
                return bool(function["allowed"]) and (not probe or _runs(cursor, schema, deduct, function, account))
        finally:
            connection.rollback()


def failed_spends(
    cursor: ArrowCursor, system: str, schema: str, failures: FailureTable, since: datetime
) -> Sequence[FailedSpend]:
    """Failed deductions since `since`, newest first. Reasons are cut to 200 characters."""
    table = look_up(cursor, system, schema, "store.failures.table", failures.table)
    amount: Column | None = None
    if failures.amount is not None:
        amount = table.number("store.failures.amount", failures.amount)
    reason: sql.Composable = sql.SQL("NULL::text")
    if failures.reason is not None:
        column = table.column("store.failures.reason", failures.reason)
        reason = sql.SQL("left({}, {})").format(text(column), sql.Literal(_REASON_LENGTH))
    query = sql.SQL(_FAILURES).format(
        account=text(table.column("store.failures.account", failures.account)),
        at=instant(table.time("store.failures.at", failures.at)),
        amount=sql.SQL("NULL::bigint") if amount is None else sql.SQL(_WHOLE_OR_NULL).format(amount.identifier),
        reason=reason,
        table=table.identifier,
    )
    cursor.execute(query.as_string(None), parameters=(since.isoformat(),))
    return tuple(
        FailedSpend(account_id=AccountId(row["account"]), at=row["at"], amount=row["amount"], reason=row["reason"])
        for row in cursor.fetch_arrow_table().to_pylist()
    )


def _resolve(cursor: Cursor, system: str, schema: str, call: ProductFunction) -> Row:
    """The only function that accepts the configured parameters by name. Raises ConfigurationError otherwise."""
    wanted = set(call.arguments)
    fitting = [row for row in cursor.execute(_FUNCTIONS, (call.function, schema)).fetchall() if _fits(row, wanted)]
    if len(fitting) != 1:
        what = "does not exist" if not fitting else f"exists {len(fitting)} times"
        parameters = ", ".join(f"`{one}`" for one in call.arguments)
        raise ConfigurationError(
            f"{system}: a function `{schema}.{call.function}` with parameters {parameters} {what}: "
            "correct `store.deduct` in defs.yaml"
        )
    return fitting[0]


def _fits(row: Row, wanted: set[str]) -> bool:
    inputs = _inputs(row)
    required = inputs[: row["inputs"] - row["defaults"]]
    return set(required) <= wanted <= set(inputs)


def _inputs(row: Row) -> list[str]:
    names = row["names"] or []
    modes = row["modes"] or ["i"] * len(names)
    return [name for name, mode in zip(names, modes, strict=True) if mode in {"i", "b", "v"}]


def _runs(cursor: Cursor, schema: str, call: ProductFunction, function: Row, account: AccountId) -> bool:
    """Whether one credit can be deducted: not if the function returns false or raises an error."""
    values: dict[str, Any] = {"account": account, "amount": 1, "description": "credit_pipeline: probe, rolled back"}
    types = dict(zip(_inputs(function), function["types"], strict=True))
    arguments = sql.SQL(", ").join(
        sql.SQL("{} => %s::{}").format(sql.Identifier(name), sql.SQL(types[name])) for name in call.arguments
    )
    query = sql.SQL("SELECT {}({}) AS done").format(sql.Identifier(schema, call.function), arguments)
    cursor.execute(_AS_THE_PRODUCT, (schema,))
    try:
        row = cursor.execute(query, [values[meaning] for meaning in call.arguments.values()]).fetchone()
    except _NOT_THE_FUNCTIONS_FAULT:
        raise
    except psycopg.OperationalError:
        raise
    except psycopg.Error:
        return False
    return row is not None and row["done"] is not False
