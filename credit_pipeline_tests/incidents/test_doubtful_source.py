"""Billing answers badly: one silent account holds itself, an uninstalled one nobody, half of them the run."""

from datetime import UTC, datetime

import pytest

from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.conftest import Run
from credit_pipeline_tests.incidents.world import World


@pytest.fixture
def short(live_world: World) -> str:
    """Pro at 100 among 11 sites in order, in a system whose first plan was applied: a live run would repair it."""
    for number in range(10):
        live_world.site(f"in order {number}", "starter", 1_000, number)
    live_world.site("first", "pro", 100)
    live_world.repair()
    live_world.now = datetime.now(UTC)
    return live_world.site("short", "pro", 100, 40)


def test_an_uninstalled_instance_does_not_stop_the_others(run: Run, live_world: World, short: str) -> None:
    gone = live_world.site("uninstalled", "pro", 100, billed="pro", uninstalled=True)
    ended = run("fix", "wix_app", "--live", "--format", "json")
    assert (ended.status, ended.json["outcomes"]) == (0, {"changed": 1})
    assert live_world.app.row(short) == Row("pro", 5_000, 40)
    assert live_world.app.row(gone) == Row("pro", 100, 0)
    checked = run("check", "wix_app", "--format", "json")
    assert (checked.status, checked.json["classes"]) == (0, {"source_gone": 1})
    assert checked.json["source"]["complete"] is True


def test_one_account_without_an_answer_holds_itself_and_not_the_run(
    run: Run, live_world: World, short: str, billing: BillingServer
) -> None:
    silent = live_world.site("silent", "pro", 100)
    billing.faults.add("forbidden", instances=[silent])
    ended = run("fix", "wix_app", "--live", "--format", "json")
    assert (ended.status, ended.json["outcomes"]) == (0, {"changed": 1})
    assert live_world.app.row(short) == Row("pro", 5_000, 40)
    assert live_world.app.row(silent) == Row("pro", 100, 0)
    checked = run("check", "wix_app", "--format", "json")
    assert checked.json["classes"] == {"source_lookup_error": 1}

    billing.faults.clear()
    ended = run("fix", "wix_app", "--live", "--format", "json")
    assert (ended.status, ended.json["outcomes"]) == (0, {"changed": 1})
    assert live_world.app.row(silent) == Row("pro", 5_000, 0)


def test_half_of_the_answers_failing_ends_with_2_a_report_and_nothing_written(
    run: Run, live_world: World, short: str, billing: BillingServer
) -> None:
    silent = sorted(set(live_world.app.rows()) - {short})[:6]
    billing.faults.add("forbidden", instances=silent)
    before = live_world.app.versions()

    checked = run("check", "wix_app", "--format", "json")
    assert checked.status == 2
    assert checked.json["population"] == 12
    assert checked.json["classes"] == {"grant_missing": 1, "source_lookup_error": 6}
    assert checked.json["source"]["complete"] is False
    assert "wix_app: billing left 6/12 (50.0%) accounts unanswered, limit 3" in checked.err
    told = run("check", "wix_app")
    assert told.status == 2
    assert short in told.out

    live = run("fix", "wix_app", "--live", "--format", "json")
    assert live.status == 2
    assert live.json["state"] == "quarantined"
    assert "changed" not in live.json["outcomes"]
    plan = live.json["plan_id"]
    run("approve", plan, "--as", "eva", "--reason", "an approval lifts limits, and no doubt about the source")
    assert run("apply", plan, "--live").status != 0
    assert live_world.app.versions() == before
    assert live_world.app.row(short) == Row("pro", 100, 40)

    billing.faults.clear()
    assert run("fix", "wix_app", "--live").status == 0
    assert live_world.app.row(short) == Row("pro", 5_000, 40)
