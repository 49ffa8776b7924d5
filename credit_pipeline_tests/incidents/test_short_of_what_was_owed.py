"""The product granted too little at an upgrade, or nothing at a renewal: found, approved, mended once, and closed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.domain.policy import Renewal
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited, outcomes, states
from credit_pipeline_tests.incidents.world import World


@pytest.fixture
def settled(world: World) -> World:
    """A first plan was applied to somebody else before."""
    world.site("somebody else", "pro", 100)
    world.repair()
    world.later()
    return world


def approved(world: World, account: str) -> None:
    """A person lets the account's row of the next plan go."""
    plan = world.plan()
    assert world.approve(plan, lane="approve", account=account) == 1
    assert outcomes(world.apply(plan.plan_id)) == [("approve", "changed")]


def test_the_product_s_own_upgrade_set_the_total(settled: World) -> None:
    """200 + 1,000 became 1,000."""
    world, account = settled, settled.site("upgraded", "free", 200)
    world.fix()
    world.later()
    world.app.run("UPDATE app_instances SET plan_id = 'starter', credits_total = 1000 WHERE instance_id = %s", account)
    world.bill(account, "starter", since=world.now - timedelta(hours=2))
    assert outcomes(world.fix()) == [("approve", None)]
    assert world.found(account).code == "grant_amount_mismatch"
    world.later()
    approved(world, account)
    assert world.app.row(account) == Row("starter", 1_200, 0)
    for _ in range(3):
        world.later(hours=17)
        assert world.fix().rows == ()
    assert states(world.url, account, "grant_amount_mismatch") == ["resolved"]
    assert_audited(world.url, changes=2)


@pytest.mark.parametrize(
    ("renewal", "before", "after"),
    [
        (Renewal.RESET_USED, (5_000, 800), (5_000, 40)),
        (Renewal.ADD_ALLOWANCE, (6_000, 800), (11_000, 840)),
        (Renewal.SET_TO_ALLOWANCE, (5_000, 3_000), (8_000, 3_040)),
    ],
)
def test_a_renewal_that_did_not_come(
    settled: World, renewal: Renewal, before: tuple[int, int], after: tuple[int, int]
) -> None:
    world = settled
    world.system = replace(world.system, policy=replace(world.system.policy, renewal=renewal))
    world.restart()
    renews = world.now + timedelta(hours=3)
    account = world.site("renewing", "pro", *before, since=add_months(renews, -1))
    world.fix()
    for _ in range(4):
        world.later()
        assert world.fix().rows == (), "the product has a day and two hours"
    world.app.use(account, 40)
    world.later()
    assert outcomes(world.fix()) == [("approve", None)]
    assert world.found(account).code == "renewal_missing"
    world.later()
    approved(world, account)
    assert world.app.row(account) == Row("pro", *after)
    for _ in range(3):
        world.later(hours=17)
        assert world.fix().rows == ()
    assert states(world.url, account, "renewal_missing") == ["resolved"]
