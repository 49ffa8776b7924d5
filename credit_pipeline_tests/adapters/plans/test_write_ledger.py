"""The door to a ledger, on a real Postgres and the sandbox's own tables: each test is a way credits could be lost or
doubled, or a user linked wrongly. Races are in `test_write_ledger_races.py`, what `init` refuses in
`test_install_ledger.py`, and what is the same for every layout in `test_write_path.py`.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.adapters.stores.ledger import LedgerStore
from credit_pipeline.config.store import AddFunction
from credit_pipeline.domain.corrections.correction import Correction, Lane, SetSubscription
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.subjects.identity import Layer
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline_tests.adapters.products.counter_product import END, START, chain_faults, names_of
from credit_pipeline_tests.adapters.products.ledger_product import ADD, NAMES, LedgerProduct, a_system, ledger_config
from credit_pipeline_tests.adapters.products.ledger_writes import (
    ACTIVE,
    BALANCE,
    PRO,
    A,
    B,
    C,
    Story,
    U,
    V,
    a_change,
    a_copied_ledger,
    a_grant,
    a_link,
    a_resolved_id,
    an_adjustment,
    an_installed_ledger,
    applied,
    approved,
    plans_of,
    result,
)
from credit_pipeline_tests.conftest import Databases

RESOLVED = "resolved_supabase_user_id"
REFERENCE = "sub_1/1772323200"


@pytest.fixture
def product(databases: Databases) -> LedgerProduct:
    return a_copied_ledger(databases)


@pytest.fixture
def plans(product: LedgerProduct) -> Iterator[PostgresPlans]:
    with plans_of(product) as opened:
        yield opened


@pytest.fixture
def a(product: LedgerProduct) -> LedgerProduct:
    """Account A: pro, 100 credits bought, user U linked."""
    product.add_user(U, account=A)
    product.add_points(A, 100, "purchase")
    product.set_tier(A, "pro")
    return product


def description(product: LedgerProduct, kind: str) -> str:
    [row] = product.run("SELECT description FROM points_transactions WHERE type = %s", kind)
    return str(row["description"])


# Credits


def test_a_grant_goes_through_the_product_s_function_and_carries_its_reference(
    a: LedgerProduct, plans: PostgresPlans
) -> None:
    [outcome] = applied(plans, a_change(a_grant()))
    assert outcome.outcome == "changed", outcome.failure
    assert outcome.before == {"plan": "pro", "total": 100, "used": 0, "available": 100, "reference": None}
    assert outcome.after == {"plan": "pro", "total": 900, "used": 0, "available": 900, "reference": REFERENCE}
    assert a.balance(A) == 900
    assert a.transactions(A) == [(100, "purchase", None), (800, "subscription_grant", REFERENCE)]
    assert description(a, "subscription_grant") == "pro: credits of the period from 2026-03-01"
    assert a.run('SELECT account, plan, credits FROM credit_pipeline."grant"') == [
        {"account": A, "plan": "pro", "credits": 800}
    ]
    [change] = plans.audit()
    assert (change["delta"], change["steps"], change["key"]) == (800, [], f"{A}/pro/1772323200")
    assert chain_faults(plans, "bestauth") == []


def test_a_grant_without_a_reference_carries_its_key(a: LedgerProduct, plans: PostgresPlans) -> None:
    assert names_of(applied(plans, a_change(a_grant(reference=None)))) == ["changed"]
    assert a.transactions(A)[1] == (800, "subscription_grant", f"{A}/pro/1772323200")


def test_a_read_store_and_the_write_path_count_alike(a: LedgerProduct, plans: PostgresPlans) -> None:
    """What a plan sees in the store must be what the lock finds, or every row would be stale."""
    a.add_points(A, 50, "of a type nobody declared")
    a.deduct(A, 30)
    a.set_balance(A, 90)
    a.transaction(A, 7, "usage")
    [row] = LedgerStore(a_system(), a.url).read([AccountId(A)]).to_pylist()
    assert (row["total"], row["used"]) == (150, 60)
    assert names_of(applied(plans, a_change(a_grant(), seen=("pro", 150, 60)))) == ["changed"]
    assert a.balance(A) == 890


def test_spending_since_the_plan_is_not_stale(a: LedgerProduct, plans: PostgresPlans) -> None:
    a.deduct(A, 60)
    [outcome] = applied(plans, a_change(a_grant()))
    assert outcome.outcome == "changed"
    assert a.balance(A) == 840


@pytest.mark.parametrize("kind", ["subscription_grant", "purchase", "adjustment", "of a new type"])
def test_any_credit_since_the_plan_makes_it_stale(a: LedgerProduct, plans: PostgresPlans, kind: str) -> None:
    """The product's own webhook came between: nothing is granted on what is known no more."""
    a.add_points(A, 800, kind)
    assert result(plans, a_change(a_grant())) == (
        "stale_skipped",
        "the row moved since the plan was made: plan pro -> pro, total 100 -> 900",
    )
    assert a.balance(A) == 900


