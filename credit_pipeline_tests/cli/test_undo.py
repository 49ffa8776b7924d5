"""`undo` on a planted sandbox of its own: both layouts, from a fix to its undo, in the order one would type it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from credit_pipeline.sandbox import lifecycle
from credit_pipeline_tests.cli.conftest import Ended, Run, Sandbox
from credit_pipeline_tests.cli.shapes import PLAN, differences
from credit_pipeline_tests.conftest import in_memory

WHO = ("--as", "eva", "--reason", "the plan map was wrong")


@pytest.fixture(scope="module")
def planted() -> Iterator[Sandbox]:
    """In place of the one that all tests of this folder share: an undo leaves grants and transactions behind."""
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_tests-", dir=in_memory()) as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another account
        home = Path(folder) / "home"
        try:
            environment = lifecycle.up(home, accounts=120, seed=7)
            yield Sandbox(home=home, environment=environment, truth=lifecycle.truth(home))
        finally:
            lifecycle.down(home)


def ledger(sandbox: Sandbox, account: str) -> tuple[int, list[tuple[int, str, str | None]], tuple[Any, ...] | None]:
    """(balance, transactions, tier row) of a store account."""
    with psycopg.connect(sandbox.environment["BESTAUTH_DATABASE_URL"]) as connection:
        (balance,) = connection.execute("SELECT balance FROM points_balances WHERE user_id = %s", (account,))
        entries = "SELECT amount, type, reference FROM points_transactions WHERE user_id = %s ORDER BY created_at, id"
        tier = connection.execute(
            "SELECT tier, status FROM subscriptions_consolidated WHERE user_id = %s", (account,)
        ).fetchone()
        return balance[0], connection.execute(entries, (account,)).fetchall(), tier


def counter(sandbox: Sandbox, account: str) -> tuple[Any, ...]:
    """(label, available) of an account."""
    query = "SELECT plan_id, credits_total - credits_used_month FROM app_instances WHERE instance_id = %s"
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        (row,) = connection.execute(query, (account,))
    return tuple(row)


def fixed(run: Run, system: str, *accounts: str) -> str:
    """The id of a plan for these accounts alone, approved and applied."""
    named = [word for account in accounts for word in ("--account", account)]
    plan = run("fix", system, *named, "--format", "json").json["plan_id"]
    assert run("approve", plan, "--lane", "auto", *WHO).status == 0
    ended = run("apply", plan, "--live", "--format", "json")
    assert {row["outcome"] for row in ended.json["rows"] if row["lane"] == "auto"} == {"changed"}, ended.json
    return str(plan)


def undone(run: Run, plan: str, *words: str) -> Ended:
    """Shown, approved, and typed again with --live."""
    shown = run("undo", plan, *words, "--format", "json")
    assert (shown.status, shown.json["mode"]) == (1, "dry_run")
    assert differences(shown.json, PLAN) == []
    assert run("approve", shown.json["plan_id"], "--lane", "approve", *WHO).status == 0
    return run("undo", plan, *words, "--live", "--format", "json")


def test_a_ledger_s_grant_goes_back_by_an_adjustment_and_is_not_made_again(run: Run, sandbox: Sandbox) -> None:
    account = sandbox.of_kind("add_failed", "bestauth")
    before = ledger(sandbox, account)
    plan = fixed(run, "bestauth", account)
    granted = ledger(sandbox, account)
    credits = granted[0] - before[0]
    assert credits > 0
    live = undone(run, plan)
    assert live.status == 0, live.json
    (row,) = live.json["rows"]
    assert (row["delta"], row["outcome"], row["shortfall"]) == (-credits, "changed", 0)
    key = row["steps"][-1]["correction_key"]
    balance, entries, tier = ledger(sandbox, account)
    assert (balance, tier) == (before[0], before[2])
    assert entries == [*granted[1], (-credits, "adjustment", key)], "what was written stays written"

    assert run("audit", "bestauth", "verify").status == 0
    for _ in range(2):
        again = run("fix", "bestauth", "--live", "--account", account, "--format", "json")
        assert (again.status, again.json["rows"]) == (0, [])
        assert run("check", "bestauth", "--account", account).status == 0
    assert ledger(sandbox, account) == (balance, entries, tier)
    twice = run("undo", plan, "--live", "--format", "json")
    assert (twice.status, twice.json["rows"], twice.json["plan_id"]) == (0, [], None)


def test_what_a_ledger_s_user_spent_is_a_shortfall(run: Run, sandbox: Sandbox) -> None:
    account = sandbox.of_kind("renewal_missed", "bestauth")
    before = ledger(sandbox, account)[0]
    plan = fixed(run, "bestauth", account)
    credits = ledger(sandbox, account)[0] - before
    with psycopg.connect(sandbox.environment["BESTAUTH_DATABASE_URL"]) as connection:
        connection.execute("SELECT deduct_points(%s::uuid, %s, 'a long night')", (account, before + 50))
    live = undone(run, plan)
    assert live.status == 0, live.json
    assert live.json["totals"] == {"rows": 1, "credits": -(credits - 50), "shortfall": 50}
    assert ledger(sandbox, account)[0] == 0
    assert run("audit", "bestauth", "verify").status == 0
    told = run("account", "bestauth", account, "--format", "json").json
    assert "50 were spent meanwhile and stay spent" in str(told["timeline"])


@pytest.mark.parametrize(
    "kind", ["purchase_missed", "free_limits", "upgrade_missed", "downgrade_missed", "status_stale"]
)
def test_a_tier_row_goes_back_to_what_it_was(run: Run, sandbox: Sandbox, kind: str) -> None:
    account = sandbox.of_kind(kind, "bestauth")
    before = ledger(sandbox, account)
    plan = fixed(run, "bestauth", account)
    assert ledger(sandbox, account)[2] != before[2]
    live = undone(run, plan)
    assert live.status == 0, live.json
    assert ledger(sandbox, account)[2] == before[2]
    for _ in range(2):
        again = run("fix", "bestauth", "--live", "--account", account, "--format", "json")
        assert (again.status, again.json["rows"]) == (0, [])


def test_single_accounts_of_a_counter_s_plan(run: Run, sandbox: Sandbox) -> None:
    one, other = sandbox.of_kind("paid_at_100"), sandbox.of_kind("label_only_upgraded")
    before = {account: counter(sandbox, account) for account in (one, other)}
    plan = fixed(run, "wix_app", one, other)
    after = counter(sandbox, other)
    live = undone(run, plan, "--account", one)
    assert (live.status, live.json["outcomes"]) == (0, {"changed": 1})
    assert counter(sandbox, one) == before[one]
    assert counter(sandbox, other) == after
    strange = run("undo", plan, "--account", sandbox.healthy[0])
    assert strange.status == 2
    assert strange.sentence.startswith(f"{plan}: it changed no account `{sandbox.healthy[0]}`")
    assert run("audit", "wix_app", "verify").status == 0
    listed = run("plans", "wix_app", "--format", "json").json["plans"]
    assert [saved["undoes"] for saved in listed if saved["plan_id"] == live.json["plan_id"]] == [plan]


def test_an_unknown_plan_is_one_sentence(run: Run, sandbox: Sandbox) -> None:
    ended = run("undo", "wix_app-00000000", "--live")
    assert ended.status == 2
    assert ended.sentence == "wix_app-00000000: there is no such plan: `credit-pipeline plans wix_app` lists them"
