"""A plan that was wrong after all, taken back: credits, label and memory as if it had not been, and only once."""

import threading

import psycopg
import pytest

from credit_pipeline.domain.errors import PlanError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.collect import collect_balances, collect_subscriptions
from credit_pipeline.services.plans.ports import SavedPlan
from credit_pipeline.services.plans.propose import propose
from credit_pipeline.services.plans.report import PlanReport
from credit_pipeline.services.plans.undo import compensations, propose_undo
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline_tests.cli.shapes import PLAN, differences
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.conftest import Run
from credit_pipeline_tests.incidents.evidence import assert_audited, outcomes, states
from credit_pipeline_tests.incidents.world import SYSTEM, World

WHO = ("--as", "eva", "--reason", "the plan map was wrong")


def repaired(run: Run, world: World) -> str:
    """The id of the first plan: fixed, approved and applied by the command line."""
    plan = run("fix", "wix_app", "--format", "json").json["plan_id"]
    assert run("approve", plan, *WHO).status == 0
    applied = run("apply", plan, "--live", "--format", "json")
    assert applied.status == 0, applied.json
    return str(plan)


def reversed_grants(world: World) -> list[tuple[str, bool]]:
    query = 'SELECT account, reversed_at IS NOT NULL FROM credit_pipeline."grant" ORDER BY account'
    with psycopg.connect(world.url) as connection:
        return connection.execute(query).fetchall()


def assert_nothing_is_corrected_again(run: Run, world: World) -> None:
    before = world.app.rows()
    for _ in range(2):
        checked = run("check", "wix_app", "--format", "json")
        assert (checked.status, checked.json["classes"]) == (0, {})
        fixed = run("fix", "wix_app", "--live", "--format", "json")
        assert (fixed.status, fixed.json["rows"]) == (0, [])
    assert world.app.rows() == before
    assert run("audit", "wix_app", "verify").status == 0


def test_shown_approved_and_taken_back_and_nothing_is_corrected_again(run: Run, live_world: World) -> None:
    world = live_world
    folded = world.site("folded", "free", 100, 40, billed="pro")
    raised = world.site("raised", "starter", 300, 250)
    world.site("in order", "pro", 5_000, 900)
    before = world.app.rows()
    assert run("check", "wix_app").status == 1
    plan = repaired(run, world)
    assert world.app.row(folded) == Row("pro", 5_060, 0)
    assert world.app.row(raised) == Row("starter", 1_000, 250)
    assert run("check", "wix_app").status == 0

    shown = run("undo", plan, "--format", "json")
    assert shown.status == 1
    assert differences(shown.json, PLAN) == []
    undo = shown.json["plan_id"]
    assert (shown.json["undoes"], shown.json["mode"], shown.json["state"]) == (plan, "dry_run", "proposed")
    assert shown.json["outcomes"] == {"needs_approval": 2}
    assert shown.json["totals"] == {"rows": 2, "credits": 0, "shortfall": 0}
    assert {row["lane"] for row in shown.json["rows"]} == {"approve"}
    deltas = {row["account_id"]: (row["delta"], row["set_plan"]) for row in shown.json["rows"]}
    assert deltas == {folded: (-5_000, "free"), raised: (-700, None)}
    told = run("undo", plan)
    assert told.out.startswith(f"takes back plan {plan}\n")
    reasons = {row["account_id"]: row["reasons"] for row in shown.json["rows"]}
    assert reasons[folded][-1] == "label pro -> free, as it was before"
    assert f"credit-pipeline approve {undo} " in " ".join(told.out.split())
    assert told.out.endswith("credit-pipeline mismatches wix_app list --state accepted\n")

    refused = run("undo", plan, "--live", "--format", "json")
    assert (refused.status, refused.json["plan_id"]) == (1, undo), (
        "nobody approved it; the waiting undo is the same one"
    )
    assert world.app.row(folded) == Row("pro", 5_060, 0)

    assert run("approve", undo, "--lane", "approve", *WHO).status == 0
    live = run("undo", plan, "--live", "--format", "json")
    assert live.status == 0, live.json
    assert (live.json["plan_id"], live.json["state"], live.json["outcomes"]) == (undo, "applied", {"changed": 2})
    after = world.app.rows()
    assert after[folded] == Row("free", 60, 0), "what was used stays folded: as many are available as before"
    assert after[raised] == before[raised]
    assert sorted(reversed_grants(world)) == sorted([(folded, True), (raised, True)])
    assert states(world.url, folded, "plan_mismatch") == ["accepted"]
    assert states(world.url, raised, "grant_missing") == ["accepted"]
    assert_nothing_is_corrected_again(run, world)
    assert_audited(world.url, changes=4)
    summary = " ".join(run("account", "wix_app", folded).out.split())
    assert "Nothing else is open than what a person accepted as it is" in summary
    assert "That is in order" not in summary

    again = run("undo", plan, "--live", "--format", "json")
    assert (again.status, again.json["rows"], again.json["outcomes"]) == (0, [], {})
    assert again.json["notes"] == [f"{plan}: already undone by {undo}"]
    assert run("undo", plan).out == f"{plan}: already undone by {undo}\n"
    assert world.app.rows() == after


