"""What the connected role may do with the installation: its kind, and which right is missing for writing.

Asks the catalogue only; nothing is tried out. For a role that may only read, the install is report-only.
"""

from contextlib import closing
from dataclasses import dataclass

from psycopg import sql

from credit_pipeline.adapters.postgres.connections import libpq_url
from credit_pipeline.adapters.postgres.transactions import Cursor, Row, Transactions
from credit_pipeline.config.system import CreditSystem

# Functions are named by their oid, because a name one may not look up is an error and no answer.
_RIGHTS = """
SELECT current_database() AS database, n.oid IS NOT NULL AS there, o.rolname AS owner,
       pg_catalog.has_database_privilege(current_database(), 'CREATE') AS may_create,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE'), false) AS may_use,
       coalesce((SELECT pg_catalog.has_table_privilege(c.oid, 'SELECT') FROM pg_catalog.pg_class AS c
                 WHERE c.relnamespace = n.oid AND c.relname = 'control'), false) AS may_read,
       coalesce((SELECT pg_catalog.has_column_privilege(c.oid, 'plan_id', 'INSERT') FROM pg_catalog.pg_class AS c
                 WHERE c.relnamespace = n.oid AND c.relname = 'correction_plan'), false) AS may_save,
       coalesce((SELECT pg_catalog.has_function_privilege(p.oid, 'EXECUTE') FROM pg_catalog.pg_proc AS p
                 WHERE p.pronamespace = n.oid AND p.proname = 'apply_batch'), false) AS may_apply
FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'credit_pipeline'
LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = n.nspowner
"""
_CONTROL = "SELECT install, four_eyes, failed_applies FROM credit_pipeline.control WHERE system = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What may be done. `install` is walled, single-role or report-only; None where `init` can be and was not run."""

    install: str | None
    missing: str | None = None
    """The sentence about the right that writing lacks; None where plans can be saved and applied."""
    four_eyes: bool | None = None
    failed_applies: int = 0
    """Applies that failed in a row; several of them stop the system."""


def rights_of(system: CreditSystem, url: str) -> Rights:
    """Asked as the user of `url`. Raises StoreError where the database cannot be asked."""
    env = system.store.url_env
    opened = Transactions(libpq_url(url, system.name, env), system.name, env)
    with closing(opened) as transactions, transactions.begin() as cursor:
        row = cursor.execute(_RIGHTS).fetchone()
        assert row is not None
        return _judged(cursor, system, row)


def _judged(cursor: Cursor, system: CreditSystem, row: Row) -> Rights:
    if not row["there"]:
        if row["may_create"]:
            return Rights(install=None)
        grant = sql.SQL("GRANT CREATE ON DATABASE {} TO").format(sql.Identifier(row["database"])).as_string(None)
        return Rights(
            install="report-only",
            missing=f"{_only(system)} may not create the schema credit_pipeline: as the database's owner run "
            f"`{grant}` that user, then `credit-pipeline init {system.name}`",
        )
    control = None
    if row["may_use"] and row["may_read"]:
        control = cursor.execute(_CONTROL, (system.name,)).fetchone()
        if control is None:
            return Rights(install=None)
    if not (row["may_use"] and row["may_save"] and row["may_apply"]):
        return Rights(install="report-only", missing=f"{_only(system)} may not save and apply plans: {_remedy(row)}")
    assert control is not None
    return Rights(**control)


def _only(system: CreditSystem) -> str:
    return f"{system.name}: report-only, because the database user of {system.store.url_env}"


def _remedy(row: Row) -> str:
    owner = str(row["owner"])
    if owner.startswith("credit_pipeline_") and owner.endswith("_owner"):
        grant = sql.SQL("GRANT {} TO").format(sql.Identifier(f"{owner.removesuffix('_owner')}_corrector"))
        return f"as a superuser run `{grant.as_string(None)}` that user"
    return (
        "use the user that ran init, or have a superuser run init with --walled, which makes roles that can be granted"
    )
