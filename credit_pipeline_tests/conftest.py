"""What every test may ask for: a real Postgres, one per worker, and a database of its own.

Builders and fakes are elsewhere.
"""

import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")  # a loaded machine is no fault of what is tested

_LONG = {"test_demo", "test_calendar", "test_daemon", "test_every_boundary", "test_ui", "test_runbook"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: not ("simulation" in item.path.parts or item.path.stem in _LONG))


_REPIN = """
DO $$ BEGIN
    IF to_regclass('credit_pipeline.control') IS NOT NULL THEN
        UPDATE credit_pipeline.control SET pins = jsonb_set(pins, '{database}', to_jsonb(current_database()::text))
            WHERE pins ? 'database';
    END IF;
END $$
"""


class Databases:
    """Makes databases by copying templates, which takes about 30 ms whatever they hold."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._templates: dict[str, str] = {}
        self._made: list[str] = []

    def new(self, template: str = "template1") -> str:
        """The URL of a fresh copy of a template; what is installed in one of ours is pinned to the copy."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._run("CREATE DATABASE {} TEMPLATE {}", name, template)
        self._made.append(name)
        if template in self._templates.values():
            with psycopg.connect(self._server.url(name), autocommit=True) as connection:
                connection.execute(_REPIN)
        return self._server.url(name)

    def template(self, purpose: str, fill: Callable[[str], None]) -> str:
        """The database that `fill(url)` filled when that purpose was first asked for, to be passed to `new`."""
        if purpose not in self._templates:
            name = f"template_{uuid.uuid4().hex[:12]}"
            self._run("CREATE DATABASE {}", name)
            fill(self._server.url(name))
            self._templates[purpose] = name
        return self._templates[purpose]

    def drop_made(self) -> None:
        while self._made:
            self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._made.pop())

    def _run(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A test that leaves a logger of ours silent would fail another one, in some orders only."""
    yield
    assert not logging.root.manager.disable, "logging was disabled"
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.startswith("credit_pipeline"):
            assert not logger.disabled, f"{name} was disabled"
            assert logger.isEnabledFor(logging.WARNING), f"{name} no longer warns"


def in_memory() -> str | None:
    """A folder in memory, if it has one with room: a new database has 300 files, and each test needs one."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4_000_000_000
    return str(memory) if roomy else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """This worker's server."""
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_tests-", dir=in_memory()) as home:
        Path(home).chmod(0o755)  # as root the server runs as another account
        server = EmbeddedPostgres(Path(home))
        try:
            server.start()
            yield server
        finally:
            server.remove()


@pytest.fixture(scope="session")
def _databases(postgres: EmbeddedPostgres) -> Databases:
    return Databases(postgres)


@pytest.fixture
def databases(_databases: Databases) -> Iterator[Databases]:
    """Databases for one test, from templates that outlive it; what it made is dropped afterwards."""
    yield _databases
    _databases.drop_made()


@pytest.fixture
def database(databases: Databases) -> str:
    """The URL of a fresh empty database."""
    return databases.new()
