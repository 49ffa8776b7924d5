"""What an apply asks besides its plan: pins, clock, late changes, waiting rows, and invariants, each broken once."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline_tests.adapters.products.counter_product import (
    Product,
    a_copied_product,
    a_correction,
    a_plan,
    an_adjustment,
    an_upgrade,
    apply_all,
    started,
)
from credit_pipeline_tests.conftest import Databases

DAY = timedelta(hours=24)
NONE_BROKEN = {
    "no_credits_were_lost": 0,
    "every_change_is_audited_once": 0,
    "every_grant_has_its_change": 0,
    "every_change_is_what_was_planned": 0,
    "nothing_fell_below_zero": 0,
    "the_chain_ends_at_its_head": 0,
}


@pytest.fixture
def product(databases: Databases) -> Product:
    product = a_copied_product(databases)
    for account in ("a", "b", "c", "d"):
        product.add(account, "starter", 1000)
    return product


@pytest.fixture
def plans(product: Product) -> Iterator[PostgresPlans]:
    with product.plans() as opened:
        yield opened


def a_claw_back(account: str, delta: int = -200) -> Correction:
    seen = ("starter", 1000, 0)
    return a_correction(account, an_adjustment(delta, f"clawback:{account}"), seen=seen, lane=Lane.APPROVE)


def applied(plans: PostgresPlans, *corrections: Correction) -> str:
    """The id of a plan all of whose rows were approved and changed."""
    plan_id = started(plans, *corrections, lanes=("auto", "approve"))
    assert {one.outcome for one in apply_all(plans, plan_id)} == {"changed"}
    return plan_id


def broken(product: Product, plan_id: str) -> Mapping[str, int]:
    """What somebody who asks for the first time finds broken."""
    with product.plans() as plans:
        return {name: rows for name, rows in plans.invariants(plan_id).items() if rows}


def behind_the_triggers(product: Product, statement: str) -> None:
    product.run(f"SET LOCAL session_replication_role = replica; {statement}")


# Pins and clock


def test_the_pins_say_what_the_installation_belongs_to(product: Product, plans: PostgresPlans) -> None:
    [here] = product.run(
        "SELECT current_database()::text AS database, system_identifier::text AS server FROM pg_control_system()"
    )
    pins = plans.pins()
    assert (pins["database"], pins["system_identifier"], pins["environment"]) == (
        here["database"],
        here["server"],
        "test",
    )
    assert len(pins["install"]) == 36


def test_an_older_installation_has_no_pins(product: Product, plans: PostgresPlans) -> None:
    product.run("UPDATE credit_pipeline.control SET pins = '{{}}'")
    assert plans.pins() == {}


def test_the_clock_is_the_database_s(plans: PostgresPlans) -> None:
    assert abs(plans.clock() - datetime.now(UTC)) < timedelta(seconds=20)  # one machine, slow as it may be


# Changes of late, and rows that wait


def test_automatic_changes_are_counted_by_account_and_time(product: Product, plans: PostgresPlans) -> None:
    asked = [AccountId(account) for account in ("a", "b", "c", "nobody")]
    assert plans.automatic_changes(asked, DAY) == {}
    applied(plans, an_upgrade("a"), an_upgrade("b"), an_upgrade("d"), a_claw_back("c"))
    product.run("UPDATE app_instances SET plan_id = 'starter', credits_total = 1000")
    label = a_correction("a", an_upgrade("a").steps[1], seen=("starter", 1000, 0))
    applied(plans, label)
    assert plans.automatic_changes(asked, DAY) == {"a": 2, "b": 1}
    assert plans.automatic_changes(asked, timedelta()) == {}
    behind_the_triggers(
        product,
        "UPDATE credit_pipeline.audit SET payload = (payload::jsonb || jsonb_build_object('at', to_char("
        "now() - interval '24 hours 1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')))::text WHERE seq = 1",
    )
    assert plans.automatic_changes(asked, DAY) == {"a": 1, "b": 1}
    assert plans.automatic_changes([], DAY) == {}


def test_accounts_changed_by_plans_of_their_own_are_counted_by_time(product: Product, plans: PostgresPlans) -> None:
    def of_its_own(correction: Correction) -> None:
        plan_id = applied(plans, correction)
        scope = "facts || jsonb_build_object('scope', 'an account')"
        product.run(f"UPDATE credit_pipeline.correction_plan SET facts = {scope} WHERE plan_id = '{plan_id}'")

    applied(plans, an_upgrade("a"), an_upgrade("b"))
    assert plans.changed_alone(DAY) == 0, "a plan for all"
    of_its_own(an_upgrade("c"))
    assert (plans.changed_alone(DAY), plans.changed_alone(timedelta())) == (1, 0)
    product.run("UPDATE app_instances SET plan_id = 'starter', credits_total = 1000 WHERE instance_id = 'c'")
    of_its_own(a_correction("c", an_upgrade("c").steps[1], seen=("starter", 1000, 0)))
    of_its_own(a_claw_back("d"))
    assert plans.changed_alone(DAY) == 1, "an account counts once, and what a person released not at all"


def test_rows_wait_until_they_have_an_outcome_and_only_if_released(product: Product, plans: PostgresPlans) -> None:
    rows = [an_upgrade("a"), an_upgrade("b"), a_claw_back("c"), a_claw_back("d")]
    plan_id = plans.save(a_plan(*rows)).plan_id
    assert plans.waiting(plan_id) == 2
    plans.approve(plan_id, Selection(lane="approve", accounts=("c",)), "ann", "reviewed")
    assert plans.waiting(plan_id) == 3
    product.run("UPDATE credit_pipeline.correction SET approved = true")
    assert plans.waiting(plan_id) == 3
    plans.approve(plan_id, Selection(lane="auto"), "ann", "reviewed")
    plans.set_state(plan_id, "applying")
    plans.apply_batch(plan_id, 2)
    assert plans.waiting(plan_id) == 1


def test_an_outcome_says_what_was_meant(product: Product, plans: PostgresPlans) -> None:
    plan_id = started(plans, an_upgrade("a"), an_upgrade("gone"), a_claw_back("b"))
    product.run("UPDATE credit_pipeline.correction SET approved = true WHERE account = 'b'")
    [changed, held, stale] = plans.apply_batch(plan_id, 9)
    assert (changed.outcome, changed.delta, changed.granted, changed.plan, changed.label) == (
        "changed", 5000, 5000, "pro", "pro",
    )  # fmt: skip
    assert (held.outcome, held.delta, held.granted, held.plan, held.label) == ("needs_approval", -200, 0, None, None)
    assert (stale.outcome, stale.delta) == ("stale_skipped", 5000)


# Invariants


def test_nothing_is_broken_after_a_good_apply(product: Product, plans: PostgresPlans) -> None:
    plan_id = plans.save(a_plan(an_upgrade("a"))).plan_id
    assert plans.invariants(plan_id) == NONE_BROKEN
    restore = a_correction("c", an_adjustment(30, "restore:f"), seen=("starter", 1000, 0), lane=Lane.APPROVE)
    plan_id = applied(plans, an_upgrade("a"), a_claw_back("b"), restore)
    assert plans.invariants(plan_id) == NONE_BROKEN
    assert plans.invariants(plan_id) == NONE_BROKEN
    with pytest.raises(PlanError, match="there is no such plan"):
        plans.invariants("wix_app-none")


REWRITE = "UPDATE credit_pipeline.audit SET payload = (payload::jsonb || {})::text WHERE seq = {}"
UNSPENT = '\'{{"after": {{"plan": "pro", "total": 6000, "used": 5900, "available": 100}}, "delta": -900}}\''


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        (REWRITE.format(UNSPENT, 1), {"no_credits_were_lost": 1, "every_change_is_what_was_planned": 1}),
        (REWRITE.format("'{{\"delta\": 4999}}'", 1), {"every_change_is_what_was_planned": 1}),
        (REWRITE.format('\'{{"before": {{"available": 999}}}}\'', 1), {"every_change_is_what_was_planned": 1}),
        (
            REWRITE.format('\'{{"after": {{"total": 5990, "used": -10, "available": 6000}}}}\'', 1),
            {"nothing_fell_below_zero": 1},
        ),
        ("DELETE FROM credit_pipeline.approval WHERE lane = 'approve'", {"no_credits_were_lost": 1}),
        ("UPDATE credit_pipeline.correction SET digest = '' WHERE account = 'b'", {"no_credits_were_lost": 1}),
        ('DELETE FROM credit_pipeline."grant"', {"every_grant_has_its_change": 1}),
        ('UPDATE credit_pipeline."grant" SET credits = 4999', {"every_grant_has_its_change": 1}),
        (
            "INSERT INTO credit_pipeline.\"grant\" SELECT system, 'z', plan, period_start, period_end, credits, plan_id"
            ' FROM credit_pipeline."grant"',
            {"every_grant_has_its_change": 1},
        ),
        ("UPDATE credit_pipeline.correction SET outcome = 'busy' WHERE seq = 1", {"every_change_is_audited_once": 1}),
        ("UPDATE credit_pipeline.correction SET audit_seq = 7", {"every_change_is_audited_once": 2}),
        ("UPDATE credit_pipeline.control SET audit_seq = 3", {"the_chain_ends_at_its_head": 1}),
        ("UPDATE credit_pipeline.control SET audit_hash = repeat('f', 64)", {"the_chain_ends_at_its_head": 1}),
        (
            "INSERT INTO credit_pipeline.audit (system, seq, payload, prev_hash, hash)"
            " VALUES ('wix_app', 3, '{{}}', '', '')",
            {"the_chain_ends_at_its_head": 1},
        ),
    ],
)
def test_what_is_broken_by_hand_is_counted(
    product: Product, plans: PostgresPlans, tampering: str, found: dict[str, int]
) -> None:
    plan_id = applied(plans, an_upgrade("a"), a_claw_back("b"))
    behind_the_triggers(product, tampering)
    assert broken(product, plan_id) == found


def test_a_deleted_audit_row_leaves_its_grant_without_a_change(product: Product, plans: PostgresPlans) -> None:
    plan_id = applied(plans, an_upgrade("a"), an_upgrade("b"))
    behind_the_triggers(product, "DELETE FROM credit_pipeline.audit WHERE seq = 1")
    assert broken(product, plan_id) == {"every_grant_has_its_change": 1}


def test_a_balance_that_was_below_zero_before_breaks_nothing(product: Product, plans: PostgresPlans) -> None:
    """A person may relabel an account whose balance is wrong."""
    product.run("ALTER TABLE app_instances DROP CONSTRAINT never_overspent")
    product.add("e", "starter", 100, 300)
    plan_id = applied(plans, a_correction("e", an_upgrade("e").steps[1], seen=("starter", 100, 300)))
    assert broken(product, plan_id) == {}


def test_what_was_found_in_order_is_not_read_again(product: Product, plans: PostgresPlans) -> None:
    """Between two batches of thousands of rows only the last batch is read; what is broken stays broken."""
    plan_id = started(plans, an_upgrade("a"), an_upgrade("b"), an_upgrade("c"))
    plans.apply_batch(plan_id, 1)
    assert plans.invariants(plan_id) == NONE_BROKEN
    product.run("UPDATE credit_pipeline.correction SET audit_seq = 7 WHERE account = 'a'")
    assert plans.invariants(plan_id) == NONE_BROKEN
    plans.apply_batch(plan_id, 1)
    product.run("UPDATE credit_pipeline.correction SET audit_seq = 8 WHERE account = 'b'")
    for _ in range(2):
        assert plans.invariants(plan_id)["every_change_is_audited_once"] == 1
    assert broken(product, plan_id) == {"every_change_is_audited_once": 2}
