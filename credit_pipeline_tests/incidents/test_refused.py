"""A live run on a real database that a guard refuses: the sentence, a quarantined plan, and not one row changed.

The sentences at their boundaries are in `domain/test_guards.py`; here they meet the plan, the database and the product.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.domain.policy import Limits
from credit_pipeline.services.plans.approvals import decisions_about
from credit_pipeline.services.plans.guard import Guarded, guard
from credit_pipeline.services.plans.ports import SavedPlan, Selection
from credit_pipeline.services.plans.propose import propose
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.world import SYSTEM, World
from credit_pipeline_tests.moved_clock import MovedPlans, pin_billing

LIFT = "credit-pipeline approve {plan} --lane auto --as YOU --reason WHY"


@pytest.fixture
def applied(world: World) -> World:
    """A product of 20 sites in order whose first plan was applied."""
    for number in range(20):
        world.site(f"in order {number}", "starter", 1_000, number)
    world.site("first", "pro", 100)
    world.repair()
    world.later()
    return world


def missed(world: World, number: int) -> list[str]:
    """Sites that bought Pro an hour ago, unheard; they were seen on Starter before."""
    names = [f"missed {n}" for n in range(number)]
    sites = [world.site(name, "starter", 1_000, 100, since=world.now - timedelta(days=9)) for name in names]
    world.check()
    world.later(hours=2)
    for site in sites:
        world.bill(site, "pro", since=world.now - timedelta(hours=1))
    return sites


def saved(world: World) -> SavedPlan:
    return propose(SYSTEM, world.gateways, world.check())


def live(world: World, plan: SavedPlan, *, system: CreditSystem = SYSTEM, **words: Any) -> Guarded:
    told = {"person": True, "now": world.now} | words
    return guard(system, world.gateways, plan.plan_id, live=True, **told)


def with_limits(**words: Any) -> CreditSystem:
    return replace(SYSTEM, policy=replace(SYSTEM.policy, limits=Limits(**words)))


@pytest.fixture
def untouched(applied: World) -> Callable[..., None]:
    """Call it with a refusal: the sentences are these, and product and audit are as they were when it was made."""

    def state() -> tuple[Any, ...]:
        return applied.app.versions(), applied.gateways.plans.audit_head()

    before: list[Any] = []

    def refused(guarded: Guarded, *sentences: str) -> None:
        plan = guarded.plan.plan_id
        assert [f.sentence for f in guarded.verdict.failures] == [s.format(plan=plan) for s in sentences]
        assert not guarded.go
        with pytest.raises(PlanError):
            applied.gateways.plans.apply_batch(plan, 200)
        assert applied.app.versions() == before[0][0]
        assert applied.gateways.plans.audit_head() == before[0][1]

    refused.remember = lambda: before.append(state())  # type: ignore[attr-defined]
    return refused


@pytest.fixture
def due(applied: World, untouched: Any) -> SavedPlan:
    """A saved plan of two upgrades that are owed."""
    missed(applied, 2)
    plan = saved(applied)
    assert len(plan.rows) == 2
    untouched.remember()
    return plan


def test_the_plan_that_the_others_vary_would_be_applied(applied: World, due: SavedPlan) -> None:
    assert live(applied, due).go
    assert applied.apply(due.plan_id).state == "applied"


def test_too_many_rows(applied: World, untouched: Any) -> None:
    missed(applied, 6)
    plan = saved(applied)
    untouched.remember()
    guarded = live(applied, plan)
    untouched(guarded, f"would change 6/27 (22.2%) accounts, limit 5: review, then {LIFT}")
    assert (guarded.plan.state, guarded.plan.failures) == (
        "quarantined",
        (guarded.verdict.failures[0].sentence,),
    )


def test_too_many_credits(applied: World, due: SavedPlan, untouched: Any) -> None:
    guarded = live(applied, due, system=with_limits(credits_allowances=0, credits_share=0.1))
    untouched(guarded, f"would move 10,000/35,000 (28.6%) credits of a month, limit 3,500: review, then {LIFT}")


def test_too_many_accounts_that_could_not_be_judged(applied: World, untouched: Any) -> None:
    missed(applied, 1)
    for number in range(4):
        applied.site(f"odd {number}", "starter", 1_000, billed="Platinum")
    plan = saved(applied)
    untouched.remember()
    untouched(
        live(applied, plan),
        "4/26 (15.4%) accounts could not be judged, limit 3: "
        "map the plans or repair the source that credit-pipeline check wix_app names",
    )


def test_a_source_that_left_accounts_unanswered(applied: World, untouched: Any) -> None:
    missed(applied, 1)
    for number in range(4):
        applied.book.patch(applied.site(f"silent {number}", "starter", 1_000), lookup_error=True)
    plan = saved(applied)
    untouched.remember()
    assert plan.failures == ("billing left 4/26 (15.4%) accounts unanswered, limit 3: run again when it is healthy",)
    untouched(
        live(applied, plan),
        plan.failures[0],
        "4/26 (15.4%) accounts could not be judged, limit 3: "
        "map the plans or repair the source that credit-pipeline check wix_app names",
    )


def test_a_snapshot_that_is_too_old(applied: World, due: SavedPlan, untouched: Any) -> None:
    applied.now += timedelta(minutes=36, seconds=30)
    untouched(
        live(applied, due),
        "the snapshot is 36 min old, limit 30 min: make a new plan with credit-pipeline fix wix_app",
    )


def test_clocks_that_disagree(applied: World, due: SavedPlan, untouched: Any) -> None:
    with closing(MovedPlans(applied.url, SYSTEM, lambda: applied.now - timedelta(seconds=95))) as plans:
        applied.gateways = replace(applied.gateways, plans=plans)
        untouched(
            live(applied, due),
            "this machine's clock is 95 s ahead of the database's, limit 30 s: "
            "set both by a time server, then make a new plan with credit-pipeline fix wix_app",
        )


def test_the_database_tells_its_own_clock(applied: World) -> None:
    with closing(PostgresPlans(applied.url, SYSTEM)) as plans:
        assert abs(plans.clock() - datetime.now(UTC)) < timedelta(seconds=20)


def test_the_first_plan_of_a_system(world: World) -> None:
    world.site("short", "pro", 100)
    guarded = live(world, saved(world))
    (failure,) = guarded.verdict.failures
    assert failure.sentence == (
        f"the first applied plan of a system needs approval: {LIFT.format(plan=guarded.plan.plan_id)}"
    )
    assert world.app.changes_by("credit_pipeline") == 0


def test_a_run_behind_which_nobody_stands(applied: World, due: SavedPlan, untouched: Any) -> None:
    untouched(
        live(applied, due, person=False),
        f"live runs from the UI or a schedule need automation.apply or an approval: {LIFT}",
    )


def test_a_database_without_a_pin_for_billing(applied: World, due: SavedPlan, untouched: Any) -> None:
    with psycopg.connect(applied.url) as connection:
        connection.execute("UPDATE credit_pipeline.control SET pins = pins - 'billing'")
    untouched(live(applied, due), "billing's account is not pinned in this database: run credit-pipeline init wix_app")


def test_another_account_at_billing_than_the_one_pinned(applied: World, due: SavedPlan, untouched: Any) -> None:
    pin_billing(applied.url, {"provider": "wix", "account": "another"})
    untouched(
        live(applied, due),
        "billing's account is not the one pinned, 1/3 (33.3%) of its marks differ, limit 0: account is book, pinned "
        "another: use that account's key, or credit-pipeline init wix_app --repin --as YOU --reason WHY",
    )


def test_another_environment_than_the_one_pinned(applied: World, due: SavedPlan, untouched: Any) -> None:
    untouched(
        live(applied, due, system=replace(SYSTEM, environment="production")),
        "billing's account is not the one pinned, 1/3 (33.3%) of its marks differ, limit 0: environment is production, "
        "pinned sandbox: use that account's key, or credit-pipeline init wix_app --repin --as YOU --reason WHY",
    )


def flapping(world: World, number: int) -> list[str]:
    """Sites whose label somebody sets back within hours, again and again; each was relabelled by us twice."""
    sites = [world.site(f"flapping {n}", "pro", 5_000, 100) for n in range(number)]
    world.check()
    for _ in range(2):
        world.later(hours=3)
        for site in sites:
            world.app.relabel(site, "free")
        assert world.repair().state == "applied"
    world.later(hours=3)
    for site in sites:
        world.app.relabel(site, "free")
    return sites


def automatic(plan: SavedPlan, account: str) -> list[tuple[str | None, tuple[str, ...]]]:
    """What the account's automatic rows came to; its credits, owed or not, wait for a person besides."""
    own = [row for row in plan.rows if row.correction.account_id == account]
    return [(row.outcome, row.failures) for row in own if row.correction.lane is Lane.AUTO]