def test_a_transaction_with_the_same_reference_makes_it_stale_whatever_the_sum(
    a: LedgerProduct, plans: PostgresPlans
) -> None:
    a.add_points(A, 800, reference=REFERENCE)
    a.add_points(A, -800, "adjustment")
    assert result(plans, a_change(a_grant())) == (
        "stale_skipped",
        "the ledger holds a transaction with the same reference: the next plan matches it",
    )
    a.add_user(V, account=B, balance=100)
    assert names_of(applied(plans, a_change(a_grant(B), account=B, seen=(None, 100, 0)))) == ["changed"]


def test_a_reference_that_an_earlier_period_s_grant_has_too_does_not_hinder_this_one(
    a: LedgerProduct, plans: PostgresPlans
) -> None:
    """Some products write the subscription's id alone."""
    a.add_points(A, 800, reference="sub_1", at=datetime(2026, 2, 1, tzinfo=UTC))
    grant = a_change(a_grant(reference="sub_1"), seen=("pro", 900, 0))
    assert names_of(applied(plans, grant)) == ["changed"]


def test_restores_and_claw_backs_are_transactions_of_the_adjustment_type(
    a: LedgerProduct, plans: PostgresPlans
) -> None:
    assert names_of(applied(plans, approved(an_adjustment(200)))) == ["changed"]
    assert names_of(applied(plans, approved(an_adjustment(-50, "clawback:f2"), seen=("pro", 300, 0)))) == ["changed"]
    assert a.transactions(A)[1:] == [(200, "adjustment", "restore:f1"), (-50, "adjustment", "clawback:f2")]
    assert a.balance(A) == 250


def test_a_restore_of_a_lost_balance_moves_the_balance_alone(a: LedgerProduct, plans: PostgresPlans) -> None:
    """Somebody set the balance back: the ledger still holds the credits, so no transaction is added."""
    a.set_balance(A, 20)
    a.run("UPDATE points_balances SET updated_at = '2020-01-01Z'")
    correction = approved(an_adjustment(80, lower_used=True), seen=("pro", 100, 80))
    [outcome] = applied(plans, correction)
    assert outcome.after == {"plan": "pro", "total": 100, "used": 0, "available": 100}
    assert a.transactions(A) == [(100, "purchase", None)]
    assert a.run("SELECT balance, updated_at > '2026-01-01Z' AS touched FROM points_balances") == [
        {"balance": 100, "touched": True}
    ]


def test_a_balance_above_its_ledger_may_still_be_granted_to(a: LedgerProduct, plans: PostgresPlans) -> None:
    """`used` is below zero there, and a grant makes it no worse."""
    a.set_balance(A, 500)
    assert names_of(applied(plans, a_change(a_grant(), seen=("pro", 100, -400)))) == ["changed"]
    assert a.balance(A) == 1300
    lower = approved(an_adjustment(1, "restore:g", lower_used=True), seen=("pro", 900, -400))
    assert result(plans, lower) == (
        "blocked_by_guard",
        "would leave used -401 and available 1301: neither may fall below zero",
    )


