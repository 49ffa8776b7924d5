"""Whether the configured table can be written as the write path needs it: kind, types, one row an account, rights.

Looks only; nothing is created and no row of the product is read. That the names exist and may be read is
`table_columns.py`'s to say. Every refusal names the YAML key to mend, or the statement to run.
"""

from credit_pipeline.adapters.postgres import arrow_transaction
from credit_pipeline.adapters.table_columns import look_up
from credit_pipeline.adapters.transactions import Cursor, Row
from credit_pipeline.adapters.write_functions import column_names
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.system import CreditSystem

# A domain is judged by the type under it; typcategory: S text, E enum.
_COLUMNS = """
SELECT a.attname AS name, b.typname AS type, b.typcategory::text AS category, a.atttypmod AS modifier,
       a.attgenerated <> '' AS generated, c.relkind IN ('r', 'p') AS lockable,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'UPDATE') AS writable
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
JOIN pg_catalog.pg_type AS b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE n.nspname = %s AND c.relname = %s
"""
_ANYONE_CREATES = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n,
    pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) AS x
    WHERE n.nspname = %s AND x.grantee = 0 AND x.privilege_type = 'CREATE') AS open
"""
_WHOLE = frozenset({"int2", "int4", "int8"})
_IDS = frozenset({"uuid", *_WHOLE})


def check_product_table(url: str, system: CreditSystem) -> bool:
    """Raises ConfigurationError or StoreError where a configured table or column is missing or may not be read.

    Returns whether the database holds accounts to one row each.
    """
    store = system.store
    with arrow_transaction(url, system.name, store.url_env, read_only=True) as cursor:
        table = look_up(cursor, system.name, store.schema, "store.table", store.table)
        columns = {key: table.column(key, name) for key, name in column_names(store).items()}
        if store.plans is not None:
            plans = look_up(cursor, system.name, store.schema, "store.plans.table", store.plans.table)
            plans.column("store.plans.label", store.plans.label)
            plans.number("store.plans.credits", store.plans.credits)
    return columns["store.columns.account"].unique


def check_writable(cursor: Cursor, system: CreditSystem, *, one_row_each: bool) -> None:
    """Raises ConfigurationError where the table exists but cannot be written safely."""
    store = system.store
    columns = {row["name"]: row for row in cursor.execute(_COLUMNS, (store.schema, store.table))}
    for key, name in column_names(store).items():
        _check_kind(columns[name], system, key)
        _check_type(columns[name], system, key)
    if not one_row_each:
        raise ConfigurationError(
            f"{system.name}: column `{store.account}` of `{store.schema}.{store.table}` has no unique index, so an "
            "account could have several rows: add one, or correct `store.columns.account` in defs.yaml"
        )
    row = cursor.execute(_ANYONE_CREATES, (store.schema,)).fetchone()
    if row is not None and row["open"]:
        raise ConfigurationError(
            f"{system.name}: anyone may create functions in schema `{store.schema}`, where our writes run with its "
            f'names: run `REVOKE CREATE ON SCHEMA "{store.schema}" FROM PUBLIC`'
        )


def _check_kind(column: Row, system: CreditSystem, key: str) -> None:
    schema, table = system.store.schema, system.store.table
    if not column["lockable"]:
        raise ConfigurationError(
            f"{system.name}: `{schema}.{table}` is not a table that can be locked and written: "
            "correct `store.table` in defs.yaml"
        )
    if key != "store.columns.account" and not column["writable"]:
        raise ConfigurationError(
            f"{system.name}: the database role may not write column `{column['name']}`: "
            f'as the table\'s owner run `GRANT SELECT, UPDATE ON "{schema}"."{table}" TO` that role'
        )


def _check_type(column: Row, system: CreditSystem, key: str) -> None:
    kind, category = column["type"], column["category"]
    match key.rpartition(".")[2]:
        case "account":
            fits, wanted = category == "S" or kind in _IDS, "text, a uuid or a whole number"
        case "label":
            fits, wanted = category in {"S", "E"} or kind in _IDS, "text, an enum, a uuid or a whole number"
        case "updated_at":
            fits, wanted = kind in {"timestamptz", "timestamp"}, "a timestamp"
        case _:
            # numeric(p, 0) is whole; its scale stands in the modifier's low bits
            whole = kind == "numeric" and column["modifier"] >= 0 and (column["modifier"] - 4) & 0x7FF == 0
            fits, wanted = kind in _WHOLE or whole, "a whole number"
    if not fits or (column["generated"] and not key.endswith("account")):
        what = "a generated column" if fits else f"of type {kind}"
        raise ConfigurationError(
            f"{system.name}: column `{column['name']}` is {what}, where {wanted} that can be written is needed: "
            f"correct `{key}` in defs.yaml"
        )
