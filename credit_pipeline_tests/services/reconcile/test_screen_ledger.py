"""The screen for ledgers and the judgement held together, over random populations; what it counts, and what it joins.

Whoever the screen drops, classify would call healthy, and what is remembered of them is the same.
"""

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.policy import Policy, Trial
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.reconcile.plan_words import PlanWords
from credit_pipeline.services.reconcile.remember import observations_of
from credit_pipeline.services.reconcile.screen import Screened
from credit_pipeline.services.reconcile.screen_ledger import screen_ledger
from credit_pipeline.services.reconcile.subjects import read_since, subjects_of
from credit_pipeline_tests.services.reconcile.ledger_snapshots import (
    CATALOGUE,
    LAST,
    NOW,
    PRICES,
    Person,
    Remembered,
    Tables,
    a_free_person,
    a_paying_person,
    an_invoice,
    auth,
    seen,
    store,
    tables,
)

ANCHORS = [
    datetime(2025, 12, 31, 9, tzinfo=UTC),
    datetime(2025, 11, 30, 11, 30, tzinfo=UTC),
    datetime(2026, 1, 28, 12, 0, 1, tzinfo=UTC),
    datetime(2026, 1, 27, 11, tzinfo=UTC),
    datetime(2026, 1, 28, 13, tzinfo=UTC),
    datetime(2026, 3, 31, 11, 30, tzinfo=UTC),
    datetime(2026, 3, 31, 12, tzinfo=UTC),
    datetime(2024, 5, 17, 3, tzinfo=UTC),
    datetime(2025, 4, 2, 3, tzinfo=UTC),
]
Fault = Callable[[Person, random.Random], None]


def screened(of: Tables, *, watched: Iterable[str] = (), policy: Policy | None = None, **how: Any) -> Screened:
    return screen_ledger(
        of.balances,
        of.identities,
        of.subscriptions,
        of.observations,
        catalogue=CATALOGUE,
        policy=policy or Policy(),
        now=NOW,
        watched=[AccountId(one) for one in watched],
        **({"first_run": not of.observations.num_rows} | how),
    )


def every_subject(of: Tables, policy: Policy) -> list[Account]:
    """All subjects, healthy or not: each is watched."""
    names = {row["account_id"] for row in of.balances.to_pylist()}
    for row in of.identities.to_pylist():
        names |= {f"user:{row['auth_id']}", *row["mapped"]}
    names |= {f"customer:{row['billing_id']}" for row in of.subscriptions.to_pylist()}
    found = screened(of, watched=names, policy=policy)
    assert not found.healthy
    words = PlanWords.spoken_in(CATALOGUE, of.subscriptions)
    memory: Any = Remembered(of.observations.to_pylist())
    return subjects_of(found.suspects, words, memory, NOW, since=read_since(policy, NOW))


def somebody(number: int, chance: random.Random, *, remembered: bool) -> Person:
    """Mostly in good order and mostly remembered so, with up to two faults."""
    kind = chance.choice(["free", "free", "none", "pro", "pro", "business", "annual", "yearly", "churned"])
    if kind in {"free", "none"}:
        person = a_free_person(number, local=kind == "free")
    elif kind == "churned":
        person = churned(number, chance)
    else:
        yearly = kind in {"annual", "yearly"} and chance.random() < 0.8
        plan = "pro" if kind == "yearly" else kind
        person = a_paying_person(number, plan, anchor=chance.choice(ANCHORS), yearly=yearly)
    if remembered and chance.random() < 0.8:
        person.observation = seen(person)
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        chance.choice(FAULTS)(person, chance)
    return person


def churned(number: int, chance: random.Random) -> Person:
    """A free label, and a subscription that ended long ago, or not so long."""
    person = a_paying_person(number, anchor=datetime(2025, 6, 3, 9, tzinfo=UTC))
    end = NOW - timedelta(days=chance.choice([10, 61, 63, 70, 100]))
    paid = person.subscription
    lines = [line for line in paid["invoices"] if line["period_start"] < end]
    paid |= {"status": "ended", "auto_renews": False, "ends_at": end, "period_end": end, "invoices": lines}
    paid["period_start"] = end - timedelta(days=30)
    assert person.balance
    person.balance |= {"label": "free", "status": chance.choice(["free", "canceled", "odd"])}
    person.balance["entries"] = [e for e in person.entries if e["at"] < end]
    return person