@pytest.mark.parametrize(
    ("credits", "end", "outcome"),
    [
        (1500, END, "changed"),
        (1501, END, "blocked_by_guard"),
        (18_000, datetime(2027, 3, 1, tzinfo=UTC), "changed"),
        (18_001, datetime(2027, 3, 1, tzinfo=UTC), "blocked_by_guard"),
        (18_000, datetime(2026, 12, 1, tzinfo=UTC), "blocked_by_guard"),
    ],
)
def test_only_a_year_at_once_may_hold_twelve_allowances(
    a: LedgerProduct, plans: PostgresPlans, credits: int, end: datetime, outcome: str
) -> None:
    grant = a_grant(delta=credits, plan="annual", end=end)
    assert names_of(applied(plans, a_change(grant))) == [outcome]


def test_a_grant_that_would_reset_used_is_no_grant_of_a_ledger(a: LedgerProduct, plans: PostgresPlans) -> None:
    outcome, failure = result(plans, a_change(replace(a_grant(), reset_used=True)))
    assert (outcome, failure) == ("failed", "a ledger has no `used` that a grant could reset: make a new plan")
    assert a.balance(A) == 100


# The balance row


def test_a_missing_balance_is_made_and_granted_to_in_one_correction(
    product: LedgerProduct, plans: PostgresPlans
) -> None:
    product.add_user(U, account=A)
    [outcome] = applied(plans, a_change(BALANCE, a_grant(), PRO, ACTIVE, seen=(None, 0, None)))
    assert outcome.outcome == "changed", outcome.failure
    assert outcome.before is not None
    assert (outcome.before["used"], outcome.before["available"]) == (None, None)
    assert outcome.after is not None
    assert (outcome.after["total"], outcome.after["used"], outcome.after["available"]) == (800, 0, 800)
    assert (product.balance(A), product.tier(A)) == (800, ("pro", "active"))
    [change] = plans.audit()
    assert change["delta"] == 800
    assert change["steps"][0] == {"step": "CreateBalance"}


def test_an_empty_balance_alone_may_be_made(product: LedgerProduct, plans: PostgresPlans) -> None:
    product.set_tier(A, "free")
    assert names_of(applied(plans, a_change(BALANCE, seen=("free", 0, None)))) == ["changed"]
    assert product.balance(A) == 0


MADE = "the balance row was made since the plan was made"


@pytest.mark.parametrize(
    ("story", "correction", "expected"),
    [
        (
            lambda p: p.set_balance(A, 0),
            a_change(BALANCE, a_grant(), seen=(None, 0, None)),
            ("stale_skipped", MADE),
        ),
        (lambda p: p.set_balance(A, 0), a_change(BALANCE, seen=(None, 0, 0)), ("stale_skipped", MADE)),
        (lambda p: p.set_balance(A, 0), a_change(PRO, ACTIVE, seen=(None, 0, None)), ("stale_skipped", MADE)),
        (
            lambda p: p.set_tier(A, "pro"),
            a_change(a_grant(), seen=("pro", 0, 0)),
            ("stale_skipped", "the balance row was removed since the plan was made"),
        ),
        (
            lambda p: p.set_tier(A, "pro"),
            a_change(a_grant(), seen=("pro", 0, None)),
            ("blocked_by_guard", "the account has no balance row, and this correction makes none: make a new plan"),
        ),
        (
            lambda p: p.transaction(A, 800, "subscription_grant"),
            a_change(BALANCE, a_grant(), seen=(None, 0, None)),
            ("stale_skipped", "the row moved since the plan was made: plan none -> none, total 0 -> 800"),
        ),
        (
            lambda p: None,
            a_change(BALANCE, a_grant(), seen=(None, 0, None)),
            ("stale_skipped", "the account is gone from the store since the plan was made"),
        ),
    ],
    ids=["made", "made unseen", "made, label", "removed", "no step", "entries", "gone"],
)
def test_a_balance_row_that_is_not_as_planned(
    product: LedgerProduct, plans: PostgresPlans, story: Story, correction: Correction, expected: tuple[str, str]
) -> None:
    product.add_user(U)
    story(product)
    before = product.balance(A)
    assert result(plans, correction) == expected
    assert product.balance(A) == before