def test_accounts_that_something_undoes_again_and_again(applied: World, untouched: Any) -> None:
    flapping(applied, 2)
    plan = saved(applied)
    untouched.remember()
    untouched(
        live(applied, plan),
        "2/2 (100.0%) rows are of accounts corrected automatically 2 times in 24 h, limit 1: find what undoes the "
        "corrections with credit-pipeline account wix_app ID, then credit-pipeline fix wix_app",
    )


def test_one_such_account_is_held_with_its_sentence_and_stops_nobody_else(applied: World) -> None:
    (site,) = flapping(applied, 1)
    owed = missed(applied, 2)
    plan = applied.fix()
    assert plan.state == "partly_applied"
    assert automatic(plan, site) == [
        (
            "blocked_by_guard",
            (
                "had 2 automatic corrections in 24 h, and is held from 2 on: "
                "find what undoes them with credit-pipeline account wix_app ID",
            ),
        )
    ]
    assert {applied.app.row(one) for one in owed} == {Row("pro", 5_900, 0)}
    assert applied.app.row(site).label == "free"
    applied.later(hours=24)
    assert applied.fix().state == "applied"
    assert applied.app.row(site).label == "pro"


def test_a_row_that_gives_more_than_is_due_is_held(applied: World, due: SavedPlan) -> None:
    applied.app.run("UPDATE credit_pipeline.catalogue SET credits = 4000 WHERE plan = %s", "pro")
    guarded = live(applied, due)
    assert set(guarded.held.values()) == {
        "would give 5,000 credits, limit 4,000, the allowances of its grants and the losses it restores: "
        "make a new plan with credit-pipeline fix wix_app"
    }
    kept = applied.gateways.plans.load(due.plan_id)
    assert [row.outcome for row in kept.rows] == ["blocked_by_guard"] * 2


