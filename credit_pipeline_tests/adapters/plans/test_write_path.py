"""The one door to the product's tables, on a real Postgres: each test is a way credits could be lost or doubled.

Saving, approving and expiring plans are in `test_plan_store.py`; races and crashes in `test_write_path_races.py`.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.domain.corrections.correction import (
    Correction,
    CreateBalance,
    Lane,
    SetPlan,
    SetSubscription,
    Step,
)
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.services.plans.ports import RowOutcome
from credit_pipeline_tests.adapters.products.counter_product import (
    END,
    MIXED_CASE,
    PUBLIC,
    START,
    Product,
    a_copied_product,
    a_correction,
    a_grant,
    a_plan,
    an_adjustment,
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


def applied(plans: PostgresPlans, *corrections: Correction) -> list[RowOutcome]:
    """A plan saved, approved in both lanes where it has rows, and applied."""
    plan_id = started(plans, *corrections, lanes=("auto", "approve"))
    return sorted(apply_all(plans, plan_id), key=lambda one: one.seq)


def by_hand(correction: Correction) -> Correction:
    return replace(correction, lane=Lane.APPROVE)


# What is written


@pytest.mark.parametrize("system", [PUBLIC, MIXED_CASE], ids=["public", "mixed case"])
def test_an_upgrade_keeps_the_credits_already_earned(databases: Databases, system: object) -> None:
    product = a_copied_product(databases, system)  # type: ignore[arg-type]
    product.add("a", "starter", 1200, 200)
    with product.plans() as plans:
        [outcome] = applied(plans, an_upgrade("a", seen=("starter", 1200, 200)))
    assert outcome.outcome == "changed"
    assert outcome.before == {"plan": "starter", "total": 1200, "used": 200, "available": 1000}
    assert outcome.after == {"plan": "pro", "total": 6000, "used": 0, "available": 6000}
    assert product.balance("a") == ("pro", 6000, 0)


def test_a_shortfall_is_raised_and_used_is_kept(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "pro", 100, 30)
    raised = a_correction("a", a_grant("a", 4900, fold=False), seen=("pro", 100, 30))
    assert names_of(applied(plans, raised)) == ["changed"]
    assert product.balance("a") == ("pro", 5000, 30)


def test_a_label_alone_moves_no_credits_and_can_be_written_again(product: Product, plans: PostgresPlans) -> None:
    label = a_correction("a", SetPlan(plan="pro", label="pro"), seen=("free", 5000, 3000))
    product.add("a", "free", 5000, 3000)
    for _ in range(2):
        assert names_of(applied(plans, label)) == ["changed"]
        assert product.balance("a") == ("pro", 5000, 3000)
        product.run("UPDATE app_instances SET plan_id = 'free'")


def test_restores_and_resets_of_used_are_relative(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "pro", 5000, 4000)
    steps = (an_adjustment(200, "restore:f1"), an_adjustment(3000, "renewal:f2", lower_used=True))
    assert names_of(applied(plans, by_hand(a_correction("a", *steps, seen=("pro", 5000, 3500))))) == ["changed"]
    assert product.balance("a") == ("pro", 5200, 1000)


def test_the_time_of_the_change_is_written_where_the_product_keeps_one(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    applied(plans, an_upgrade("a"))
    assert product.run("SELECT now() - updated_at < interval '1 minute' AS fresh FROM app_instances") == [
        {"fresh": True}
    ]


def test_the_product_s_trigger_works_with_unqualified_names(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    applied(plans, an_upgrade("a"))
    assert product.run("SELECT instance, plan_id, total FROM instance_changes") == [
        {"instance": "a", "plan_id": "pro", "total": 6000}
    ]


def test_two_corrections_of_one_account_both_hold(product: Product, plans: PostgresPlans) -> None:
    """The proven part is applied, the rest waits: the first one's own change does not make the second stale."""
    product.add("a", "pro", 100)
    seen = ("pro", 100, 0)
    restore = by_hand(a_correction("a", an_adjustment(300, "restore:f"), seen=seen))
    assert names_of(applied(plans, a_correction("a", a_grant("a", 4900, fold=False), seen=seen), restore)) == [
        "changed",
        "changed",
    ]
    assert product.balance("a") == ("pro", 5300, 0)