def test_labels_and_links_need_no_balance_row(product: LedgerProduct, plans: PostgresPlans) -> None:
    """The row is missing although there are transactions, which a person must look at; the label need not wait."""
    product.add_user(U)
    product.subscribe(U, metadata={RESOLVED: A})
    product.transaction(A, 800, "subscription_grant")
    [outcome] = applied(plans, a_change(PRO, ACTIVE, a_link(), seen=(None, 800, None)))
    assert outcome.outcome == "changed", outcome.failure
    assert (product.tier(A), product.mapping(), product.balance(A)) == (("pro", "active"), {U: A}, None)
    [change] = plans.audit()
    assert (change["delta"], change["after"]["available"]) == (0, None)


def test_the_second_correction_of_an_account_stands_on_what_the_first_one_made(
    product: LedgerProduct, plans: PostgresPlans
) -> None:
    product.set_tier(A, "pro")
    seen = ("pro", 0, None)
    corrections = a_change(BALANCE, a_grant(), seen=seen), approved(an_adjustment(50), seen=seen)
    assert names_of(applied(plans, *corrections)) == ["changed", "changed"]
    assert product.balance(A) == 850


# The product's function


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (
            "RETURN 0;",
            "the product wrote nothing and raised no error: "
            "wanted total 900, used 0, found total 100, used 0 as before",
        ),
        ("RAISE EXCEPTION 'none for %', p_user_id;", "the database refused the change with SQLSTATE P0001"),
        (
            "UPDATE points_balances SET balance = balance + p_amount WHERE user_id = p_user_id; RETURN 0;",
            "the product changed the row while it was written: wanted total 900, used 0, found total 100, used -800",
        ),
        (
            "INSERT INTO points_transactions (user_id, amount, type) VALUES (p_user_id, p_amount, p_type);"
            "UPDATE points_balances SET balance = balance + p_amount WHERE user_id = p_user_id; RETURN 0;",
            "the product changed the row while it was written: reference is not what was written",
        ),
        (
            "BEGIN INSERT INTO points_transactions (user_id, amount, type) VALUES (p_user_id, 0, 'x');"
            " EXCEPTION WHEN OTHERS THEN RETURN NULL; END; RETURN 1;",
            "the product wrote nothing and raised no error: "
            "wanted total 900, used 0, found total 100, used 0 as before",
        ),
    ],
    ids=["does nothing", "raises", "balance alone", "no reference", "swallows"],
)
def test_a_function_that_does_not_do_what_it_says_undoes_its_row(
    a: LedgerProduct, plans: PostgresPlans, body: str, failure: str
) -> None:
    a.add_user(V, account=B, balance=100)
    a.run(
        "CREATE OR REPLACE FUNCTION add_points(p_user_id uuid, p_amount integer, p_type text,"
        " p_description text DEFAULT NULL, p_reference text DEFAULT NULL)"
        f" RETURNS integer LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
    )
    assert result(plans, a_change(a_grant())) == ("failed", failure)
    assert (a.balance(A), len(a.transactions(A))) == (100, 1)
    assert a.run('SELECT FROM credit_pipeline."grant"') == []
    assert plans.audit_head()[0] == 0


@pytest.mark.parametrize(
    "trigger",
    [
        "INSERT INTO points_transactions (user_id, amount, type) VALUES (NEW.user_id, NEW.amount, 'bonus');"
        "UPDATE points_balances SET balance = balance + NEW.amount WHERE user_id = NEW.user_id",
        "UPDATE points_balances SET balance = 0 WHERE user_id = NEW.user_id",
    ],
    ids=["doubles", "resets"],
)
def test_a_trigger_that_makes_more_or_less_of_a_grant_undoes_the_row_alone(
    a: LedgerProduct, plans: PostgresPlans, trigger: str
) -> None:
    a.add_user(V, account=B, balance=100)
    a.run(
        f"CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {trigger}; RETURN NULL; END $$;"
        "CREATE TRIGGER meddles AFTER INSERT ON points_transactions FOR EACH ROW"
        f" WHEN (pg_trigger_depth() = 0 AND NEW.user_id = '{A}') EXECUTE FUNCTION meddle()"
    )
    other = a_change(a_grant(B), account=B, seen=(None, 100, 0))
    refused, done = applied(plans, a_change(a_grant()), other)
    assert refused.outcome == "failed"
    assert "the product changed the row while it was written: wanted total 900, used 0" in str(refused.failure)
    assert done.outcome == "changed"
    assert (a.balance(A), a.balance(B)) == (100, 900)


