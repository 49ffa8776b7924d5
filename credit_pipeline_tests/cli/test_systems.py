"""`systems` and `init`: what is configured and how ready it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from credit_pipeline_tests.cli.conftest import Run, Sandbox


def named(shown: dict[str, Any], name: str = "wix_app") -> dict[str, Any]:
    (system,) = (found for found in shown["systems"] if found["name"] == name)
    return dict(system)


def test_it_works_with_an_empty_environment(run: Run) -> None:
    ended = run("systems", "--format", "json")
    assert ended.status == 0
    system = named(ended.json)
    assert system["sources"]["variables"] == {"WIX_DATABASE_URL": False, "WIX_APP_ID": False, "WIX_APP_SECRET": False}
    assert (system["installed"], system["ready"], system["last_complete_collection"]) == (None, False, None)
    assert system["readiness"] == "set WIX_DATABASE_URL, WIX_APP_ID, WIX_APP_SECRET"
    assert system["policy"]["renewal"] == "reset_used"
    assert system["schedule"] == {
        "cron": "0 */6 * * *",
        "timezone": "UTC",
        "writes": False,
        "health": {"cron": "30 * * * *", "timezone": "UTC"},
    }
    assert "MISSING" in run("systems").out


def test_a_ready_system_says_since_when_and_shows_no_value(run: Run, sandbox: Sandbox) -> None:
    ended = run("systems", "--format", "json")
    system = named(ended.json)
    assert (system["installed"], system["ready"], system["readiness"]) == (True, True, "ready")
    assert system["last_complete_collection"] is not None
    text = run("systems")
    for value in (sandbox.environment["WIX_APP_SECRET"], sandbox.environment["WIX_DATABASE_URL"]):
        assert value not in ended.out + text.out + text.err


def test_a_database_that_cannot_be_reached_is_said_and_hides_nothing(
    run: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIX_DATABASE_URL", "postgresql://nobody:hush@127.0.0.1:1/nowhere")
    ended = run("systems", "--format", "json")
    system = named(ended.json)
    assert ended.status == 0
    assert (system["installed"], system["ready"]) == (None, False)
    assert system["readiness"].startswith("wix_app: ")
    assert "hush" not in ended.out + ended.err


def test_one_faulty_file_does_not_hide_the_others(run: Run, systems_folder: Callable[..., Path]) -> None:
    systems_folder()
    folder = systems_folder(("shortfall: raise", "shortfal: raise"), name="other_app")
    ended = run("--defs", str(folder), "systems", "--format", "json")
    assert ended.status == 2
    assert [system["name"] for system in ended.json["systems"]] == ["wix_app"]
    assert "did you mean `shortfall`" in ended.json["faults"][0]
    assert "did you mean `shortfall`" in ended.err


def test_a_policy_word_that_differs_is_shown(run: Run, systems_folder: Callable[..., Path]) -> None:
    folder = systems_folder(("settle_time: 60 min", "settle_time: 48 h"), ("rows_share: 0.05", "rows_share: 0.01"))
    (system,) = run("systems", "--defs", str(folder), "--format", "json").json["systems"]
    assert system["policy"] == {"renewal": "reset_used", "settle_time": "2880 min", "limits.rows_share": 0.01}


def test_init_prints_what_a_dba_would_run_and_needs_no_database(run: Run) -> None:
    ended = run("init", "wix_app", "--print-sql")
    assert ended.status == 0
    assert ended.out.startswith("-- credit_pipeline for system wix_app")
    assert "CREATE OR REPLACE FUNCTION credit_pipeline.apply_batch" in ended.out
    assert run("init", "wix_app", "--print-sql", "--format", "json").json["sql"] == ended.out


def test_init_installs_and_can_be_repeated(
    run: Run, sandbox: Sandbox, product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIX_DATABASE_URL", product)
    first = run("init", "wix_app")
    assert first.status == 0
    assert first.out.startswith("wix_app: installed (schema ")
    assert first.out.endswith("next: credit-pipeline fix wix_app\n")
    second = run("init", "wix_app", "--format", "json")
    assert (second.status, second.json["first"], second.json["renewed"]) == (0, False, False)
    with psycopg.connect(product) as connection:
        found = connection.execute("SELECT environment FROM credit_pipeline.control").fetchall()
    assert found == [("sandbox",)]


def test_check_works_before_init_and_says_where_its_history_is(
    run: Run, sandbox: Sandbox, product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIX_DATABASE_URL", product)
    account = sandbox.healthy[0]
    with psycopg.connect(product) as connection:
        connection.execute("INSERT INTO app_instances (instance_id) VALUES (%s)", (account,))
    for history in ("first_run", "evaluated"):
        ended = run("check", "wix_app", "--format", "json")
        assert ended.json["history"] == history
        assert "the history of the working folder" in ended.json["notices"][0]
        assert "credit-pipeline init wix_app" in ended.json["notices"][0]
    system = named(run("systems", "--format", "json").json)
    assert (system["installed"], system["install"], system["ready"]) == (False, None, False)
    assert system["readiness"] == "report-only until credit-pipeline init wix_app; history in the home folder"


def test_where_no_history_can_be_kept_there_is_a_report_that_says_so(
    run: Run, sandbox: Sandbox, product: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIX_DATABASE_URL", product)
    monkeypatch.delenv("CREDIT_PIPELINE_DAGSTER_URL")
    with psycopg.connect(product) as connection:
        connection.execute("INSERT INTO app_instances (instance_id) VALUES (%s)", (sandbox.healthy[0],))
    monkeypatch.setenv("CREDIT_PIPELINE_HOME", str(tmp_path))
    (tmp_path / "postgres").write_text("no folder for a server")
    ended = run("check", "wix_app", "--format", "json")
    assert (ended.json["history"], ended.json["population"]) == ("not_evaluated", 1)
    assert ended.err.startswith("No history is kept: ")
    assert "run credit-pipeline init wix_app" in ended.json["notices"][0]
