"""What a period is worth: the database's guard and the judgement say the same after any history of the catalogue."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from credit_pipeline.adapters.install.pins import accept_catalogue, pinned_credits, pins_sql
from credit_pipeline.adapters.plans.apply_facts import former_amounts
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.services.findings.ports import Decided
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC, an_installed_product
from credit_pipeline_tests.conftest import Databases

FIRST = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLANS = PUBLIC.catalogue.plans
MADE = Decided(who="ann", reason="another price")

amounts = st.sampled_from([None, 500, 1_000, 5_000, 8_000])
"""None: the plan is not in defs.yaml."""
histories = st.lists(st.tuples(st.booleans(), amounts, amounts), min_size=1, max_size=6)
"""Once a day: a person accepts the catalogue, or plain `init` runs; what Starter and Pro give in defs.yaml then."""
starts = st.lists(st.integers(-4, 30), min_size=1, max_size=4)
"""Quarters of a day since the first of them."""


def written(starter: int | None, pro: int | None) -> CreditSystem:
    given: dict[str, int | None] = {"starter": starter, "pro": pro}
    plans = (replace(plan, credits=given.get(plan.name, plan.credits) or 0) for plan in PLANS)
    kept = tuple(plan for plan in plans if plan.free or given[plan.name] is not None)
    return replace(PUBLIC, catalogue=Catalogue(plans=kept))


def test_guard_and_judgement_agree_on_every_amount(databases: Databases) -> None:
    url = databases.new(databases.template("amounts_agree", an_installed_product))

    @settings(max_examples=60)
    @given(histories, starts)
    def agree(history: list[tuple[bool, int | None, int | None]], quarters: list[int]) -> None:
        with psycopg.connect(url, row_factory=dict_row) as connection:
            cursor = connection.cursor()
            cursor.execute("SET LOCAL session_replication_role = replica")  # the act is append-only, and its clock real
            for day, (accepts, *said) in enumerate(history):
                system = written(*said)
                if accepts:
                    accept_catalogue(cursor, system, MADE)
                    at = FIRST + timedelta(days=day)
                    cursor.execute(
                        "UPDATE credit_pipeline.act SET at = %s WHERE id = (SELECT max(id) FROM credit_pipeline.act)",
                        (at,),
                    )
                else:
                    cursor.execute(pins_sql(system, None).encode())
            pinned, former = pinned_credits(cursor, PUBLIC), former_amounts(cursor, PUBLIC.name)
            for name, credits in pinned.items():
                plan = Plan(name=name, credits=credits, rank=1, label=name, former=tuple(former.get(name, ())))
                for quarter in quarters:
                    start = FIRST + timedelta(hours=6 * quarter)
                    row = cursor.execute(
                        "SELECT credit_pipeline.allowance_of(%s, %s, %s) AS credits", (PUBLIC.name, name, start)
                    ).fetchone()
                    assert row == {"credits": plan.credits_from(start)}
                    assert plan.as_of(start).credits_from(start) == plan.credits_from(start)
            connection.rollback()

    agree()