def test_a_function_that_runs_with_its_owner_s_rights_finds_its_unqualified_names(
    databases: Databases,
) -> None:
    product, system = an_installed_ledger(databases.new(), schema="Shop")
    product.add_user(U, account=A, balance=100)
    product.run("ALTER FUNCTION add_points SECURITY DEFINER")
    with plans_of(product, system) as plans:
        assert names_of(applied(plans, a_change(a_grant(), seen=(None, 100, 0)))) == ["changed"]
    assert product.balance(A) == 900


# The row about the subscription


def test_label_status_and_period_are_written_and_told(a: LedgerProduct, plans: PostgresPlans) -> None:
    a.set_tier(A, "free", "canceled", start=datetime(2026, 1, 1, tzinfo=UTC))
    a.run("UPDATE subscriptions_consolidated SET updated_at = '2020-01-01Z'")
    [outcome] = applied(plans, a_change(PRO, ACTIVE, seen=("free", 100, 0)))
    credits = {"total": 100, "used": 0, "available": 100}
    assert outcome.before == credits | {
        "plan": "free",
        "status": "canceled",
        "period_start": "2026-01-01T00:00:00+00:00",
        "period_end": None,
    }
    assert outcome.after == credits | {
        "plan": "pro",
        "status": "active",
        "period_start": "2026-03-01T00:00:00+00:00",
        "period_end": "2026-04-01T00:00:00+00:00",
    }
    assert a.run(
        "SELECT current_period_start AS s, current_period_end AS e, updated_at > '2026-01-01Z' AS touched"
        " FROM subscriptions_consolidated"
    ) == [{"s": START, "e": END, "touched": True}]
    [change] = plans.audit()
    assert [step["step"] for step in change["steps"]] == ["SetPlan", "SetSubscription"]


def test_a_status_alone_leaves_the_rest_as_it_is(a: LedgerProduct, plans: PostgresPlans) -> None:
    a.set_tier(A, "pro", "past_due", start=START)
    status = SetSubscription(status="active", period_start=None, period_end=END)
    [outcome] = applied(plans, a_change(status))
    assert outcome.after is not None
    assert {"status", "period_end"} == set(outcome.after) - {"plan", "total", "used", "available"}
    assert a.run("SELECT tier, current_period_start AS s, current_period_end AS e FROM subscriptions_consolidated") == [
        {"tier": "pro", "s": START, "e": END}
    ]


def test_a_missing_row_is_made(a: LedgerProduct, plans: PostgresPlans) -> None:
    a.run("DELETE FROM subscriptions_consolidated")
    assert names_of(applied(plans, a_change(PRO, ACTIVE, seen=(None, 100, 0)))) == ["changed"]
    assert a.tier(A) == ("pro", "active")
    a.run("DELETE FROM subscriptions_consolidated")
    assert names_of(applied(plans, a_change(PRO, seen=(None, 100, 0)))) == ["changed"]
    assert a.tier(A) == ("pro", "free")  # the column's own default


def test_a_status_without_a_row_needs_a_plan_for_one(a: LedgerProduct, plans: PostgresPlans) -> None:
    a.run("DELETE FROM subscriptions_consolidated")
    outcome, failure = result(plans, a_change(ACTIVE, seen=(None, 100, 0)))
    assert (outcome, failure) == (
        "failed",
        "the account has no row about its subscription, and this correction names no plan for one: make a new plan",
    )
    assert a.tier(A) is None


def test_a_label_that_changed_since_the_plan_is_stale(a: LedgerProduct, plans: PostgresPlans) -> None:
    a.set_tier(A, "business")
    assert result(plans, a_change(a_grant())) == (
        "stale_skipped",
        "the row moved since the plan was made: plan pro -> business, total 100 -> 100",
    )


def test_a_trigger_that_keeps_the_old_status_undoes_the_row(a: LedgerProduct, plans: PostgresPlans) -> None:
    a.set_tier(A, "pro", "past_due")
    a.run(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.status := OLD.status; RETURN NEW; END $$;"
        "CREATE TRIGGER keeps BEFORE UPDATE ON subscriptions_consolidated FOR EACH ROW EXECUTE FUNCTION keep()"
    )
    assert result(plans, a_change(a_grant(), ACTIVE)) == (
        "failed",
        "the product changed the row while it was written: status is not what was written",
    )
    assert (a.balance(A), a.tier(A)) == (100, ("pro", "past_due"))


