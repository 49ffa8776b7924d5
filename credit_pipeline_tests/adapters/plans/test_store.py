"""Saved plans: what is kept, who may release what, and when a plan is too old. The write path has its own tests."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.errors import NotInstalled, PlanError
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline_tests.adapters.products.counter_product import (
    PUBLIC,
    Product,
    a_copied_product,
    a_correction,
    a_plan,
    an_adjustment,
    an_upgrade,
    apply_all,
    names_of,
    started,
)
from credit_pipeline_tests.conftest import Databases

AUTO, APPROVE = Selection(lane="auto"), Selection(lane="approve")


@pytest.fixture
def product(databases: Databases) -> Product:
    return a_copied_product(databases)


@pytest.fixture
def plans(product: Product) -> Iterator[PostgresPlans]:
    with product.plans() as opened:
        yield opened


def a_restore(account: str, delta: int = 200) -> Correction:
    return a_correction(
        account,
        an_adjustment(delta, f"restore:{account}"),
        seen=("pro", 1000, 0),
        lane=Lane.APPROVE,
        codes=("unexplained_decrease",),
    )


def age(product: Product, plan_id: str, interval: str) -> None:
    product.run(
        "UPDATE credit_pipeline.correction_plan SET created_at = now() - %s::interval WHERE plan_id = %s",
        interval,
        plan_id,
    )


def age_approvals(product: Product, interval: str) -> None:
    product.run("UPDATE credit_pipeline.approval SET decided_at = now() - %s::interval", interval)


def test_a_plan_reads_back_as_it_was_saved(plans: PostgresPlans) -> None:
    proposed = a_plan(an_upgrade("a"), a_restore("b"), population=40, entitlements=9000, failures=("rows: 2/40",))
    saved = plans.save(proposed)
    assert saved.plan_id.startswith("wix_app-")
    assert len(saved.plan_id) == len("wix_app-") + 8
    assert replace(saved, plan_id="", digest="", created_at=proposed.created_at) == proposed
    assert plans.load(saved.plan_id) == saved
    assert plans.plans() == [replace(saved, rows=())]


def test_the_digest_is_of_the_rows_whatever_their_order(plans: PostgresPlans) -> None:
    one = plans.save(a_plan(an_upgrade("a"), an_upgrade("b"))).digest
    assert plans.save(a_plan(an_upgrade("b"), an_upgrade("a"))).digest == one
    assert plans.save(a_plan(an_upgrade("a"), an_upgrade("c"))).digest != one


def test_a_newer_plan_supersedes_waiting_ones_and_leaves_started_ones(plans: PostgresPlans) -> None:
    running = started(plans, an_upgrade("a"))
    waiting = plans.save(a_plan(an_upgrade("b"))).plan_id
    newest = plans.save(a_plan(an_upgrade("c"))).plan_id
    assert [(plan.plan_id, plan.state) for plan in plans.plans()] == [
        (newest, "proposed"),
        (waiting, "superseded"),
        (running, "applying"),
    ]


def test_thirty_thousand_rows_are_saved_in_seconds(plans: PostgresPlans) -> None:
    large = a_plan(*(an_upgrade(f"a{n}") for n in range(30_000)))
    begin = time.monotonic()
    saved = plans.save(large)
    assert time.monotonic() - begin < 20
    assert len(saved.rows) == 30_000


def test_lane_auto_lifts_the_limits_and_releases_no_row_of_lane_approve(plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"), an_upgrade("b"), a_restore("c"))).plan_id
    plans.set_state(plan_id, "quarantined", ["first_plan: needs approval"])
    assert plans.approve(plan_id, AUTO, "ann", "reviewed") == 2
    plan = plans.load(plan_id)
    assert (plan.state, plan.limits_approved) == ("approved", True)
    assert [row.approved for row in plan.rows] == [False, False, False]


def test_lane_approve_releases_the_named_rows_only_and_lifts_no_limit(plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"), a_restore("b"), a_restore("c"))).plan_id
    plans.set_state(plan_id, "quarantined", ["rows: 3/4"])
    assert plans.approve(plan_id, Selection(lane="approve", accounts=("c",)), "ann", "asked the customer") == 1
    plan = plans.load(plan_id)
    assert (plan.state, plan.limits_approved) == ("quarantined", False)
    assert [(row.correction.account_id, row.approved) for row in plan.rows] == [
        ("a", False),
        ("b", False),
        ("c", True),
    ]


def test_a_plan_of_named_rows_alone_may_start_once_they_are_approved(plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(a_restore("b"), a_restore("c"))).plan_id
    plans.set_state(plan_id, "quarantined", ["the first applied plan of a system needs approval"])
    plans.approve(plan_id, Selection(lane="approve", accounts=("c",)), "ann", "reviewed")
    plan = plans.load(plan_id)
    assert (plan.state, plan.limits_approved) == ("approved", True)


@pytest.mark.parametrize(
    ("selection", "released"),
    [
        (APPROVE, 2),
        (Selection(lane="approve", codes=("unexplained_decrease",)), 1),
        (Selection(lane="approve", codes=("grant_duplicate", "unexplained_decrease")), 2),
        (Selection(lane="approve", codes=("grant_duplicate",), accounts=("c",)), 1),
    ],
)
def test_a_selection_names_rows_by_code_and_account(plans: PostgresPlans, selection: Selection, released: int) -> None:
    rows = (a_restore("b"), replace(a_restore("c"), codes=("grant_duplicate",)))
    assert plans.approve(plans.save(a_plan(*rows)).plan_id, selection, "ann", "reviewed") == released


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (Selection(lane="approve", codes=("grant_duplicate",)), "no waiting row of lane approve is named by grant_dup"),
        (Selection(lane="approve", codes=("unexplained_decrease",), accounts=("a",)), "no waiting row of lane approve"),
        (Selection(lane="auto", accounts=("a",)), "lane auto is approved as a whole"),
        (Selection(lane="review"), "`review` is not a lane one can approve"),
    ],
)
def test_a_selection_that_names_no_row_is_a_sentence(plans: PostgresPlans, selection: Selection, sentence: str) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"), a_restore("b"))).plan_id
    with pytest.raises(PlanError, match=sentence):
        plans.approve(plan_id, selection, "ann", "reviewed")
    assert not any(row.approved for row in plans.load(plan_id).rows)


def test_an_approval_needs_a_name_and_a_reason(plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    with pytest.raises(PlanError, match="--as WHO and --reason TEXT"):
        plans.approve(plan_id, AUTO, "ann", " ")


@pytest.mark.parametrize("state", ["rejected", "applying", "applied", "expired", "superseded"])
def test_only_a_waiting_plan_can_be_approved(plans: PostgresPlans, state: str) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    plans.set_state(plan_id, state)
    with pytest.raises(PlanError, match=f"the plan is {state} and cannot be approved"):
        plans.approve(plan_id, AUTO, "ann", "reviewed")


def test_an_unapproved_plan_expires_after_sixty_minutes(product: Product, plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    age(product, plan_id, "61 minutes")
    with pytest.raises(PlanError, match=r"the plan is 61 min old, limit 60: make a new one with `credit-pipeline fix"):
        plans.approve(plan_id, AUTO, "ann", "reviewed")
    assert plans.load(plan_id).state == "expired"


def test_an_old_plan_is_not_started(product: Product, plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    age(product, plan_id, "61 minutes")
    with pytest.raises(PlanError, match="the plan is 61 min old"):
        plans.set_state(plan_id, "applying")
    assert plans.load(plan_id).state == "expired"


def test_an_approved_plan_may_be_started_for_a_day(product: Product, plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    plans.approve(plan_id, AUTO, "ann", "reviewed")
    age(product, plan_id, "23 hours")
    age_approvals(product, "23 hours")
    plans.set_state(plan_id, "applying")
    assert plans.load(plan_id).state == "applying"


def test_an_approval_is_good_for_a_day_only(product: Product, plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    plans.approve(plan_id, AUTO, "ann", "reviewed")
    age_approvals(product, "25 hours")
    with pytest.raises(PlanError, match="the plan is 1,500 min old, limit 1,440"):
        plans.set_state(plan_id, "applying")


def test_a_quarantined_plan_is_not_started_without_approval(plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    plans.set_state(plan_id, "quarantined", ["rows: 1/1"])
    assert plans.load(plan_id).failures == ("rows: 1/1",)
    with pytest.raises(PlanError, match=f"first `credit-pipeline approve {plan_id}"):
        plans.set_state(plan_id, "applying")


def test_an_identical_row_planned_again_keeps_its_approval(product: Product, plans: PostgresPlans) -> None:
    first = plans.save(a_plan(a_restore("b"), a_restore("c"))).plan_id
    plans.approve(first, Selection(lane="approve", accounts=("b",)), "ann", "reviewed")
    again = plans.save(a_plan(a_restore("c"), a_restore("b"), replace(a_restore("d"), codes=("grant_lost",))))
    assert [row.approved for row in again.rows] == [False, True, False]
    other_amount = plans.save(a_plan(a_restore("b", 201)))
    assert [row.approved for row in other_amount.rows] == [False]
    age_approvals(product, "25 hours")
    assert [row.approved for row in plans.save(a_plan(a_restore("b"))).rows] == [False]


def test_lifted_limits_pass_on_where_one_approval_covers_every_automatic_row(plans: PostgresPlans) -> None:
    approved = plans.save(a_plan(an_upgrade("a"), an_upgrade("b"))).plan_id
    plans.approve(approved, AUTO, "ann", "reviewed")
    assert plans.save(a_plan(an_upgrade("b"), a_restore("c"))).limits_approved
    assert not plans.save(a_plan(an_upgrade("a"), an_upgrade("c"))).limits_approved


def test_two_small_approvals_do_not_add_up_to_a_large_one(plans: PostgresPlans) -> None:
    for account in ("a", "b"):
        plans.approve(plans.save(a_plan(an_upgrade(account))).plan_id, AUTO, "ann", "reviewed")
    assert not plans.save(a_plan(an_upgrade("a"), an_upgrade("b"))).limits_approved


def test_a_rejection_ends_the_plan_and_earlier_approvals_of_its_rows(plans: PostgresPlans) -> None:
    approved = plans.save(a_plan(an_upgrade("a"), a_restore("b"))).plan_id
    plans.approve(approved, AUTO, "ann", "reviewed")
    plans.approve(approved, APPROVE, "ann", "reviewed")
    again = plans.save(a_plan(an_upgrade("a"), a_restore("b")))
    assert again.limits_approved
    assert again.rows[1].approved
    plans.reject(again.plan_id, "bob", "the customer was refunded")
    assert plans.load(again.plan_id).state == "rejected"
    third = plans.save(a_plan(an_upgrade("a"), a_restore("b")))
    assert not third.limits_approved
    assert not third.rows[1].approved


def test_held_rows_get_a_final_outcome_and_are_not_written(product: Product, plans: PostgresPlans) -> None:
    for account in ("a", "b"):
        product.add(account, "starter", 1000)
    plan_id = started(plans, an_upgrade("a"), an_upgrade("b"))
    plans.hold(plan_id, {1: ("stale_skipped", "billing says free now")})
    assert [(one.account_id, one.outcome) for one in apply_all(plans, plan_id)] == [("b", "changed")]
    [held, changed] = plans.load(plan_id).rows
    assert (held.outcome, held.failures) == ("stale_skipped", ("billing says free now",))
    assert changed.after == {"plan": "pro", "total": 6000, "used": 0, "available": 6000}
    assert product.balance("a") == ("starter", 1000, 0)


def test_a_changed_row_is_not_held_afterwards(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    plan_id = started(plans, an_upgrade("a"))
    apply_all(plans, plan_id)
    plans.hold(plan_id, {1: ("stale_skipped", "too late")})
    assert plans.load(plan_id).rows[0].outcome == "changed"


def test_the_first_change_is_remembered(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    assert not plans.ever_applied()
    plan_id = started(plans, an_upgrade("absent"))
    assert names_of(apply_all(plans, plan_id)) == ["stale_skipped"]
    assert not plans.ever_applied()
    apply_all(plans, started(plans, an_upgrade("a")))
    assert plans.ever_applied()
    assert plans.pinned() == {"free": 100, "starter": 1000, "pro": 5000}


def test_a_finished_plan_stays_finished(plans: PostgresPlans) -> None:
    plan_id = started(plans, an_upgrade("a"))
    plans.set_state(plan_id, "partly_applied")
    with pytest.raises(PlanError, match="the plan is partly_applied and stays so"):
        plans.set_state(plan_id, "applying")


def test_a_row_added_in_the_database_is_noticed(product: Product, plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"), an_upgrade("b"))).plan_id
    product.run("DELETE FROM credit_pipeline.correction WHERE seq = 2")
    with pytest.raises(PlanError, match="rows were added or removed after it was saved"):
        plans.load(plan_id)


def test_another_system_s_plan_is_no_plan_of_this_one(product: Product, plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    product.run("INSERT INTO credit_pipeline.control (system, environment, config_hash) VALUES ('other', 'test', '')")
    product.run("UPDATE credit_pipeline.correction_plan SET system = 'other'")
    for call in (plans.load, lambda known: plans.apply_batch(known, 10)):
        with pytest.raises(PlanError, match="there is no such plan: `credit-pipeline plans wix_app`"):
            call(plan_id)


def test_a_database_without_init_is_a_sentence(database: str) -> None:
    product = Product(database)
    with product.plans() as plans, pytest.raises(NotInstalled, match="run `credit-pipeline init wix_app`"):
        plans.save(a_plan(an_upgrade("a")))


def test_a_system_without_init_in_an_installed_database_is_a_sentence(product: Product) -> None:
    product.system = replace(PUBLIC, name="other_app")
    with product.plans() as plans:
        with pytest.raises(NotInstalled, match="run `credit-pipeline init other_app`"):
            plans.save(a_plan(an_upgrade("a")))
        with pytest.raises(NotInstalled, match="run `credit-pipeline init other_app`"):
            plans.ever_applied()
