"""Was Pro granted and its label lost, or were credits bought? Where nothing proves it, the label alone is automatic."""

from datetime import timedelta

import pytest

from credit_pipeline.domain.errors import PlanError
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, granted, outcomes, states
from credit_pipeline_tests.incidents.world import World


@pytest.fixture
def unproven(world: World) -> str:
    """Free, total 5,000, used 3,000, billed Pro; a first plan was applied to somebody else before."""
    world.site("somebody else", "pro", 100)
    world.repair()
    world.later()
    return world.site("unproven", "free", 5_000, 3_000, billed="pro")


def test_the_label_is_repaired_and_ten_live_runs_give_no_credits_and_lose_no_sight(world: World, unproven: str) -> None:
    plan = world.fix()
    assert outcomes(plan) == [("auto", "changed"), ("approve", None)]
    assert world.app.row(unproven) == Row("pro", 5_000, 3_000)
    for _ in range(10):
        world.restart()
        world.later(hours=7)
        waiting = world.fix()
        assert outcomes(waiting) == [("approve", None)]
        assert waiting.rows[0].correction.delta == 5_000
    found = world.found(unproven)
    assert (found.code, found.lane, found.aged) == ("grant_missing", "approve", True)
    assert found.evidence["grant_missing"]["proof"] == "none"
    assert world.app.row(unproven) == Row("pro", 5_000, 3_000)
    assert granted(world.url, unproven) == []
    assert world.app.changes_by("credit_pipeline", unproven) == 1


def test_approved_it_is_7000_available_and_only_once(world: World, unproven: str) -> None:
    world.fix()
    world.later()
    plan = world.plan()
    assert world.approve(plan, lane="approve", account=unproven) == 1
    applied = world.apply(plan.plan_id)
    assert outcomes(applied) == [("approve", "changed")]
    assert world.app.row(unproven) == Row("pro", 7_000, 0)
    with pytest.raises(PlanError, match="is applied"):
        world.approve(plan, lane="approve", account=unproven)
    with pytest.raises(PlanError, match="is applied"):
        world.apply(plan.plan_id)
    for _ in range(4):
        world.later(hours=17)
        assert world.fix().rows == ()
    assert world.app.row(unproven) == Row("pro", 7_000, 0)
    assert granted(world.url, unproven) == [("pro", 5_000)]
    assert states(world.url, unproven, "grant_missing") == ["resolved"]
    assert_audited(world.url, changes=3)


def test_the_credits_of_two_plans_made_before_the_approval_come_once(world: World, unproven: str) -> None:
    """A newer plan supersedes the older, and the approval binds to the row and not to the plan."""
    world.fix()
    older = world.plan()
    newer = world.plan()
    with pytest.raises(PlanError, match="superseded"):
        world.approve(older, lane="approve", account=unproven)
    world.approve(newer, lane="approve", account=unproven)
    newest = world.plan()  # planned again after the approval: the identical row keeps it
    assert outcomes(world.apply(newest.plan_id)) == [("approve", "changed")]
    with pytest.raises(PlanError):
        world.apply(newer.plan_id)
    world.later()
    assert world.fix().rows == ()
    assert world.app.row(unproven) == Row("pro", 7_000, 0)
    assert granted(world.url, unproven) == [("pro", 5_000)]


def test_what_was_spent_while_it_waited_stays_spent(world: World, unproven: str) -> None:
    plan = world.fix()
    world.app.use(unproven, 500)
    world.later()
    plan = world.plan()
    world.approve(plan, lane="approve", account=unproven)
    world.app.use(unproven, 100)
    world.apply(plan.plan_id)
    assert world.app.row(unproven) == Row("pro", 6_400, 0)


@pytest.mark.parametrize(
    ("looks", "left"),
    [(0, "free"), (0, "starter"), (0, None), (1, "free"), (5, "free")],
    ids=["in the same night", "never written", "cleared", "at the next look", "two days later"],
)
def test_a_fold_whose_label_is_lost_is_not_paid_again(world: World, looks: int, left: str | None) -> None:
    """Starter (6,000, used 5,400) became Pro as (5,600, 0); a label that falls back makes it no missing grant."""
    site = world.site("folded", "starter", 6_000, 5_400)
    world.site("somebody else", "pro", 100)
    world.repair()
    world.later(hours=10)
    world.bill(site, "pro", since=world.now - timedelta(hours=1))
    world.app.fold(site, "pro")
    assert world.app.row(site) == Row("pro", 5_600, 0)
    for _ in range(looks):
        assert world.fix().rows == ()
        world.later(hours=10)
    world.app.relabel(site, left)
    for _ in range(3):
        world.fix()
        world.later(hours=10)
    assert world.app.row(site) == Row("pro", 5_600, 0)
    assert granted(world.url, site) == []
    assert world.app.changes_by("credit_pipeline", site) == 1
