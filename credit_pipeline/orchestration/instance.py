"""The Dagster home: where run history is kept, and the packaged files that say so.

Which server the URL names is the caller's business; definitions, jobs and the web server are elsewhere.
"""

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


def prepare_home(home: Path, dagster_url: str) -> Path:
    """Make `<home>/dagster`, and point this process and its children at it and at the database of that URL."""
    url = storage_url(dagster_url)
    folder = Path(home).expanduser().resolve() / "dagster"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)  # run history names accounts
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
    """The Dagster instance of the prepared home."""
    from dagster import DagsterInstance

    with DagsterInstance.get() as opened:
        yield opened


def workspace_file() -> Path:
    """The workspace that loads our code location."""
    return _packaged("workspace.yaml")


def storage_url(url: str) -> str:
    """The same database through psycopg2, whichever way libpq allows the URL to be written.

    dagster-postgres breaks on psycopg 3, which SQLAlchemy 2.1 takes for a bare `postgresql:`; and SQLAlchemy does
    not know libpq's second way to name a socket folder, as a percent-encoded host.
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
    """A file that lies in the package of an installed wheel, and beside the package in a checkout."""
    package = Path(str(files("credit_pipeline")))
    for folder in (package, package.parent):
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(f"The installation has no {name}: install credit-pipeline again.")


def _put(path: Path, content: bytes) -> None:
    """Write a file unless it is there, whole or not at all: other processes read it meanwhile."""
    if path.is_file() and path.read_bytes() == content:
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as draft:
        draft.write(content)
    Path(draft.name).replace(path)
