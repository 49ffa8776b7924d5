"""Whether the configured tables can be written as the write path needs it: kind, types, one row each, rights.

Reads the catalogue only: nothing is created and no row of the product is read. Every refusal names the YAML key to
correct, or the statement to run.
"""

from credit_pipeline.adapters.install.product_needs import ColumnNeed, Kind, TableNeed, needs_of
from credit_pipeline.adapters.postgres.connections import arrow_transaction
from credit_pipeline.adapters.postgres.table_columns import look_up
from credit_pipeline.adapters.postgres.transactions import Cursor, Row
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError

# A domain is judged by the type under it; typcategory: S text, E enum.
_COLUMNS = """
SELECT a.attname AS name, b.typname AS type, b.typcategory::text AS category, a.atttypmod AS modifier,
       a.attgenerated <> '' AS generated, c.relkind IN ('r', 'p') AS lockable,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'UPDATE') AS "UPDATE",
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT') AS "INSERT"
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
JOIN pg_catalog.pg_type AS b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE n.nspname = %s AND c.relname = %s
"""
# Who owns a configured table can put a trigger on it and needs no function of that schema; superusers need nothing.
_OTHERS_CREATE = """
SELECT x.grantee = 0 AS anyone, r.rolname AS role FROM pg_catalog.pg_namespace AS n
CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) AS x
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = x.grantee
WHERE n.nspname = %(schema)s AND x.privilege_type = 'CREATE' AND x.grantee <> n.nspowner
  AND (r.oid IS NULL OR NOT r.rolsuper AND r.rolname <> current_user AND r.oid NOT IN (
       SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.relnamespace = n.oid AND c.relname = ANY (%(tables)s)))
ORDER BY anyone DESC, role LIMIT 1
"""
_WHOLE = frozenset({"int2", "int4", "int8"})
_IDS = frozenset({"uuid", *_WHOLE})


def check_product_table(url: str, system: CreditSystem) -> frozenset[str]:
    """Raises ConfigurationError or StoreError where a configured table or column is missing or may not be read.

    Returns the YAML keys of the columns whose values the database keeps unique.
    """
    store, unique = system.store, set[str]()
    with arrow_transaction(url, system.name, store.url_env, read_only=True) as cursor:
        for need in needs_of(system):
            table = look_up(cursor, system.name, store.schema, need.key, need.table)
            for column in need.columns:
                looked = table.number if column.kind is Kind.NUMBER else table.column
                if looked(column.key, column.name).unique:
                    unique.add(column.key)
    return frozenset(unique)


def check_writable(cursor: Cursor, system: CreditSystem, *, unique: frozenset[str]) -> None:
    """Raises ConfigurationError where the tables exist but cannot be written safely."""
    schema = system.store.schema
    for need in needs_of(system):
        columns = {row["name"]: row for row in cursor.execute(_COLUMNS, (schema, need.table))}
        for column in need.columns:
            _check_rights(columns[column.name], system, need, column)
            _check_type(columns[column.name], system, column)
        for column in need.columns:
            if column.one_row_each and column.key not in unique:
                raise ConfigurationError(
                    f"{system.name}: column `{column.name}` of `{schema}.{need.table}` has no unique index, so "
                    f"{column.one_row_each} could have several rows: add one, or correct `{column.key}` in defs.yaml"
                )


def check_nobody_else_creates(cursor: Cursor, system: CreditSystem) -> None:
    """Raises ConfigurationError where other roles could create functions in the product's schema."""
    schema = system.store.schema
    tables = [need.table for need in needs_of(system)]
    row = cursor.execute(_OTHERS_CREATE, {"schema": schema, "tables": tables}).fetchone()
    if row is not None:
        who, role = ("anyone", "PUBLIC") if row["anyone"] else (f"`{row['role']}`", f'"{row["role"]}"')
        raise ConfigurationError(
            f"{system.name}: {who} may create functions in schema `{schema}`, where our writes run with its "
            f'names: run `REVOKE CREATE ON SCHEMA "{schema}" FROM {role}`'
        )


def _check_rights(row: Row, system: CreditSystem, need: TableNeed, column: ColumnNeed) -> None:
    schema = system.store.schema
    if need.rights != ("SELECT",) and not row["lockable"]:
        raise ConfigurationError(
            f"{system.name}: `{schema}.{need.table}` is not a table that can be locked and written: "
            f"correct `{need.key}` in defs.yaml"
        )
    if not all(row[right] for right in column.rights):
        raise ConfigurationError(
            f"{system.name}: the database role may not write column `{column.name}`: as the table's owner run "
            f'`GRANT {", ".join(need.rights)} ON "{schema}"."{need.table}" TO` that role'
        )


def _check_type(row: Row, system: CreditSystem, column: ColumnNeed) -> None:
    kind, category = row["type"], row["category"]
    match column.kind:
        case Kind.ID:
            fits = category == "S" or kind in _IDS
        case Kind.WORD:
            fits = category in {"S", "E"} or kind in _IDS
        case Kind.TIME:
            fits = kind in {"timestamptz", "timestamp"} or (kind == "date" and not column.key.endswith("updated_at"))
        case Kind.JSON:
            fits = kind == "jsonb"
        case Kind.WHOLE:
            # numeric(p, 0) is whole; its scale stands in the modifier's low bits
            fits = kind in _WHOLE or (kind == "numeric" and row["modifier"] >= 0 and (row["modifier"] - 4) & 0x7FF == 0)
        case _:
            fits = True
    if not fits or (row["generated"] and column.rights):
        what = "a generated column" if fits else f"of type {kind}"
        whose = "that can be written " if column.rights else ""
        raise ConfigurationError(
            f"{system.name}: column `{column.name}` is {what}, where {column.kind.value} {whose}is needed: "
            f"correct `{column.key}` in defs.yaml"
        )
