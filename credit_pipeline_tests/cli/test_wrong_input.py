"""What is wrong with the configuration, the database or billing: one sentence each, exit 2, nothing written."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline_tests.cli.conftest import Ended, Run, Sandbox

COMMANDS = (("check", "wix_app"), ("fix", "wix_app", "--live"))
EVA = ("--as", "eva", "--reason", "I looked at it")
DECISIONS = (
    ("mismatches", "wix_app", "list"),
    ("mismatches", "wix_app", "ack", "--all", *EVA),
    ("mismatches", "wix_app", "accept", "--all", *EVA),
    ("exempt", "wix_app", "some-account", *EVA),
    ("exempt", "wix_app", "some-account", "--end", *EVA),
    ("exempt", "wix_app", "--list"),
    ("stop", "wix_app", *EVA),
    ("resume", "wix_app", *EVA),
)
"""What people decide needs the database alone."""
OF_NOTHING = tuple(("mismatches", "wix_app", verb, "--code", "spend_failed", *EVA) for verb in ("ack", "accept"))
"""The sandbox is shared, and what is decided there other tests would meet."""
Folder = Callable[..., Path]


@pytest.fixture
def untouched(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, whose product and plans must be afterwards what they were."""
    before = sandbox.rows()
    yield sandbox
    assert sandbox.rows() == before


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine on which nobody listens, for as long as the test runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def refused(ended: Ended) -> str:
    assert ended.status == 2
    return ended.sentence