def _moment(chance: random.Random) -> datetime:
    return NOW - timedelta(minutes=chance.choice([1, 90, 2_000, 30_000, 45_000, 70_000, 89_000, 90_000, 93_000]))


def _balance(**change: Any) -> Fault:
    return lambda person, _: person.balance.update(change) if person.balance else None


def _billed(**change: Any) -> Fault:
    return lambda person, _: person.subscriptions[0].update(change) if person.subscriptions else None


def _identified(**change: Any) -> Fault:
    return lambda person, _: person.identity.update(change) if person.identity else None


def _mapped_to(person: Person, chance: random.Random) -> None:
    if person.identity:
        person.identity["mapped"] = chance.choice(
            [[], [store(person.number + 1)], [store(900)], [store(person.number)] * 1]
        )


def _metadata(person: Person, chance: random.Random) -> None:
    if person.identity:
        value = chance.choice([store(person.number), store(person.number + 1), store(901)])
        person.identity["metadata"] = [{"key": "supabase_user_id", "value": value}] if chance.random() < 0.7 else []


def _own_id(person: Person, chance: random.Random) -> None:
    """The store knows an account of the user's own id."""
    if person.identity:
        person.identity["same_id"] = True
        if chance.random() < 0.5:
            person.identity["mapped"] = [auth(person.number)]


def _invoice(person: Person, chance: random.Random) -> None:
    for paid in person.subscriptions[:1]:
        if not paid["invoices"]:
            return
        line = chance.choice(paid["invoices"])
        late = line["period_start"] + timedelta(days=chance.choice([2, 5]))
        line |= chance.choice(
            [
                {"status": "open", "paid_at": None},
                {"status": "refunded"},
                {"status": "void", "paid_at": None},
                {"paid_at": late},
                {"change": True},
                {"raw_plan": chance.choice(["price_business", "price_pro", "price_old", None])},
            ]
        )


def _no_invoice(person: Person, chance: random.Random) -> None:
    for paid in person.subscriptions[:1]:
        if paid["invoices"]:
            paid["invoices"].remove(chance.choice(paid["invoices"]))


def _change(person: Person, chance: random.Random) -> None:
    """A change in mid-period, billed or not, with or without its grant."""
    for paid in person.subscriptions[:1]:
        start, end = paid["period_start"], paid["period_end"]
        at = start + (end - start) / 3
        paid["raw_plan"] = PRICES["business"]
        if chance.random() < 0.7:
            paid["invoices"].append(an_invoice(at, end, "business", change=True, invoice_id="change"))
        if person.balance:
            person.balance["label"] = "business"
            if chance.random() < 0.7:
                person.grant(at + timedelta(minutes=2), 3_000)


def _grant(person: Person, chance: random.Random) -> None:
    if person.balance:
        reference = chance.choice([None, None, "theirs", f"{store(person.number)}/pro/1774774800", f"{store(1)}/pro/1"])
        kind = chance.choice(["grant", "grant", "purchase", "adjustment"])
        amount = chance.choice([800, 800, 3_000, 100, -800, 500, 18_000])
        person.grant(_moment(chance), amount, reference=reference, kind=kind, entry_id=f"x{chance.random()}")


def _regrant(person: Person, chance: random.Random) -> None:
    """One of the grants is another than it was."""
    if person.balance and person.entries:
        entry = chance.choice(person.entries)
        days = chance.choice([-2, -1, 0, 0, 2, 3, 4, 20])
        entry["at"] += timedelta(days=days)
        entry["reference"] = chance.choice(
            [None, "in_theirs", entry["reference"], f"{store(person.number)}/pro/1772269200"]
        )
        if chance.random() < 0.3:
            entry["amount"] += chance.choice([-1, 100, -300])
        if chance.random() < 0.3:
            entry["kind"] = "adjustment"


def _ungrant(person: Person, chance: random.Random) -> None:
    if person.balance and person.entries:
        person.entries.remove(chance.choice(person.entries))