def proposed(world: World, plan_id: str, *accounts: str) -> SavedPlan:
    """The undo as it is saved and shown."""
    named = [AccountId(account) for account in accounts]
    plan, _ = propose_undo(SYSTEM, world.gateways, plan_id, named, now=world.now, run_id="undo")
    assert plan is not None
    return plan


def taken_back(world: World, plan_id: str, *accounts: str) -> SavedPlan:
    """The undo, approved and applied; what `verify` finds afterwards is nothing."""
    plan = proposed(world, plan_id, *accounts)
    world.approve(plan, lane="approve")
    return world.apply(plan.plan_id)


def quiet(world: World, runs: int = 2) -> None:
    """Runs in which nothing is found and nothing written."""
    before = world.app.rows()
    for _ in range(runs):
        world.later()
        assert world.check().classes == {}
        assert world.fix().rows == ()
    assert world.app.rows() == before


def test_what_was_spent_meanwhile_is_a_reported_shortfall(world: World) -> None:
    site = world.site("spender", "free", 100, 40, billed="pro")
    world.check()
    plan = world.repair()
    world.app.use(site, 4_000)
    undo = proposed(world, plan.plan_id)
    told = PlanReport(plan=undo, mode="dry_run", failures=()).as_json()
    assert (told["rows"][0]["delta"], told["rows"][0]["shortfall"]) == (-1_060, 3_940)
    assert told["totals"] == {"rows": 1, "credits": 0, "shortfall": 3_940}
    assert "1,060 of 5,000 credits are left, 3,940 were spent meanwhile and stay spent" in told["rows"][0]["reasons"][0]
    world.approve(undo, lane="approve")
    assert outcomes(world.apply(undo.plan_id)) == [("approve", "changed")]
    assert world.app.row(site) == Row("free", 4_000, 4_000)
    quiet(world)
    assert_audited(world.url, changes=2)


def test_what_is_spent_after_the_undo_was_approved_is_not_driven_below_zero(world: World) -> None:
    site = world.site("spender", "free", 100, 0, billed="pro")
    world.check()
    plan = world.repair()
    undo = proposed(world, plan.plan_id)
    world.approve(undo, lane="approve")
    world.app.use(site, 200)
    assert outcomes(world.apply(undo.plan_id)) == [("approve", "blocked_by_guard")]
    assert world.app.row(site) == Row("pro", 5_100, 200)
    again = taken_back(world, plan.plan_id)
    assert again.plan_id != undo.plan_id
    assert world.app.row(site) == Row("free", 200, 200)
    quiet(world)


