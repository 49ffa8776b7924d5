"""What live writes are held to by the database itself: everything in sql/0004_guards.sql."""

from credit_pipeline.adapters.install.migrations.statements import downgrade, file_of, upgrade_by

__all__ = ["downgrade", "upgrade"]
revision = "0004"
down_revision = "0003"
SQL = file_of("0004_guards.sql")
upgrade = upgrade_by(SQL)