@pytest.mark.parametrize("command", COMMANDS + DECISIONS)
def test_a_missing_variable(
    run: Run, untouched: Sandbox, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.delenv("WIX_DATABASE_URL")
    assert refused(run(*command)) == "wix_app: set WIX_DATABASE_URL to the credit store's Postgres URL"


@pytest.mark.parametrize("command", COMMANDS + DECISIONS)
def test_a_role_that_does_not_exist(
    run: Run, untouched: Sandbox, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    url = untouched.environment["WIX_DATABASE_URL"].replace("postgres@", "nobody:hush@")
    monkeypatch.setenv("WIX_DATABASE_URL", url)
    sentence = refused(run(*command))
    assert sentence.startswith("wix_app: ")
    assert "WIX_DATABASE_URL" in sentence
    assert "hush" not in sentence


@pytest.mark.parametrize("command", COMMANDS + DECISIONS)
def test_a_database_server_that_is_not_there(
    run: Run, untouched: Sandbox, monkeypatch: pytest.MonkeyPatch, closed_port: int, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("WIX_DATABASE_URL", f"postgresql://app:hush@127.0.0.1:{closed_port}/shop")
    sentence = refused(run(*command))
    assert "WIX_DATABASE_URL" in sentence
    assert "hush" not in sentence


def test_a_url_that_is_none(run: Run, untouched: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIX_DATABASE_URL", "https://db.example.com/shop?password=hush")
    sentence = refused(run("check", "wix_app"))
    assert "WIX_DATABASE_URL" in sentence
    assert "hush" not in sentence


@pytest.mark.parametrize("command", COMMANDS)
def test_a_billing_server_that_is_down(
    run: Run, untouched: Sandbox, monkeypatch: pytest.MonkeyPatch, closed_port: int, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("WIX_API_URL", f"http://127.0.0.1:{closed_port}")
    account = untouched.healthy[0]
    sentence = refused(run(*command, "--account", account))
    assert "cannot be reached" in sentence
    assert sentence.endswith("start it or correct WIX_API_URL")


def test_a_wrong_app_secret(run: Run, untouched: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIX_APP_SECRET", "hush")
    sentence = refused(run("check", "wix_app", "--account", untouched.healthy[0]))
    assert sentence.endswith("correct WIX_APP_ID and WIX_APP_SECRET")


@pytest.mark.parametrize("command", COMMANDS)
def test_half_the_answers_failing_is_a_report_without_a_verdict(
    run: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    asked, silent = sandbox.healthy[:6], sandbox.healthy[6:12]
    named = [word for account in asked + silent for word in ("--account", account)]
    product = sandbox.rows()[:-1]
    with BillingServer(BillingBook.load(sandbox.home / "sandbox" / "wix_app" / "billing_book.json")) as billing:
        billing.faults.add("forbidden", instances=silent)
        monkeypatch.setenv("WIX_API_URL", billing.base_url)
        monkeypatch.setenv("WIX_APP_ID", billing.credentials.app_id)
        monkeypatch.setenv("WIX_APP_SECRET", billing.credentials.app_secret)
        ended = run(*command, *named, "--format", "json")
    assert ended.status == 2
    assert "wix_app: billing left 6/12 (50.0%) accounts unanswered, limit 3" in ended.err
    assert sandbox.rows()[:-1] == product
    if command[0] == "check":
        assert ended.json["source"]["complete"] is False
        assert ended.json["classes"] == {"source_lookup_error": 6}
    else:
        assert "changed" not in ended.json["outcomes"]


def test_an_unknown_plan_in_the_file(run: Run, untouched: Sandbox, systems_folder: Folder) -> None:
    folder = systems_folder(("  billing:\n", "  aliases: {Gold: gold}\n\n  billing:\n"))
    ended = run("--defs", str(folder), "check", "wix_app")
    assert (ended.status, ended.out) == (2, "")
    assert "gold" in ended.err.splitlines()[0]
    assert "defs.yaml, line " in ended.err


def test_a_misspelt_key(run: Run, untouched: Sandbox, systems_folder: Folder) -> None:
    folder = systems_folder(("shortfall: raise", "shortfal: raise"))
    ended = run("check", "wix_app", "--defs", str(folder))
    assert (ended.status, ended.out) == (2, "")
    first, line, caret = ended.err.splitlines()
    assert "`shortfal` is not a key of `policy`: did you mean `shortfall`?" in first
    assert "shortfal: raise" in line
    assert caret.strip() == "^" * len("shortfal")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("table: app_instances", "table: app_instance", "`app_instance`"),
        ("total: credits_total", "total: credit_total", "`credit_total`"),
    ],
)
@pytest.mark.parametrize("command", [("check", "wix_app"), ("init", "wix_app")])
def test_a_table_or_column_that_does_not_exist(
    run: Run, untouched: Sandbox, systems_folder: Folder, old: str, new: str, named: str, command: tuple[str, ...]
) -> None:
    folder = systems_folder((old, new))
    sentence = refused(run("--defs", str(folder), *command))
    assert named.strip("`") in sentence
    assert "defs.yaml" in sentence


def test_a_system_that_is_not_configured(run: Run) -> None:
    assert refused(run("check", "wix_ap")) == "no system is called `wix_ap`: the systems are `bestauth`, `wix_app`"


def test_a_folder_of_systems_that_is_not_there(run: Run, tmp_path: Path) -> None:
    sentence = refused(run("--defs", str(tmp_path / "none"), "systems"))
    assert "CREDIT_PIPELINE_DEFS" in sentence


def test_a_working_folder_that_cannot_be_written(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CREDIT_PIPELINE_HOME", str(tmp_path / "file" / "home"))
    assert refused(run("check", "wix_app")).endswith("set CREDIT_PIPELINE_HOME to a folder of your own.")


@pytest.mark.parametrize("command", DECISIONS[6:])  # the others are kept in the working folder: test_report_only.py
def test_stopping_where_nothing_could_be_applied(
    run: Run, untouched: Sandbox, product: str, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("WIX_DATABASE_URL", product)
    with psycopg.connect(product) as connection:
        connection.execute("ALTER TABLE app_instances ALTER instance_id TYPE text")
        connection.execute("INSERT INTO app_instances (instance_id) VALUES ('some-account')")
    assert refused(run(*command)).endswith("run `credit-pipeline init wix_app`")


@pytest.mark.parametrize("command", DECISIONS)
def test_a_decision_about_a_system_that_is_not_configured(run: Run, command: tuple[str, ...]) -> None:
    assert refused(run(command[0], "wix_ap", *command[2:])).startswith("no system is called `wix_ap`")


@pytest.mark.parametrize("command", [DECISIONS[0], *OF_NOTHING, *DECISIONS[3:6]])
def test_a_decision_asks_for_no_key_of_billing(
    run: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    for name in ("WIX_APP_ID", "WIX_APP_SECRET", "WIX_API_URL"):
        monkeypatch.delenv(name)
    ended = run(*command)
    assert "WIX_" not in ended.err
