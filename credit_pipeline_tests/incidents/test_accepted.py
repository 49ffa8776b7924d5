"""A loss that was right after all: somebody adjusted the balance by hand. A person says so and reports believe it."""

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from credit_pipeline.adapters.findings.lifecycle import PostgresLifecycle
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.services.findings.ports import Chosen, Decided, Lifecycle
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.conftest import Run
from credit_pipeline_tests.incidents.evidence import assert_audited, outcomes, states
from credit_pipeline_tests.incidents.gate import Gate, until
from credit_pipeline_tests.incidents.world import SYSTEM, World

EVA = Decided(who="eva", reason="refunded by hand")
QUEUES = """
SELECT locktype FROM pg_locks WHERE NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
def people(world: World) -> Iterator[Lifecycle]:
    """What a person types, by the world's clock."""
    with closing(PostgresLifecycle(world.url, SYSTEM, clock=lambda: world.now)) as lifecycle:
        yield lifecycle


@pytest.fixture
def lowered(world: World) -> str:
    """Seen at 1,400, and taken to 1,200 by somebody since; a loss of 200 is open."""
    site = world.site("adjusted", "starter", 1_400, 300)
    world.site("in order", "pro", 5_000, 900)
    world.check()
    world.later()
    world.app.run("UPDATE app_instances SET credits_total = 1200 WHERE instance_id = %s", site)
    assert world.check().classes == {"unexplained_decrease": 1}
    return site


def the_loss(people: Lifecycle, site: str) -> list[str]:
    return [one.fingerprint for one in people.named(Chosen(codes=("unexplained_decrease",), accounts=(site,)))]


def test_acknowledged_it_is_still_the_accounts_class_and_offered_for_approval(
    world: World, people: Lifecycle, lowered: str
) -> None:
    people.acknowledge(the_loss(people, lowered), EVA)
    for _ in range(2):
        world.later()
        assert outcomes(world.fix()) == [("approve", None)]
        assert world.found(lowered).code == "unexplained_decrease"
    assert states(world.url, lowered, "unexplained_decrease") == ["acknowledged"]


def test_accepted_it_is_in_sync_and_nothing_is_given_back(world: World, people: Lifecycle, lowered: str) -> None:
    people.accept(the_loss(people, lowered), EVA, until=None)
    for _ in range(3):
        world.later(hours=20)
        report = world.check()
        assert (report.classes, report.in_sync, report.actionable) == ({}, 2, 0)
        assert world.fix().rows == ()
        world.restart()
    assert world.app.row(lowered) == Row("starter", 1_200, 300)
    assert states(world.url, lowered, "unexplained_decrease") == ["accepted"]
    assert_audited(world.url, changes=0)


def test_accepted_for_a_day_it_is_open_again_afterwards_and_can_still_be_restored(
    world: World, people: Lifecycle, lowered: str
) -> None:
    people.accept(the_loss(people, lowered), EVA, until=world.now + timedelta(days=1))
    world.later(hours=20)
    assert world.check().classes == {}
    world.later(hours=6)
    assert world.check().classes == {"unexplained_decrease": 1}
    found = world.found(lowered)
    assert (found.lane, found.delta, found.aged) == ("approve", 200, False)
    assert states(world.url, lowered, "unexplained_decrease") == ["open"]
    world.later()
    plan = world.plan()
    world.approve(plan, lane="approve", account=lowered)
    assert outcomes(world.apply(plan.plan_id)) == [("approve", "changed")]
    assert world.app.row(lowered) == Row("starter", 1_400, 300)
    world.later()
    assert world.check().classes == {}
    assert states(world.url, lowered, "unexplained_decrease") == ["resolved"]


def test_the_next_loss_is_a_finding_of_its_own(world: World, people: Lifecycle, lowered: str) -> None:
    people.accept(the_loss(people, lowered), EVA, until=None)
    world.later()
    world.check()
    world.app.run("UPDATE app_instances SET credits_total = 1000 WHERE instance_id = %s", lowered)
    world.later()
    assert world.check().classes == {"unexplained_decrease": 1}
    assert states(world.url, lowered, "unexplained_decrease") == ["accepted", "open"]


