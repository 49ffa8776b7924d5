"""What every version of our schema does: run its file of SQL, and refuse the way back."""

from collections.abc import Callable
from pathlib import Path

from alembic import op


def file_of(name: str) -> Path:
    """The file of that name in `sql/`."""
    return Path(__file__).parent / "sql" / name


def upgrade_by(file: Path) -> Callable[[], None]:
    """The upgrade that runs a file as it is, on the driver's own connection.

    SQLAlchemy would read its `%` and `:` as parameters.
    """

    def upgrade() -> None:
        driver = op.get_bind().connection.driver_connection
        assert driver is not None
        driver.execute(file.read_text(encoding="utf-8"))

    return upgrade


def downgrade() -> None:
    """There is no way back: the audit trail lives here."""
    raise NotImplementedError("credit_pipeline's schema holds the audit trail and is never downgraded")
