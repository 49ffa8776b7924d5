"""A plan was saved, and the payment came back before it was applied: the row is not written."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.stripe.rows import Dispute, Refund
from credit_pipeline.services.apply import apply_plan
from credit_pipeline.services.plans.propose import propose
from credit_pipeline.services.reconcile.check import check
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.incidents.stripe_world import HOUR, SYSTEM, StripeWorld, an_installed_ledger


@pytest.fixture
def stripe_world(databases: Databases) -> Iterator[StripeWorld]:
    with BillingServer(per_second=10_000) as server:
        yield StripeWorld(an_installed_ledger(databases), server)


def a_refund(world: StripeWorld, amount: int = 1_900, status: str = "succeeded") -> Refund:
    return Refund(id="re_ann", invoice="in_ann", amount=amount, created=world.now - HOUR, status=status)  # type: ignore[arg-type]


def a_dispute(world: StripeWorld, status: str) -> Dispute:
    return Dispute(id="dp_ann", invoice="in_ann", amount=1_900, created=world.now - HOUR, status=status)


@pytest.mark.parametrize(
    ("came", "words"),
    [
        (a_refund, "its payment is refunded in full"),
        (lambda world: a_refund(world, amount=50), "its payment is refunded 50 of 1900"),
        (lambda world: a_dispute(world, "under_review"), "its payment is disputed: under_review"),
        (lambda world: a_refund(world, status="failed"), None),
        (lambda world: a_dispute(world, "won"), None),
    ],
    ids=["refunded", "refunded in part", "disputed", "refund failed", "dispute won"],
)
def test_a_payment_returned_after_the_plan_was_saved_stops_its_grant(stripe_world, tmp_path: Path, came, words) -> None:
    world = stripe_world
    account = AccountId(world.signs_up("ann"))
    world.buys("ann", hours=40)
    with open_gateways(SYSTEM, tmp_path, world.environment) as gateways:
        world.pin(gateways.billing.identity())
        report = check(SYSTEM, gateways, run_id="run", now=world.now, accounts=[account])
        plan = propose(SYSTEM, gateways, report)
        assert [(row.correction.lane.value, row.correction.delta) for row in plan.rows] == [("auto", 800)]

        world.server.stripe.add(came(world))
        applied = apply_plan(SYSTEM, gateways, plan.plan_id, live=True, person=True, clock=lambda: world.now)
        again = check(SYSTEM, gateways, run_id="again", now=world.now, accounts=[account])

    (row,) = applied.plan.rows
    if words is None:
        assert (row.outcome, world.grants(account)) == ("changed", [800])
        return
    assert (row.outcome, world.grants(account), world.balance(account)) == ("stale_skipped", [], 100)
    assert any(words in failure for failure in row.failures), row
    assert not any(one.grant for one in again.corrections)
    (mismatch,) = again.mismatches
    assert "refunded" in mismatch.secondary
    assert f"its payment is {mismatch.evidence['refunded']['payment']}" == words
