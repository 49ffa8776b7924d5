"""What an apply looks at between two batches: whether billing still agrees, and whether the invariants hold."""

from dataclasses import replace
from datetime import timedelta

from credit_pipeline.services.plans.apply_state import ApplyState
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, granted, outcomes
from credit_pipeline_tests.incidents.world import World

SITES = 12


def after_the_canary(world: World) -> tuple[list[str], ApplyState]:
    """Sites in the order of the plan, and an approved apply of which the canary of five is written."""
    sites = [world.site(f"short {number}", "pro", 100) for number in range(SITES)]
    plan = world.plan()
    world.approve(plan)
    state = world.applying.canary(world.begin(plan.plan_id))
    assert state.go, state.failures
    order = [row.correction.account_id for row in plan.rows]
    assert sorted(order) == sorted(sites)
    return order, state


def test_billing_is_asked_again_before_a_batch_whose_answers_are_too_old(world: World) -> None:
    order, state = after_the_canary(world)
    cancelled = order[8]
    world.bill(cancelled, None)
    world.now += timedelta(minutes=6)
    ended = world.applying.finish(world.applying.rest(state))
    assert not ended.state.failures
    came_to = {row.correction.account_id: row.outcome for row in ended.plan.rows}
    assert came_to == {account: "stale_skipped" if account == cancelled else "changed" for account in order}
    assert world.app.row(cancelled) == Row("pro", 100, 0)
    assert_audited(world.url, changes=SITES - 1)


def test_an_invariant_that_broke_in_a_batch_stops_the_next_one(world: World) -> None:
    """Somebody with a superuser's rights removes a grant of the canary; the rest is applied by another process."""
    order, state = after_the_canary(world)
    assert granted(world.url, order[0]) == [("pro", 4_900)]
    world.app.run("SET session_replication_role = replica")
    assert world.app.run('DELETE FROM credit_pipeline."grant" WHERE account = %s', order[0]) == 1
    world.restart()
    ended = world.applying.finish(world.applying.rest(replace(state, batch=3)))
    assert ended.state.stopped_by is not None
    assert "this does not hold: every_grant_has_its_change in 1 rows" in ended.state.stopped_by
    written = [outcome for _, outcome in outcomes(ended.plan)]
    assert (written.count("changed"), written.count(None)) == (5 + 3, SITES - 5 - 3), "one batch, and no other"
