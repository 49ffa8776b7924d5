"""A walled install: the four roles, what the product's owner grants them, and whether they have it.

Nothing here logs in as one of the roles; a DBA adds logins to them.
"""

from dataclasses import dataclass
from importlib.resources import files

import psycopg
from psycopg import sql

from credit_pipeline.adapters.install.product_grants import READERS, database_grants, product_grants, rights_needed
from credit_pipeline.adapters.install.product_needs import needs_of
from credit_pipeline.adapters.postgres.transactions import Cursor
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError

ROLES_SQL = (files("credit_pipeline.adapters.install") / "sql" / "roles.sql").read_text

_FOUND = """
SELECT o.rolname AS owner FROM pg_catalog.pg_namespace AS n JOIN pg_catalog.pg_roles AS o ON o.oid = n.nspowner
WHERE n.nspname = 'credit_pipeline' AND o.rolname LIKE 'credit\\_pipeline\\_%\\_owner'
"""
_ROLE = "SELECT credit_pipeline.role_of(%s) AS name"
# The database's own words: a right on the whole table counts for each of its columns.
_LACKS = """
SELECT NOT pg_catalog.has_schema_privilege(%(role)s, n.oid, 'USAGE')
       OR EXISTS (SELECT FROM unnest(%(columns)s::text[], %(rights)s::text[]) AS w (name, privilege)
                  WHERE NOT pg_catalog.has_column_privilege(%(role)s, c.oid, w.name, w.privilege)) AS lacks
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s
"""
_HIDDEN = """
SELECT pg_catalog.row_security_active(c.oid) AS hidden
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = ANY (%s)
"""
# A trigger's function that runs with its caller's rights runs with the owner's when we write.
_TRIGGERS = """
SELECT DISTINCT t.tgname AS name, c.relname AS table FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
WHERE n.nspname = %s AND c.relname = ANY (%s) AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND NOT p.prosecdef
ORDER BY 2, 1
"""
_MAY_CONNECT = """
SELECT bool_and(
           has_database_privilege(r.role, current_database(), 'CONNECT')
           AND (r.role <> %(corrector)s OR has_database_privilege(r.role, current_database(), 'TEMPORARY'))) AS may,
       current_database() AS name
FROM unnest(%(roles)s::text[]) AS r (role)
"""
# Without its functions' hash a system is not admitted to write.
_NEIGHBOURS = "UPDATE credit_pipeline.control SET config_hash = '' WHERE system <> %s RETURNING system"
_SECURED = """
SELECT c.relname AS name FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = ANY (%s) AND c.relrowsecurity ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """The names of a walled install's roles, and what a DBA still has to run or know."""

    owner: str
    reader: str
    corrector: str
    approver: str

    def logins(self) -> tuple[str, ...]:
        """The statements that add logins to the roles."""
        given = (("reader", self.reader), ("corrector", self.corrector), ("approver", self.approver))
        return tuple(f'GRANT "{role}" TO <the {word}\'s login>;' for word, role in given)


def owner_found(cursor: Cursor) -> str | None:
    """The owner role of a walled install; None for other installs and where nothing is installed."""
    row = cursor.execute(_FOUND).fetchone()
    return None if row is None else str(row["owner"])


def become_owner(cursor: Cursor, system: CreditSystem, owner: str) -> None:
    """Act as the owner until `step_back`. Raises ConfigurationError where this user may not."""
    try:
        with cursor.connection.transaction():
            row = cursor.execute("SELECT pg_has_role(current_user, %s, 'USAGE') AS is_member", (owner,)).fetchone()
            if row is None or not row["is_member"]:
                cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(owner)))
                cursor.execute("SELECT set_config('credit_pipeline.borrowed', 'yes', true)")
            cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner)))
    except psycopg.errors.InsufficientPrivilege:
        raise ConfigurationError(
            f"{system.name}: the install in this database is walled, and this database user may not act for "
            f"`{owner}`: run init as the user that installed it or as a superuser"
        ) from None


def step_back(cursor: Cursor) -> None:
    """Act as the login user again."""
    cursor.execute("SET LOCAL ROLE NONE")


def build_walls(cursor: Cursor, system: CreditSystem) -> Walls:
    """Create or find the roles, transfer ownership of our objects, and grant each role exactly what it needs.

    Raises ConfigurationError where this user may not make roles, or not give what the product's tables need.
    """
    try:
        with cursor.connection.transaction():
            cursor.execute(ROLES_SQL(encoding="utf-8").encode())
    except psycopg.errors.InsufficientPrivilege as error:
        said = error.diag.message_primary or "permission denied"
        raise ConfigurationError(
            f"{system.name}: this database user may not build the walls ({said}): run `init --walled` as a user with "
            f"CREATEROLE that installed it, or give a DBA what `credit-pipeline init {system.name} --walled "
            "--print-sql` prints"
        ) from None
    walls = Walls(**{word: _role(cursor, word) for word in ("owner", "reader", "corrector", "approver")})
    for statement in product_grants(system):
        _try(cursor, statement)
    _try(cursor, database_grants())
    _check_rights(cursor, system, walls)
    _check_database(cursor, system, walls)
    _see_all_rows(cursor, system, walls)
    return walls


