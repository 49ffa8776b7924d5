"""One system's connection to the database that holds our schema, and whether that schema is installed."""

from credit_pipeline.adapters.postgres.connections import libpq_url
from credit_pipeline.adapters.postgres.transactions import Cursor, Transactions
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import NotInstalled

# The catalogue is readable by everyone; a table that may not be read counts as absent.
_TABLE = """
SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'credit_pipeline' AND c.relname = %s
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
"""
_SYSTEM = "SELECT FROM credit_pipeline.control WHERE system = %s"


class SystemDatabase:
    """What every port over our schema has: a system's name, and one connection that is opened on first use."""

    def __init__(self, url: str, system: CreditSystem) -> None:
        env = system.store.url_env
        self._system = system.name
        self._transactions = Transactions(libpq_url(url, system.name, env), system.name, env)

    def close(self) -> None:
        """Closes the connection; a later call opens a new one."""
        self._transactions.close()


def has_table(cursor: Cursor, system: str, table: str) -> bool:
    """Whether the system is installed and this table of our schema exists and may be read."""
    if cursor.execute(_TABLE, (table,)).fetchone() is None:
        return False
    return cursor.execute(_SYSTEM, (system,)).fetchone() is not None


def not_installed(system: str) -> NotInstalled:
    """The error for a system that `init` has not installed."""
    return NotInstalled(f"{system}: not installed in this database: run `credit-pipeline init {system}`")
