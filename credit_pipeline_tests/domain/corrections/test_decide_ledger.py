"""A ledger's findings → corrections: steps in their order, lanes, exact amounts, keys and references."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    CreateBalance,
    GrantCredits,
    GrantKey,
    Lane,
    LinkIdentity,
    Seen,
    SetPlan,
    SetSubscription,
    correction_fields,
    correction_from,
)
from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.domain.policy import EndLabels
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.identity import Layer
from credit_pipeline_tests.domain.builders import NOW, START, a_grant, a_period, an_open, rules, seen
from credit_pipeline_tests.domain.grants.test_matching import an_unnamed
from credit_pipeline_tests.domain.invoice_builders import CHANGED, a_line, an_upgrade, with_lines, yearly
from credit_pipeline_tests.domain.ledger_builders import (
    AUTH,
    PAID,
    STORE,
    a_claim,
    a_ledger,
    a_local,
    a_reference,
    a_stripe_billing,
    a_user,
    an_entry,
    an_identity,
)

NOTHING: dict[str, Any] = {"entries": (), "spent": 0}
OLDER = add_months(START, -1)
GRANT = GrantCredits(
    delta=5000,
    grant_key=GrantKey(account_id=STORE, plan="pro", period_start=START),
    period_end=a_period().end,
    reference=a_reference(),
)
ROW = SetSubscription(status="active", period_start=a_period().start, period_end=a_period().end)
PRO = SetPlan(plan="pro", label="pro")


def made(account: Account, **how: Any) -> dict[Lane, Correction]:
    """The corrections by lane; two in one lane would be an error."""
    corrections = classify(account, rules(**how)).corrections
    by_lane = {c.lane: c for c in corrections}
    assert len(by_lane) == len(corrections)
    assert list(by_lane) == sorted(by_lane, key=list(Lane).index)
    return by_lane


def the_adjustment(account: Account, **how: Any) -> AdjustCredits:
    (step,) = made(account, **how)[Lane.APPROVE].steps
    assert isinstance(step, AdjustCredits)
    return step


def test_a_missing_grant_is_made_with_the_products_own_reference() -> None:
    (correction,) = made(a_user(**NOTHING, older=300)).values()
    assert correction.lane is Lane.AUTO
    assert correction.steps == (GRANT,)
    assert correction.codes == ("grant_missing",)
    assert correction.seen == Seen(label="pro", total=300, used=0)
    assert correction.key == a_reference()
    assert (correction.after.total, correction.after.used, correction.after.available) == (5300, 0, 5300)
    assert correction_from(correction_fields(correction)) == correction


def test_the_template_of_the_policy_is_what_is_written() -> None:
    (correction,) = made(a_user(**NOTHING), reference="stripe:{invoice}").values()
    assert correction.grant == replace(GRANT, reference="stripe:in_1")
    assert correction.key == a_reference()


def test_an_undeclared_renewal_does_not_silence_a_ledger() -> None:
    assert made(a_user(**NOTHING), renewal=None)


def test_a_year_up_front_is_twelve_months_in_one_grant() -> None:
    account = yearly("pro_plus", START)
    account = replace(account, ledger=a_ledger(entries=(), spent=0), balance=replace(account.balance, total=0, used=0))
    correction = made(account, now=START)[Lane.AUTO]
    assert correction.grant is not None
    assert correction.grant.delta == 180_000
    assert correction.grant.period_end == add_months(correction.grant.grant_key.period_start, 12)


def test_everything_proven_goes_in_one_correction_in_the_order_it_leans_on() -> None:
    account = a_user(
        local=None,
        ledger=a_ledger(entries=(), spent=0, rows=0),
        used=None,
        identity=an_identity(claims=(a_claim(2),)),
    )
    (correction,) = made(account).values()
    assert correction.lane is Lane.AUTO
    assert correction.steps == (
        LinkIdentity(auth_id=AUTH, store_id=STORE, layer=Layer.METADATA),
        CreateBalance(),
        PRO,
        ROW,
        GRANT,
    )
    assert correction.seen == Seen(label=None, total=0, used=None)
    assert correction.after == Seen(label="pro", total=5000, used=0)


def test_a_label_alone_has_no_key() -> None:
    (correction,) = made(a_user(local=a_local(label="free"))).values()
    assert correction.steps == (PRO,)
    assert correction.key is None
    assert correction.delta == 0
    assert correction.seen.label == "free"


def test_an_upgrade_adds_the_new_allowance_and_keeps_what_there_is() -> None:
    lines = (a_line("starter"), an_upgrade())
    account = with_lines(*lines, entries=[an_unnamed(PAID, 1000)], spent=200, local=a_local(label="starter"))
    (correction,) = made(account).values()
    assert correction.steps == (PRO, GRANT)
    assert correction.after.available == 800 + 5000


def test_the_proven_part_does_not_wait_for_the_rest() -> None:
    account = with_lines(a_line(period=a_period(OLDER)), a_line(), local=a_local(label="free"))
    corrections = made(account)
    assert corrections[Lane.AUTO].steps == (PRO,)
    assert corrections[Lane.APPROVE].grant == replace(
        GRANT,
        grant_key=replace(GRANT.grant_key, period_start=OLDER),
        period_end=START,
        reference=a_reference(start=OLDER),
    )
    assert "the period is over" in corrections[Lane.APPROVE].reasons[0]


def test_one_correction_makes_one_grant_the_newest_of_the_billed_plan() -> None:
    unclear = a_ledger(entries=(), spent=0, unknown_types=("magic",))  # both are a person's
    account = with_lines(a_line(period=a_period(OLDER)), a_line(), ledger=unclear)
    assert made(account)[Lane.APPROVE].grant == GRANT
    lines = (a_line("starter"), an_upgrade())
    assert made(with_lines(*lines, **NOTHING))[Lane.AUTO].grant == GRANT


def test_with_two_live_subscriptions_one_grant_of_the_highest_waits_for_a_person() -> None:
    pro = a_stripe_billing()
    other = a_stripe_billing("starter", subscription_id="sub_2", invoices=(a_line("starter", subscription_id="sub_2"),))
    (correction,) = made(a_user(billing=pro, subscriptions=(other, pro), **NOTHING)).values()
    assert correction.lane is Lane.APPROVE
    assert correction.grant == GRANT
    assert "several subscriptions" in correction.reasons[0]


@pytest.mark.parametrize(("spent", "taken"), [(0, -5000), (7000, -3000), (9999, -1), (10_000, None), (10_001, None)])
def test_of_a_second_grant_what_is_left_is_taken_back(spent: int, taken: int | None) -> None:
    account = a_user(entries=[an_entry(), an_unnamed(NOW)], spent=spent)
    corrections = made(account)
    assert (corrections[Lane.APPROVE].delta if corrections else None) == taken
    if taken:
        step = the_adjustment(account)
        assert step.correction_key.startswith("clawback:")
        assert not step.lower_used
        assert made(account)[Lane.APPROVE].after.available == 10_000 - spent + taken


def test_two_claw_backs_take_no_more_than_there_is() -> None:
    account = a_user(entries=[an_entry(), an_unnamed(NOW), an_unnamed(NOW - timedelta(days=1))], spent=8000)
    (correction,) = made(account).values()
    assert [step.delta for step in correction.adjustments] == [-5000, -2000]
    assert len({step.correction_key for step in correction.adjustments}) == 2


@pytest.mark.parametrize(("amount", "spent", "delta"), [(4000, 1000, 1000), (6000, 0, -1000), (6000, 5800, -200)])
def test_the_difference_to_the_due_amount(amount: int, spent: int, delta: int) -> None:
    step = the_adjustment(a_user(entries=[an_entry(amount=amount)], spent=spent))
    assert step.delta == delta
    assert step.correction_key.startswith("amount:")


class TestRestores:
    def test_a_balance_below_its_ledger_is_raised_alone(self) -> None:
        account = a_user(gap=-200, states=[replace(seen(), gap=0)])
        step = the_adjustment(account)
        assert (step.delta, step.lower_used, step.cause) == (200, True, "restore")
        after = made(account)[Lane.APPROVE].after
        assert (after.total, after.used) == (5000, 1000)

    def test_a_lost_grant_is_given_again_through_the_ledger(self) -> None:
        step = the_adjustment(a_user(**NOTHING, grants=[a_grant()]))
        assert (step.delta, step.lower_used) == (5000, False)
        assert step.correction_key.startswith("restore:")

    @pytest.mark.parametrize(("gap", "given"), [(4999, 1), (5000, None), (6000, None), (-100, 5000)])
    def test_a_transaction_that_was_deleted_alone_took_nothing(self, gap: int, given: int | None) -> None:
        looks = [replace(seen(total=5000, used=0), gap=gap)]
        corrections = made(a_user(**NOTHING, gap=gap, grants=[a_grant()], states=looks))
        assert (corrections[Lane.APPROVE].delta if corrections else None) == given

    def test_several_losses_are_one_restore(self) -> None:
        before = a_user(gap=-200, states=[replace(seen(30), gap=0)])
        (first,) = classify(before, rules(now=NOW - timedelta(hours=6))).findings
        account = a_user(gap=-500, states=[replace(seen(used=1200), gap=-200)], open_mismatches=[an_open(first)])
        step = the_adjustment(account)
        assert step.delta == 500
        assert first.fingerprint in step.correction_key
        assert "," in step.correction_key


@pytest.mark.parametrize("entries", [(), (an_entry(),)])
def test_without_a_balance_row_but_with_transactions_nothing_is_written(entries: tuple[Any, ...]) -> None:
    account = a_user(ledger=a_ledger(entries=entries, rows=3), used=None)
    assert made(account) == {}


def test_an_end_is_written_as_for_a_counter() -> None:
    twice = [replace(seen(hours, billed="pro", status="ended", label="pro"), gap=0) for hours in (50, 24)]
    account = a_user(status=BillingStatus.ENDED, states=twice)
    assert made(account)[Lane.APPROVE].steps == (SetPlan(plan="free", label="free"),)
    assert made(account, end_labels=EndLabels.AUTO)[Lane.AUTO].steps == (SetPlan(plan="free", label="free"),)


AMOUNTS = st.sampled_from([5000, 1000, 15_000, 4999, 100, 777, -500, 2500])
KINDS = st.sampled_from([EntryKind.GRANT, EntryKind.ADJUSTMENT, EntryKind.PURCHASE])


@given(
    facts=st.lists(st.tuples(st.integers(-900, 330), AMOUNTS, KINDS), max_size=5),
    spent=st.integers(0, 20_000),
    gap=st.sampled_from([0, 0, -300, 300]),
    lines=st.sampled_from([(a_line(),), (a_line("starter"), an_upgrade()), (a_line("starter"),)]),
)
def test_nothing_automatic_lowers_what_a_user_can_spend(
    facts: list[tuple[int, int, EntryKind]], spent: int, gap: int, lines: tuple[Any, ...]
) -> None:
    entries = [
        an_unnamed(CHANGED + timedelta(hours=hours), amount, kind=kind, entry_id=f"e{n}")
        for n, (hours, amount, kind) in enumerate(facts)
    ]
    account = with_lines(*lines, entries=entries, spent=spent, gap=gap, states=[replace(seen(), gap=0)])
    for lane, correction in made(account).items():
        assert correction.delta >= 0 or lane is Lane.APPROVE
        assert all(step.delta > 0 for step in correction.steps if isinstance(step, GrantCredits))
        available, after = account.balance.available, correction.after.available
        assert available is not None
        assert after is not None
        assert after >= min(0, available)
