"""The webhook comes after our correction (Wix retries for 47 hours): once by us, and visible where twice by them."""

from datetime import timedelta

import pytest

from credit_pipeline.domain.errors import PlanError
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, granted, outcomes, states
from credit_pipeline_tests.incidents.world import World


@pytest.fixture
def corrected(world: World) -> str:
    """Starter with 400 left, billed Pro; the webhook is late and the pipeline was there first."""
    site = world.site("late", "starter", 1_000, 600)
    world.check()
    world.later()
    world.bill(site, "pro", since=world.now - timedelta(hours=2))
    world.repair()
    assert world.app.row(site) == Row("pro", 5_400, 0)
    world.later()
    return site


def test_a_handler_that_sees_the_label_does_nothing_and_nothing_is_granted_twice(world: World, corrected: str) -> None:
    assert world.app.webhook(corrected, "pro") is False
    for _ in range(3):
        assert world.fix().rows == ()
        world.later()
    assert world.app.row(corrected) == Row("pro", 5_400, 0)
    assert granted(world.url, corrected) == [("pro", 5_000)]


def test_a_late_end_of_the_old_plan_that_takes_the_label_is_repaired_without_credits(
    world: World, corrected: str
) -> None:
    world.app.relabel(corrected, "free")
    assert outcomes(world.fix()) == [("auto", "changed")]
    assert world.app.row(corrected) == Row("pro", 5_400, 0)
    assert granted(world.url, corrected) == [("pro", 5_000)]


@pytest.mark.parametrize(("spent", "left"), [(0, 5_400), (7_000, 0)], ids=["unspent", "mostly spent"])
def test_a_handler_that_adds_again_is_a_duplicate_for_a_person(
    world: World, corrected: str, spent: int, left: int
) -> None:
    world.app.unkeyed_webhook(corrected, "pro")
    assert world.app.row(corrected) == Row("pro", 10_400, 0)
    assert outcomes(world.fix()) == [("approve", None)]
    found = world.found(corrected)
    assert (found.code, found.lane) == ("grant_duplicate", "approve")
    assert found.evidence["grant_duplicate"]["gain"] == 5_000
    assert world.app.row(corrected) == Row("pro", 10_400, 0), "nothing automatic lowers what can be spent"

    world.app.use(corrected, spent)
    world.later()
    plan = world.plan()
    world.approve(plan, lane="approve", account=corrected)
    assert outcomes(world.apply(plan.plan_id)) == [("approve", "changed")]
    assert world.app.row(corrected).available == left
    with pytest.raises(PlanError, match="is applied"):
        world.apply(plan.plan_id)
    for _ in range(2):
        world.later()
        assert world.fix().rows == ()
    assert world.app.row(corrected).available == left
    assert states(world.url, corrected, "grant_duplicate") == ["resolved"]
    assert_audited(world.url, changes=2)
