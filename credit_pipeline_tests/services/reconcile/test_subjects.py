"""Snapshot rows of a ledger as Account objects: who, what billed, what held. A test changes one thing of one person."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.plans.catalogue import Resolved, Rule, Unmapped
from credit_pipeline.domain.plans.periods import Period
from credit_pipeline.domain.policy import Policy
from credit_pipeline.domain.subjects.account import Account, Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.identity import Layer
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.reconcile.plan_words import PlanWords
from credit_pipeline.services.reconcile.screen_ledger import screen_ledger
from credit_pipeline.services.reconcile.subjects import read_since, subjects_of
from credit_pipeline_tests.services.reconcile.ledger_snapshots import (
    CATALOGUE,
    NOW,
    Person,
    Remembered,
    a_free_person,
    a_paying_person,
    an_entry,
    an_invoice,
    auth,
    seen,
    store,
    tables,
)

SINCE = read_since(Policy(), NOW)


def subjects(*people: Person, complete: bool = True, installed: bool = False) -> dict[str, Account]:
    """All subjects of these people by their keys."""
    of = tables(people)
    names = [store(p.number) for p in people] + [f"user:{auth(p.number)}" for p in people]
    names += [f"customer:{s['billing_id']}" for p in people for s in p.subscriptions]
    found = screen_ledger(
        of.balances,
        of.identities,
        of.subscriptions,
        of.observations,
        catalogue=CATALOGUE,
        policy=Policy(),
        now=NOW,
        first_run=False,
        watched=[AccountId(name) for name in names],
        complete=complete,
    )
    words = PlanWords.spoken_in(CATALOGUE, of.subscriptions)
    memory: Any = Remembered(of.observations.to_pylist()) if installed else None
    made = subjects_of(found.suspects, words, memory, NOW, since=SINCE, complete=complete)
    return {account.account_id: account for account in made}


def subject(*people: Person, complete: bool = True, installed: bool = False) -> Account:
    (account,) = subjects(*people, complete=complete, installed=installed).values()
    return account


def test_a_paying_person_is_read_whole() -> None:
    start = datetime(2026, 3, 20, 9, tzinfo=UTC)
    account = subject(a_paying_person(7, anchor=start))
    assert (account.account_id, account.store_id, account.gap) == (store(7), store(7), 0)
    billing = account.billing
    assert (billing.lookup, billing.status, billing.billing_id) == (Lookup.ANSWERED, BillingStatus.ACTIVE, "cus_7")
    assert billing.period == billing.term == Period(start=start, end=datetime(2026, 4, 20, 9, tzinfo=UTC))
    assert [(line.period.start, line.plan and line.plan.name) for line in billing.invoices] == [(start, "pro")]
    assert (account.balance.total, account.balance.used, account.balance.available) == (900, 300, 600)
    assert account.ledger
    assert [(e.amount, e.kind) for e in account.ledger.entries] == [(800, EntryKind.GRANT)]
    assert (account.ledger.spent, account.ledger.since) == (300, SINCE)
    assert account.local
    assert (account.local.label, account.local.status, account.local.period_start) == ("pro", "active", start)
    identity = account.identity
    assert identity
    assert (identity.auth_ids, identity.store_ids, identity.billing_ids) == ((auth(7),), (store(7),), ("cus_7",))
    assert [(c.layer, c.source, c.exists) for c in identity.claims] == [
        (Layer.MAPPING, "mapping", True),
        (Layer.METADATA, "resolved_supabase_user_id", True),
    ]
    assert {(n.source, n.auth_id) for n in identity.namings} == {("metadata.user_id", auth(7)), ("local row", auth(7))}
    assert account.memory is None


def test_times_are_utc_and_entries_in_their_order() -> None:
    person = a_paying_person(7)
    person.grant(NOW - timedelta(days=40), 50, kind="purchase", type="purchase")
    account = subject(person)
    assert account.ledger
    moments = [entry.at for entry in account.ledger.entries]
    assert moments == sorted(moments)
    assert {moment.utcoffset() for moment in moments} == {timedelta(0)}


def test_somebody_who_never_paid_is_free() -> None:
    account = subject(a_free_person(7, local=False))
    assert (account.billing.status, account.billing.lookup) == (BillingStatus.FREE, Lookup.ANSWERED)
    assert account.billing.billing_id == ""
    assert (account.subscriptions, account.local) == ((), None)


def test_the_customer_of_the_products_own_row_is_known_where_billing_lists_none() -> None:
    person = a_free_person(7)
    assert person.identity
    person.identity["billing_id"] = "cus_old"
    assert subject(person).billing.billing_id == "cus_old"


def test_a_customer_that_was_asked_for_and_has_no_subscription_is_free() -> None:
    """A list does not hold such customers; the answer about one that was asked for comes to the same."""
    for lookup, status in (("answered", "free"), ("missing", None)):
        person = a_paying_person(7)
        person.subscription.update(lookup=lookup, status=status, subscription_id=None, raw_plan=None, invoices=[])
        account = subject(person)
        assert (account.billing.status, account.subscriptions) == (BillingStatus.FREE, ())


def test_a_year_in_drips_is_granted_by_the_month_that_runs() -> None:
    account = subject(a_paying_person(7, yearly=True, anchor=datetime(2025, 10, 31, 9, tzinfo=UTC)))
    assert account.billing.period == Period(
        start=datetime(2026, 3, 31, 9, tzinfo=UTC), end=datetime(2026, 4, 30, 9, tzinfo=UTC)
    )
    assert account.billing.term
    assert account.billing.term.end == datetime(2026, 10, 31, 9, tzinfo=UTC)


def test_a_year_of_undeclared_mode_has_no_period() -> None:
    assert subject(a_paying_person(7, "business", yearly=True)).billing.period is None


def test_the_price_of_an_invoice_is_known_by_what_its_subscription_was_recognised_by() -> None:
    """A price whose id is in no catalogue, recognised by its lookup key; its invoices carry the id alone."""
    person = a_paying_person(7)
    person.subscription.update(raw_plan="price_new", lookup_key="pro_monthly")
    for line in person.subscription["invoices"]:
        line["raw_plan"] = "price_new"
    billing = subject(person).billing
    assert isinstance(billing.resolution, Resolved)
    assert billing.resolution.rule is Rule.LOOKUP_KEY
    assert {line.plan.name if line.plan else None for line in billing.invoices} == {"pro"}


def test_a_price_that_means_two_plans_proves_nothing() -> None:
    """A lookup key that was moved to another price: what the id means cannot be told."""
    one, two = a_paying_person(7), a_paying_person(8, "business")
    one.subscription.update(raw_plan="price_new", lookup_key="pro_monthly")
    two.subscription.update(raw_plan="price_new", metadata="business")
    one.subscription["invoices"] = [an_invoice(NOW - timedelta(days=3), NOW + timedelta(days=27), "price_new")]
    assert [line.plan for line in subjects(one, two)[store(7)].billing.invoices] == [None]


def test_an_unknown_plan_is_unmapped_with_its_word() -> None:
    person = a_paying_person(7)
    person.subscription["raw_plan"] = "price_2019"
    resolution = subject(person).billing.resolution
    assert isinstance(resolution, Unmapped)
    assert resolution.raw == "price_2019"


def test_of_several_subscriptions_all_are_kept_and_one_is_judged_on() -> None:
    person = a_paying_person(7)
    ending = person.subscription | {"subscription_id": "sub_old", "auto_renews": False, "billing_id": "cus_second"}
    person.subscriptions.append(ending)
    account = subject(person)
    assert {one.subscription_id for one in account.subscriptions} == {"sub_7", "sub_old"}
    assert account.billing.subscription_id == "sub_7"
    assert account.identity
    assert account.identity.billing_ids == ("cus_7", "cus_second")


def test_a_missing_balance_row_is_unknown_and_not_zero() -> None:
    person = a_paying_person(7)
    assert person.balance
    person.balance["used"] = None
    account = subject(person)
    assert (account.balance.used, account.balance.available, account.gap) == (None, None, None)


def test_an_account_that_only_the_mapping_names_exists_with_an_empty_ledger() -> None:
    person = a_paying_person(7)
    person.balance = None
    account = subject(person)
    assert (account.account_id, account.balance.total, account.balance.used) == (store(7), 0, None)
    assert account.ledger
    assert account.ledger.rows == 0


def test_somebody_without_an_account_has_a_key_of_its_own_and_no_store_id() -> None:
    person = a_paying_person(7)
    assert person.identity
    person.identity |= {"mapped": [], "metadata": [{"key": "supabase_user_id", "value": store(99)}]}
    person.balance = None
    account = subject(person)
    assert (account.account_id, account.store_id) == (f"user:{auth(7)}", None)
    assert (account.ledger, account.balance.total, account.local) == (None, None, None)
    assert account.identity
    (claim,) = account.identity.claims
    assert (claim.store_id, claim.exists) == (store(99), False)


def test_an_email_address_is_a_suggestion_to_a_customer_whom_nobody_knows() -> None:
    nobody, known = a_paying_person(7), a_free_person(8)
    nobody.identity = nobody.balance = None
    assert known.identity
    known.identity["email_hash"] = nobody.subscription["email_hash"]
    account = subjects(nobody, known)["customer:cus_7"]
    assert account.identity
    assert [one.auth_id for one in account.identity.suggestions] == [auth(8)]
    assert account.identity.auth_ids == ()


def test_a_user_whose_row_resolves_nothing_is_without_metadata() -> None:
    person = a_paying_person(7)
    assert person.identity
    person.identity["metadata"] = []
    identity = subject(person).identity
    assert identity
    assert identity.without_metadata == (auth(7),)


@pytest.mark.parametrize("change", [{"billing_id": "cus_7"}, {}])
def test_without_a_complete_list_a_paid_label_or_a_known_customer_is_unanswered(change: dict[str, str]) -> None:
    person = a_free_person(7)
    assert person.identity
    assert person.balance
    person.identity |= change
    if not change:
        person.balance |= {"label": "pro"}
    assert subject(person, complete=False).billing.lookup is Lookup.ERROR
    assert subject(person).billing.lookup is Lookup.ANSWERED


def test_memory_comes_by_the_subjects_key() -> None:
    person = a_paying_person(7)
    person.observation = seen(person, gap=5)
    account = subject(person, installed=True)
    assert account.memory
    (observed_state,) = account.memory.states
    assert (observed_state.gap, observed_state.total) == (5, 3_000)


def test_unknown_types_and_references_are_kept() -> None:
    person = a_paying_person(7, anchor=datetime(2026, 3, 20, 9, tzinfo=UTC))
    assert person.balance
    person.balance["unknown_types"] = ["z", "gift"]
    person.entries[:] = [an_entry(NOW, 5, kind="unknown", type="gift", reference="r")]
    ledger = subject(person).ledger
    assert ledger
    assert ledger.unknown_types == ("gift", "z")
    assert [(e.kind, e.type, e.reference) for e in ledger.entries] == [(EntryKind.UNKNOWN, "gift", "r")]
