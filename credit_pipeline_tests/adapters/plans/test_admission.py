"""Whether a plan may be written at all, as the database judges it: nothing here asks the guards in Python.

The guards of a row are in `test_bound_rows.py` and `test_write_path.py`, the states of a plan in `test_plan_store.py`.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.findings.lifecycle import PostgresLifecycle
from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.services.findings.ports import Decided
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
    """Ten accounts on starter, in a system whose first plan was applied before."""
    product = a_copied_product(databases)
    product.run(
        "INSERT INTO app_instances (instance_id, plan_id, credits_total)"
        " SELECT 'a' || n, 'starter', 1000 FROM generate_series(0, 9) AS n"
    )
    product.add("earlier", "starter", 1000)
    with product.plans() as plans:
        assert names_of(apply_all(plans, started(plans, an_upgrade("earlier")))) == ["changed"]
    return product


@pytest.fixture
def first(product: Product) -> Product:
    """The same without a past."""
    product.run("TRUNCATE credit_pipeline.taken_key, credit_pipeline.grant, credit_pipeline.approval")
    product.run("SET LOCAL session_replication_role = replica; TRUNCATE credit_pipeline.audit")
    product.run("UPDATE credit_pipeline.control SET first_applied = NULL, audit_seq = 0, audit_hash = repeat('0', 64)")
    return product


@pytest.fixture
def plans(product: Product) -> Iterator[PostgresPlans]:
    with product.plans() as opened:
        yield opened


def upgrades(count: int, first: int = 0) -> list[Correction]:
    return [an_upgrade(f"a{n}") for n in range(first, first + count)]


def starting(plans: PostgresPlans, *corrections: Correction, **facts: Any) -> str:
    """The id of a plan that is being applied and that nobody approved."""
    plan_id = plans.save(a_plan(*corrections, **facts)).plan_id
    plans.set_state(plan_id, "applying")
    return plan_id


def approved_elsewhere(plans: PostgresPlans, *corrections: Correction) -> str:
    """An approval of these rows by an earlier plan, which is superseded by the next one."""
    plan_id = plans.save(a_plan(*corrections)).plan_id
    plans.approve(plan_id, AUTO, "ann", "reviewed")
    return plan_id


def limits(product: Product, **changed: float) -> None:
    product.run("UPDATE credit_pipeline.control SET limits = limits || %s::jsonb", json.dumps(changed))


def audits(product: Product) -> int:
    [row] = product.run("SELECT count(*) AS n FROM credit_pipeline.audit")
    return int(row["n"])


def untouched(product: Product) -> bool:
    """Whether nothing was written since the earlier plan."""
    [row] = product.run("SELECT count(*) AS n FROM app_instances WHERE credits_total <> 1000")
    return (row["n"], audits(product)) == (1, 1)


# The caps on what is automatic


def test_more_rows_than_the_limit_are_refused_by_the_database_itself(product: Product, plans: PostgresPlans) -> None:
    plan_id = starting(plans, *upgrades(6), population=100, entitlements=10**9)
    sentence = (
        rf"^{plan_id}: would change 6/100 \(6\.0%\) accounts, limit 5: "
        rf"review, then credit-pipeline approve {plan_id} --lane auto --as YOU --reason WHY$"
    )
    with pytest.raises(PlanError, match=sentence):
        plans.apply_batch(plan_id, 5)
    assert untouched(product)


def test_more_credits_than_the_limit_are_refused_by_the_database_itself(product: Product, plans: PostgresPlans) -> None:
    limits(product, credits_allowances=2)
    plan_id = starting(plans, *upgrades(3), population=100, entitlements=40_000)
    sentence = (
        rf"^{plan_id}: would move 15,000/40,000 \(37\.5%\) credits of a month, limit 10,000: "
        rf"review, then credit-pipeline approve {plan_id} --lane auto --as YOU --reason WHY$"
    )
    with pytest.raises(PlanError, match=sentence):
        plans.apply_batch(plan_id, 5)
    assert untouched(product)


@pytest.mark.parametrize(
    ("rows", "population", "changed", "admitted"),
    [
        (5, 10, {}, True),  # the floor
        (6, 119, {}, False),
        (6, 120, {}, True),  # 5 % of 120
        (9, 10**6, {"rows_ceiling": 8}, False),
        (8, 10**6, {"rows_ceiling": 8}, True),
        (7, 100, {"rows_share": 0.07}, True),
    ],
)
def test_the_limit_on_rows_is_that_of_the_guards(
    product: Product, plans: PostgresPlans, rows: int, population: int, changed: dict[str, float], admitted: bool
) -> None:
    limits(product, **changed)
    plan_id = starting(plans, *upgrades(rows), population=population, entitlements=10**9)
    if admitted:
        assert names_of(apply_all(plans, plan_id)) == ["changed"] * rows
    else:
        with pytest.raises(PlanError, match="would change"):
            plans.apply_batch(plan_id, 10)


def test_rows_put_into_a_plan_between_its_batches_count_as_well(product: Product, plans: PostgresPlans) -> None:
    plan_id = starting(plans, *upgrades(4), entitlements=10**9)
    assert names_of(plans.apply_batch(plan_id, 3)) == ["changed"] * 3
    other = plans.save(a_plan(*upgrades(4, first=5))).plan_id
    product.run("UPDATE credit_pipeline.correction SET plan_id = %s, seq = seq + 10 WHERE plan_id = %s", plan_id, other)
    product.run("UPDATE credit_pipeline.correction SET outcome = 'busy' WHERE outcome = 'changed'")
    with pytest.raises(PlanError, match="would change 8/4"):
        plans.apply_batch(plan_id, 3)
    assert audits(product) == 1 + 3


def test_an_approval_of_lane_auto_lifts_the_caps(product: Product, plans: PostgresPlans) -> None:
    plan_id = started(plans, *upgrades(10))
    assert names_of(apply_all(plans, plan_id, size=4)) == ["changed"] * 10


def test_an_approval_of_lane_approve_lifts_no_cap(product: Product, plans: PostgresPlans) -> None:
    restore = a_correction("a9", an_adjustment(5, "restore:x"), seen=("starter", 1000, 0), lane=Lane.APPROVE)
    plan_id = plans.save(a_plan(*upgrades(6), restore)).plan_id
    plans.approve(plan_id, APPROVE, "ann", "reviewed")
    plans.set_state(plan_id, "applying")
    with pytest.raises(PlanError, match="would change 6/7"):
        plans.apply_batch(plan_id, 10)
    assert untouched(product)


@pytest.mark.parametrize("forged", ["correction_plan SET limits_approved = true", "correction SET approved = true"])
def test_a_forged_flag_lifts_no_cap(product: Product, plans: PostgresPlans, forged: str) -> None:
    plan_id = starting(plans, *upgrades(6))
    product.run(f"UPDATE credit_pipeline.{forged}")
    with pytest.raises(PlanError, match="would change 6/6"):
        plans.apply_batch(plan_id, 10)
    assert untouched(product)


def test_an_approval_of_identical_rows_by_an_earlier_plan_lifts_the_caps(
    product: Product, plans: PostgresPlans
) -> None:
    approved_elsewhere(plans, *upgrades(10))
    assert names_of(apply_all(plans, starting(plans, *upgrades(7)))) == ["changed"] * 7


def test_one_row_more_than_was_approved_is_refused(product: Product, plans: PostgresPlans) -> None:
    approved_elsewhere(plans, *upgrades(7))
    plan_id = starting(plans, *upgrades(8))
    with pytest.raises(PlanError, match="would change 8/8"):
        plans.apply_batch(plan_id, 5)
    assert untouched(product)


def test_two_small_approvals_are_no_large_one(product: Product, plans: PostgresPlans) -> None:
    approved_elsewhere(plans, *upgrades(4))
    approved_elsewhere(plans, *upgrades(4, first=4))
    plan_id = starting(plans, *upgrades(8))
    with pytest.raises(PlanError, match="would change 8/8"):
        plans.apply_batch(plan_id, 4)
    assert untouched(product)


def test_a_row_put_in_after_the_approval_is_not_lifted(product: Product, plans: PostgresPlans) -> None:
    plan_id = started(plans, *upgrades(8))
    assert names_of(plans.apply_batch(plan_id, 5)) == ["changed"] * 5
    other = plans.save(a_plan(*upgrades(1, first=9))).plan_id
    product.run("UPDATE credit_pipeline.correction SET plan_id = %s, seq = 99 WHERE plan_id = %s", plan_id, other)
    with pytest.raises(PlanError, match="would change 9/8"):
        plans.apply_batch(plan_id, 5)
    assert product.balance("a9") == ("starter", 1000, 0)


def test_a_rejection_takes_the_lift_away(product: Product, plans: PostgresPlans) -> None:
    approved_elsewhere(plans, *upgrades(6))
    plans.reject(plans.save(a_plan(*upgrades(1))).plan_id, "bob", "asked the customer")
    plan_id = starting(plans, *upgrades(6))
    with pytest.raises(PlanError, match="would change 6/6"):
        plans.apply_batch(plan_id, 5)


def test_the_lift_ends_after_a_day(product: Product, plans: PostgresPlans) -> None:
    approved_elsewhere(plans, *upgrades(6))
    plan_id = starting(plans, *upgrades(6))
    product.run("UPDATE credit_pipeline.approval SET decided_at = now() - interval '1441 minutes'")
    with pytest.raises(PlanError, match="would change 6/6"):
        plans.apply_batch(plan_id, 5)


def test_rows_of_lane_approve_are_not_capped(product: Product, plans: PostgresPlans) -> None:
    rows = [replace(row, lane=Lane.APPROVE) for row in upgrades(8)]
    plan_id = plans.save(a_plan(*rows)).plan_id
    plans.approve(plan_id, APPROVE, "ann", "reviewed")
    plans.set_state(plan_id, "applying")
    assert names_of(apply_all(plans, plan_id)) == ["changed"] * 8


@pytest.mark.parametrize("change", ["'{}'", "limits - 'rows_share'", "limits || '{\"credits_share\": null}'"])
def test_limits_that_are_missing_refuse(product: Product, plans: PostgresPlans, change: str) -> None:
    plan_id = starting(plans, *upgrades(1))
    with psycopg.connect(product.url) as connection:
        connection.execute(f"UPDATE credit_pipeline.control SET limits = {change}".encode())
    with pytest.raises(PlanError, match="by an older version, without limits: run `credit-pipeline init wix_app`"):
        plans.apply_batch(plan_id, 5)
    assert untouched(product)


# The first plan


def test_the_first_plan_of_a_system_needs_an_approval(first: Product, plans: PostgresPlans) -> None:
    plan_id = starting(plans, *upgrades(2))
    sentence = (
        rf"^{plan_id}: the first applied plan of a system needs approval: "
        rf"review, then credit-pipeline approve {plan_id} --lane auto --as YOU --reason WHY$"
    )
    with pytest.raises(PlanError, match=sentence):
        plans.apply_batch(plan_id, 5)
    assert audits(first) == 0


def test_the_first_plan_needs_its_approval_to_the_end(first: Product, plans: PostgresPlans) -> None:
    plan_id = started(plans, *upgrades(3))
    assert names_of(plans.apply_batch(plan_id, 1)) == ["changed"]
    first.run("UPDATE credit_pipeline.approval SET decision = 'reject'")
    with pytest.raises(PlanError, match="the first applied plan of a system needs approval"):
        plans.apply_batch(plan_id, 1)
    assert audits(first) == 1


def test_the_second_plan_needs_none(first: Product, plans: PostgresPlans) -> None:
    assert names_of(apply_all(plans, started(plans, *upgrades(1)))) == ["changed"]
    assert names_of(apply_all(plans, starting(plans, *upgrades(2, first=1)))) == ["changed"] * 2


# The environment


def test_a_copy_of_the_database_is_refused(product: Product, databases: Databases) -> None:
    with product.plans() as plans:
        plan_id = starting(plans, *upgrades(1))
    original = product.run("SELECT current_database()::text AS name")[0]["name"]
    copy = Product(databases.new(original))
    with copy.plans() as plans, pytest.raises(PlanError) as refusal:
        plans.apply_batch(plan_id, 5)
    [server] = copy.run(
        "SELECT pins ->> 'system_identifier' AS id, current_database() AS name FROM credit_pipeline.control"
    )
    assert str(refusal.value) == (
        f"wix_app: this is database `{server['name']}` of server {server['id']}, but `{original}` of server "
        f"{server['id']} is pinned: use that one, or, where this one is meant, "
        "run `credit-pipeline init wix_app --repin --as YOU --reason WHY`"
    )
    assert untouched(copy)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ('pins || \'{"system_identifier": "123"}\'', r"of server 123 is pinned: use that one"),
        ("'{}'", r"an older version, without pins: run `credit-pipeline init wix_app`$"),
        ("pins - 'database'", r"an older version, without pins: run `credit-pipeline init wix_app`$"),
        ("pins - 'system_identifier'", r"an older version, without pins: run `credit-pipeline init wix_app`$"),
    ],
)
def test_another_server_and_missing_pins_are_refused(
    product: Product, plans: PostgresPlans, change: str, sentence: str
) -> None:
    plan_id = starting(plans, *upgrades(1))
    with psycopg.connect(product.url) as connection:
        connection.execute(f"UPDATE credit_pipeline.control SET pins = {change}".encode())
    with pytest.raises(PlanError, match=sentence):
        plans.apply_batch(plan_id, 5)
    assert untouched(product)


# Age


def test_an_unapproved_plan_is_good_for_sixty_minutes_until_its_first_change(
    product: Product, plans: PostgresPlans
) -> None:
    plan_id = starting(plans, *upgrades(2))
    product.run("UPDATE credit_pipeline.correction_plan SET created_at = now() - interval '61 minutes'")
    sentence = (
        rf"^{plan_id}: the plan is 61 min old, limit 60: make a new one with `credit-pipeline fix wix_app --save`$"
    )
    with pytest.raises(PlanError, match=sentence):
        plans.apply_batch(plan_id, 5)
    assert untouched(product)
    product.run("UPDATE credit_pipeline.correction_plan SET created_at = now() - interval '59 minutes'")
    assert names_of(plans.apply_batch(plan_id, 1)) == ["changed"]
    product.run("UPDATE credit_pipeline.correction_plan SET created_at = now() - interval '23 hours'")
    assert names_of(plans.apply_batch(plan_id, 1)) == ["changed"]


def test_a_plan_that_began_ends_after_a_day(product: Product, plans: PostgresPlans) -> None:
    plan_id = starting(plans, *upgrades(2))
    assert names_of(plans.apply_batch(plan_id, 1)) == ["changed"]
    product.run("UPDATE credit_pipeline.correction_plan SET created_at = now() - interval '1500 minutes'")
    with pytest.raises(PlanError, match=r"the plan is 1,500 min old, limit 1,440: make a new one"):
        plans.apply_batch(plan_id, 1)


def test_an_approved_plan_is_good_for_a_day_from_its_approval(product: Product, plans: PostgresPlans) -> None:
    plan_id = started(plans, *upgrades(2))
    product.run("UPDATE credit_pipeline.correction_plan SET created_at = now() - interval '30 hours'")
    product.run("UPDATE credit_pipeline.approval SET decided_at = now() - interval '1441 minutes'")
    with pytest.raises(PlanError, match=r"the plan is 1,441 min old, limit 1,440: make a new one"):
        plans.apply_batch(plan_id, 5)
    assert untouched(product)
    product.run("UPDATE credit_pipeline.approval SET decided_at = now() - interval '1439 minutes'")
    assert names_of(plans.apply_batch(plan_id, 5)) == ["changed"] * 2


# The plan's own digest


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM credit_pipeline.correction WHERE seq = 2",
        "UPDATE credit_pipeline.correction SET digest = repeat('0', 32) WHERE seq = 2",
        "UPDATE credit_pipeline.correction_plan SET digest = repeat('0', 64)",
        "DELETE FROM credit_pipeline.correction",
    ],
)
def test_rows_other_than_those_saved_are_refused(product: Product, plans: PostgresPlans, tampering: str) -> None:
    plan_id = starting(plans, *upgrades(3))
    product.run(tampering)
    with (
        psycopg.connect(product.url) as connection,
        pytest.raises(psycopg.Error, match=f"{plan_id}: rows were added or removed after it was saved") as refusal,
    ):
        connection.execute("SELECT * FROM credit_pipeline.apply_batch(%s, 10)", (plan_id,))
    assert refusal.value.sqlstate == "CP009"
    assert untouched(product)


def test_a_row_of_another_system_is_refused(product: Product, plans: PostgresPlans) -> None:
    """Another system's functions would write it, under a lock that nobody holds."""
    plan_id = starting(plans, *upgrades(2))
    product.run("UPDATE credit_pipeline.correction SET system = 'other' WHERE seq = 2")
    with pytest.raises(PlanError, match=f"{plan_id}: a row names another system than its plan: make a new one"):
        plans.apply_batch(plan_id, 10)
    assert untouched(product)