def leave(cursor: Cursor, walls: Walls) -> None:
    """Remove the installing user from the owner role at the end of the transaction."""
    row = cursor.execute("SELECT current_setting('credit_pipeline.borrowed', true) = 'yes' AS borrowed").fetchone()
    if row is not None and row["borrowed"]:
        cursor.execute(sql.SQL("REVOKE {} FROM CURRENT_USER").format(sql.Identifier(walls.owner)))


def notes(cursor: Cursor, system: CreditSystem, walls: Walls) -> tuple[str, ...]:
    """What a walled install cannot check or grant: triggers that run as our owner, and row-level security."""
    store = system.store
    tables = [need.table for need in needs_of(system)]
    written = [need.table for need in needs_of(system) if need.rights != ("SELECT",)]
    fired = cursor.execute(_TRIGGERS, (store.schema, written)).fetchall()
    secured = cursor.execute(_SECURED, (store.schema, tables)).fetchall()
    return (
        *(
            f"trigger `{row['name']}` of `{store.schema}.{row['table']}` runs as `{walls.owner}` when a correction is "
            "written: grant that role what its function writes, or make it SECURITY DEFINER with its own search_path"
            for row in fired
        ),
        *(
            f"row-level security is on for `{store.schema}.{row['name']}`: as a superuser give the logins of "
            f"`{walls.reader}` and `{walls.corrector}` BYPASSRLS, which no role hands on"
            for row in secured
        ),
    )


def neighbours(cursor: Cursor, system: CreditSystem) -> tuple[str, ...]:
    """The other systems of a database that was just walled: until their own init the owner may not write their tables,
    so nothing of theirs is admitted."""
    rows = cursor.execute(_NEIGHBOURS, (system.name,)).fetchall()
    return tuple(
        f"{row['system']} is walled now too, and nothing of it is applied until `credit-pipeline init {row['system']}`"
        for row in sorted(rows, key=lambda row: str(row["system"]))
    )


def _role(cursor: Cursor, word: str) -> str:
    row = cursor.execute(_ROLE, (word,)).fetchone()
    assert row is not None
    return str(row["name"])


def _try(cursor: Cursor, statement: str) -> None:
    """Grant what this user may grant; missing rights are reported afterwards."""
    try:
        with cursor.connection.transaction():
            cursor.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return


def _check_rights(cursor: Cursor, system: CreditSystem, walls: Walls) -> None:
    for need in needs_of(system):
        for word in READERS:
            wanted = [
                (column.name, right)
                for right in rights_needed(need, word)
                for column in need.columns
                if right == "SELECT" or right in column.rights
            ]
            words = {
                "role": getattr(walls, word),
                "schema": system.store.schema,
                "table": need.table,
                "columns": [name for name, _ in wanted],
                "rights": [right for _, right in wanted],
            }
            row = cursor.execute(_LACKS, words).fetchone()
            if row is None or row["lacks"]:
                raise ConfigurationError(
                    f"{system.name}: this database user may not give `{words['role']}` its rights on "
                    f"`{system.store.schema}.{need.table}`: run `init --walled` as the table's owner or a superuser, "
                    f"or give them what `credit-pipeline init {system.name} --walled --print-sql` prints"
                )


def _check_database(cursor: Cursor, system: CreditSystem, walls: Walls) -> None:
    words = {"corrector": walls.corrector, "roles": [walls.reader, walls.corrector, walls.approver]}
    row = cursor.execute(_MAY_CONNECT, words).fetchone()
    if row is None or not row["may"]:
        raise ConfigurationError(
            f"{system.name}: this database user may not let the roles connect to `{row and row['name']}`: run "
            "`init --walled` as the database's owner or a superuser"
        )


def _see_all_rows(cursor: Cursor, system: CreditSystem, walls: Walls) -> None:
    """Row-level security would hide rows from the functions; only a superuser may exempt a role from it."""
    for last in (False, True):
        become_owner(cursor, system, walls.owner)
        tables = [need.table for need in needs_of(system)]
        hidden = any(row["hidden"] for row in cursor.execute(_HIDDEN, (system.store.schema, tables)))
        step_back(cursor)
        if not hidden:
            return
        if last:
            raise ConfigurationError(
                f"{system.name}: row-level security hides rows of the product from `{walls.owner}`: as a superuser "
                f'run `CREATE ROLE "{walls.owner}" NOLOGIN BYPASSRLS` (or ALTER ROLE where it exists), then init again'
            )
        _try(cursor, sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(walls.owner)).as_string(None))
