"""The well-meant repair job: SET credits_total = monthly_credits, between two runs. What it destroyed stays in view."""

import pytest

from credit_pipeline.domain.errors import PlanError
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, granted, outcomes, states
from credit_pipeline_tests.incidents.world import World


@pytest.fixture
def carried(world: World) -> str:
    """1,200 on Starter as the last run saw it, and 1,000 since; others are at their allowance."""
    site = world.site("carried over", "starter", 1_200, 300)
    world.site("in order", "pro", 5_000, 900)
    world.site("free", "free", 100, 10)
    assert world.fix().rows == ()
    world.later()
    assert world.app.repair_job() == 1
    assert world.app.row(site) == Row("starter", 1_000, 300)
    return site


def restore(world: World, site: str) -> str:
    """A person confirms the loss; returns the plan that gave it back."""
    plan = world.plan()
    assert world.approve(plan, lane="approve", account=site) == 1
    assert outcomes(world.apply(plan.plan_id)) == [("approve", "changed")]
    return plan.plan_id


def test_the_loss_of_200_is_still_open_after_ten_more_runs(world: World, carried: str) -> None:
    for number in range(11):
        world.restart()
        assert outcomes(world.fix()) == [("approve", None)]
        found = world.found(carried)
        assert (found.code, found.lane, found.delta) == ("unexplained_decrease", "approve", 200)
        assert found.evidence["unexplained_decrease"]["signature"] == "reset_to_allowance"
        assert found.evidence["unexplained_decrease"]["loss"] == 200
        world.app.use(carried, number)
        world.later(hours=9)
    assert found.aged
    assert world.app.row(carried).total == 1_000
    assert states(world.url, carried, "unexplained_decrease") == ["open"]
    assert_audited(world.url, changes=0)


def test_approved_it_is_given_back_once_and_never_twice(world: World, carried: str) -> None:
    world.fix()
    world.app.use(carried, 100)
    world.later()
    restored = restore(world, carried)
    assert world.app.row(carried) == Row("starter", 1_200, 400)
    with pytest.raises(PlanError, match="is applied"):
        world.apply(restored)
    for _ in range(4):
        world.restart()
        world.later(hours=17)
        plan = world.fix()
        assert plan.rows == ()
        with pytest.raises(PlanError, match="no waiting row"):
            world.approve(plan, lane="approve", account=carried)
    assert world.app.row(carried) == Row("starter", 1_200, 400)
    assert granted(world.url, carried) == []
    assert states(world.url, carried, "unexplained_decrease") == ["resolved"]
    assert_audited(world.url, changes=1)


def test_two_plans_for_the_same_loss_that_are_under_way_at_once_restore_it_once(world: World, carried: str) -> None:
    """Approved twice even: the key of the restore is taken for ever."""
    world.fix()
    under_way = []
    for _ in range(2):
        plan = world.plan()
        world.approve(plan, lane="approve", account=carried)
        under_way.append(world.begin(plan.plan_id))
    assert [state.go for state in under_way] == [True, True]
    ended = [outcomes(world.carry_out(state)) for state in under_way]
    assert ended == [[("approve", "changed")], [("approve", "noop_already_applied")]]
    assert world.app.row(carried) == Row("starter", 1_200, 300)
    world.later()
    assert world.fix().rows == ()
    assert_audited(world.url, changes=1)


def test_a_job_that_runs_again_after_the_restore_is_a_loss_of_its_own(world: World, carried: str) -> None:
    world.fix()
    restore(world, carried)
    world.later()
    world.check()
    assert world.app.repair_job() == 1
    world.later()
    assert outcomes(world.fix()) == [("approve", None)]
    assert world.app.row(carried) == Row("starter", 1_000, 300)
    restore(world, carried)
    assert world.app.row(carried) == Row("starter", 1_200, 300)
    assert states(world.url, carried, "unexplained_decrease") == ["resolved", "open"]
    world.later()
    assert world.fix().rows == ()
    assert states(world.url, carried, "unexplained_decrease") == ["resolved", "resolved"]
    assert_audited(world.url, changes=2)


def test_a_job_that_runs_at_every_restart_destroys_200_once(world: World, carried: str) -> None:
    for _ in range(3):
        world.later()
        world.fix()
        assert world.app.repair_job() == 0
    restore(world, carried)
    assert world.app.row(carried) == Row("starter", 1_200, 300)