def test_single_accounts_first_and_the_rest_later(world: World) -> None:
    one, other = world.site("one", "free", 100, billed="pro"), world.site("other", "starter", 300)
    world.check()
    plan = world.repair()
    with pytest.raises(PlanError, match="it changed no account `nobody`"):
        compensations(SYSTEM, world.gateways, plan.plan_id, [AccountId("nobody")])
    assert outcomes(taken_back(world, plan.plan_id, one)) == [("approve", "changed")]
    assert (world.app.row(one), world.app.row(other)) == (Row("free", 100, 0), Row("starter", 1_000, 0))
    quiet(world)
    found = compensations(SYSTEM, world.gateways, plan.plan_id)
    assert [row.correction.account_id for row in found.rows] == [other]
    assert found.notes[0].startswith("already undone for 1 of 2 changes")
    taken_back(world, plan.plan_id)
    assert world.app.row(other) == Row("starter", 300, 0)
    assert compensations(SYSTEM, world.gateways, plan.plan_id).rows == ()
    quiet(world)
    assert_audited(world.url, changes=4)


def test_two_undos_at_once_take_each_change_back_once(world: World) -> None:
    sites = [world.site(f"site {number}", "starter", 100) for number in range(12)]
    before = world.app.rows()
    world.check()
    plan = world.repair()
    first = proposed(world, plan.plan_id)
    world.approve(first, lane="approve")
    begun = [world.begin(first.plan_id)]
    assert proposed(world, plan.plan_id).plan_id == first.plan_id, "what was begun is gone on with"
    second = proposed(world, plan.plan_id, *sites[:8])
    assert second.plan_id != first.plan_id
    assert all(row.approved for row in second.rows), "the same rows keep their approval"
    world.approve(second, lane="approve")
    begun.append(world.begin(second.plan_id))
    appliers = [threading.Thread(target=world.carry_out, args=(one,)) for one in begun]
    for applier in appliers:
        applier.start()
    for applier in appliers:
        applier.join(60)
    ended = [outcome for one in (first, second) for _, outcome in outcomes(world.gateways.plans.load(one.plan_id))]
    assert sorted(str(one) for one in ended) == ["changed"] * 12 + ["noop_already_applied"] * 8
    assert world.app.rows() == before
    assert all(taken for _, taken in reversed_grants(world))
    assert_audited(world.url, changes=2 * len(sites))
    quiet(world)


def test_a_later_correction_stands_and_its_label_too(world: World) -> None:
    site = world.site("climber", "free", 100, 40, billed="starter")
    world.check()
    first = world.repair()
    assert world.app.row(site) == Row("starter", 1_060, 0)
    world.later()
    world.bill(site, "pro", since=world.now)
    world.repair()
    assert world.app.row(site) == Row("pro", 6_060, 0)
    undo = taken_back(world, first.plan_id)
    reasons = undo.rows[0].correction.reasons
    assert "the label stays pro: it was set again since" in reasons
    assert any(reason.startswith("a later correction (audit row 2") for reason in reasons)
    assert world.app.row(site) == Row("pro", 5_060, 0)
    assert sorted(reversed_grants(world)) == [(site, False), (site, True)]
    quiet(world)


def test_an_undo_can_be_undone_and_then_all_is_as_the_plan_left_it(world: World) -> None:
    site = world.site("right after all", "free", 100, 40, billed="pro")
    world.check()
    plan = world.repair()
    undo = taken_back(world, plan.plan_id)
    world.later()
    world.check()
    redo = taken_back(world, undo.plan_id)
    assert (redo.undoes, redo.rows[0].correction.delta) == (undo.plan_id, 5_000)
    assert world.app.row(site) == Row("pro", 5_060, 0)
    assert reversed_grants(world) == [(site, False)]
    assert states(world.url, site, "plan_mismatch") == ["resolved"]
    quiet(world)
    assert compensations(SYSTEM, world.gateways, plan.plan_id).notes == (
        f"{plan.plan_id}: already undone by {undo.plan_id}",
    )
    taken_back(world, redo.plan_id)
    assert world.app.row(site) == Row("free", 60, 0)
    assert reversed_grants(world) == [(site, True)]
    assert states(world.url, site, "plan_mismatch") == ["accepted"]
    quiet(world)
    assert_audited(world.url, changes=4)