@pytest.mark.parametrize("table", ["points_balances", "subscriptions_consolidated"])
def test_a_row_the_product_holds_is_busy(a: LedgerProduct, plans: PostgresPlans, table: str) -> None:
    with psycopg.connect(a.url) as holder:
        holder.execute(f"SELECT FROM {table} FOR UPDATE")
        assert result(plans, a_change(a_grant())) == (
            "busy",
            "the product holds this row: the next run tries again",
        )
    assert a.balance(A) == 100


# Identity


@pytest.fixture
def unlinked(product: LedgerProduct) -> LedgerProduct:
    """User U, whose metadata name account A of 100 credits; nobody is linked."""
    product.add_user(U, account=A, mapped=False, balance=100)
    product.subscribe(U, metadata={RESOLVED: A.upper()})
    return product


LINKED = a_change(a_link(), seen=(None, 100, 0))


def test_a_link_and_the_grant_it_allows_are_one_correction(unlinked: LedgerProduct, plans: PostgresPlans) -> None:
    [outcome] = applied(plans, a_change(a_link(), a_grant(), seen=(None, 100, 0)))
    assert outcome.outcome == "changed", outcome.failure
    assert outcome.before is not None
    assert outcome.after is not None
    assert (outcome.before["mapping"], outcome.after["mapping"]) == (None, A)
    assert (unlinked.mapping(), unlinked.balance(A)) == ({U: A}, 900)
    [change] = plans.audit()
    assert change["steps"] == [{"step": "LinkIdentity", "auth_id": U, "store_id": A, "layer": 2}]


@pytest.mark.parametrize(
    ("story", "failure"),
    [
        (lambda p: p.map(U, B), "the user was linked since the plan was made"),
        (lambda p: p.map(U, A), "the user was linked since the plan was made"),
        (lambda p: (p.add_user(V), p.map(V, A)), "the account was linked to another user since the plan was made"),
        (
            lambda p: p.run("UPDATE bestauth_subscriptions SET metadata = %s", f'{{"{RESOLVED}": "{B}"}}'),
            "the metadata that named the account were changed since the plan was made",
        ),
        (
            lambda p: p.run("UPDATE bestauth_subscriptions SET metadata = '[]'"),
            "the metadata that named the account were changed since the plan was made",
        ),
        (
            lambda p: p.run("DELETE FROM bestauth_subscriptions"),
            "the metadata that named the account were changed since the plan was made",
        ),
        (
            lambda p: p.run("DELETE FROM bestauth_subscriptions; DELETE FROM bestauth_users"),
            "the user is gone since the plan was made",
        ),
    ],
)  # fmt: skip
def test_evidence_that_changed_links_nobody_and_grants_nothing(
    unlinked: LedgerProduct, plans: PostgresPlans, story: Story, failure: str
) -> None:
    story(unlinked)
    linked = unlinked.mapping()
    assert result(plans, a_change(a_link(), a_grant(), seen=(None, 100, 0))) == ("stale_skipped", failure)
    assert (unlinked.mapping(), unlinked.balance(A)) == (linked, 100)


@pytest.mark.parametrize("layer", [Layer.SAME_ID, Layer.MAPPING])
def test_a_guess_is_never_linked_automatically(unlinked: LedgerProduct, plans: PostgresPlans, layer: Layer) -> None:
    guess = a_change(a_link(layer=layer), a_grant(), seen=(None, 100, 0))
    assert result(plans, guess) == (
        "blocked_by_guard",
        "only a user whose metadata name the account is linked automatically: a person must decide",
    )
    assert (unlinked.mapping(), unlinked.balance(A)) == ({}, 100)
    unlinked.run("DELETE FROM bestauth_subscriptions")
    assert names_of(applied(plans, replace(guess, lane=Lane.APPROVE))) == ["changed"]
    assert unlinked.mapping() == {U: A}


