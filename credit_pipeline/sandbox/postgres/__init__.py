"""The embedded Postgres server of the working folder: its programs, its start and its stop."""