def test_another_plan_bought_after_it_is_granted_and_labelled(world: World) -> None:
    site = world.site("buys again", "free", 100, billed="starter")
    world.check()
    taken_back(world, world.repair().plan_id)
    quiet(world)
    world.later()
    world.bill(site, "pro", since=world.now)
    world.fix()
    assert world.app.row(site) == Row("pro", 5_100, 0)
    assert states(world.url, site, "plan_mismatch") == ["open"], "the same finding, about another plan"
    world.later()
    assert world.check().classes == {}


def test_a_fix_of_one_account_leaves_no_finding_behind_and_its_undo_holds_all_the_same(world: World) -> None:
    site = world.site("asked for", "free", 100, billed="pro")
    asked = [AccountId(site)]
    balances = collect_balances(world.gateways, run_id="one", now=world.now, accounts=asked)
    subscriptions = collect_subscriptions(world.gateways, balances, run_id="one", now=world.now)
    report = reconcile(SYSTEM, world.gateways, balances, subscriptions, now=world.now, accounts=asked)
    plan = propose(SYSTEM, world.gateways, report)
    world.approve(plan)
    assert outcomes(world.apply(plan.plan_id)) == [("auto", "changed")]
    assert states(world.url, site, "plan_mismatch") == []
    taken_back(world, plan.plan_id)
    assert world.app.row(site) == Row("free", 100, 0)
    quiet(world)


def test_a_restore_that_is_taken_back_is_not_offered_again(world: World) -> None:
    site = world.site("adjusted", "starter", 1_400, 300)
    world.check()
    world.later()
    world.app.run("UPDATE app_instances SET credits_total = 1200 WHERE instance_id = %s", site)
    offered = world.plan()
    world.approve(offered, lane="approve")
    assert outcomes(world.apply(offered.plan_id)) == [("approve", "changed")]
    assert world.app.row(site) == Row("starter", 1_400, 300)
    taken_back(world, offered.plan_id)
    assert world.app.row(site) == Row("starter", 1_200, 300)
    assert states(world.url, site, "unexplained_decrease") == ["accepted"]
    quiet(world)


def test_a_plan_of_the_schedule_does_not_end_an_undo_that_waits(world: World) -> None:
    site = world.site("waiting", "starter", 300)
    world.check()
    plan = world.repair()
    undo = proposed(world, plan.plan_id)
    world.plan()
    assert world.gateways.plans.load(undo.plan_id).state == "proposed"
    assert proposed(world, plan.plan_id).plan_id == undo.plan_id
    world.approve(undo, lane="approve")
    world.apply(undo.plan_id)
    assert world.app.row(site) == Row("starter", 300, 0)


def test_a_plan_that_changed_nothing_leaves_nothing_to_undo(world: World) -> None:
    world.site("short", "starter", 300)
    world.check()
    plan = world.plan()
    found = compensations(SYSTEM, world.gateways, plan.plan_id)
    assert (found.rows, found.notes) == ((), (f"{plan.plan_id}: it changed nothing: nothing can be undone",))


def test_an_undo_that_was_interrupted_is_gone_on_with(world: World) -> None:
    """Killed after its canary: typed again, it is the same plan with the same approval, whatever the limits are."""
    for number in range(9):
        world.site(f"site {number}", "starter", 100)
    before = world.app.rows()
    world.check()
    plan = world.repair()
    first = proposed(world, plan.plan_id)
    world.approve(first, lane="approve")
    world.begin(first.plan_id)
    assert len(world.gateways.plans.apply_batch(first.plan_id, 5)) == 5
    world.restart()
    again = proposed(world, plan.plan_id)
    assert again.plan_id == first.plan_id
    assert outcomes(world.apply(again.plan_id)) == [("approve", "changed")] * 9
    assert world.app.rows() == before
    assert_audited(world.url, changes=18)
