"""What the product may ask of us, and the webhooks it could not handle: everything in sql/0005_doors.sql."""

from credit_pipeline.adapters.install.migrations.statements import downgrade, file_of, upgrade_by

__all__ = ["downgrade", "upgrade"]
revision = "0005"
down_revision = "0004"
SQL = file_of("0005_doors.sql")
upgrade = upgrade_by(SQL)
