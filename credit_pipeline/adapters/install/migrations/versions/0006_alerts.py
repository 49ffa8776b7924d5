"""Alerts that wait to be delivered, and what findings were last told of: everything in sql/0006_alerts.sql."""

from credit_pipeline.adapters.install.migrations.statements import downgrade, file_of, upgrade_by

__all__ = ["downgrade", "upgrade"]
revision = "0006"
down_revision = "0005"
SQL = file_of("0006_alerts.sql")
upgrade = upgrade_by(SQL)
