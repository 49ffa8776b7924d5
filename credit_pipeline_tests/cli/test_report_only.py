"""The commands as a login that has SELECT and nothing else: a history all the same, and no trace in the product.

What the history is made of is in adapters/test_home_history.py.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.cli.conftest import Run, Sandbox

BY = ("--as", "eva", "--reason", "looked at it")
CHECK = "import sys; from credit_pipeline.cli.main import main; sys.exit(main(sys.argv[1:]))"
CHANGES = """
SELECT count(*), (SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = 'app_instances')
FROM pg_namespace WHERE nspname = 'credit_pipeline'
"""


@dataclass(frozen=True, kw_only=True)
class Looking:
    """A product with some of the sandbox's accounts, and a login that may only read it."""

    url: str
    login: str
    whole: str
    short: str
    run: Run

    def check(self, *more: str) -> dict[str, Any]:
        return self.run("check", "wix_app", *more, "--format", "json").json

    def found(self, code: str, *more: str) -> list[dict[str, Any]]:
        return [one for one in self.check(*more)["mismatches"] if one["code"] == code]

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """As the product's owner."""
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def lose(self, credits: int) -> None:
        """Somebody lowers the healthy account's total."""
        self.execute(
            f"UPDATE app_instances SET credits_total = credits_total - {credits} WHERE instance_id = '{self.whole}'"
        )


@pytest.fixture
def looking(sandbox: Sandbox, product: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Looking]:
    whole = sandbox.healthy[0]
    short = sandbox.of_kind("paid_at_100")  # below its allowance, which needs no history to be seen
    names = [*sandbox.healthy[:8], short]
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as theirs, psycopg.connect(product) as ours:
        rows = theirs.execute(
            "SELECT instance_id, plan_id, credits_total, credits_used_month FROM app_instances "
            "WHERE instance_id = ANY (%s::uuid[])",
            (names,),
        ).fetchall()
        with ours.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO app_instances (instance_id, plan_id, credits_total, credits_used_month) "
                "VALUES (%s, %s, %s, %s)",
                rows,
            )
        login = f"looker_{uuid.uuid4().hex[:8]}"
        ours.execute("UPDATE app_instances SET credits_total = credits_total + 700 WHERE instance_id = %s", (whole,))
        for statement in (
            "CREATE ROLE {login} LOGIN",
            "GRANT CONNECT ON DATABASE {database} TO {login}",
            "GRANT USAGE ON SCHEMA public TO {login}",
            "GRANT SELECT ON app_instances, plans TO {login}",
        ):
            ours.execute(statement.format(login=login, database=ours.info.dbname).encode())
    monkeypatch.setenv("WIX_DATABASE_URL", product.replace("postgres@", f"{login}@", 1))
    yield Looking(url=product, login=login, whole=whole, short=short, run=run)
    with psycopg.connect(product) as connection:
        connection.execute(f"DROP OWNED BY {login}".encode())
        connection.execute(f"DROP ROLE {login}".encode())


def test_what_was_seen_before_is_known_and_a_loss_stays(looking: Looking) -> None:
    before = looking.execute(CHANGES)
    first = looking.check()
    assert first["history"] == "first_run"
    assert "report-only, with the history of the working folder" in first["notices"][0]
    [short] = [one for one in first["mismatches"] if one["account_id"] == looking.short]
    assert looking.check("--account", looking.short)["history"] == "evaluated"
    looking.lose(200)
    second = looking.check()
    assert second["history"] == "evaluated"
    assert {one["first_seen"] for one in second["mismatches"] if one["account_id"] == looking.short} == {
        short["first_seen"]
    }
    for lost in (looking.found("unexplained_decrease"), looking.found("unexplained_decrease")):
        assert [(one["account_id"], one["delta"]) for one in lost] == [(looking.whole, 200)]
    assert looking.run("health", "wix_app", "--format", "json").status == 1
    told = looking.run("account", "wix_app", looking.whole, "--format", "json").json
    assert "unexplained_decrease" in told["summary"]
    [(schemas, writes)] = looking.execute(CHANGES)
    assert (schemas, writes - before[0][1]) == (0, 1)  # the one was ours: somebody lowered the total


def test_a_look_at_single_accounts_remembers_nothing(looking: Looking) -> None:
    assert looking.check("--account", looking.short)["history"] == "first_run"
    assert looking.check("--account", looking.short)["history"] == "first_run"
    assert looking.run("mismatches", "wix_app", "list", "--state", "all", "--format", "json").json["mismatches"] == []