def _spend(person: Person, chance: random.Random) -> None:
    if person.balance:
        spent = chance.choice([person.balance["total"], person.balance["total"] + 1, 40])
        person.balance |= {"spent": spent, "used": spent + chance.choice([0, 0, 5])}


def _remember(person: Person, chance: random.Random) -> None:
    if person.observation:
        start = person.subscriptions[0]["period_start"] if person.subscriptions else None
        person.observation |= chance.choice(
            [
                {"mark": None},
                {"mark": "assumed"},
                {"gap": 50},
                {"gap": -50},
                {"gap": None},
                {"billed_status": "trialing"},
                {"billed_period_start": start - timedelta(days=28) if start else None},
                {"billed_plan": "business"},
                {"unanswered_since": LAST - timedelta(hours=6)},
                {"total": 1, "used": 0},
            ]
        )


def _second(person: Person, chance: random.Random) -> None:
    """Another subscription, of the same customer or of another one that names the same user."""
    other = a_paying_person(person.number, chance.choice(["pro", "business"]), anchor=chance.choice(ANCHORS))
    extra = other.subscription | {"subscription_id": f"sub2_{person.number}"}
    extra["billing_id"] = chance.choice([extra["billing_id"], f"cus2_{person.number}"])
    if chance.random() < 0.5:
        extra |= {
            "status": "ended",
            "ends_at": NOW - timedelta(days=chance.choice([20, 80, 400])),
            "auto_renews": False,
        }
        extra["period_end"] = extra["ends_at"]
        extra["invoices"] = [] if chance.random() < 0.7 else extra["invoices"]
    person.subscriptions.append(extra)


FAULTS: list[Fault] = [
    _balance(used=None),
    _balance(label="business"),
    _balance(label="Pro+"),
    _balance(label=None),
    _balance(local=False, label=None, status=None),
    _balance(status="past_due"),
    _balance(status="odd"),
    _balance(status=None),
    _balance(unknown_types=["gift"]),
    _balance(spent=29),
    _billed(status="trialing"),
    _billed(status="dunning"),
    _billed(status="ended", ends_at=NOW - timedelta(days=1)),
    _billed(status=None, lookup="error"),
    _billed(raw_plan="price_unknown"),
    _billed(raw_plan="price_new", lookup_key="pro_monthly"),
    _billed(raw_plan=None),
    _billed(quantity=2),
    _billed(items=2),
    _billed(cycle=None),
    _billed(cycle="yearly"),
    _billed(auto_renews=False),
    _billed(subjects=[]),
    _billed(subjects=[{"source": "metadata.user_id", "id": "nobody"}]),
    _billed(period_start=NOW - timedelta(days=40), period_end=NOW - timedelta(days=10)),
    _identified(local=True, metadata=[]),
    _identified(billing_id="cus_other", subscription_id=None),
    _mapped_to,
    _mapped_to,
    _metadata,
    _metadata,
    _own_id,
    _invoice,
    _invoice,
    _invoice,
    _no_invoice,
    _change,
    _grant,
    _grant,
    _grant,
    _regrant,
    _regrant,
    _regrant,
    _ungrant,
    _spend,
    _remember,
    _remember,
    _second,
]


@pytest.mark.parametrize("seed", range(25))
def test_the_screen_drops_only_what_classify_finds_healthy(seed: int) -> None:
    chance = random.Random(seed)
    policy = Policy(
        trial=chance.choice(list(Trial)),
        reference=chance.choice(["{account}/{plan}/{period_start}", "stripe:{subscription}:{invoice}"]),
    )
    remembered = chance.random() < 0.8
    of = tables(somebody(number, chance, remembered=remembered) for number in range(10, 160))
    found = screened(of, policy=policy)
    suspects = {row["account_id"] for row in found.suspects}
    everybody = every_subject(of, policy)
    assert found.population == len(everybody) == found.healthy + len(suspects)
    rules = Rules(catalogue=CATALOGUE, policy=policy, now=NOW, first_run=not of.observations.num_rows)
    dropped = [account for account in everybody if account.account_id not in suspects]
    judged = [classify(account, rules) for account in dropped]
    for judgement in judged:
        assert not judgement.findings, judgement
    expected = {row["account"]: row for row in observations_of(judged, NOW, None).to_pylist()}
    changed = {row["account"]: row for row in found.changed.to_pylist()}
    assert changed.keys() == expected.keys()
    for account, row in expected.items():
        assert changed[account] == row
    assert found.healthy > 30, "a screen that suspects everybody would pass"


