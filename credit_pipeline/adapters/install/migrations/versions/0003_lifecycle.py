"""The record of what people decide outside of plans: everything in sql/0003_lifecycle.sql."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
SQL = Path(__file__).parent.parent / "sql" / "0003_lifecycle.sql"


def upgrade() -> None:
    """Runs the file as it is, on the driver's own connection: SQLAlchemy would read its `%` and `:` as parameters."""
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(SQL.read_text(encoding="utf-8"))


def downgrade() -> None:
    """There is no way back: the audit trail lives here."""
    raise NotImplementedError("credit_pipeline's schema holds the audit trail and is never downgraded")
