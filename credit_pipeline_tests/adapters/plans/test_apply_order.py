"""The order in which batches take rows is told beforehand, so that billing confirms the rows that are written next."""

import pytest

from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline_tests.adapters.products.counter_product import (
    Product,
    a_copied_product,
    a_correction,
    a_plan,
    an_adjustment,
    an_upgrade,
)
from credit_pipeline_tests.conftest import Databases

ACCOUNTS = ("b", "A", "a-1", "B", "a1", "a_2", "Ä")
"""Sorted by bytes and by a language's rules they stand in different orders."""


@pytest.fixture
def product(databases: Databases) -> Product:
    return a_copied_product(databases)


def test_batches_take_the_rows_that_are_upcoming_in_that_order(product: Product) -> None:
    with product.plans() as plans:
        plan_id = plans.save(a_plan(*(an_upgrade(account) for account in ACCOUNTS))).plan_id
        plans.approve(plan_id, Selection(lane="auto"), "ann", "reviewed")
        plans.set_state(plan_id, "applying")
        told = plans.upcoming(plan_id)
        assert sorted(told) == list(range(1, len(ACCOUNTS) + 1))
        for size in (1, 2, 3, 1):
            taken = [outcome.seq for outcome in plans.apply_batch(plan_id, size)]
            assert sorted(taken) == sorted(told[:size])
            told = told[size:]
            assert plans.upcoming(plan_id) == told
        assert plans.waiting(plan_id) == 0


def test_rows_with_an_outcome_are_not_upcoming_and_rows_nobody_released_may_be(product: Product) -> None:
    waits = a_correction("c", an_adjustment(200, "restore:c"), seen=("pro", 1000, 0), lane=Lane.APPROVE)
    with product.plans() as plans:
        plan_id = plans.save(a_plan(an_upgrade("a"), an_upgrade("b"), waits)).plan_id
        plans.hold(plan_id, {1: ("stale_skipped", "billing now says free")})
        assert plans.upcoming(plan_id) == [2, 3]
        assert plans.waiting(plan_id) == 1
