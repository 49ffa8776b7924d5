"""Alembic's entry point: runs the versions on the caller's connection, in the caller's transaction.

Alembic executes this file on every run, so its one statement stands at module level. No URL is ever read here.
"""

from alembic import context

SCHEMA = "credit_pipeline"

context.configure(
    connection=context.config.attributes["connection"], version_table="schema_version", version_table_schema=SCHEMA
)
context.run_migrations()