def test_a_link_to_another_account_than_the_correction_s_is_refused(
    unlinked: LedgerProduct, plans: PostgresPlans
) -> None:
    assert result(plans, a_change(a_link(account=B), seen=(None, 100, 0))) == (
        "failed",
        "a step is about another account than its correction: make a new plan",
    )
    assert unlinked.mapping() == {}


@pytest.mark.parametrize(
    ("metadata", "after"),
    [
        ({}, {RESOLVED: A}),
        (None, {RESOLVED: A}),
        ({"plan": "pro", RESOLVED: ""}, {"plan": "pro", RESOLVED: A}),
        ('{"plan": "pro"}', f'{{"plan": "pro", "{RESOLVED}": "{A}"}}'),
    ],
    ids=["empty", "null", "others kept", "JSON in JSON"],
)
def test_the_resolved_id_is_added_to_the_metadata(
    product: LedgerProduct, plans: PostgresPlans, metadata: Any, after: Any
) -> None:
    product.add_user(U, account=A, balance=100)
    product.subscribe(U, metadata=metadata)
    if metadata is None:
        product.run("UPDATE bestauth_subscriptions SET metadata = 'null'")
    [outcome] = applied(plans, a_change(a_resolved_id(), seen=(None, 100, 0)))
    assert outcome.outcome == "changed", outcome.failure
    assert outcome.after is not None
    assert outcome.after["metadata"] == A
    assert product.metadata(U) == after


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        (
            lambda p: p.run("UPDATE bestauth_subscriptions SET metadata = %s", f'{{"original_userId": "{B}"}}'),
            ("stale_skipped", "the metadata name an account since the plan was made"),
        ),
        (
            lambda p: p.run("UPDATE user_id_mapping SET supabase_user_id = %s", B),
            ("stale_skipped", "the user's link was changed since the plan was made"),
        ),
        (
            lambda p: p.run("DELETE FROM bestauth_subscriptions"),
            ("stale_skipped", "the row of the user's subscription is gone since the plan was made"),
        ),
        (
            lambda p: p.run("UPDATE bestauth_subscriptions SET metadata = '[1]'"),
            ("blocked_by_guard", "the metadata of the user's subscription are no JSON object: a person must look"),
        ),
        (
            lambda p: p.run("UPDATE bestauth_subscriptions SET metadata = %s", '"{no json"'),
            ("blocked_by_guard", "the metadata of the user's subscription are no JSON object: a person must look"),
        ),
    ],
)  # fmt: skip
def test_metadata_are_not_written_where_they_or_the_link_changed(
    product: LedgerProduct, plans: PostgresPlans, story: Story, expected: tuple[str, str]
) -> None:
    product.add_user(U, account=A, balance=100)
    product.subscribe(U)
    story(product)
    before = product.metadata(U)
    assert result(plans, a_change(a_resolved_id(), seen=(None, 100, 0))) == expected
    assert product.metadata(U) == before


def test_metadata_that_the_product_holds_are_busy(product: LedgerProduct, plans: PostgresPlans) -> None:
    product.add_user(U, account=A, balance=100)
    product.subscribe(U)
    with psycopg.connect(product.url) as holder:
        holder.execute("SELECT FROM bestauth_subscriptions FOR UPDATE")
        outcome, _ = result(plans, a_change(a_resolved_id(), seen=(None, 100, 0)))
    assert outcome == "busy"
    assert product.metadata(U) == {}


def test_a_correction_holds_one_step_of_a_kind(product: LedgerProduct, plans: PostgresPlans) -> None:
    with pytest.raises(PlanError, match="several steps of one kind"):
        applied(plans, a_change(a_link(U), a_link(V)))


# Other products


