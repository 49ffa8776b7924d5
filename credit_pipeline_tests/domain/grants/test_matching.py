"""Which transaction is which grant: by reference, then by time with the exact amount first, one-to-one."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.grants.entitlement import AFTER, BEFORE
from credit_pipeline.domain.grants.entitlements import entitlements
from credit_pipeline.domain.grants.ledger import Entry, EntryKind
from credit_pipeline.domain.grants.matching import Matching, match
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline_tests.domain.builders import NOW, START, a_period, rules
from credit_pipeline_tests.domain.invoice_builders import CHANGED, a_line, an_upgrade, with_lines
from credit_pipeline_tests.domain.ledger_builders import PAID, a_reference, a_user, an_entry

BEFORE_START = add_months(START, -1)
MOMENT = timedelta(seconds=1)


def an_unnamed(at: datetime = PAID, amount: int = 5000, **facts: Any) -> Entry:
    return an_entry(**({"at": at, "amount": amount, "reference": None, "entry_id": f"t{at:%m%d%H%M}{amount}"} | facts))


def matched(account: Account, now: datetime = NOW, **policy: Any) -> Matching:
    how = rules(now=now, **policy)
    return match(account, entitlements(account, how), how)


def pairs(account: Account, **how: Any) -> dict[tuple[str, datetime], str | None]:
    return {one.entitlement.key: one.entry.entry_id if one.entry else None for one in matched(account, **how).matched}


def current_of(*entries: Entry, **facts: Any) -> str | None:
    return pairs(a_user(entries=entries, **facts))["pro", START]


def ids(entries: Iterable[Entry]) -> list[str]:
    return [entry.entry_id for entry in entries]


@pytest.mark.parametrize(
    ("at", "inside"),
    [
        (PAID - BEFORE - MOMENT, None),  # the period before
        (PAID - BEFORE, True),
        (PAID, True),
        (PAID + AFTER, True),
        (PAID + AFTER + MOMENT, False),
        (a_period().end - MOMENT, False),
        (a_period().end, None),
    ],
)
def test_an_unnamed_grant_is_looked_for_around_its_payment(at: datetime, inside: bool | None) -> None:
    (one,) = matched(a_user(entries=[an_unnamed(at)])).matched
    assert (one.entry is not None) is (inside is not None)
    assert one.inside is bool(inside)


def test_the_payment_and_not_the_periods_start_is_the_instant() -> None:
    paid = START + timedelta(days=5)
    account = a_user(invoices=(a_line(paid_at=paid),), entries=[an_unnamed(paid + timedelta(hours=50))])
    (one,) = matched(account).matched
    assert one.inside


def test_a_reference_finds_its_grant_at_any_time_and_amount() -> None:
    named = an_entry(at=NOW, amount=4000)
    assert current_of(an_unnamed(PAID, 5000), named) == named.entry_id


def test_a_reference_to_another_period_is_not_matched_by_time() -> None:
    assert current_of(an_entry(reference=a_reference(start=BEFORE_START))) is None
    assert current_of(an_entry(reference=a_reference("starter"))) is None
    assert current_of(an_entry(reference="evt_1")) == "txn_1"


def test_of_two_with_the_reference_the_exact_amount_is_the_grant() -> None:
    entries = (an_entry(entry_id="a", amount=100), an_entry(entry_id="b", at=NOW))
    assert current_of(*entries) == "b"
    assert ids(matched(a_user(entries=entries)).left) == ["a"]


@pytest.mark.parametrize("first", [True, False])
def test_the_exact_amount_goes_before_the_nearer_one(first: bool) -> None:
    exact, wrong = an_unnamed(PAID + timedelta(days=2)), an_unnamed(PAID, 4999)
    assert current_of(*((exact, wrong) if first else (wrong, exact))) == exact.entry_id


@pytest.mark.parametrize(
    ("amount", "is_grant"), [(4999, True), (1, True), (1000, False), (15_000, False), (180_000, False), (100, False)]
)
def test_another_amount_is_taken_unless_it_is_another_plans(amount: int, is_grant: bool) -> None:
    (one,) = matched(a_user(entries=[an_unnamed(PAID, amount)])).matched
    assert (one.entry is not None) is is_grant
    assert not one.exact


@pytest.mark.parametrize("amount", [1000, 15_000])
def test_with_the_reference_even_another_plans_amount_is_the_grant(amount: int) -> None:
    assert current_of(an_entry(amount=amount)) == "txn_1"


@pytest.mark.parametrize("kind", [EntryKind.PURCHASE, EntryKind.ADJUSTMENT, EntryKind.UNKNOWN])
def test_only_grants_are_matched(kind: EntryKind) -> None:
    assert current_of(an_entry(kind=kind)) is None


def test_a_grant_taken_back_is_nobodys() -> None:
    assert current_of(an_unnamed(PAID, -5000)) is None


def test_one_grant_serves_one_period() -> None:
    older = a_line(period=a_period(BEFORE_START))
    account = with_lines(older, a_line(), entries=[an_unnamed(PAID)])
    assert pairs(account) == {("pro", BEFORE_START): None, ("pro", START): an_unnamed(PAID).entry_id}


def test_an_upgrade_and_the_old_plan_have_a_grant_each() -> None:
    account = with_lines(a_line("starter"), an_upgrade(), entries=[an_unnamed(CHANGED), an_unnamed(PAID, 1000)])
    assert pairs(account) == {
        ("starter", START): an_unnamed(PAID, 1000).entry_id,
        ("pro", START): an_unnamed(CHANGED).entry_id,
    }


@pytest.mark.parametrize(("amount", "is_grant"), [(5000, True), (4999, False)])
@pytest.mark.parametrize("at", [START, CHANGED, NOW])
def test_an_upgrade_without_invoice_matches_anywhere_by_the_exact_amount(
    at: datetime, amount: int, is_grant: bool
) -> None:
    account = with_lines(a_line("starter"), entries=[an_unnamed(PAID, 1000), an_unnamed(at, amount)])
    assert (pairs(account)["pro", START] is not None) is is_grant


def test_two_late_grants_serve_two_near_periods() -> None:
    """Nearest first would give the first grant to the second period, and the second one to nobody."""
    trial = a_period(START - timedelta(days=3), 0)
    trial = type(trial)(start=trial.start, end=START)
    account = with_lines(
        a_line(period=trial, paid_at=trial.start),
        a_line(paid_at=START),
        entries=[an_unnamed(START - timedelta(hours=12)), an_unnamed(START + timedelta(hours=60))],
    )
    assert None not in pairs(account).values()


def test_one_invoice_for_two_plans_names_neither() -> None:
    account = with_lines(
        a_line("starter", invoice_id="in_9"),
        an_upgrade(invoice_id="in_9"),
        entries=[an_entry(reference="in_9", at=CHANGED), an_entry(entry_id="b", reference="in_9", amount=1000)],
    )
    assert pairs(account, reference="{invoice}") == {("starter", START): "b", ("pro", START): "txn_1"}


def test_what_is_older_than_the_lookback_is_not_left_over() -> None:
    old = an_unnamed(NOW - timedelta(days=70), 77)
    new = an_unnamed(NOW - timedelta(days=40), 78)
    assert ids(matched(a_user(entries=[old, new, an_entry()])).left) == [new.entry_id]


HOURS = st.integers(-24 * 35, 24 * 15)


@given(st.lists(st.tuples(HOURS, st.sampled_from([5000, 1000, 4999])), max_size=6), st.randoms(use_true_random=False))
def test_no_grant_is_matched_twice_and_the_order_read_changes_nothing(
    facts: list[tuple[int, int]], random: Any
) -> None:
    entries = [an_unnamed(PAID + timedelta(hours=h), amount, entry_id=f"e{n}") for n, (h, amount) in enumerate(facts)]
    lines = (a_line(period=a_period(BEFORE_START)), a_line("starter"), an_upgrade())
    found = pairs(with_lines(*lines, entries=entries))
    taken = [entry for entry in found.values() if entry]
    assert len(taken) == len(set(taken))
    shuffled = list(entries)
    random.shuffle(shuffled)
    assert pairs(with_lines(*lines, entries=shuffled)) == found
