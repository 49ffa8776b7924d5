"""What an undo leaves behind in our own tables, on a real Postgres: the grant is marked, its key stays taken, and a key
that names another change is not believed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.domain.corrections.correction import AdjustCredits, Correction, Lane
from credit_pipeline.domain.corrections.undo import undo_key
from credit_pipeline.services.plans.ports import RowOutcome, Selection
from credit_pipeline_tests.adapters.products.counter_product import (
    Product,
    a_copied_product,
    a_correction,
    a_plan,
    an_upgrade,
    apply_all,
    chain_faults,
    names_of,
    started,
)
from credit_pipeline_tests.conftest import Databases


@pytest.fixture
def product(databases: Databases) -> Product:
    return a_copied_product(databases)


@pytest.fixture
def plans(product: Product) -> Iterator[PostgresPlans]:
    with product.plans() as opened:
        yield opened


@pytest.fixture
def upgraded(product: Product, plans: PostgresPlans) -> str:
    """The plan that upgraded `a` and `b`; audit rows 1 and 2."""
    product.add("a", "starter", 1000)
    product.add("b", "starter", 1000)
    plan_id = started(plans, an_upgrade("a"), an_upgrade("b"))
    assert names_of(apply_all(plans, plan_id)) == ["changed", "changed"]
    return plan_id


def an_undo(account: str = "a", seq: int = 1, **overrides: Any) -> Correction:
    step = AdjustCredits(delta=-5000, correction_key=undo_key(seq), cause="undo")
    return a_correction(account, step, seen=("pro", 6000, 0), **({"lane": Lane.APPROVE} | overrides))


def undone(plans: PostgresPlans, correction: Correction, undoes: str | None) -> RowOutcome:
    """One row of a plan that undoes another, approved and applied."""
    plan_id = plans.save(a_plan(correction, undoes=undoes)).plan_id
    plans.approve(plan_id, Selection(lane="approve"), "ann", "reviewed")
    plans.set_state(plan_id, "applying")
    [outcome] = apply_all(plans, plan_id)
    return outcome


def grants(product: Product) -> list[tuple[str, bool]]:
    rows = product.run('SELECT account, reversed_at IS NOT NULL AS taken FROM credit_pipeline."grant" ORDER BY account')
    return [(row["account"], row["taken"]) for row in rows]


def test_the_grant_is_marked_and_its_key_stays_taken(product: Product, plans: PostgresPlans, upgraded: str) -> None:
    outcome = undone(plans, an_undo(), upgraded)
    assert outcome.outcome == "changed", outcome.failure
    assert grants(product) == [("a", True), ("b", False)]
    again = started(plans, an_upgrade("a", seen=("pro", 1000, 0)))
    assert names_of(apply_all(plans, again)) == ["noop_already_applied"]
    assert product.balance("a") == ("pro", 1000, 0)
    assert chain_faults(plans) == []


def test_a_change_is_taken_back_once(plans: PostgresPlans, product: Product, upgraded: str) -> None:
    assert undone(plans, an_undo(), upgraded).outcome == "changed"
    second = undone(plans, replace(an_undo(), seen=replace(an_undo().seen, total=1000)), upgraded)
    assert second.outcome == "noop_already_applied"
    assert product.balance("a") == ("pro", 1000, 0)


@pytest.mark.parametrize("lie", ["another account's change", "no undo", "another plan", "no key", "a row that is not"])
def test_a_key_that_names_another_change_is_not_believed(
    plans: PostgresPlans, product: Product, upgraded: str, lie: str
) -> None:
    """Whoever may save a plan could otherwise mark somebody's grant as reversed, or take an undo's key away."""
    product.add("c", "pro", 6000)
    other = plans.save(a_plan(an_upgrade("c"))).plan_id
    restore = AdjustCredits(delta=-5000, correction_key="clawback:f", cause="duplicate grant")
    correction, undoes = {
        "another account's change": (an_undo("c", 1), upgraded),
        "no undo": (an_undo(), None),
        "another plan": (an_undo(), other),
        "no key": (replace(an_undo(), steps=(restore,)), upgraded),
        "a row that is not": (an_undo(seq=99), upgraded),
    }[lie]
    outcome = undone(plans, correction, undoes)
    assert (outcome.outcome, outcome.failure) == (
        "blocked_by_guard",
        "this correction takes back a change that its plan does not undo: make a new plan with `credit-pipeline undo`",
    )
    assert grants(product) == [("a", False), ("b", False)]
    assert product.balance("a") == ("pro", 6000, 0)
    assert chain_faults(plans) == []
