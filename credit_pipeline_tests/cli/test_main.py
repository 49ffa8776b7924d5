"""The entry point: options before and after a command, exit statuses, and ends that nobody planned."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import click
import psycopg2
import pytest
from dagster_postgres.utils import DagsterPostgresException

from credit_pipeline.cli import main as entry
from credit_pipeline.cli.options import Command
from credit_pipeline_tests.cli.conftest import Run

PROGRAM = [sys.executable, "-c", "import sys; from credit_pipeline.cli.main import main; sys.exit(main())"]


def test_the_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from credit_pipeline.cli.main import main; main(['--help']); "
        "heavy = {'dagster', 'pandas', 'pyarrow', 'psycopg', 'sqlalchemy', 'rich', 'httpx', 'duckdb'}; "
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [name for name in entry.COMMANDS if f"\n  {name} " not in ended.stdout] == []


def test_the_version_is_the_packages(run: Run) -> None:
    ended = run("--version")
    assert ended.status == 0
    assert ended.out.startswith("credit-pipeline, version 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--format", "json", "systems"),
        ("systems", "--format", "json"),
        ("--format", "text", "systems", "--format=json"),
    ],
)
def test_the_format_is_taken_before_and_after_the_command(run: Run, arguments: tuple[str, ...]) -> None:
    assert set(run(*arguments).json) == {"systems", "faults"}


@pytest.mark.parametrize(
    "arguments", [("chekc",), ("check",), ("check", "wix_app", "--accounts"), ("--format", "xml", "systems"), ()]
)
def test_a_command_typed_wrong_ends_with_2_and_nothing_on_stdout(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert "Usage: credit-pipeline" in ended.err


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> object:
    """A command of the test's own, in the place of `systems`."""

    def placed(work: object) -> None:
        module = type(sys)("odd_command")
        module.systems = click.command(cls=Command)(work)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "odd_command", module)
        monkeypatch.setitem(entry.COMMANDS, "systems", "odd_command")

    return placed


def test_an_unexpected_exception_is_a_sentence_and_a_private_file(run: Run, odd: object) -> None:
    def fall() -> None:
        raise ZeroDivisionError("secret detail")

    odd(fall)  # type: ignore[operator]
    ended = run("systems")
    assert ended.status == 2
    assert ended.sentence.startswith("credit-pipeline failed unexpectedly (ZeroDivisionError): the traceback is in ")
    assert "secret detail" not in ended.err
    (path,) = (Path(os.environ["CREDIT_PIPELINE_HOME"]) / "logs").glob("error-*.log")
    assert str(path) in ended.err
    assert "ZeroDivisionError: secret detail" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", [psycopg2.OperationalError, DagsterPostgresException])
def test_a_run_history_that_went_away_is_a_sentence_with_what_to_start(run: Run, odd: object, kind: type) -> None:
    def fall() -> None:
        raise kind("host and user of somebody")

    odd(fall)  # type: ignore[operator]
    ended = run("systems")
    assert ended.status == 2
    assert ended.sentence.startswith("The Postgres that keeps Dagster's run history went away: start it again")
    assert "somebody" not in ended.err


def test_an_interrupt_is_one_line_and_130(run: Run, odd: object) -> None:
    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    odd(interrupted)  # type: ignore[operator]
    ended = run("systems")
    assert ended.status == 130
    assert ended.out == ""
    assert ended.err == "\nInterrupted: what was committed stays, the same command can be run again.\n"


def test_what_a_library_prints_does_not_reach_stdout(run: Run, odd: object) -> None:
    odd(lambda: print("noise"))  # type: ignore[operator]
    ended = run("systems")
    assert (ended.status, ended.out, ended.err) == (0, "", "noise\n")


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    with subprocess.Popen([*PROGRAM, "init", "wix_app", "--print-sql"], stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
        status = process.wait(60)
    assert (status, told) == (2, b"")


def test_the_handlers_of_the_caller_are_given_back(run: Run) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    run("systems")
    assert {number: signal.getsignal(number) for number in before} == before
