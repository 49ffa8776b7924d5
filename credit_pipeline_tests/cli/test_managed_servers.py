"""The servers a command borrows: stopped by whoever uses them last, unless a person started them."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from credit_pipeline.cli.managed_servers import DAGSTER_URL, dagster_storage, keep_running
from credit_pipeline.cli.session import Session
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.conftest import in_memory


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    """The embedded server of a fresh working folder, not running."""
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_tests-", dir=in_memory()) as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another account
        home = Path(folder) / "home"
        monkeypatch.setenv("CREDIT_PIPELINE_HOME", str(home))
        embedded = EmbeddedPostgres(home)
        try:
            yield embedded
        finally:
            embedded.remove()


def test_a_server_started_for_a_command_ends_with_it(server: EmbeddedPostgres) -> None:
    with dagster_storage(Session()) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("dagster",)
    assert not server.is_running()


def test_the_last_command_stops_the_server_whichever_began_first(server: EmbeddedPostgres) -> None:
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(dagster_storage(Session()))
    second.enter_context(dagster_storage(Session()))
    first.close()
    assert server.is_running()
    second.close()
    assert not server.is_running()


def test_a_server_that_ran_before_goes_on(server: EmbeddedPostgres) -> None:
    server.start()
    with dagster_storage(Session()):
        pass
    assert server.is_running()


def test_a_server_that_a_person_took_over_goes_on(server: EmbeddedPostgres) -> None:
    session = Session()
    with dagster_storage(session):
        keep_running(session.home)
    assert server.is_running()


def test_a_server_left_by_a_killed_command_is_stopped_by_the_next(server: EmbeddedPostgres) -> None:
    session = Session()
    server.start()
    (session.home / "servers.borrowed").touch()
    with dagster_storage(session):
        pass
    assert not server.is_running()


def test_a_url_of_the_persons_own_starts_nothing(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DAGSTER_URL, "postgresql://dagster@db.example.com/dagster")
    with dagster_storage(Session()) as url:
        assert url == "postgresql://dagster@db.example.com/dagster"
    assert not server.is_running()


def test_the_environment_is_afterwards_what_it_was(server: EmbeddedPostgres) -> None:
    before = dict(os.environ)
    with dagster_storage(Session()):
        os.environ["DAGSTER_HOME"] = "elsewhere"
    assert dict(os.environ) == before
