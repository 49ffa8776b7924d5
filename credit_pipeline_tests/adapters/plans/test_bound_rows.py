"""Rows that somebody put in or changed by hand: each is held, with a sentence, and nothing of it is written.

What a plan as a whole is held to is in `test_admission.py`; how a correction is stored, in `test_correction_rows.py`.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings

from credit_pipeline.adapters.plans.correction_rows import columns
from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.domain.corrections.correction import Correction, Lane, SetPlan
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline_tests.adapters.plans.test_correction_rows import corrections
from credit_pipeline_tests.adapters.products.counter_product import (
    Product,
    a_copied_product,
    a_correction,
    a_grant,
    a_plan,
    an_adjustment,
    an_upgrade,
    apply_all,
    started,
)
from credit_pipeline_tests.conftest import Databases

REST = "it was not saved by this program as it stands: make a new plan with `credit-pipeline fix wix_app --save`"
NOT_ITS_TEXT = f"the digest is not that of the text which it binds: {REST}"
ANOTHER = f"the row holds another correction than the text which its digest binds: {REST}"
COLUMNS = f"the columns that would be written say something else than the steps: {REST}"
UNREADABLE = f"the row cannot be read: {REST}"


@pytest.fixture
def product(databases: Databases) -> Product:
    """Three accounts, and an earlier plan: a first one needs an approval for every row."""
    product = a_copied_product(databases)
    for account in ("earlier", "a", "b"):
        product.add(account, "starter", 1000)
    with product.plans() as plans:
        apply_all(plans, started(plans, an_upgrade("earlier")))
    return product


@pytest.fixture
def plans(product: Product) -> Iterator[PostgresPlans]:
    with product.plans() as opened:
        yield opened


def tampered(
    product: Product, plans: PostgresPlans, change: str, *words: Any, row: Correction | None = None
) -> tuple[str, str | None]:
    """What becomes of a row that is changed after the first change of its plan, from when on the plan's own digest is
    read no more."""
    plan_id = plans.save(a_plan(an_upgrade("a"), row or an_upgrade("b"))).plan_id
    plans.set_state(plan_id, "applying")
    assert [one.outcome for one in plans.apply_batch(plan_id, 1)] == ["changed"]
    statement = f"UPDATE credit_pipeline.correction SET {change} WHERE plan_id = %s AND seq = 2"
    with psycopg.connect(product.url) as connection:
        connection.execute(statement.encode(), (*words, plan_id))
    [outcome] = apply_all(plans, plan_id)
    assert product.balance("b") == ("starter", 1000, 0)
    assert plans.audit_head()[0] == 2
    return outcome.outcome, outcome.failure


@pytest.mark.parametrize(
    "change",
    [
        "set_label = 'enterprise'",
        "set_label = NULL",
        "grant_plan = 'starter'",
        "grant_start = grant_start + interval '1 day'",
        "grant_end = grant_end + interval '1 day'",
        "grant_credits = 4999",
        "grant_credits = NULL",
        "reset_used = false",
        "total_delta = 1",
        "used_delta = -1",
        "key = 'b/pro/1'",
        "key = NULL",
        "keys = '{}'",
        "keys = '{b/pro/1}'",
        "seen_label = 'free'",
        "seen_total = 999",
        "seen_used = 1",
        "seen_used = NULL",
        "content = jsonb_set(content, '{seen,total}', '7')",
        "content = content - 'seen'",
    ],
)
def test_a_changed_column_holds_the_row(product: Product, plans: PostgresPlans, change: str) -> None:
    assert tampered(product, plans, change) == ("blocked_by_guard", COLUMNS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("bound = NULL", f"the row was saved without the text that its digest binds: {REST}"),
        ("bound = bound || ' '", NOT_ITS_TEXT),
        ("bound = replace(bound, '5000', '4000')", NOT_ITS_TEXT),
        ("digest = repeat('0', 32)", NOT_ITS_TEXT),
        ("content = jsonb_set(content, '{steps,0,delta}', '4000')", ANOTHER),
        ("content = jsonb_set(content, '{steps,1,label}', '\"enterprise\"')", ANOTHER),
        ("content = jsonb_set(content, '{codes}', '[\"plan_mismatch\"]')", ANOTHER),
        ("content = jsonb_set(content, '{steps}', '[]')", ANOTHER),
        ("content = jsonb_set(content, '{account_id}', '\"a\"')", ANOTHER),
        ("content = jsonb_set(content, '{lane}', '\"approve\"')", ANOTHER),
        ("account = 'a'", ANOTHER),
        ("content = '7'", ANOTHER),
    ],
)
def test_a_changed_text_digest_or_content_holds_the_row(
    product: Product, plans: PostgresPlans, change: str, sentence: str
) -> None:
    assert tampered(product, plans, change) == ("blocked_by_guard", sentence)


def test_a_row_of_lane_approve_is_not_made_automatic(product: Product, plans: PostgresPlans) -> None:
    """Its column `approved` says that it was released, so that the batch takes it."""
    restore = a_correction("b", an_adjustment(200, "restore:f"), seen=("starter", 1000, 0), lane=Lane.APPROVE)
    change = "lane = 'auto', approved = true, content = jsonb_set(content, '{lane}', '\"auto\"')"
    assert tampered(product, plans, change, row=restore) == ("blocked_by_guard", ANOTHER)


@pytest.mark.parametrize("delta", [200, -200])
def test_a_forged_flag_releases_no_row_of_lane_approve(product: Product, plans: PostgresPlans, delta: int) -> None:
    row = a_correction("b", an_adjustment(delta, "restore:f"), seen=("starter", 1000, 0), lane=Lane.APPROVE)
    outcome, failure = tampered(product, plans, "approved = true", row=row)
    assert (outcome, str(failure)[:22]) == ("needs_approval", "its approval is older ")


def test_text_that_is_hashed_rightly_and_is_no_json_holds_the_row(product: Product, plans: PostgresPlans) -> None:
    change = "bound = 'x', digest = left(encode(sha256('x'), 'hex'), 32)"
    assert tampered(product, plans, change) == ("blocked_by_guard", UNREADABLE)


@pytest.mark.parametrize(
    ("before", "change", "sentence"),
    [
        (a_grant("b", 5000), lambda steps: steps[0].update(grant_key="b/pro/7"), COLUMNS),
        (a_grant("b", 5000), lambda steps: steps[0].update(delta="many"), UNREADABLE),
        (a_grant("b", 5000), lambda steps: steps[0].update(period_start="soon"), UNREADABLE),
        (a_grant("b", 5000), lambda steps: steps.append(steps[0]), COLUMNS),
        (SetPlan(plan="pro", label="pro"), lambda steps: steps.append(steps[0]), COLUMNS),
    ],
)
def test_steps_bound_anew_that_the_columns_do_not_say_hold_the_row(
    product: Product, plans: PostgresPlans, before: Any, change: Callable[[Any], Any], sentence: str
) -> None:
    """Whoever may put rows in can also hash them."""
    row = a_correction("b", before, seen=("starter", 1000, 0))
    steps = json.loads(row.bound)[3]
    change(steps)
    bound = json.dumps([*json.loads(row.bound)[:3], steps])
    found = tampered(
        product,
        plans,
        "bound = %s, digest = left(encode(sha256(%s::bytea), 'hex'), 32),"
        " content = jsonb_set(content, '{steps}', %s::jsonb)",
        bound,
        bound,
        json.dumps(steps),
        row=row,
    )
    assert found == ("blocked_by_guard", sentence)


def test_a_row_put_in_whole_is_held_to_the_guards_of_an_automatic_one(product: Product, plans: PostgresPlans) -> None:
    """A forger who also hashes rightly gets what anybody gets: no adjustment, and no grant above the catalogue."""
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    plans.set_state(plan_id, "applying")
    assert [one.outcome for one in plans.apply_batch(plan_id, 1)] == ["changed"]
    gift = a_correction("b", an_adjustment(900, "gift"), seen=("starter", 1000, 0))
    other = plans.save(a_plan(gift)).plan_id
    product.run("UPDATE credit_pipeline.correction SET plan_id = %s, seq = 2 WHERE plan_id = %s", plan_id, other)
    [outcome] = apply_all(plans, plan_id)
    assert (outcome.outcome, outcome.failure) == (
        "blocked_by_guard",
        "credits are adjusted only where a person approved it: make a new plan",
    )
    assert product.balance("b") == ("starter", 1000, 0)


def test_a_restore_gives_back_no_more_than_was_recorded_as_lost(product: Product, plans: PostgresPlans) -> None:
    for fingerprint, code, evidence in (
        ("f1", "unexplained_decrease", {"loss": 150}),
        ("f2", "unexplained_decrease", {"loss": 100}),
        ("f3", "grant_lost", {"allowance": 240}),
    ):
        product.run(
            "INSERT INTO credit_pipeline.mismatch (system, fingerprint, account, code, severity, lane, is_event,"
            " expected, actual, evidence, opened_at, first_seen, last_seen) VALUES"
            " ('wix_app', %s, 'b', %s, 'error', 'approve', true, '{{}}', '{{}}', %s::jsonb, now(), now(), now())",
            fingerprint, code, json.dumps(evidence),
        )  # fmt: skip

    def restored(delta: int, key: str) -> tuple[str, str | None]:
        row = a_correction("b", an_adjustment(delta, key), seen=("starter", 1000, 0), lane=Lane.APPROVE)
        plan_id = plans.save(a_plan(row)).plan_id
        plans.approve(plan_id, Selection(lane="approve"), "ann", "reviewed")
        plans.set_state(plan_id, "applying")
        [outcome] = apply_all(plans, plan_id)
        return outcome.outcome, outcome.failure

    sentence = "would restore {} credits, but {} are recorded as lost: make a new plan"
    assert restored(251, "restore:f1,f2,f3") == ("blocked_by_guard", sentence.format(251, 250))
    assert restored(241, "restore:f3") == ("blocked_by_guard", sentence.format(241, 240))
    assert restored(250, "restore:f1,f2,f3") == ("changed", None)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(corrections())
def test_what_python_saves_the_database_finds_in_order(product: Product, correction: Correction) -> None:
    """Whatever letters and amounts: the two agree on the text, its hash, and what the columns say."""
    row = {"plan_id": "p", "seq": 1, "system": "wix_app", **columns(correction)}
    assume(all(abs(row[name]) < 2**63 for name in ("total_delta", "used_delta")))
    with psycopg.connect(product.url) as connection:
        connection.execute(
            "INSERT INTO credit_pipeline.correction_plan (plan_id, system, digest, state, as_of, run_id, population,"
            " entitlements, facts) VALUES ('p', 'wix_app', '', 'proposed', now(), 'r', 1, 1, '{}')"
        )
        insert = f"INSERT INTO credit_pipeline.correction ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})"
        connection.execute(insert.encode(), list(row.values()))
        found = connection.execute(
            "SELECT g.failure FROM credit_pipeline.correction AS c, credit_pipeline.bound_guard(c) AS g"
            " WHERE c.plan_id = 'p'"
        ).fetchone()
        connection.rollback()
    assert found == (None,)