def test_of_a_healthy_product_nobody_is_a_suspect() -> None:
    """Plans by month, by year in drips, by year up front; free with and without a row; remembered and not."""
    everybody = [
        a_free_person(1),
        a_free_person(2, local=False),
        *(a_paying_person(10 + n, anchor=anchor) for n, anchor in enumerate(ANCHORS)),
        a_paying_person(30, "annual", yearly=True, anchor=datetime(2026, 2, 1, tzinfo=UTC)),
        a_paying_person(31, "annual", yearly=True, anchor=datetime(2025, 6, 1, tzinfo=UTC)),
        a_paying_person(32, "pro", yearly=True, anchor=datetime(2025, 10, 31, tzinfo=UTC)),
    ]
    found = screened(tables(everybody))
    assert (found.population, found.healthy, found.suspects) == (len(everybody), len(everybody), ())
    assert found.entitlements == 800 * (len(ANCHORS) + 1) + 1_500 * 2
    marks = {row["account"]: row["mark"] for row in found.changed.to_pylist()}
    assert marks[store(1)] is None
    assert marks[store(10)] == "assumed", "the first run"
    assert marks[store(31)] is None, "its grant is older than what was read"
    adopted = screened(tables(everybody), first_run=False).changed.to_pylist()
    assert {row["mark"] for row in adopted} == {None, "adopted"}


def test_what_is_remembered_already_is_not_remembered_again() -> None:
    people = [a_free_person(1), a_paying_person(2)]
    for person in people:
        person.observation = seen(person)
    assert screened(tables(people)).changed.num_rows == 0
    people[1].observation = seen(people[1], used=299)
    (row,) = screened(tables(people)).changed.to_pylist()
    assert (row["account"], row["used"], row["mark"], row["gap"]) == (store(2), 300, "adopted", 0)


def test_somebody_watched_or_exempt_is_not_healthy() -> None:
    people = [a_free_person(1), a_paying_person(2), a_paying_person(3)]
    people[2].entries.clear()
    found = screened(tables(people), watched=[store(1)], exempt=[AccountId(store(2)), AccountId(store(3))])
    assert (found.population, found.healthy, found.exempt) == (3, 0, 2)
    assert [row["account_id"] for row in found.suspects] == [store(1)]
    remembered = {row["account"]: row["mark"] for row in found.changed.to_pylist()}
    assert remembered == {store(2): None, store(3): None}, "exempt accounts are remembered, and never marked"


def test_a_live_customer_without_an_account_is_a_subject_and_an_ended_one_is_counted_apart() -> None:
    live, ended, nobody = a_paying_person(1), a_paying_person(2), a_paying_person(3)
    for person in (live, ended, nobody):
        person.balance = None
    for person in (live, ended):
        assert person.identity
        person.identity |= {"mapped": [], "metadata": []}
    ended.subscription["status"] = "ended"
    nobody.identity = None
    found = screened(tables([live, ended, nobody]))
    assert [row["account_id"] for row in found.suspects] == ["customer:cus_3", f"user:{auth(1)}"]
    assert (found.population, found.apart, found.answered) == (2, 1, 3)


@pytest.mark.parametrize("length", [2, 3, 17, 64])
def test_a_chain_of_shared_accounts_is_one_subject(length: int) -> None:
    """User n claims account n and account n + 1; the customers pay for it all."""
    people = [a_paying_person(number) for number in range(length)]
    for person in people:
        assert person.identity
        person.identity["metadata"] = [{"key": "original_userId", "value": store(person.number + 1)}]
    found = screened(tables([*people, a_free_person(500)]))
    assert (found.population, found.healthy) == (2, 1)
    (row,) = found.suspects
    assert row["account_id"] == store(0), "of accounts claimed equally well the first by id"
    assert len(row["auth_ids"]) == len(row["billing_ids"]) == len(row["store_ids"]) == length
    assert found.entitlements == 800, "the subject counts once"


