"""People are told when no comparison comes any more, and not twice in minutes: all of sql/0007_silence.sql."""

from credit_pipeline.adapters.install.migrations.statements import downgrade, file_of, upgrade_by

__all__ = ["downgrade", "upgrade"]
revision = "0007"
down_revision = "0006"
SQL = file_of("0007_silence.sql")
upgrade = upgrade_by(SQL)
