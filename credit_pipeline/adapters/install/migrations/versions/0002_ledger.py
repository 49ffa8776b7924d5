"""What a ledger needs beside a counter: everything in sql/0002_ledger.sql."""

from credit_pipeline.adapters.install.migrations.statements import downgrade, file_of, upgrade_by

__all__ = ["downgrade", "upgrade"]
revision = "0002"
down_revision = "0001"
SQL = file_of("0002_ledger.sql")
upgrade = upgrade_by(SQL)
