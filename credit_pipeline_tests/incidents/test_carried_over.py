"""200 free + 1,000 Starter = 1,200, once reset to 1,000 at every restart; and what a plan gives when it was missed."""

from datetime import timedelta

import pytest

from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, granted, states
from credit_pipeline_tests.incidents.world import World


def test_1200_on_starter_is_untouched_by_any_run_and_restart_while_a_short_neighbour_is_repaired(world: World) -> None:
    carried = world.site("carried over", "starter", 1_200, 300)
    short = world.site("short", "pro", 100, 40)
    world.repair()
    assert world.app.row(short) == Row("pro", 5_000, 40)
    for _ in range(10):
        world.restart()
        world.later(hours=6)
        world.app.use(carried, 7)
        plan = world.fix()
        assert plan.rows == ()
    assert world.app.row(carried) == Row("starter", 1_200, 370)
    assert world.app.changes_by("credit_pipeline", carried) == 0
    assert world.app.row(short) == Row("pro", 5_000, 40)
    assert granted(world.url, short) == [("pro", 4_900)]
    assert_audited(world.url, changes=1)


UPGRADES = [
    ("free", 200, 0, "starter", Row("starter", 1_200, 0)),
    ("starter", 1_000, 0, "pro", Row("pro", 6_000, 0)),
    ("starter", 1_000, 600, "pro", Row("pro", 5_400, 0)),
    ("free", 100, 100, "pro", Row("pro", 5_000, 0)),
]


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "never seen before"])
@pytest.mark.parametrize(("label", "total", "used", "billed", "right"), UPGRADES)
def test_a_missed_upgrade_adds_the_new_allowance_to_what_was_left(
    world: World, label: str, total: int, used: int, billed: str, right: Row, *, watched: bool
) -> None:
    site = world.site("upgraded", label, total, used)
    if watched:
        assert world.check().mismatches == ()
        world.later()
    world.bill(site, billed, since=world.now - timedelta(hours=1))
    world.repair()
    assert world.app.row(site) == right
    world.later()
    assert world.fix().rows == ()
    assert world.app.row(site) == right
    assert granted(world.url, site) == [(billed, right.available - (total - used))]


@pytest.mark.parametrize("word", ["Pro+", "pro +", "ＰＲＯ＋", "pro_plus", "Pro-Plus"])
def test_pro_plus_is_never_pro(world: World, word: str) -> None:
    """`Pro+` once passed for `pro`, and 15,000 credits became 5,000."""
    in_order = world.site("in order", "pro_plus", 15_000, 9_000, billed=word)
    missed = world.site("missed", "free", 100, 60, billed=word)
    world.repair()
    assert world.app.row(missed) == Row("pro_plus", 15_040, 0)
    world.later()
    assert world.fix().rows == ()
    assert world.app.row(in_order) == Row("pro_plus", 15_000, 9_000)
    assert world.app.changes_by("credit_pipeline", in_order) == 0


@pytest.mark.parametrize("word", ["Profi", "94D0BE17-2C5A-4F6B-8E39-C07A61D5F2B8", "beta"])
def test_a_word_nobody_knows_gives_nothing_and_is_reported(world: World, word: str) -> None:
    unknown = world.site("unknown", "free", 100, 60, billed=word)
    short = world.site("short", "pro", 100)
    world.repair()
    assert world.app.row(short) == Row("pro", 5_000, 0)
    for _ in range(2):
        world.later()
        assert world.fix().rows == ()
        found = world.found(unknown)
        assert (found.code, found.lane, found.evidence["plan_unmapped"]["raw"]) == ("plan_unmapped", "review", word)
    assert world.app.row(unknown) == Row("free", 100, 60)
    assert world.app.changes_by("credit_pipeline", unknown) == 0
    assert states(world.url, unknown, "plan_unmapped") == ["open"]