# The circuit breaker


def test_three_failed_applies_in_a_row_stop_the_system_until_a_person_resumes(
    product: Product, plans: PostgresPlans
) -> None:
    plan_id = starting(plans, *upgrades(1))
    assert [plans.note_apply(plan_id, "the canary failed") for _ in range(3)] == [False, False, True]
    with pytest.raises(
        PlanError, match=r"stopped since .* \(circuit breaker: 3 applies in a row failed, the last one of"
    ):
        plans.apply_batch(plan_id, 5)
    assert not plans.note_apply(plan_id, "stopped")  # it is the third that stops, and it stops once
    [stop] = product.run("SELECT what, who, reason, detail FROM credit_pipeline.act")
    assert (stop["what"], stop["who"], stop["detail"]) == ("stop", "circuit breaker", {"plan_id": plan_id})
    why = f"circuit breaker: 3 applies in a row failed, the last one of {plan_id}: the canary failed"
    assert stop["reason"] == why
    lifecycle = PostgresLifecycle(product.url, PUBLIC)
    try:
        stopped = lifecycle.stopped()
        assert stopped is not None
        assert (stopped.by, stopped.reason) == ("circuit breaker", why)
        assert lifecycle.resume(Decided(who="ann", reason="repaired"))
    finally:
        lifecycle.close()
    assert [plans.note_apply(plan_id, "again") for _ in range(2)] == [False, False]
    assert names_of(plans.apply_batch(plan_id, 5)) == ["changed"]


def test_a_good_apply_ends_the_count(product: Product, plans: PostgresPlans) -> None:
    plan_id = starting(plans, *upgrades(1))
    for failure in ("one", "two", None, "one", "two"):
        assert not plans.note_apply(plan_id, failure)
    assert product.run("SELECT failed_applies, stopped_at FROM credit_pipeline.control") == [
        {"failed_applies": 2, "stopped_at": None}
    ]


def test_the_breaker_is_a_limit_of_the_policy(product: Product, plans: PostgresPlans) -> None:
    limits(product, breaker=1)
    assert plans.note_apply(starting(plans, *upgrades(1)), "the database went away")


def test_an_apply_of_a_plan_that_is_none_is_not_noted(plans: PostgresPlans) -> None:
    with pytest.raises(PlanError, match="there is no such plan"):
        plans.note_apply("wix_app-none", "failed")
