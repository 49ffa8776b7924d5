"""Nobody's first live run writes: it is quarantined with the sentence that says what to type; then it is routine."""

from datetime import timedelta

from credit_pipeline.sandbox.scenarios.wix_app.product import WixApp
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.conftest import Run
from credit_pipeline_tests.incidents.evidence import assert_audited
from credit_pipeline_tests.incidents.world import World


def test_the_first_live_run_is_refused_approved_applied_and_then_nothing_is_left(run: Run, live_world: World) -> None:
    app, hour_ago = live_world.app, live_world.now - timedelta(hours=1)
    short = live_world.site("short", "pro", 100, 40)
    upgraded = live_world.site("upgraded", "free", 200, 0, billed="starter", since=hour_ago)
    unproven = live_world.site("unproven", "free", 5_000, 3_000, billed="pro", since=hour_ago)
    for number in range(5):
        live_world.site(f"in order {number}", "starter", 1_000 + 200 * number, 100 * number)
    before = app.versions()

    refused = run("fix", "wix_app", "--live", "--format", "json")
    plan = refused.json["plan_id"]
    assert refused.status == 1
    assert refused.json["state"] == "quarantined"
    assert refused.json["failures"] == [
        "the first applied plan of a system needs approval: "
        f"credit-pipeline approve {plan} --lane auto --as YOU --reason WHY"
    ]
    assert refused.json["outcomes"] == {"blocked_by_guard": 3, "needs_approval": 1}
    assert app.versions() == before

    again = run("apply", plan, "--live", "--format", "json")
    assert (again.status, again.json["state"]) == (1, "quarantined")
    assert app.versions() == before

    assert run("approve", plan, "--lane", "auto", "--as", "eva", "--reason", "I looked").status == 0
    applied = run("apply", plan, "--live", "--format", "json")
    assert applied.json["state"] == "applied"
    assert applied.json["outcomes"] == {"changed": 3, "needs_approval": 1}
    assert applied.json["totals"]["credits"] == 4_900 + 1_000
    after = {short: Row("pro", 5_000, 40), upgraded: Row("starter", 1_200, 0), unproven: Row("pro", 5_000, 3_000)}
    assert {account: app.row(account) for account in after} == after

    second = run("fix", "wix_app", "--live", "--format", "json")
    assert second.json["outcomes"] == {"needs_approval": 1}
    assert {account: app.row(account) for account in after} == after
    with WixApp(live_world.url) as audit:
        assert audit.credits_lost(0) == 0
    assert_audited(live_world.url, changes=3)
