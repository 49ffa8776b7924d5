"""Starter → Pro → Starter → Pro within one period, with every webhook lost: the right label, and each plan once."""

from datetime import timedelta

import pytest

from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, granted
from credit_pipeline_tests.incidents.world import World

STAMPS = ["fixed", "moving"]


def change(world: World, site: str, plan: str, *, stamps: str, first: bool = False) -> None:
    """Billing changes the plan an hour ago; the product hears nothing."""
    world.later(hours=20)
    known = world.book.get(site)
    assert known is not None
    moved = first or stamps == "moving"
    world.bill(site, plan, since=world.now - timedelta(hours=1))
    if not moved:
        world.book.patch(site, time_stamp=known.time_stamp)


@pytest.mark.parametrize("stamps", STAMPS)
def test_each_plan_is_granted_once_when_every_change_is_seen(world: World, stamps: str) -> None:
    site = world.site("flapping", "free", 100, 0)
    world.check()
    change(world, site, "starter", stamps=stamps, first=True)
    world.repair()
    assert world.app.row(site) == Row("starter", 1_100, 0)
    world.app.use(site, 400)
    for plan in ("pro", "starter", "pro"):
        change(world, site, plan, stamps=stamps)
        world.fix()
        assert world.app.row(site).label == plan
        assert world.app.row(site).total == 5_700
    for _ in range(2):
        world.later(hours=20)
        world.fix()
    assert world.app.row(site) == Row("pro", 5_700, 0)
    assert granted(world.url, site) == [("starter", 1_000), ("pro", 5_000)]
    assert_audited(world.url, changes=4)


@pytest.mark.parametrize("stamps", STAMPS)
def test_each_plan_is_granted_once_when_only_the_end_is_seen(world: World, stamps: str) -> None:
    site = world.site("flapping", "starter", 1_000, 400)
    world.check()
    for plan in ("pro", "starter", "pro"):
        known = world.book.get(site)
        assert known is not None
        world.later(hours=2)
        world.bill(site, plan, since=world.now)
        if stamps == "fixed":
            world.book.patch(site, time_stamp=known.time_stamp)
    world.repair()
    assert world.app.row(site) == Row("pro", 5_600, 0)
    for _ in range(2):
        world.later(hours=20)
        assert world.fix().rows == ()
    assert world.app.row(site) == Row("pro", 5_600, 0)
    assert granted(world.url, site) == [("pro", 5_000)]


@pytest.mark.parametrize("stamps", STAMPS)
def test_a_product_that_heard_every_change_is_left_alone(world: World, stamps: str) -> None:
    """The same life with webhooks that arrive: the app folds, relabels, and owes nothing."""
    site = world.site("flapping", "starter", 1_000, 400)
    world.check()
    change(world, site, "pro", stamps=stamps)
    world.app.webhook(site, "pro")
    assert world.fix().rows == ()
    for plan in ("starter", "pro"):
        change(world, site, plan, stamps=stamps)
        world.app.relabel(site, plan)
        world.fix()
    assert world.app.row(site) == Row("pro", 5_600, 0)
    assert world.app.changes_by("credit_pipeline") == 0
