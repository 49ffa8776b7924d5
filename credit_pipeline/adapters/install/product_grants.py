"""GRANT statements for the roles of a walled install, for the owners of database and tables: exact columns only.

Roles are named by the database itself (SQL function `role_of`), so that the statements stand in a script as well.
"""

from collections.abc import Iterator

from psycopg import sql

from credit_pipeline.adapters.install.product_needs import TableNeed, needs_of
from credit_pipeline.config.store import LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem

READERS = ("owner", "reader", "corrector")
"""The roles that read the product's columns; the owner alone writes them."""

_FUNCTION = """DO $$
DECLARE
    called record;
    sequence text := pg_get_serial_sequence({table}, {id});
    owner text := quote_ident(credit_pipeline.role_of('owner'));
BEGIN
    FOR called IN SELECT p.oid::regprocedure::text AS name, p.prosecdef AS as_owner FROM pg_proc AS p
        JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname = {schema} AND p.proname = {function}
    LOOP
        EXECUTE 'GRANT EXECUTE ON FUNCTION ' || called.name || ' TO ' || owner;
        IF NOT called.as_owner THEN
            EXECUTE 'GRANT SELECT, INSERT ON ' || {table} || ' TO ' || owner;
            IF sequence IS NOT NULL THEN
                EXECUTE 'GRANT USAGE ON SEQUENCE ' || sequence || ' TO ' || owner;
            END IF;
        END IF;
    END LOOP;
END $$;"""
# Collections are staged in temporary tables. PUBLIC may connect and make them, unless a DBA took that away.
_DATABASE = """DO $$
DECLARE
    asked record;
BEGIN
    FOR asked IN SELECT w.privilege, credit_pipeline.role_of(w.word) AS role FROM (VALUES ('CONNECT', 'reader'),
        ('CONNECT', 'corrector'), ('CONNECT', 'approver'), ('TEMPORARY', 'corrector')) AS w (privilege, word)
    LOOP
        IF NOT has_database_privilege(asked.role, current_database(), asked.privilege) THEN
            EXECUTE format('GRANT %s ON DATABASE %I TO %I', asked.privilege, current_database(), asked.role);
        END IF;
    END LOOP;
END $$;"""


def database_grants() -> str:
    """CONNECT and TEMPORARY for the roles that logins belong to."""
    return _DATABASE


def product_grants(system: CreditSystem) -> Iterator[str]:
    """The statements for the owner of the product's tables. The database names the roles."""
    store = system.store
    schema = sql.Identifier(store.schema)
    yield _grant(sql.SQL("USAGE ON SCHEMA {}").format(schema), *READERS)
    for need in needs_of(system):
        table = sql.Identifier(store.schema, need.table)
        for role in READERS:
            rights = sql.SQL(", ").join(_columns(need, right) for right in rights_needed(need, role))
            yield _grant(sql.SQL("{} ON {}").format(rights, table), role)
    if isinstance(store, LedgerStoreConfig):
        yield _function_grants(store)


def _function_grants(store: LedgerStoreConfig) -> str:
    """EXECUTE on the product's function; a SECURITY INVOKER function also needs INSERT on the transactions."""
    words = {
        "schema": sql.Literal(store.schema),
        "function": sql.Literal(store.add.function),
        "table": sql.Literal(sql.Identifier(store.schema, store.transactions.table).as_string(None)),
        "id": sql.Literal(store.transactions.id),
    }
    return sql.SQL(_FUNCTION).format(**words).as_string(None)


def _text(words: str) -> str:
    return sql.Literal(words).as_string(None)


def _grant(rights: sql.Composable, *roles: str) -> str:
    to = " || ', ' || ".join(f"quote_ident(credit_pipeline.role_of({_text(role)}))" for role in roles)
    said = _text(f"GRANT {rights.as_string(None)} TO ")
    return f"DO $$ BEGIN EXECUTE {said} || {to}; END $$;"


def rights_needed(need: TableNeed, role: str) -> tuple[str, ...]:
    """The rights of that role on a table of the product's."""
    return need.rights if role == "owner" else ("SELECT",)


def _columns(need: TableNeed, right: str) -> sql.Composable:
    """The right, limited to the columns that need it."""
    names = dict.fromkeys(column.name for column in need.columns if right == "SELECT" or right in column.rights)
    return sql.SQL("{} ({})").format(sql.SQL(right), sql.SQL(", ").join(map(sql.Identifier, names)))
