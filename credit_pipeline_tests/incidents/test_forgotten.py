"""A look at single accounts is not remembered: what it writes must not make a question disappear."""

from credit_pipeline.services.plans.ports import SavedPlan
from credit_pipeline.services.plans.propose import UNREMEMBERED, propose
from credit_pipeline.services.reconcile.check import check
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import outcomes
from credit_pipeline_tests.incidents.world import World


def _alone(world: World, account: str) -> SavedPlan:
    """`fix --account ID`."""
    report = check(world.system, world.gateways, run_id=f"alone {world.now:%H%M}", now=world.now, accounts=[account])
    return propose(world.system, world.gateways, report)


def _an_unproven_upgrade(world: World) -> str:
    """Was Pro granted and the label lost, or were top-ups bought? Nobody has looked at it before."""
    world.site("short", "pro", 100)
    world.repair()
    world.later()
    return world.site("unproven", "free", 5_000, 3_000, billed="pro")


def test_a_label_that_nobody_would_remember_is_left_to_a_complete_run(world: World) -> None:
    account = _an_unproven_upgrade(world)
    plan = _alone(world, account)
    assert sorted(outcomes(plan), key=str) == [("approve", None), ("auto", "blocked_by_guard")]
    assert [row.failures for row in plan.rows if row.outcome] == [(UNREMEMBERED,)]
    world.apply(plan.plan_id)
    assert world.app.row(account) == Row("free", 5_000, 3_000)
    world.later()
    world.check()
    assert "grant_missing" in {world.found(account).code, *world.found(account).secondary}


def test_once_a_complete_run_knows_the_label_is_written_and_the_question_stays(world: World) -> None:
    account = _an_unproven_upgrade(world)
    world.check()
    plan = _alone(world, account)
    assert sorted(outcomes(plan), key=str) == [("approve", None), ("auto", None)]
    world.apply(plan.plan_id)
    assert world.app.row(account) == Row("pro", 5_000, 3_000)
    for _ in range(2):
        world.later()
        world.check()
        assert world.found(account).code == "grant_missing"
