"""The first schema: everything in sql/0001_schema.sql."""

from credit_pipeline.adapters.install.migrations.statements import downgrade, file_of, upgrade_by

__all__ = ["downgrade", "upgrade"]
revision = "0001"
down_revision = None
SQL = file_of("0001_schema.sql")
upgrade = upgrade_by(SQL)
