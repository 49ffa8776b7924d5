"""`fix`, `plans`, `approve`, `reject`, `apply`: from a plan to changed rows, in the order one would type them."""

import csv
from pathlib import Path

import psycopg
import pytest

from credit_pipeline.adapters.artifacts.review_pack import COLUMNS, safe_cell
from credit_pipeline_tests.cli.conftest import Run, Sandbox
from credit_pipeline_tests.cli.shapes import PLAN, differences


def balance(sandbox: Sandbox, account: str) -> tuple[str, int, int]:
    query = "SELECT plan_id, credits_total, credits_used_month FROM app_instances WHERE instance_id = %s"
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        found = connection.execute(query, (account,)).fetchone()
    assert found is not None
    return found


def a_short_account(sandbox: Sandbox) -> str:
    """Paid for, and below its allowance: nothing but a grant is wrong with it."""
    return sandbox.of_kind("paid_at_100")


def test_from_a_dry_run_to_changed_rows_and_nothing_left(run: Run, sandbox: Sandbox) -> None:
    account = a_short_account(sandbox)
    before = balance(sandbox, account)

    dry = run("fix", "wix_app", "--account", account, "--save", "--format", "json")
    assert dry.status == 1
    assert differences(dry.json, PLAN) == []
    (row,) = dry.json["rows"]
    assert (row["account_id"], row["lane"], row["outcome"]) == (account, "auto", "would_change")
    assert row["delta"] == row["after"]["available"] - row["before"]["available"] > 0
    assert dry.json["outcomes"] == {"would_change": 1}
    assert dry.json["totals"] == {"rows": 1, "credits": row["delta"]}
    assert balance(sandbox, account) == before, "a dry run writes nothing"
    assert {path.name for path in Path(dry.json["review_pack"]).iterdir()} == {"rows.csv", "samples.csv", "summary.txt"}

    refused = run("fix", "wix_app", "--live", "--account", account, "--format", "json")
    assert refused.status == 1
    assert (refused.json["state"], refused.json["mode"]) == ("quarantined", "live")
    (failure,) = refused.json["failures"]
    plan = refused.json["plan_id"]
    assert failure.endswith(f"credit-pipeline approve {plan} --lane auto --as YOU --reason WHY")
    assert balance(sandbox, account) == before

    listed = run("plans", "wix_app", "--format", "json")
    assert listed.status == 0
    assert [(p["plan_id"], p["state"]) for p in listed.json["plans"][:2]] == [
        (plan, "quarantined"),
        (dry.json["plan_id"], "superseded"),
    ]

    approved = run("approve", "--reason", "I looked", plan, "--as", "eva", "--format", "json")
    assert approved.status == 0
    assert (approved.json["lane"], approved.json["released"], approved.json["state"]) == ("auto", 1, "approved")
    ((decision,), (), *_) = [one["decisions"] for one in run("plans", "wix_app", "--format", "json").json["plans"]]
    assert decision.pop("at") > dry.json["as_of"]
    assert decision == {
        "decision": "approve",
        "lane": "auto",
        "rows": 1,
        "by": "eva",
        "login": "postgres",
        "four_eyes": False,
        "reason": "I looked",
    }
    assert "eva: limits lifted" in run("plans", "wix_app").out

    shown = run("apply", plan)
    assert shown.status == 1
    assert f"next: credit-pipeline apply {plan} --live" in shown.out
    assert shown.err == f"Nothing was written: credit-pipeline apply {plan} --live applies it.\n"
    assert balance(sandbox, account) == before

    live = run("apply", plan, "--live", "--format", "json")
    assert live.status == 0
    assert differences(live.json, PLAN) == []
    assert (live.json["state"], live.json["mode"], live.json["outcomes"]) == ("applied", "live", {"changed": 1})
    label, total, used = balance(sandbox, account)
    assert {"plan": label, "total": total, "used": used, "available": total - used} == live.json["rows"][0]["after"]
    assert total - used == before[1] - before[2] + row["delta"]

    again = run("fix", "wix_app", "--live", "--account", account, "--format", "json")
    assert again.status == 0
    assert again.json["rows"] == []
    assert balance(sandbox, account) == (label, total, used)

    told = run("account", "wix_app", account, "--format", "json").json
    assert [entry["kind"] for entry in told["timeline"]].count("corrected") == 1
    assert any("approved by eva" in entry["text"] for entry in told["timeline"])