def test_an_unproven_grant_that_is_accepted_is_not_offered_any_more(world: World, people: Lifecycle) -> None:
    site = world.site("label lost", "free", 5_000, 3_000, billed="pro")
    assert world.check().actionable == 1
    found = people.named(Chosen(accounts=(site,)))
    assert "grant_missing" in {one.code for one in found}
    people.accept([one.fingerprint for one in found if one.code == "grant_missing"], EVA, until=None)
    world.later()
    plan = world.repair()
    assert [row.correction.delta for row in plan.rows] == [0], "the label alone"
    world.later()
    assert world.check().classes == {}
    assert world.app.row(site) == Row("pro", 5_000, 3_000)


def test_the_command_line_from_the_loss_to_nothing_to_act_on(run: Run, live_world: World) -> None:
    site = live_world.site("adjusted", "starter", 1_200, 300)
    live_world.check()
    live_world.app.run("UPDATE app_instances SET credits_total = 1000 WHERE instance_id = %s", site)
    assert run("check", "wix_app").status == 1
    who = ("--as", "eva", "--reason", "refunded by hand")
    assert run("mismatches", "wix_app", "ack", "--code", "unexplained_decrease", *who).status == 0
    assert run("check", "wix_app").status == 1, "acknowledged is not mended"
    assert run("mismatches", "wix_app", "accept", "--code", "unexplained_decrease", *who).status == 0
    ended = run("check", "wix_app", "--format", "json")
    assert ended.status == 0
    assert (ended.json["classes"], ended.json["in_sync"]) == ({}, 1)


def test_stop_ends_an_apply_within_a_batch_and_resume_lets_it_be_finished(world: World, people: Lifecycle) -> None:
    """A canary of 5, then 10, then the rest: somebody types `stop` while the second batch is at work."""
    world.site("first", "pro", 100)
    world.repair()  # the first applied plan of a system needs approval
    world.later()
    sites = [world.site(f"short {number}", "starter", 100) for number in range(18)]
    gate = Gate(world.url)
    plan = world.plan()
    world.approve(plan)
    begun = world.begin(plan.plan_id)
    order = [row.correction.account_id for row in plan.rows]
    refusals: list[str] = []

    def apply() -> None:
        try:
            world.carry_out(begun)
        except PlanError as refusal:
            refusals.append(str(refusal))

    applier, stopper = threading.Thread(target=apply), threading.Thread(target=people.stop, args=(EVA,))
    with gate.closed(order[7]):
        applier.start()
        until(lambda: gate.waiting() == 1)
        stopper.start()
        until(lambda: gate.waiting() == 2)
        with psycopg.connect(world.url) as looking:
            queues = [queue for (queue,) in looking.execute(QUEUES).fetchall()]
        assert queues == ["advisory"] * 2, "the batch at the gate, and stop where the next batch cannot overtake it"
    for thread in (applier, stopper):
        thread.join(60)
    [refusal] = refusals
    assert refusal.startswith("wix_app: stopped since ")
    assert "(refunded by hand): `credit-pipeline resume wix_app`" in refusal
    rows = world.app.rows()
    assert [rows[site].total for site in order] == [1_000] * 15 + [100] * 3
    assert world.gateways.plans.load(plan.plan_id).state == "applying"
    with pytest.raises(PlanError, match="stopped since"):
        world.apply(plan.plan_id)
    assert world.app.rows() == rows
    people.resume(EVA)
    done = world.apply(plan.plan_id)
    assert (done.state, {outcome for _, outcome in outcomes(done)}) == ("applied", {"changed"})
    assert {world.app.row(site) for site in sites} == {Row("starter", 1_000, 0)}
    assert_audited(world.url, changes=19)
