"""A product whose credits end with the subscription: they are taken by name only, and never on the first look."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from credit_pipeline.domain.policy import OnEnd
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, outcomes
from credit_pipeline_tests.incidents.world import SYSTEM, World, an_installed_product

FORFEIT = replace(SYSTEM, policy=replace(SYSTEM.policy, on_end=OnEnd.FORFEIT))


@pytest.fixture
def world(databases: Databases, tmp_path: Path) -> Iterator[World]:
    """Its owner declared `on_end: forfeit`."""
    with World(an_installed_product(databases), tmp_path / "home", system=FORFEIT) as made:
        yield made


def test_credits_of_an_ended_subscription_go_only_by_name_and_only_once(world: World) -> None:
    ended = world.site("ended", "pro", 5_000, 1_000)
    short = world.site("short", "pro", 100)
    world.repair()
    world.bill(ended, None)
    world.later()
    assert outcomes(world.fix()) == []
    assert world.found(ended).lane == "none", "seen once"

    world.later(hours=25)
    world.bill(short, "pro_plus", since=world.now - timedelta(hours=3))
    plan = world.plan()
    world.approve(plan)
    assert sorted(outcomes(world.apply(plan.plan_id))) == [("approve", None), ("auto", "changed")]
    assert world.app.row(ended) == Row("pro", 5_000, 1_000), "approving the limits takes nothing from anybody"

    world.later()
    world.app.use(ended, 500)
    plan = world.plan()
    world.approve(plan, lane="approve", account=ended)
    assert outcomes(world.apply(plan.plan_id)) == [("approve", "changed")]
    assert world.app.row(ended) == Row("free", 1_600, 1_500), "what is left is the free allowance"
    for _ in range(2):
        world.later()
        assert world.fix().rows == ()
    assert_audited(world.url, changes=3)