def test_people_decide_about_findings_and_accounts(looking: Looking) -> None:
    looking.check()
    looking.lose(200)
    looking.check()

    def listed(*more: str) -> set[tuple[str, str]]:
        shown = looking.run("mismatches", "wix_app", "list", *more, "--format", "json").json["mismatches"]
        return {(one["account_id"], one["state"]) for one in shown}

    assert listed() == {(looking.short, "open"), (looking.whole, "open")}
    assert looking.run("mismatches", "wix_app", "ack", "--account", looking.short, *BY).status == 0
    assert looking.run("mismatches", "wix_app", "accept", "--account", looking.whole, *BY).status == 0
    assert listed() == {(looking.short, "acknowledged")}
    assert looking.found("unexplained_decrease") == []
    assert looking.run("exempt", "wix_app", looking.short, *BY).status == 0
    exempt = looking.run("exempt", "wix_app", "--list", "--format", "json").json["exemptions"]
    assert [one["account_id"] for one in exempt] == [looking.short]
    assert (looking.check()["exempt"], looking.check()["mismatches"]) == (1, [])
    refused = looking.run("stop", "wix_app", *BY)
    assert refused.status == 2
    assert "run `credit-pipeline init wix_app`" in refused.sentence


def test_a_plan_is_shown_and_never_applied(looking: Looking) -> None:
    before = looking.execute(CHANGES)
    shown = looking.run("fix", "wix_app", "--format", "json")
    assert (shown.status, shown.json["outcomes"]) == (1, {"would_change": 1})
    [row] = shown.json["rows"]
    assert row["account_id"] == looking.short
    assert "Only shown, and kept in the working folder: wix_app: report-only, because the database user" in shown.err
    plan = shown.json["plan_id"]
    assert [one["plan_id"] for one in looking.run("plans", "wix_app", "--format", "json").json["plans"]] == [plan]
    for command in (
        ("fix", "wix_app", "--live"),
        ("apply", plan, "--live"),
        ("sync", "wix_app", looking.short, "--live"),
    ):
        refused = looking.run(*command)
        assert refused.status == 2
        assert "run `GRANT CREATE ON DATABASE" in refused.sentence
        assert "then `credit-pipeline init wix_app`" in refused.sentence
    assert looking.run("approve", plan, *BY).status == 2
    assert looking.execute(CHANGES) == before


def test_systems_says_where_the_history_is(looking: Looking) -> None:
    looking.check()
    systems = looking.run("systems", "--format", "json").json["systems"]
    [system] = [one for one in systems if one["name"] == "wix_app"]
    assert (system["installed"], system["install"], system["ready"]) == (False, "report-only", False)
    assert system["last_complete_collection"] is not None
    assert system["readiness"].startswith("wix_app: report-only, because the database user of WIX_DATABASE_URL")
    assert system["readiness"].endswith("; history in the home folder")


def test_a_later_init_counts_and_names_what_it_leaves_behind(looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    looking.check()
    looking.lose(200)
    looking.check()
    looking.run("exempt", "wix_app", looking.short, *BY)
    monkeypatch.setenv("WIX_DATABASE_URL", looking.url)
    made = looking.run("init", "wix_app", "--format", "json")
    assert made.status == 0, made.err
    notes = made.json["notes"]
    assert "the history in the working folder is not carried over" in notes[0]
    assert f"unexplained_decrease of {looking.whole}" in notes[1]
    assert notes[2].endswith(f": {looking.short}")
    assert looking.run("init", "wix_app", "--format", "json").json["notes"] == []
    first = looking.check()
    assert (first["history"], first["exempt"]) == ("first_run", 0)
    monkeypatch.setenv("WIX_DATABASE_URL", looking.url.replace("postgres@", f"{looking.login}@", 1))
    unread = looking.check()  # SELECT on the product's tables says nothing about our schema
    assert unread["history"] == "not_evaluated"


def test_two_first_checks_at_once_in_a_fresh_working_folder_are_safe(
    looking: Looking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both start its server and make the history; who ends last stops it."""
    monkeypatch.delenv("CREDIT_PIPELINE_DAGSTER_URL")
    monkeypatch.setenv("CREDIT_PIPELINE_HOME", str(tmp_path / "own"))
    server = EmbeddedPostgres(tmp_path / "own")
    command = [sys.executable, "-c", CHECK, "check", "wix_app", "--format", "json"]
    try:
        both = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
            for _ in range(2)
        ]
        ended = [(*process.communicate(timeout=120), process.returncode) for process in both]
        assert not server.is_running()
        well = [json.loads(report) for report, _, status in ended if status == 1]
        assert well
        for _, told, status in ended:  # who read first and wrote last is refused, as in the product's database
            assert status == 1 or "not after the last one recorded" in told, told
        [line] = looking.run("mismatches", "wix_app", "list", "--format", "json").json["mismatches"]
        assert (line["account_id"], line["seen_count"]) == (looking.short, len(well))
        looking.lose(200)
        assert [one["account_id"] for one in looking.found("unexplained_decrease")] == [looking.whole]
        assert not server.is_running()
    finally:
        server.remove()