@pytest.mark.parametrize(
    ("names", "schema"),
    [({word: name for word, name in NAMES.items() if name != "E Mail"}, "Other"), ({"uuid": "text"}, "public")],
    ids=["reserved and mixed case", "ids of text"],
)
def test_no_name_or_type_of_the_product_is_fixed(databases: Databases, names: dict[str, str], schema: str) -> None:
    product, system = an_installed_ledger(databases.new(), names, schema)
    product.add_user(U, account=A, mapped=False, balance=100)
    product.subscribe(U, metadata={RESOLVED: A})
    steps = (a_link(), a_grant(), PRO, ACTIVE, an_adjustment(5), an_adjustment(1, "f:2", lower_used=True))
    product.deduct(A, 10)
    with plans_of(product, system) as plans:
        [outcome] = applied(plans, approved(*steps, seen=(None, 100, 0)))
        assert outcome.outcome == "changed", outcome.failure
        missing = a_change(BALANCE, a_grant(B), PRO, account=B, seen=("free", 0, None))
        product.set_tier(B, "free")
        assert names_of(applied(plans, missing)) == ["changed"]
        product.add_user(V, account=C, balance=10)
        product.subscribe(V)
        resolved = a_change(a_resolved_id(V, C), account=C, seen=(None, 10, 0))
        assert names_of(applied(plans, resolved)) == ["changed"]
        assert chain_faults(plans, "bestauth") == []
    assert (product.balance(A), product.balance(B)) == (90 + 800 + 5 + 1, 800)
    assert (product.tier(A), product.mapping()[U], product.metadata(V)) == (("pro", "active"), A, {RESOLVED: C})


def test_a_product_that_keeps_less_is_written_as_far_as_it_goes(databases: Databases) -> None:
    """No references, no periods, no times of change, and amounts of spending are positive."""
    url = databases.new()
    plain = ledger_config()
    lean = {
        "transactions": plain.transactions.model_copy(update={"reference": None, "amounts": "by_type"}),
        "balances": plain.balances.model_copy(update={"updated_at": None}),
        "tiers": plain.tiers.model_copy(update={"period_start": None, "period_end": None, "updated_at": None}),
        "subscriptions": plain.subscriptions.model_copy(update={"updated_at": None}),
        "add": AddFunction.model_construct(
            function="add_points",
            arguments={k: v for k, v in ADD.arguments.items() if v in {"account", "amount", "type"}},
        ),
    }
    product, system = an_installed_ledger(url, **lean)
    product.add_user(U, account=A, balance=100)
    product.transaction(A, 40, "usage")
    product.set_balance(A, 60)
    with plans_of(product, system) as plans:
        [outcome] = applied(plans, a_change(a_grant(), PRO, ACTIVE, seen=(None, 100, 40)))
        assert outcome.outcome == "changed", outcome.failure
        assert outcome.after == {"plan": "pro", "status": "active", "total": 900, "used": 40, "available": 860}
    assert product.transactions(A)[-1] == (800, "subscription_grant", None)


def test_a_period_in_a_column_without_a_zone_is_utc(databases: Databases) -> None:
    product, system = an_installed_ledger(databases.new(), {"timestamptz": "timestamp"})
    product.add_user(U, account=A, balance=100)
    product.run(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET TimeZone = %L', current_database(), 'Asia/Tokyo'); END $$"
    )
    with plans_of(product, system) as plans:
        [outcome] = applied(plans, a_change(PRO, ACTIVE, seen=(None, 100, 0)))
    assert outcome.outcome == "changed", outcome.failure
    [row] = product.run("SELECT current_period_start AS s FROM subscriptions_consolidated")
    assert row["s"] == START.replace(tzinfo=None)


def test_every_name_and_word_of_the_store_is_in_the_hash_of_its_functions(databases: Databases) -> None:
    from credit_pipeline.adapters.install.write_functions import config_hash

    plain = ledger_config()
    others = [
        {"balances": plain.balances.model_copy(update={"updated_at": None})},
        {"tiers": plain.tiers.model_copy(update={"period_end": None})},
        {"users": plain.users.model_copy(update={"id": "uid"})},
        {"subscriptions": plain.subscriptions.model_copy(update={"keys": ("supabase_user_id",)})},
        {"transactions": plain.transactions.model_copy(update={"grant_type": "bonus"})},
        {
            "transactions": plain.transactions.model_copy(
                update={"types": {**plain.transactions.types, "bonus": EntryKind.SPEND}}
            )
        },
        {
            "add": AddFunction.model_construct(
                function="add_points", arguments={**ADD.arguments, "p_note": "description"}
            )
        },
    ]
    hashes = {config_hash(a_system(**parts)) for parts in ({}, *others)}  # type: ignore[arg-type]
    assert len(hashes) == 1 + len(others)
