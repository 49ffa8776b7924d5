"""Looks up configured tables in the database's catalogue: columns, types and our right to read them.

Every error names the YAML key to correct. No product rows are read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from psycopg import sql

from credit_pipeline.adapters.postgres.connections import ArrowCursor
from credit_pipeline.domain.errors import ConfigurationError, StoreError

# Uses pg_class_relname_nsp_index. Names are compared as stored, case-sensitively.
# A column is unique if it has a valid, immediate, non-partial unique index of its own. `hidden` is true if row-level
# security applies to us; row_security_active says so whatever `row_security` is set to.
_COLUMNS = """
SELECT c.oid::bigint AS oid, coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS usable,
       row_security_active(c.oid) AS hidden,
       a.attname::text AS name, CASE WHEN t.typtype = 'd' THEN 'domain' ELSE t.typname::text END AS type,
       has_column_privilege(c.oid, a.attnum, 'SELECT') AS readable,
       EXISTS (SELECT FROM pg_catalog.pg_index AS i
               WHERE i.indrelid = c.oid AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum AND i.indisunique
                 AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL)
           AND (c.relkind = 'p' OR NOT c.relhassubclass) AS is_unique
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_TABLES = """
SELECT c.relname::text AS name FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_SCHEMA = "SELECT nspname::text AS name FROM pg_catalog.pg_namespace WHERE nspname = $1"
_TIMES = frozenset({"timestamptz", "timestamp", "date"})
_NUMBERS = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A configured column. `key` is its key in the YAML; `type` is its Postgres type, or `domain`."""

    key: str
    name: str
    type: str
    unique: bool

    @property
    def identifier(self) -> sql.Identifier:
        """The name, quoted."""
        return sql.Identifier(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumns:
    """A readable table and its columns by name."""

    system: str
    schema: str
    table: str
    rows: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """`schema.table`, for messages."""
        return f"{self.schema}.{self.table}"

    @property
    def identifier(self) -> sql.Identifier:
        """Schema and table, quoted."""
        return sql.Identifier(self.schema, self.table)

    def column(self, key: str, name: str) -> Column:
        """The column that the YAML names at `key`. Raises ConfigurationError if missing, StoreError if not readable."""
        row = self.rows.get(name)
        if row is None:
            raise ConfigurationError(
                f"{self.system}: column `{name}` of table `{self.name}` does not exist{_near(name, self.rows)}: "
                f"correct `{key}` in defs.yaml"
            )
        if not row["readable"]:
            raise StoreError(
                f"{self.system}: the database user may not read column `{name}` of table `{self.name}`: "
                f"grant SELECT on it, or correct `{key}` in defs.yaml"
            )
        return Column(key=key, name=name, type=row["type"], unique=row["is_unique"])

    def number(self, key: str, name: str) -> Column:
        """As `column`, for one that holds credits. Raises ConfigurationError if it is not numeric."""
        column = self.column(key, name)
        if column.type not in _NUMBERS and column.type != "domain":
            raise ConfigurationError(
                f"{self.system}: column `{name}` of table `{self.name}` is of type {column.type}, not a number: "
                f"correct `{key}` in defs.yaml"
            )
        return column

    def time(self, key: str, name: str) -> Column:
        """As `column`, for one that holds a time. Raises ConfigurationError if it is not a time."""
        column = self.column(key, name)
        if column.type not in _TIMES:
            raise ConfigurationError(
                f"{self.system}: column `{name}` of table `{self.name}` is of type {column.type}, not a time: "
                f"correct `{key}` in defs.yaml"
            )
        return column


def look_up(cursor: ArrowCursor, system: str, schema: str, key: str, table: str) -> TableColumns:
    """The configured table. Raises ConfigurationError if it does not exist, StoreError if we may not read it all."""
    rows = _rows(cursor, _COLUMNS, schema, table)
    if not rows:
        if not _rows(cursor, _SCHEMA, schema):
            raise ConfigurationError(
                f"{system}: schema `{schema}` does not exist in this database: correct `store.schema` in defs.yaml"
            )
        near = _near(table, (row["name"] for row in _rows(cursor, _TABLES, schema)))
        raise ConfigurationError(
            f"{system}: table `{schema}.{table}` does not exist{near}: correct `{key}` in defs.yaml"
        )
    if not rows[0]["usable"]:
        raise StoreError(
            f"{system}: the database user may not use schema `{schema}`: grant USAGE on it, or use a user that has it"
        )
    if rows[0]["hidden"]:
        raise StoreError(
            f"{system}: row-level security hides rows of table `{schema}.{table}` from the database user: "
            "give it BYPASSRLS, or use a user that has it"
        )
    return TableColumns(system=system, schema=schema, table=table, rows={row["name"]: row for row in rows})


def _rows(cursor: ArrowCursor, query: str, *parameters: str) -> list[dict[str, Any]]:
    cursor.execute(query, parameters=parameters)
    rows: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
    return rows


def _near(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" (near: {', '.join(f'`{one}`' for one in close)})" if close else ""
