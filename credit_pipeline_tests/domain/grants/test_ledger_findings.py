"""What a ledger says about grants and balance: tables of single deviations from one customer in good order."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants.invoices import InvoiceStatus
from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.plans.periods import Period, add_months
from credit_pipeline.domain.policy import Trial
from credit_pipeline.domain.subjects.account import Account, Mark
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline_tests.domain.builders import NOW, START, a_grant, a_period, rules, seen
from credit_pipeline_tests.domain.grants.test_matching import an_unnamed
from credit_pipeline_tests.domain.invoice_builders import CHANGED, a_line, an_upgrade, day, with_lines, yearly
from credit_pipeline_tests.domain.ledger_builders import (
    PAID,
    a_ledger,
    a_local,
    a_reference,
    a_stripe_billing,
    a_user,
    an_entry,
)

OLDER = add_months(START, -1)
IN_ORDER: list[tuple[Code, Lane]] = []


def told(account: Account, now: datetime = NOW, **how: Any) -> list[Finding]:
    return list(classify(account, rules(now=now, **how)).findings)


def codes(account: Account, now: datetime = NOW, **how: Any) -> list[tuple[Code, Lane]]:
    return [(f.code, f.lane) for f in told(account, now, **how)]


def the_one(account: Account, code: Code, **how: Any) -> Finding:
    (found,) = [f for f in told(account, **how) if f.code is code]
    return found


def holds(account: Account, **how: Any) -> list[str]:
    return list(the_one(account, Code.GRANT_MISSING, **how).evidence["holds"])


def test_a_paid_and_granted_customer_is_in_order() -> None:
    assert codes(a_user()) == IN_ORDER


class TestAMissingGrant:
    def test_a_paid_period_without_a_grant_is_automatic(self) -> None:
        account = a_user(entries=(), spent=0)
        assert codes(account) == [(Code.GRANT_MISSING, Lane.AUTO)]
        found = the_one(account, Code.GRANT_MISSING)
        assert found.delta == 5000
        assert not found.is_event
        assert found.evidence["reference"] == a_reference()

    @pytest.mark.parametrize(
        ("facts", "expected"),
        [
            ({"kind": EntryKind.ADJUSTMENT, "amount": 2500}, [(Code.GRANT_MISSING, Lane.APPROVE)]),
            ({"kind": EntryKind.ADJUSTMENT, "amount": 2499}, [(Code.GRANT_MISSING, Lane.AUTO)]),
            ({"kind": EntryKind.ADJUSTMENT, "amount": -5000}, [(Code.GRANT_MISSING, Lane.AUTO)]),
            ({"kind": EntryKind.PURCHASE, "amount": 5000}, [(Code.GRANT_MISSING, Lane.AUTO)]),
            ({"kind": EntryKind.GRANT, "amount": 15_000}, [(Code.GRANT_MISSING, Lane.APPROVE)]),
            (
                {"kind": EntryKind.GRANT, "amount": 1000},
                [(Code.GRANT_MISSING, Lane.APPROVE), (Code.GRANT_UNEXPECTED, Lane.REVIEW)],
            ),
            ({"kind": EntryKind.GRANT, "amount": 100}, [(Code.GRANT_MISSING, Lane.AUTO)]),
        ],
        ids=["half", "less than half", "taken", "purchase", "larger plan", "smaller plan", "the free plan's"],
    )
    @pytest.mark.parametrize("at", [PAID, NOW])
    def test_what_may_stand_for_it(
        self, facts: dict[str, Any], expected: list[tuple[Code, Lane]], at: datetime
    ) -> None:
        account = a_user(entries=[an_entry(**facts, at=at, reference=None)], older=6000)
        assert codes(account) == expected

    def test_a_grant_of_the_period_before_does_not_stand_for_it(self) -> None:
        before = an_entry(kind=EntryKind.ADJUSTMENT, at=PAID - timedelta(days=3))
        assert codes(a_user(entries=[before])) == [(Code.GRANT_MISSING, Lane.AUTO)]

    @pytest.mark.parametrize(
        ("facts", "hold"),
        [
            ({"grants": [a_grant(start=day(2, 20))]}, "less than 0.9 of a cycle"),
            ({"states": [seen(300, start=day(2, 20), mark=Mark.ADOPTED)]}, "less than 0.9 of a cycle"),
            ({"ledger": a_ledger(entries=(), spent=0, unknown_types=("magic",))}, "does not map"),
        ],
    )
    def test_a_person_decides(self, facts: dict[str, Any], hold: str) -> None:
        account = a_user(**({"entries": (), "older": 5000} | facts))
        found = the_one(account, Code.GRANT_MISSING)
        assert found.lane is Lane.APPROVE
        assert found.is_event
        assert any(hold in reason for reason in found.evidence["holds"])

    def test_a_calendar_drip_against_an_anniversary_anchor(self) -> None:
        """Anchor 15th, granted on the 1st: on the 20th the grant of the month is not missing, it is not due."""
        lines = [a_line(period=a_period(day(month, 15))) for month in (1, 2, 3)]
        drips = [an_unnamed(day(month, 1)) for month in (2, 3)]
        account = with_lines(*lines, period=a_period(day(3, 15)), entries=drips)
        assert codes(account, day(3, 20)) == [(Code.GRANT_MISSING, Lane.APPROVE)]
        assert any("days of its own" in hold for hold in holds(account, now=day(3, 20)))
        came = with_lines(*lines, period=a_period(day(3, 15)), entries=[*drips, an_unnamed(day(4, 1))])
        assert codes(came, day(4, 2)) == IN_ORDER

    def test_of_two_missed_months_the_older_one_is_a_person_s(self) -> None:
        """What was never granted at all is no drip on days of its own."""
        account = with_lines(a_line(period=a_period(OLDER)), a_line(), entries=(), spent=0)
        assert codes(account) == [(Code.GRANT_MISSING, Lane.APPROVE), (Code.GRANT_MISSING, Lane.AUTO)]

    def test_an_older_gap_is_a_persons_unless_the_policy_catches_up(self) -> None:
        account = with_lines(a_line(period=a_period(OLDER)), a_line())
        assert codes(account) == [(Code.GRANT_MISSING, Lane.APPROVE)]
        assert codes(account, catch_up=1) == [(Code.GRANT_MISSING, Lane.AUTO)]

    def test_a_webhook_that_was_missed_at_an_upgrade(self) -> None:
        account = with_lines(
            a_line("starter"), an_upgrade(), entries=[an_unnamed(PAID, 1000)], local=a_local(label="starter")
        )
        assert codes(account) == [(Code.PLAN_MISMATCH, Lane.AUTO), (Code.GRANT_MISSING, Lane.AUTO)]
        came = with_lines(a_line("starter"), an_upgrade(), entries=[an_unnamed(PAID, 1000), an_unnamed(CHANGED)])
        assert codes(came) == IN_ORDER

    def test_an_upgrade_without_an_invoice_of_its_own(self) -> None:
        assert codes(with_lines(a_line("starter"), entries=[an_unnamed(PAID, 1000)])) == [
            (Code.GRANT_MISSING, Lane.AUTO)
        ]
        came = [an_unnamed(PAID, 1000), an_unnamed(NOW)]
        assert codes(with_lines(a_line("starter"), entries=came)) == IN_ORDER

    def test_the_old_plans_missing_grant_is_a_persons_after_an_upgrade(self) -> None:
        account = with_lines(a_line("starter"), an_upgrade(), entries=[an_unnamed(CHANGED)])
        (hold,) = holds(account)
        assert "billing has moved" in hold

    def test_a_trial_s_grant_does_not_stand_in_the_way_of_the_first_paid_month(self) -> None:
        trial = Period(start=day(2, 15), end=START)
        lines = (a_line(period=trial, invoice_id="in_0"), a_line())
        account = with_lines(*lines, entries=[an_unnamed(day(2, 15, 11))])
        assert codes(account) == [(Code.GRANT_MISSING, Lane.AUTO)]
        # Where a trial is granted nothing, somebody's early grant may have been meant for the month.
        assert codes(account, trial=Trial.NONE) == [(Code.GRANT_MISSING, Lane.APPROVE)]

    def test_two_live_subscriptions_wait_for_a_person(self) -> None:
        pro = a_stripe_billing()
        other = a_stripe_billing(
            "starter", subscription_id="sub_2", invoices=(a_line("starter", subscription_id="sub_2"),)
        )
        account = a_user(billing=pro, subscriptions=(pro, other), entries=[an_unnamed(PAID, 1000)])
        assert codes(account) == [
            (Code.MULTIPLE_LIVE_SUBSCRIPTIONS, Lane.APPROVE),
            (Code.GRANT_MISSING, Lane.APPROVE),
        ]

    def test_resubscribing_in_a_paid_month_waits_for_a_person(self) -> None:
        ended = a_stripe_billing(
            status=BillingStatus.ENDED,
            subscription_id="sub_0",
            invoices=(a_line(period=a_period(day(2, 25)), subscription_id="sub_0"),),
        )
        live = a_stripe_billing()
        account = a_user(billing=live, subscriptions=(ended, live), entries=[an_unnamed(day(2, 25, 11))])
        assert any("0.9 of a cycle" in hold for hold in holds(account))

    @pytest.mark.parametrize("status", [BillingStatus.DUNNING, BillingStatus.ENDED])
    def test_nothing_is_missing_while_nothing_is_paid(self, status: BillingStatus) -> None:
        unpaid = {"status": status, "invoices": (a_line(status=InvoiceStatus.OPEN),)}
        assert Code.GRANT_MISSING not in [code for code, _ in codes(a_user(**unpaid, entries=(), spent=0))]

    def test_cancelled_at_the_periods_end_is_live_until_then(self) -> None:
        assert codes(a_user(auto_renews=False)) == IN_ORDER
        assert codes(a_user(auto_renews=False, entries=(), spent=0)) == [(Code.GRANT_MISSING, Lane.AUTO)]


class TestPayment:
    @pytest.mark.parametrize("status", [InvoiceStatus.OPEN, InvoiceStatus.VOID, None])
    def test_without_a_paid_invoice_the_period_is_pending(self, status: InvoiceStatus | None) -> None:
        lines = () if status is None else (a_line(status=status),)
        assert codes(a_user(invoices=lines, entries=(), spent=0)) == [(Code.PENDING_SETTLEMENT, Lane.NONE)]

    def test_a_product_that_grants_before_the_payment_is_in_order(self) -> None:
        assert codes(a_user(invoices=(a_line(status=InvoiceStatus.OPEN),))) == IN_ORDER

    def test_a_trial_needs_its_invoice_of_zero_as_well(self) -> None:
        account = a_user(
            status=BillingStatus.TRIALING, local=a_local(status="trialing"), entries=(), spent=0, invoices=()
        )
        assert codes(account) == [(Code.PENDING_SETTLEMENT, Lane.NONE)]
        account = a_user(status=BillingStatus.TRIALING, local=a_local(status="trialing"), entries=(), spent=0)
        assert codes(account) == [(Code.GRANT_MISSING, Lane.AUTO)]

    def test_an_invoice_of_an_unknown_price_is_a_finding_and_not_a_wait(self) -> None:
        account = a_user(invoices=(a_line(plan="", raw_plan="price_x"),), entries=(), spent=0)
        (found,) = told(account)
        assert (found.code, found.lane) == (Code.PLAN_UNMAPPED, Lane.REVIEW)
        assert found.evidence["raw"] == "price_x"

    @pytest.mark.parametrize("entries", [(), (an_entry(),)])
    def test_a_refunded_period_is_for_a_person(self, entries: tuple[Any, ...]) -> None:
        account = a_user(invoices=(a_line(status=InvoiceStatus.REFUNDED),), entries=entries, spent=0)
        assert codes(account) == [(Code.REFUNDED, Lane.REVIEW)]


class TestOtherGrants:
    def test_a_second_grant_of_the_same_amount_is_a_duplicate(self) -> None:
        for again in (an_unnamed(NOW), an_entry(entry_id="b", at=NOW)):
            found = the_one(a_user(entries=[an_entry(), again]), Code.GRANT_DUPLICATE)
            assert (found.lane, found.delta, found.is_event) == (Lane.APPROVE, -5000, False)
            assert found.evidence["entry"] == again.entry_id

    def test_a_replay_in_the_next_period_is_told_by_its_reference(self) -> None:
        late = an_entry(entry_id="b", at=NOW, reference=a_reference(start=OLDER))
        first = an_entry(entry_id="a", at=OLDER, reference=a_reference(start=OLDER))
        account = with_lines(a_line(period=a_period(OLDER)), a_line(), entries=[first, an_entry(), late])
        found = the_one(account, Code.GRANT_DUPLICATE)
        assert found.evidence["entry"] == "b"

    @pytest.mark.parametrize(("amount", "delta"), [(4000, 1000), (5001, -1), (100_000, -95_000)])
    def test_a_wrong_amount(self, amount: int, delta: int) -> None:
        found = the_one(a_user(entries=[an_entry(amount=amount)]), Code.GRANT_AMOUNT_MISMATCH)
        assert (found.lane, found.delta) == (Lane.APPROVE, delta)

    def test_a_repaired_duplicate_or_amount_is_not_told_again(self) -> None:
        twice = (an_entry(), an_unnamed(NOW))
        for entries in (twice, (an_entry(amount=4000),)):
            (found,) = told(a_user(entries=entries))
            assert codes(a_user(entries=entries, applied_keys=[f"clawback:{found.fingerprint}"])) == IN_ORDER
            ours = an_entry(
                entry_id="c", at=NOW, kind=EntryKind.ADJUSTMENT, amount=-1, reference=f"x|amount:{found.fingerprint}"
            )
            assert codes(a_user(entries=(*entries, ours))) == IN_ORDER

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            (EntryKind.GRANT, [(Code.GRANT_UNEXPECTED, Lane.REVIEW)]),
            (EntryKind.PURCHASE, IN_ORDER),
            (EntryKind.ADJUSTMENT, IN_ORDER),
        ],
    )
    def test_only_a_grant_is_ever_unexpected(self, kind: EntryKind, expected: list[tuple[Code, Lane]]) -> None:
        assert codes(a_user(entries=[an_entry(), an_unnamed(NOW, 700, kind=kind)])) == expected

    def test_a_grant_at_a_downgrade_is_unexpected(self) -> None:
        account = with_lines(
            a_line("pro_plus"), an_upgrade("pro"), entries=[an_unnamed(PAID, 15_000), an_unnamed(CHANGED)]
        )
        assert codes(account) == [(Code.GRANT_UNEXPECTED, Lane.REVIEW)]

    def test_a_grant_from_before_the_invoices_we_know_is_not_judged(self) -> None:
        account = a_user(entries=[an_entry(), an_unnamed(day(2, 10))], started_at=day(1, 1))
        assert codes(account) == IN_ORDER

    def test_a_free_account_was_granted_nothing(self) -> None:
        account = a_user(
            billed="free", label="free", invoices=(), status=BillingStatus.FREE, local=a_local(label="free")
        )
        assert (Code.GRANT_UNEXPECTED, Lane.REVIEW) in codes(account)

    def test_after_a_switch_to_a_year_a_second_grant_is_a_duplicate(self) -> None:
        term = Period(start=day(3, 10), end=day(3, 10, year=2027))
        account = yearly("starter", NOW, (a_line("starter"), a_line("starter", term)), term=term, started_at=START)
        account = a_user(
            billing=account.billing,
            local=a_local(label="starter"),
            entries=[an_unnamed(PAID, 1000), an_unnamed(day(3, 10), 1000)],
        )
        assert codes(account) == [(Code.GRANT_DUPLICATE, Lane.APPROVE)]


class TestALostGrant:
    @pytest.mark.parametrize(
        "facts",
        [
            {"grants": [a_grant()]},
            {"states": [seen(mark=Mark.ADOPTED)]},
            {"states": [seen(mark=Mark.ASSUMED)]},
        ],
    )
    def test_a_key_that_is_taken_without_its_grant(self, facts: dict[str, Any]) -> None:
        account = a_user(entries=(), spent=0, older=1000, **facts)
        found = the_one(account, Code.GRANT_LOST)
        assert (found.lane, found.is_event, found.delta) == (Lane.APPROVE, True, 5000)

    def test_a_grant_that_an_undo_took_back_is_no_loss(self) -> None:
        assert codes(a_user(entries=(), spent=0, older=1000, grants=[replace(a_grant(), reversed=True)])) == IN_ORDER

    def test_once_restored_it_is_in_order(self) -> None:
        account = a_user(entries=(), spent=0, older=1000, grants=[a_grant()])
        found = the_one(account, Code.GRANT_LOST)
        assert codes(
            a_user(entries=(), spent=0, older=1000, grants=[a_grant()], applied_keys=[f"restore:{found.fingerprint}"])
        ) == (IN_ORDER)


class TestTheBalance:
    def test_no_row_and_no_transactions_is_made(self) -> None:
        account = a_user(ledger=a_ledger(entries=(), spent=0, rows=0), used=None)
        assert codes(account) == [(Code.GRANT_MISSING, Lane.AUTO), (Code.BALANCE_MISSING, Lane.AUTO)]

    def test_no_row_with_transactions_is_a_persons(self) -> None:
        assert codes(a_user(used=None)) == [(Code.BALANCE_MISSING, Lane.REVIEW)]

    def test_a_balance_below_zero(self) -> None:
        assert codes(a_user(spent=5001)) == [(Code.BALANCE_NEGATIVE, Lane.REVIEW)]

    @pytest.mark.parametrize("gap", [-1, 1, -4000])
    def test_a_balance_that_is_not_its_sum(self, gap: int) -> None:
        found = the_one(a_user(gap=gap), Code.BALANCE_LEDGER_MISMATCH)
        assert found.lane is Lane.REVIEW
        assert found.evidence["gap"] == gap

    def test_another_gap_is_another_finding(self) -> None:
        first, second = (the_one(a_user(gap=gap), Code.BALANCE_LEDGER_MISMATCH) for gap in (-1, -2))
        assert first.fingerprint != second.fingerprint

    def test_an_unknown_type_is_told(self) -> None:
        account = a_user(ledger=a_ledger(unknown_types=("b", "a")))
        found = the_one(account, Code.BALANCE_LEDGER_MISMATCH)
        assert found.evidence == {"reason": "unknown_type", "types": ["a", "b"]}

    def test_paid_at_zero_is_spent_or_never_granted(self) -> None:
        assert codes(a_user(spent=5000)) == [(Code.SPENT_OUT, Lane.NONE)]
        assert codes(a_user(entries=(), spent=0)) == [(Code.GRANT_MISSING, Lane.AUTO)]

    @pytest.mark.parametrize(
        ("spent", "gap", "loss"), [(1000, -200, 200), (3000, -200, 200), (1000, 0, 0), (4000, 0, 0), (500, 0, 0)]
    )
    def test_a_loss_is_a_fall_of_the_gap_whatever_was_spent(self, spent: int, gap: int, loss: int) -> None:
        account = a_user(spent=spent, gap=gap, states=[the_look(used=1000, gap=0)])
        decreases = [f for f in told(account) if f.code is Code.UNEXPLAINED_DECREASE]
        assert [f.evidence["loss"] for f in decreases] == ([loss] if loss else [])

    def test_a_loss_explains_the_gap_and_an_older_gap_stays(self) -> None:
        account = a_user(gap=-200, states=[the_look(used=1000, gap=0)])
        assert codes(account) == [(Code.UNEXPLAINED_DECREASE, Lane.APPROVE)]
        account = a_user(gap=-200, states=[the_look(used=1000, gap=-50)])
        assert codes(account) == [
            (Code.UNEXPLAINED_DECREASE, Lane.APPROVE),
            (Code.BALANCE_LEDGER_MISMATCH, Lane.REVIEW),
        ]

    def test_a_rise_of_the_gap_is_told_and_hurts_nobody(self) -> None:
        account = a_user(gap=300, states=[the_look(used=1000, gap=0)])
        found = the_one(account, Code.UNEXPLAINED_INCREASE)
        assert found.evidence["gain"] == 300
        assert found.lane is Lane.NONE

    def test_without_an_earlier_look_nothing_moved(self) -> None:
        assert codes(a_user(gap=-200, states=[])) == [(Code.BALANCE_LEDGER_MISMATCH, Lane.REVIEW)]
        assert codes(a_user(gap=-200, states=[seen()])) == [(Code.BALANCE_LEDGER_MISMATCH, Lane.REVIEW)]

    def test_a_fall_to_the_allowance_has_a_signature(self) -> None:
        account = a_user(older=2000, gap=-1000, states=[the_look(total=7000, used=1000, gap=0)])
        assert the_one(account, Code.UNEXPLAINED_DECREASE).evidence["signature"] == "reset_to_allowance"


def the_look(*, total: int = 5000, used: int, gap: int, hours: float = 6) -> Any:
    look = seen(hours, total=total, used=used)
    return type(look)(**{name: getattr(look, name) for name in look.__slots__} | {"gap": gap})


def test_an_upgrade_s_grant_is_explained_also_when_the_invoice_of_its_period_s_start_is_too_old_to_be_read() -> None:
    following = a_line(period=a_period(a_period().end))
    granted = an_entry(entry_id="up", at=CHANGED + timedelta(minutes=6), reference=a_reference("pro", START))
    begun = following.period.start
    renewed = an_entry(entry_id="next", at=begun + timedelta(hours=1), reference=a_reference("pro", begun))
    facts = {"entries": (granted, renewed), "period": following.period, "local": None}
    now = begun + timedelta(days=5)
    account = with_lines(an_upgrade(), following, **facts)
    early = replace(account.billing, started_at=START)
    account = replace(account, billing=early, subscriptions=(early,))
    assert Code.GRANT_UNEXPECTED not in {f.code for f in told(account, now)}
    strange = replace(granted, reference=a_reference("pro", START - timedelta(days=90)))
    account = replace(account, ledger=a_ledger(entries=(strange, renewed)))
    (found,) = [f for f in told(account, now) if f.code is Code.GRANT_MISSING]
    assert [moved["entry"] for moved in found.evidence["movements"]] == [strange.entry_id], "told once, by its name"
