"""The versions of our own schema: their SQL, and bringing a database to the newest in the caller's transaction."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.rows import dict_row

from credit_pipeline.adapters.install import migrations
from credit_pipeline.adapters.postgres.connections import explain
from credit_pipeline.adapters.postgres.transactions import Connection, Cursor, connect, translated
from credit_pipeline.domain.errors import ConfigurationError

_MIGRATIONS = Path(migrations.__file__).parent
SCHEMA = _MIGRATIONS / "sql" / "schema.sql"
"""What comes before the first version, because Alembic keeps its table in our schema."""

_ALEMBIC = threading.Lock()
"""Alembic keeps the database it works on in globals: two threads at once would write into each other's."""


@contextmanager
def schema_transaction(url: str, system: str, env: str) -> Iterator[tuple[sqlalchemy.Connection, Cursor]]:
    """One transaction, shared with Alembic. `env` is the variable that error sentences name."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(url, system, env),
        poolclass=sqlalchemy.NullPool,
        hide_parameters=True,
    )
    try:
        with translated(system, env), engine.begin() as outer:
            connection = cast(Connection, outer.connection.driver_connection)
            yield outer, connection.cursor(row_factory=dict_row)
    except sqlalchemy.exc.DBAPIError as error:
        raise explain(error, system, env) from None
    finally:
        engine.dispose()


def to_newest(outer: sqlalchemy.Connection, cursor: Cursor, system: str) -> str:
    """Run the missing versions and return the newest."""
    cursor.execute(SCHEMA.read_text(encoding="utf-8").encode())
    config = _alembic()
    config.attributes["connection"] = outer
    try:
        with _ALEMBIC:
            command.upgrade(config, "head")
    except CommandError:
        raise ConfigurationError(
            f"{system}: the installed schema is of a newer version than this program: upgrade credit-pipeline"
        ) from None
    row = cursor.execute("SELECT version_num FROM credit_pipeline.schema_version").fetchone()
    assert row is not None
    return str(row["version_num"])


def versions() -> Mapping[str, str]:
    """Version → its SQL, oldest first."""
    script = ScriptDirectory.from_config(_alembic())
    revisions = reversed(list(script.walk_revisions()))
    return {revision.revision: revision.module.SQL.read_text(encoding="utf-8") for revision in revisions}


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