def test_a_rejected_plan_cannot_be_applied(run: Run, sandbox: Sandbox) -> None:
    account = sandbox.of_kind("renewal_missed_lately")
    before = balance(sandbox, account)
    saved = run("fix", "wix_app", "--account", account)
    assert saved.status == 1
    assert "1 row waits for a person" in saved.out
    plan = saved.out.split()[2]
    rejected = run("reject", plan, "--as", "eva", "--reason", "not now", "--format", "json")
    assert (rejected.status, rejected.json["state"]) == (0, "rejected")
    applied = run("apply", plan, "--live")
    assert applied.status == 2
    assert f"{plan}: the plan is rejected" in applied.sentence
    assert "eva: rejected" in run("plans", "wix_app").out
    assert balance(sandbox, account) == before


def test_rows_for_a_person_are_released_by_name_only(run: Run, sandbox: Sandbox) -> None:
    account = sandbox.of_kind("renewal_missed_lately")
    plan = run("fix", "wix_app", "--account", account, "--format", "json").json["plan_id"]
    refused = run("approve", plan, "--as", "eva", "--reason", "all of it")
    assert refused.status == 2
    assert "no waiting row of lane auto" in refused.sentence
    named = run("approve", plan, "--code", "renewal_missing", "--as", "eva", "--reason", "checked", "--format", "json")
    assert (named.json["lane"], named.json["released"]) == ("approve", 1)
    assert "eva: 1 row " in run("plans", "wix_app").out
    run("fix", "wix_app", "--account", account)
    assert "approved before" in run("plans", "wix_app").out, "the same row, planned anew, keeps its approval"


def test_a_plan_that_is_not_there_is_one_sentence(run: Run, sandbox: Sandbox) -> None:
    for arguments in (("apply", "wix_app-00000000"), ("approve", "gone-1", "--as", "eva", "--reason", "why")):
        ended = run(*arguments)
        assert ended.status == 2
        assert ("no such plan" if "wix" in arguments[1] else "no configured system has such a plan") in ended.sentence


def test_a_decision_needs_a_name_and_a_reason(run: Run, sandbox: Sandbox) -> None:
    ended = run("approve", "wix_app-00000000", "--as", "eva")
    assert ended.status == 2
    assert "Missing option '--reason'" in ended.err
    assert ended.out == ""


def test_without_init_a_plan_is_only_shown_and_the_command_is_named(
    run: Run, sandbox: Sandbox, product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIX_DATABASE_URL", product)
    shown = run("fix", "wix_app")
    assert "Only shown, and kept in the working folder: wix_app: the database has no schema" in shown.err
    for command in (("fix", "wix_app", "--live"), ("sync", "wix_app", "an-account", "--live")):
        ended = run(*command)
        assert ended.status == 2
        assert ended.sentence.endswith("run credit-pipeline init wix_app")
    assert run("plans", "wix_app").status == 0


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_a_review_pack_is_a_formula(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


def test_numbers_and_plain_words_stay_what_they_are() -> None:
    assert [safe_cell(value) for value in (-200, 0, None, "pro")] == [-200, 0, None, "pro"]


def test_a_review_pack_holds_every_row(run: Run, sandbox: Sandbox) -> None:
    accounts = sandbox.accounts("unexplained_decrease") + sandbox.accounts("renewal_missing")
    named = [word for account in accounts for word in ("--account", account)]
    saved = run("fix", "wix_app", *named, "--save", "--format", "json").json
    pack = Path(saved["review_pack"])
    with (pack / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["account_id"], int(row["delta"])) for row in rows] == [
        (row["account_id"], row["delta"]) for row in saved["rows"]
    ]
    summary = (pack / "summary.txt").read_text()
    assert f"rows      {len(rows)}" in summary
    assert saved["digest"] in summary
    assert pack.stat().st_mode & 0o077 == 0
