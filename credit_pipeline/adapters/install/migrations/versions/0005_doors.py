"""What the product may ask of us, and the webhooks it could not handle: everything in sql/0005_doors.sql."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
SQL = Path(__file__).parent.parent / "sql" / "0005_doors.sql"


def upgrade() -> None:
    """Runs the file as it is, on the driver's own connection: SQLAlchemy would read its `%` and `:` as parameters."""
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(SQL.read_text(encoding="utf-8"))


def downgrade() -> None:
    """There is no way back: the audit trail lives here."""
    raise NotImplementedError("credit_pipeline's schema holds the audit trail and is never downgraded")