# What is refused


def test_a_plan_applied_twice_changes_nothing_the_second_time(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    plan_id = started(plans, an_upgrade("a"))
    assert names_of(plans.apply_batch(plan_id, 10)) == ["changed"]
    assert plans.apply_batch(plan_id, 10) == []
    assert product.balance("a") == ("pro", 6000, 0)


def test_a_taken_grant_key_is_a_no_op(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    assert names_of(applied(plans, an_upgrade("a"))) == ["changed"]
    assert names_of(applied(plans, by_hand(an_upgrade("a", seen=("pro", 6000, 0))))) == ["noop_already_applied"]
    assert product.balance("a") == ("pro", 6000, 0)


def test_a_taken_adjustment_key_is_a_no_op_also_beside_a_grant(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "pro", 100)
    restore = an_adjustment(200, "restore:f1")
    both = by_hand(a_correction("a", a_grant("a", 4900, fold=False), restore, seen=("pro", 100, 0)))
    assert names_of(applied(plans, both)) == ["changed"]
    alone = by_hand(a_correction("a", restore, seen=("pro", 5200, 0)))
    assert names_of(applied(plans, alone)) == ["noop_already_applied"]
    partly = by_hand(a_correction("a", restore, an_adjustment(50, "restore:f2"), seen=("pro", 5200, 0)))
    [outcome] = applied(plans, partly)
    assert (outcome.outcome, outcome.failure) == (
        "stale_skipped",
        "a part of this correction was made already: the next plan holds the rest",
    )
    assert product.balance("a") == ("pro", 5200, 0)


@pytest.mark.parametrize(
    ("days", "outcome"),
    [(-28, "changed"), (-27, "blocked_by_guard"), (3, "blocked_by_guard"), (27, "blocked_by_guard"), (28, "changed")],
)
def test_an_automatic_grant_near_another_of_the_same_plan_is_held(
    product: Product, plans: PostgresPlans, days: int, outcome: str
) -> None:
    """0.9 of this 31-day cycle is 27.9 days."""
    product.add("a", "starter", 1000)
    assert names_of(applied(plans, an_upgrade("a"))) == ["changed"]
    moved = a_grant("a", 5000, start=START + timedelta(days=days))
    assert names_of(applied(plans, a_correction("a", moved, seen=("pro", 6000, 0)))) == [outcome]


def test_another_plan_s_grant_in_the_period_does_not_stop_an_upgrade(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 0)
    starter = a_correction("a", a_grant("a", 1000, plan="starter"), seen=("starter", 0, 0))
    assert names_of(applied(plans, starter)) == ["changed"]
    assert names_of(applied(plans, an_upgrade("a"))) == ["changed"]
    assert product.balance("a") == ("pro", 6000, 0)


@pytest.mark.parametrize("table", ["observation", "observation_log"])
@pytest.mark.parametrize(("mark", "plan", "days", "outcome"), [
    ("adopted", "pro", 0, "blocked_by_guard"),
    ("assumed", "pro", -27, "blocked_by_guard"),
    ("adopted", "pro", -28, "changed"),
    (None, "pro", 0, "changed"),
    ("adopted", "starter", 0, "changed"),
])  # fmt: skip
def test_a_grant_the_product_made_itself_is_not_repeated_automatically(
    product: Product, plans: PostgresPlans, table: str, mark: str | None, plan: str, days: int, outcome: str
) -> None:
    product.add("a", "starter", 1000)
    columns = "system, account, total, used, billed_plan, billed_period_start, mark, as_of"
    until, value = (", seen_until", ", now()") if table == "observation_log" else ("", "")
    product.run(
        f"INSERT INTO credit_pipeline.{table} ({columns}{until})"
        f" VALUES ('wix_app', 'a', 1000, 0, %s, %s, %s, now(){value})",
        plan, START + timedelta(days=days), mark,
    )  # fmt: skip
    assert names_of(applied(plans, an_upgrade("a"))) == [outcome]
    if outcome == "blocked_by_guard":
        assert product.balance("a") == ("starter", 1000, 0)
        assert names_of(applied(plans, by_hand(an_upgrade("a")))) == ["changed"]


def test_a_grant_above_the_pinned_allowance_is_held(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    [outcome] = applied(plans, a_correction("a", a_grant("a", 5001), seen=("starter", 1000, 0)))
    assert (outcome.outcome, outcome.failure) == (
        "blocked_by_guard",
        "a grant of 5001 credits is above the 5000 pinned for plan pro: run `credit-pipeline init wix_app`",
    )
    unknown = a_correction("a", a_grant("a", 1, plan="enterprise"), seen=("starter", 1000, 0))
    assert names_of(applied(plans, unknown)) == ["blocked_by_guard"]
    assert product.balance("a") == ("starter", 1000, 0)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ("UPDATE app_instances SET credits_total = 1200", "total 1000 -> 1200"),
        ("UPDATE app_instances SET plan_id = 'free'", "plan starter -> free"),
        ("UPDATE app_instances SET plan_id = NULL", "plan starter -> none"),
    ],
)
def test_a_row_that_moved_since_the_plan_is_stale(
    product: Product, plans: PostgresPlans, change: str, moved: str
) -> None:
    product.add("a", "starter", 1000)
    product.run(change)
    before = product.balance("a")
    [outcome] = applied(plans, an_upgrade("a"))
    assert outcome.outcome == "stale_skipped"
    assert moved in str(outcome.failure)
    assert product.balance("a") == before


def test_spending_since_the_plan_is_not_stale(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    product.run("UPDATE app_instances SET credits_used_month = 300")
    assert names_of(applied(plans, an_upgrade("a"))) == ["changed"]
    assert product.balance("a") == ("pro", 5700, 0)


def test_an_account_that_is_gone_is_stale(plans: PostgresPlans) -> None:
    [outcome] = applied(plans, an_upgrade("gone"))
    assert (outcome.outcome, outcome.failure) == (
        "stale_skipped",
        "the account is gone from the store since the plan was made",
    )


@pytest.mark.parametrize(
    "step", [CreateBalance(), SetSubscription(status="active", period_start=None, period_end=None)]
)
def test_a_step_that_a_counter_has_no_table_for_undoes_its_row(
    product: Product, plans: PostgresPlans, step: Step
) -> None:
    """It would be reported as made, and never be."""
    product.add("a", "starter", 1000)
    [outcome] = applied(plans, a_correction("a", a_grant("a", 5000), step, seen=("starter", 1000, 0)))
    assert (outcome.outcome, outcome.failure) == (
        "failed",
        "a counter has no table for one of the steps: make a new plan with this version of the program",
    )
    assert product.balance("a") == ("starter", 1000, 0)


def test_an_automatic_decrease_is_refused(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1200)
    loss = a_correction("a", an_adjustment(-200, "oops"), seen=("starter", 1200, 0))
    [outcome] = applied(plans, loss)
    assert (outcome.outcome, outcome.failure) == (
        "blocked_by_guard",
        "credit loss prevented: would fall 1200 -> 1000",
    )
    assert product.balance("a") == ("starter", 1200, 0)


def test_an_approved_decrease_takes_exactly_its_amount(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1200, 100)
    claw_back = by_hand(a_correction("a", an_adjustment(-200, "clawback:f"), seen=("starter", 1200, 0)))
    assert names_of(applied(plans, claw_back)) == ["changed"]
    assert product.balance("a") == ("starter", 1000, 100)


def test_a_decrease_nobody_approved_is_left_alone(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1200)
    claw_back = by_hand(a_correction("a", an_adjustment(-200, "clawback:f"), seen=("starter", 1200, 0)))
    assert apply_all(plans, started(plans, claw_back)) == []
    assert product.balance("a") == ("starter", 1200, 0)


def test_a_forged_flag_without_an_approval_releases_nothing(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1200)
    claw_back = by_hand(a_correction("a", an_adjustment(-200, "clawback:f"), seen=("starter", 1200, 0)))
    plan_id = started(plans, claw_back)
    product.run("UPDATE credit_pipeline.correction SET approved = true")
    assert names_of(apply_all(plans, plan_id)) == ["needs_approval"]
    assert product.balance("a") == ("starter", 1200, 0)


def test_a_claw_back_never_goes_below_what_is_left(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1200, 1100)
    claw_back = by_hand(a_correction("a", an_adjustment(-200, "clawback:f"), seen=("starter", 1200, 0)))
    [outcome] = applied(plans, claw_back)
    assert (outcome.outcome, outcome.failure) == (
        "blocked_by_guard",
        "would leave used 1100 and available -100: neither may fall below zero",
    )


def test_a_row_the_product_holds_is_busy_and_the_others_are_done(product: Product, plans: PostgresPlans) -> None:
    for account in ("a", "b"):
        product.add(account, "starter", 1000)
    with psycopg.connect(product.url) as holder:
        holder.execute("SELECT FROM app_instances WHERE instance_id = 'a' FOR UPDATE")
        assert names_of(applied(plans, an_upgrade("a"), an_upgrade("b"))) == ["busy", "changed"]
    assert product.balance("a") == ("starter", 1000, 0)


def test_a_refusal_of_the_product_undoes_that_row_alone_and_tells_no_data(
    product: Product, plans: PostgresPlans
) -> None:
    for account in ("a", "b"):
        product.add(account, "starter", 1000)
    product.run("ALTER TABLE app_instances ADD CONSTRAINT no_pro CHECK (instance_id <> 'a' OR plan_id <> 'pro')")
    refused, done = applied(plans, an_upgrade("a"), an_upgrade("b"))
    assert (refused.outcome, refused.failure) == (
        "failed",
        "the database refused the change with SQLSTATE 23514, constraint no_pro",
    )
    assert done.outcome == "changed"
    assert product.balance("a") == ("starter", 1000, 0)
    assert product.run('SELECT account FROM credit_pipeline."grant"') == [{"account": "b"}]
    assert plans.audit_head()[0] == 1


def test_an_exception_in_a_trigger_tells_only_its_state(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    product.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no, %', NEW.owner_email; END $$;"
        "CREATE TRIGGER refused BEFORE UPDATE ON app_instances FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    [outcome] = applied(plans, an_upgrade("a"))
    assert (outcome.outcome, outcome.failure) == ("failed", "the database refused the change with SQLSTATE P0001")


@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
def test_a_trigger_that_changes_the_amount_undoes_the_row(product: Product, plans: PostgresPlans, when: str) -> None:
    product.add("a", "starter", 1000)
    body = {
        "BEFORE": "NEW.credits_total := 5000; RETURN NEW;",
        "AFTER": "UPDATE app_instances SET credits_total = 5000 WHERE instance_id = NEW.instance_id; RETURN NULL;",
    }[when]
    product.run(
        f"CREATE FUNCTION reset_credits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        f"CREATE TRIGGER resets {when} UPDATE ON app_instances FOR EACH ROW "
        "WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION reset_credits()"
    )
    [outcome] = applied(plans, an_upgrade("a"))
    assert outcome.outcome == "failed"
    assert "wanted total 6000, used 0, found total 5000, used 0" in str(outcome.failure)
    assert product.balance("a") == ("starter", 1000, 0)


def test_a_deferred_trigger_of_the_product_fails_its_row_and_not_the_batch(
    product: Product, plans: PostgresPlans
) -> None:
    for account in ("a", "b"):
        product.add(account, "starter", 1000)
    product.run(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.instance_id = 'a' THEN INSERT INTO instance_changes SELECT 1/0; END IF; RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON app_instances DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION late()"
    )
    refused, done = applied(plans, an_upgrade("a"), an_upgrade("b"))
    assert (refused.outcome, done.outcome) == ("failed", "changed")
    assert refused.failure == "the database refused the change with SQLSTATE 22012"


# Whether anything may be written


def test_a_stopped_system_writes_nothing(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    plan_id = started(plans, an_upgrade("a"))
    product.run("UPDATE credit_pipeline.control SET stopped_at = '2026-03-02 10:00Z', stop_reason = 'odd grants'")
    sentence = r"wix_app: stopped since 2026-03-02 10:00 UTC \(odd grants\): `credit-pipeline resume wix_app`"
    with pytest.raises(PlanError, match=sentence):
        plans.apply_batch(plan_id, 10)
    assert product.balance("a") == ("starter", 1000, 0)
    product.run("UPDATE credit_pipeline.control SET stopped_at = NULL")
    assert names_of(apply_all(plans, plan_id)) == ["changed"]


@pytest.mark.parametrize("state", ["proposed", "quarantined", "approved", "rejected", "superseded", "expired"])
def test_a_plan_that_is_not_being_applied_writes_nothing(product: Product, plans: PostgresPlans, state: str) -> None:
    product.add("a", "starter", 1000)
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    plans.set_state(plan_id, state)
    with pytest.raises(PlanError, match=f"the plan is {state}, not applying"):
        plans.apply_batch(plan_id, 10)
    assert product.balance("a") == ("starter", 1000, 0)


@pytest.mark.parametrize("state", ["applied", "partly_applied"])
def test_asking_for_another_batch_of_a_plan_that_ended_is_no_error(
    product: Product, plans: PostgresPlans, state: str
) -> None:
    product.add("a", "starter", 1000)
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    plans.set_state(plan_id, state)
    assert not plans.apply_batch(plan_id, 10)
    assert product.balance("a") == ("starter", 1000, 0)


def test_functions_generated_for_other_columns_write_nothing(product: Product) -> None:
    with product.plans() as plans:
        plan_id = started(plans, an_upgrade("a"))
    product.run("UPDATE credit_pipeline.control SET config_hash = 'other'")
    with (
        psycopg.connect(product.url) as connection,
        pytest.raises(psycopg.Error, match="generated for another table or columns") as refusal,
    ):
        connection.execute("SELECT * FROM credit_pipeline.apply_batch(%s, 10)", (plan_id,))
    assert refusal.value.sqlstate == "CP004"


@pytest.mark.parametrize("size", [0, -1, 201])
def test_a_batch_has_a_bound(plans: PostgresPlans, size: int) -> None:
    plan_id = started(plans, an_upgrade("a"))
    with pytest.raises(PlanError, match="a batch is 1 to 200 rows"):
        plans.apply_batch(plan_id, size)


def test_batches_go_on_where_the_last_one_ended(product: Product, plans: PostgresPlans) -> None:
    for n in range(5):
        product.add(f"a{n}", "starter", 1000)
    plan_id = started(plans, *(an_upgrade(f"a{n}") for n in reversed(range(5))))
    batches = [[one.account_id for one in plans.apply_batch(plan_id, 2)] for _ in range(4)]
    assert batches == [["a0", "a1"], ["a2", "a3"], ["a4"], []]


# Whom the functions trust


def test_objects_of_the_same_name_on_the_caller_s_path_are_not_used(product: Product, plans: PostgresPlans) -> None:
    """The unpinned variant ran an attacker's function as the owner."""
    product.add("a", "starter", 1000)
    plan_id = started(plans, an_upgrade("a"))
    product.run(
        "CREATE SCHEMA evil;"
        "CREATE TABLE evil.hijacked (what text);"
        "CREATE FUNCTION evil.note(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO evil.hijacked VALUES (what)';"
        "CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS "
        "$$ SELECT evil.note('now'); SELECT 'epoch'::timestamptz $$;"
        "CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT evil.note('sha256'); SELECT $1 $$;"
        "CREATE FUNCTION evil.format(text, VARIADIC \"any\") RETURNS text LANGUAGE internal AS 'text_format';"
        "CREATE FUNCTION evil.plus(int, bigint) RETURNS bigint LANGUAGE sql AS "
        "$$ SELECT evil.note('+'); SELECT 0::bigint $$;"
        "CREATE OPERATOR evil.+ (LEFTARG = int, RIGHTARG = bigint, FUNCTION = evil.plus);"
        "CREATE TABLE evil.app_instances (LIKE public.app_instances); CREATE TABLE evil.control (system text);"
        "CREATE TABLE evil.instance_changes (LIKE public.instance_changes)"
    )
    with psycopg.connect(product.url) as connection:
        connection.execute("CREATE TEMP TABLE app_instances (LIKE public.app_instances)")
        connection.execute("CREATE TEMP TABLE instance_changes (LIKE public.instance_changes)")
        connection.execute("SET search_path = evil, pg_temp, pg_catalog, public")
        row = connection.execute("SELECT outcome FROM credit_pipeline.apply_batch(%s, 10)", (plan_id,)).fetchone()
        for table in ("evil.instance_changes", "pg_temp.instance_changes", "evil.hijacked"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    assert row == ("changed",)
    assert product.balance("a") == ("pro", 6000, 0)
    assert product.run("SELECT count(*) AS n FROM instance_changes") == [{"n": 1}]
    assert chain_faults(plans) == []


def test_a_role_that_was_granted_nothing_can_call_nothing(product: Product, plans: PostgresPlans) -> None:
    plan_id = started(plans, an_upgrade("a"))
    product.run("DO $$ BEGIN IF to_regrole('no_rights') IS NULL THEN CREATE ROLE no_rights LOGIN; END IF; END $$")
    with psycopg.connect(product.url.replace("postgres@", "no_rights@")) as stranger:
        for call in (
            f"SELECT * FROM credit_pipeline.apply_batch('{plan_id}', 10)",
            "SELECT credit_pipeline.write_wix_app(NULL)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                stranger.execute(call)
            stranger.rollback()


def test_a_role_granted_the_door_writes_through_it_and_nowhere_else(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1000)
    plan_id = started(plans, an_upgrade("a"))
    product.run(
        "DO $$ BEGIN IF to_regrole('door_only') IS NULL THEN CREATE ROLE door_only LOGIN; END IF; END $$;"
        "GRANT USAGE ON SCHEMA credit_pipeline TO door_only;"
        "GRANT EXECUTE ON FUNCTION credit_pipeline.apply_batch(text, int) TO door_only"
    )
    with psycopg.connect(product.url.replace("postgres@", "door_only@")) as corrector:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            corrector.execute("UPDATE public.app_instances SET credits_total = 9999")
        corrector.rollback()
        row = corrector.execute("SELECT outcome FROM credit_pipeline.apply_batch(%s, 10)", (plan_id,)).fetchone()
    assert row == ("changed",)
    [change] = plans.audit()
    assert change["session_user"] == "door_only"
    assert product.run("SELECT by_role FROM instance_changes") == [{"by_role": "postgres"}]


# The audit


def test_every_change_has_one_audit_row_with_its_true_before_and_after(product: Product, plans: PostgresPlans) -> None:
    product.add("a", "starter", 1200, 200)
    product.add("b", "starter", 1000)
    release = by_hand(a_correction("b", an_adjustment(-100, "clawback:f"), seen=("starter", 1000, 0)))
    applied(plans, an_upgrade("a", seen=("starter", 1200, 200)), release, an_upgrade("gone"))
    newest, oldest = plans.audit()
    assert oldest["seq"] == 1
    assert (oldest["account"], oldest["delta"], oldest["key"]) == ("a", 5000, "a/pro/1772323200")
    assert oldest["before"] == {"plan": "starter", "total": 1200, "used": 200, "available": 1000}
    assert oldest["after"] == {"plan": "pro", "total": 6000, "used": 0, "available": 6000}
    assert (oldest["lane"], oldest["codes"], oldest["run_id"]) == ("auto", ["grant_missing"], "run-1")
    assert (oldest["approver"], oldest["application_name"]) == ("ann", "credit_pipeline wix_app")
    assert (newest["account"], newest["delta"], newest["approver"]) == ("b", -100, "ann")
    assert [one["account"] for one in plans.audit(account=release.account_id)] == ["b"]
    assert plans.audit_head() == (2, newest["hash"])
    assert chain_faults(plans) == []
    columns = product.run(
        "SELECT seq, account, delta, before_available, after_available, after_label"
        " FROM credit_pipeline.audit ORDER BY seq"
    )
    assert [tuple(row.values()) for row in columns] == [
        (1, "a", 5000, 1000, 6000, "pro"),
        (2, "b", -100, 1000, 900, "starter"),
    ]
    assert product.run('SELECT account, credits, period_start, period_end FROM credit_pipeline."grant"') == [
        {"account": "a", "credits": 5000, "period_start": START, "period_end": END}
    ]


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE credit_pipeline.audit SET payload = payload WHERE seq = 1",
        "DELETE FROM credit_pipeline.audit",
        "TRUNCATE credit_pipeline.audit",
    ],
)
def test_the_audit_refuses_update_delete_and_truncate(product: Product, plans: PostgresPlans, tampering: str) -> None:
    product.add("a", "starter", 1000)
    applied(plans, an_upgrade("a"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        product.run(tampering)
    assert plans.audit_head()[0] == 1


@pytest.mark.parametrize(
    ("tampering", "problem"),
    [
        (
            "UPDATE credit_pipeline.audit SET payload = replace(payload, '5000', '9000') WHERE seq = 2",
            "audit row 2 was edited",
        ),
        ("DELETE FROM credit_pipeline.audit WHERE seq = 2", "audit row 2 is missing before row 3"),
        ("DELETE FROM credit_pipeline.audit WHERE seq = 3", "the chain ends at row 2, but its head says row 3"),
        ("TRUNCATE credit_pipeline.audit", "the chain ends at row 0, but its head says row 3"),
        (
            "UPDATE credit_pipeline.control SET audit_hash = repeat('f', 64)",
            "the chain ends at row 3, but with another hash",
        ),
        (
            "UPDATE credit_pipeline.audit SET seq = seq + 10 WHERE seq IN (2, 3);"
            "UPDATE credit_pipeline.audit SET seq = 15 - seq WHERE seq > 10",
            "audit row 2 does not follow from the row before it",
        ),
        (
            "INSERT INTO credit_pipeline.audit (system, seq, payload, prev_hash, hash)"
            """ VALUES ('wix_app', 4, '{{"system": "wix_app", "seq": 4}}', '', '')""",
            "the chain ends at row 4, but its head says row 3",
        ),
    ],
)
def test_a_superuser_s_edit_behind_the_triggers_is_found(
    product: Product, plans: PostgresPlans, tampering: str, problem: str
) -> None:
    for account in ("a", "b", "c"):
        product.add(account, "starter", 1000)
    applied(plans, *(an_upgrade(account) for account in ("a", "b", "c")))
    assert chain_faults(plans) == []
    product.run(f"SET LOCAL session_replication_role = replica; {tampering}")
    assert any(problem in sentence for sentence in chain_faults(plans))