def test_the_account_that_is_claimed_best_names_the_subject() -> None:
    person = a_paying_person(9)
    assert person.identity
    person.identity["metadata"] = [{"key": "supabase_user_id", "value": store(1)}]
    (row,) = screened(tables([person, Person(number=1, identity=None, balance=a_free_person(1).balance)])).suspects
    assert (row["account_id"], sorted(row["store_ids"])) == (store(9), [store(1), store(9)])


@pytest.mark.parametrize(
    "spelling",
    [str.upper, lambda one: f"{{{one}}}", lambda one: one.replace("-", "")],
    ids=["capitals", "braces", "bare"],
)
def test_another_spelling_of_a_uuid_names_the_same_user(spelling: Callable[[str], str]) -> None:
    """The row of one user, and metadata that name another in capitals: a disagreement, not an unknown word."""
    person, other = a_paying_person(1), a_free_person(2)
    person.subscription["subjects"] = [{"source": "metadata.user_id", "id": spelling(auth(1))}]
    assert screened(tables([person, other])).healthy == 2
    person.subscription["subjects"] = [{"source": "customer.metadata.user_id", "id": spelling(auth(2))}]
    (row,) = screened(tables([person, other])).suspects
    assert sorted(row["auth_ids"]) == [auth(1), auth(2)]


def test_a_user_named_at_billing_whom_nobody_knows_is_not_in_order() -> None:
    person = a_paying_person(1)
    person.subscription["subjects"].append({"source": "customer.metadata.user_id", "id": auth(77)})
    assert [row["account_id"] for row in screened(tables([person])).suspects] == [store(1)]


def test_a_same_id_says_nothing_about_an_account_that_a_mapping_gives_to_another() -> None:
    guest, owner = a_free_person(1), a_free_person(2)
    assert guest.identity
    assert guest.balance
    assert owner.identity
    guest.identity |= {"mapped": [], "same_id": True}
    guest.balance["account_id"] = auth(1)
    owner.identity["mapped"] = [auth(1)]
    owner.balance = None
    found = screened(tables([guest, owner]))
    assert (found.population, found.healthy) == (1, 1), "the guest has no account left, and pays nothing"


def test_an_incomplete_list_says_of_nobody_that_nothing_is_paid() -> None:
    """Of a user whom the product itself knows as a customer; one who never was one stays free."""
    known, stranger = a_free_person(1), a_free_person(2)
    assert known.identity
    known.identity["billing_id"] = "cus_1"
    of = tables([known, stranger])
    assert screened(of).healthy == 2
    found = screened(of, complete=False)
    assert [row["account_id"] for row in found.suspects] == [store(1)]
    policy = Policy()
    words = PlanWords.spoken_in(CATALOGUE, of.subscriptions)
    (account,) = subjects_of(found.suspects, words, None, NOW, since=read_since(policy, NOW), complete=False)
    judged = classify(account, Rules(catalogue=CATALOGUE, policy=policy, now=NOW))
    assert [code.value for code in (judged.primary,) if code] == ["source_lookup_error"]


def test_with_named_accounts_only_those_are_subjects() -> None:
    people = [a_paying_person(1), a_paying_person(2), a_free_person(3)]
    of = tables(people)
    some = Tables(
        balances=tables(people[:1]).balances,
        identities=of.identities,
        subscriptions=of.subscriptions,
        observations=of.observations,
    )
    found = screened(some, partial=True)
    assert (found.population, found.healthy) == (1, 1)


def test_every_account_is_listed_where_that_is_asked_for() -> None:
    found = screened(tables([a_paying_person(1), a_free_person(2)]), keep_all=True)
    assert found.everything is not None
    assert found.everything.to_pylist() == [
        {"account_id": store(1), "label": "pro", "total": 3_000, "used": 300, "billed_plan": "pro"},
        {"account_id": store(2), "label": "free", "total": 100, "used": 30, "billed_plan": "free"},
    ]
