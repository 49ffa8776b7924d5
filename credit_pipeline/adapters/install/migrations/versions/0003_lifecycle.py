"""The record of what people decide outside of plans: everything in sql/0003_lifecycle.sql."""

from credit_pipeline.adapters.install.migrations.statements import downgrade, file_of, upgrade_by

__all__ = ["downgrade", "upgrade"]
revision = "0003"
down_revision = "0002"
SQL = file_of("0003_lifecycle.sql")
upgrade = upgrade_by(SQL)