def test_a_dry_run_shows_the_rows_that_would_be_held_and_stores_nothing(applied: World) -> None:
    (site,) = flapping(applied, 1)
    plan = saved(applied)
    guarded = guard(SYSTEM, applied.gateways, plan.plan_id, live=False, person=True, now=applied.now)
    assert [outcome for outcome, _ in automatic(guarded.plan, site)] == ["blocked_by_guard"]
    assert automatic(applied.gateways.plans.load(plan.plan_id), site) == [(None, ())]


def test_a_run_that_asks_for_more_than_the_policy_allows(applied: World, due: SavedPlan, untouched: Any) -> None:
    guarded = live(applied, due, limits={"rows": 6, "batch": 500})
    untouched(
        guarded,
        "limits.rows of this run is 6, limit 5: a run may only tighten it, so give at most 5 or leave it out",
        "limits.batch of this run is 500, limit 200: a run may only tighten it, so give at most 200 or leave it out",
    )
    assert guarded.plan.state == "proposed", "the plan is not to blame"


def test_a_run_that_asks_for_less(applied: World, due: SavedPlan, untouched: Any) -> None:
    guarded = live(applied, due, limits={"rows": 1, "credits": 5_000})
    untouched(
        guarded,
        f"would change 2/23 (8.7%) accounts, limit 1: review, then {LIFT}",
        f"would move 10,000/35,000 (28.6%) credits of a month, limit 5,000: review, then {LIFT}",
    )


def test_three_failed_applies_stop_the_system_until_a_person_resumes_it(applied: World) -> None:
    missed(applied, 3)
    applied.app.run("ALTER TABLE app_instances ADD CONSTRAINT broken CHECK (credits_total < 5000) NOT VALID")
    stopped = (
        "3 applies in a row failed, so wix_app is stopped: mend the cause, then "
        "credit-pipeline resume wix_app --as YOU --reason WHY"
    )
    for number in range(3):
        state = applied.begin(saved(applied).plan_id)
        ended = applied.applying.finish(applied.applying.canary(state))
        canary, *others = ended.state.failures
        assert canary.startswith("3/3 (100.0%) rows of the canary failed, limit 0, so nothing else was applied")
        assert others == ([stopped] if number == 2 else [])
        assert ended.plan.state == "partly_applied"
        applied.later()
    applied.app.run("ALTER TABLE app_instances DROP CONSTRAINT broken")
    begun = applied.begin(saved(applied).plan_id)
    with pytest.raises(PlanError, match=r"stopped since .*circuit breaker"):
        applied.carry_out(begun)
    assert applied.app.changes_by("credit_pipeline") == 1, "the first plan's"


def test_who_approved_is_told_without_an_address(applied: World, due: SavedPlan) -> None:
    plans = applied.gateways.plans
    plans.approve(due.plan_id, Selection(lane="auto"), "eva", "reviewed")
    plans.approve(due.plan_id, Selection(lane="auto"), "eva@example.com", "reviewed")
    first, second = decisions_about("wix_app", applied.gateways, due.plan_id)
    assert (first["who"], first["lane"], first["rows"], first["decision"]) == ("eva", "auto", 2, "approve")
    assert (first["login"], first["four_eyes"]) == ("postgres", False)
    assert second["who"].startswith("person_")
    assert "@" not in str(second)
