"""Prepares the Dagster home: its configuration files and the Postgres URL of its run history."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from credit_pipeline.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from dagster import DagsterInstance

DAGSTER_URL = "CREDIT_PIPELINE_DAGSTER_URL"

STATEMENT_SECONDS, POOL_SECONDS = 60, 600
"""How long a query of the run history may take, and a connection to it be used."""


def prepare_home(home: Path, dagster_url: str) -> Path:
    """Creates `<home>/dagster` and points this process and its children to it and to the database at `dagster_url`.

    Raises ConfigurationError if the URL is invalid or the folder cannot be written.
    """
    url = storage_url(dagster_url)
    folder = Path(home).expanduser().resolve() / "dagster"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)  # run history contains account ids
        _put(folder / "dagster.yaml", _packaged("dagster.yaml").read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"The Dagster home {folder} cannot be written ({error.strerror}): "
            "set CREDIT_PIPELINE_HOME to a folder of your own."
        ) from error
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ[DAGSTER_URL] = url
    return folder


@contextlib.contextmanager
def instance() -> Iterator[DagsterInstance]:
    """The Dagster instance of the prepared home.

    Its connections stay open: by itself Dagster's storage makes a new one for every event, about 270 in a run.
    """
    from dagster import DagsterInstance

    with DagsterInstance.get() as opened:
        milliseconds = STATEMENT_SECONDS * 1000
        opened.optimize_for_webserver(statement_timeout=milliseconds, pool_recycle=POOL_SECONDS, max_overflow=20)
        yield opened


def workspace_file() -> Path:
    """The workspace file that loads our code location."""
    return _packaged("workspace.yaml")


def storage_url(url: str) -> str:
    """A libpq URL as an SQLAlchemy URL for psycopg2. Raises ConfigurationError if it is not a Postgres URL.

    dagster-postgres does not work with psycopg 3, SQLAlchemy 2.1's default for `postgresql:`. SQLAlchemy does not
    accept a socket folder as a percent-encoded host, so it is moved to the query.
    """
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    wrong = ConfigurationError(f"{DAGSTER_URL} is not a Postgres URL: write postgresql://user@host/database.")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise wrong from None
    if parsed.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        raise wrong
    host: str | None = parsed.host
    query = dict(parsed.query)
    if host and host.lower().startswith("%2f"):
        query["host"] = unquote(host)
        host = None
    through_psycopg2 = URL.create(
        "postgresql+psycopg2", parsed.username, parsed.password, host, parsed.port, parsed.database, query
    )
    return through_psycopg2.render_as_string(hide_password=False)


def _packaged(name: str) -> Path:
    """A file inside the installed package, or beside it in a checkout."""
    package = Path(str(files("credit_pipeline")))
    for folder in (package, package.parent):
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(f"The installation has no {name}: install credit-pipeline again.")


def _put(path: Path, content: bytes) -> None:
    """Writes a file atomically, because other processes may read it; an identical one is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as draft:
        draft.write(content)
    Path(draft.name).replace(path)
