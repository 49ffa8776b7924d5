"""Stories of products that keep a ledger of credits: what must be said, who decides, and what must not be written."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.grants.ledger import Entry, EntryKind
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.plans.catalogue import Catalogue, YearlyMode
from credit_pipeline.domain.plans.periods import Cycle, Period, add_months
from credit_pipeline.domain.policy import Trial
from credit_pipeline.domain.subjects.account import Account, Mark
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.sandbox.billing.book_billing import StripeBookBilling
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.rows import Dispute, Refund
from credit_pipeline_tests.domain.builders import a_grant, a_period, a_plan, an_open, rules, seen
from credit_pipeline_tests.domain.invoice_builders import day
from credit_pipeline_tests.domain.ledger_builders import a_local, a_stripe_billing, a_user, an_entry, an_invoice
from credit_pipeline_tests.sandbox.stripe.stripe_rows import (
    a_customer,
    a_dispute,
    a_line,
    a_refund,
    a_subscription,
    an_item,
)
from credit_pipeline_tests.sandbox.stripe.stripe_rows import an_invoice as wire_invoice

PLANS = Catalogue(
    plans=(
        a_plan("free", 50, 0, free=True),
        a_plan("starter", 300, 1),
        a_plan("pro", 800, 2),
        a_plan("business", 3000, 3, yearly=YearlyMode.DRIP),
        a_plan("enterprise", 15_000, 4, yearly=YearlyMode.UPFRONT),
    )
)
MISSING = (Code.GRANT_MISSING, Lane.AUTO)
IN_DOUBT = (Code.GRANT_MISSING, Lane.APPROVE)


def paid(plan: str, start: datetime, end: datetime | None = None, **facts: Any) -> InvoiceLine:
    """An invoice line of that plan, paid an hour after the period began."""
    period = Period(start=start, end=end or add_months(start, 1))
    named = {"invoice_id": f"in_{start:%m%d%H}", "line_id": f"il_{start:%m%d%H}"}
    return an_invoice(
        **({"plan": PLANS.named(plan), "period": period, "paid_at": start + timedelta(hours=1)} | named | facts)
    )


def came(at: datetime, amount: int, kind: EntryKind = EntryKind.GRANT, reference: str | None = None) -> Entry:
    return an_entry(entry_id=f"t{at:%m%d%H%M}{amount}", at=at, amount=amount, kind=kind, reference=reference)


def customer(plan: str, *lines: InvoiceLine, entries: tuple[Entry, ...] = (), **facts: Any) -> Account:
    """A customer of that plan, with its invoices and its ledger; nothing was spent."""
    last = lines[-1].period if lines else a_period()
    return a_user(
        **(
            {
                "billed": plan,
                "label": plan,
                "catalogue": PLANS,
                "invoices": lines,
                "period": last,
                "started_at": lines[0].period.start if lines else last.start,
                "entries": entries,
                "spent": 0,
                "states": (),
            }
            | facts
        )
    )


def judged(account: Account, now: datetime, **how: Any) -> Judgement:
    return classify(account, rules(now=now, catalogue=PLANS, **how))


def said(account: Account, now: datetime, **how: Any) -> list[tuple[Code, Lane]]:
    return [(f.code, f.lane) for f in judged(account, now, **how).findings]


def the_missing(account: Account, now: datetime) -> Finding:
    (found,) = [f for f in judged(account, now).findings if f.code is Code.GRANT_MISSING]
    return found


def automatic(account: Account, now: datetime, **how: Any) -> list[int]:
    """Credits that would move without a person."""
    made = judged(account, now, **how).corrections
    return [c.grant.delta for c in made if c.lane is Lane.AUTO and c.grant is not None]


class TestJ1TheHandlerRaisedTheBalanceAndDied:
    """A balance above its transactions may hold the grant that is missing among them."""

    @pytest.mark.parametrize(
        ("gap", "rose", "expected"),
        [
            (800, day(3, 10, 12), IN_DOUBT),
            (400, day(3, 10, 12), IN_DOUBT),
            (399, day(3, 10, 12), MISSING),
            (800, day(3, 9, 12), IN_DOUBT),
            (800, day(2, 1), MISSING),
        ],
        ids=["whole", "half", "less than half", "a day before", "stood long before"],
    )
    def test_the_gap_is_named(self, gap: int, rose: datetime, expected: tuple[Code, Lane]) -> None:
        looks = [
            replace(seen(total=100, used=100), as_of=day(1, 20), seen_until=rose - timedelta(hours=6), gap=0),
            replace(seen(total=100, used=100 - gap), as_of=rose, seen_until=day(3, 10, 18), gap=gap),
        ]
        older = came(day(2, 20), 100, EntryKind.PURCHASE)
        account = customer("pro", paid("pro", day(3, 10)), entries=(older,), gap=gap, states=looks)
        assert expected in said(account, day(3, 11))
        if expected == IN_DOUBT:
            (moved,) = the_missing(account, day(3, 11)).evidence["movements"]
            assert (moved["amount"], moved["kind"]) == (gap, "no transaction")
            assert automatic(account, day(3, 11)) == []

    def test_without_an_earlier_look_the_gap_may_be_of_any_time(self) -> None:
        account = customer("pro", paid("pro", day(3, 10)), gap=800)
        assert IN_DOUBT in said(account, day(3, 11))

    def test_what_a_restore_of_ours_closed_is_no_gap(self) -> None:
        looks = [
            replace(seen(total=0, used=0), as_of=day(1, 20), seen_until=day(3, 9), gap=0),
            replace(seen(total=0, used=800), as_of=day(3, 9, 6), seen_until=day(3, 9, 12), gap=-800),
        ]
        account = customer("pro", paid("pro", day(3, 10)), gap=0, states=looks)
        assert MISSING in said(account, day(3, 11))

    @pytest.mark.parametrize(("keys", "expected"), [((), IN_DOUBT), (("restore:abc",), MISSING)])
    def test_a_correction_of_ours_stands_for_nothing(self, keys: tuple[str, ...], expected: tuple[Code, Lane]) -> None:
        restored = came(day(3, 10, 12), 800, EntryKind.ADJUSTMENT, reference="restore:abc")
        account = customer("pro", paid("pro", day(3, 10)), entries=(restored,), applied_keys=keys)
        assert expected in said(account, day(3, 11))

    def test_the_grant_beside_a_gap_is_in_order(self) -> None:
        account = customer("pro", paid("pro", day(3, 10)), entries=(came(day(3, 10, 11), 800),), gap=800)
        assert Code.GRANT_MISSING not in dict(said(account, day(3, 11)))


def after(*returns: Refund | Dispute) -> InvoiceLine:
    """The line of Pro that was paid on the 10th, as Stripe tells it after these refunds and disputes of the 12th."""
    at, end = day(3, 10), day(4, 10)
    item = an_item(period_start=at, period_end=end)
    book = StripeBook(
        [a_customer(created=at)],
        [a_subscription(items=(item,), created=at)],
        [wire_invoice(created=at, paid_at=at, lines=(a_line(period_start=at, period_end=end),))],
    )
    book.add(*(replace(one, created=day(3, 12)) for one in returns))
    billing = StripeBookBilling(book, system="bestauth", subject=("metadata.user_id",), plan=("price.lookup_key",))
    (row,) = billing.pull(None, day(3, 13)).table.to_pylist()
    (told,) = row["invoices"]
    return paid(
        "pro",
        at,
        status=InvoiceStatus(told["status"]),
        paid_at=told["paid_at"],
        amount_paid=told["paid"],
        amount_refunded=told["refunded"],
        disputed=told["disputed"],
    )


class TestJ2ThePaymentWasReturned:
    """The invoice still says paid, and no credit note exists: its refunds and disputes alone say what happened."""

    @pytest.mark.parametrize(
        ("returns", "words"),
        [
            ((a_refund(),), "refunded in full"),
            ((a_refund(status="pending"),), "refunded in full"),
            ((a_refund(amount=400), a_refund("re_2", amount=600)), "refunded in full"),
            ((a_refund(amount=50),), "refunded 50 of 1000"),
            ((a_dispute(status="needs_response"),), "disputed: needs_response"),
            ((a_dispute(status="warning_needs_response"),), "disputed: warning_needs_response"),
            ((a_dispute(status="under_review"),), "disputed: under_review"),
            ((a_dispute(status="lost"),), "disputed: lost"),
            ((a_refund(amount=50), a_dispute(status="lost")), "refunded 50 of 1000, disputed: lost"),
        ],
        ids=lambda value: value if isinstance(value, str) else None,
    )
    @pytest.mark.parametrize("granted", [0, 800], ids=["grant missing", "grant present"])
    def test_a_person_is_told_and_nothing_is_granted(
        self, returns: tuple[Refund | Dispute, ...], words: str, granted: int
    ) -> None:
        entries = (came(day(3, 10, 11), granted),) if granted else ()
        account = customer("pro", after(*returns), entries=entries)

        assert said(account, day(3, 13)) == [(Code.REFUNDED, Lane.REVIEW)]
        (found,) = judged(account, day(3, 13)).findings
        assert (found.evidence["payment"], found.evidence["granted"]) == (words, granted)
        assert judged(account, day(3, 13)).corrections == ()

    @pytest.mark.parametrize(
        "returns",
        [(), (a_refund(status="failed"),), (a_refund(status="canceled"),), (a_dispute(status="won"),)],
        ids=["nothing", "refund failed", "refund cancelled", "dispute won"],
    )
    def test_what_returned_nothing_changes_nothing(self, returns: tuple[Refund | Dispute, ...]) -> None:
        missing = customer("pro", after(*returns))
        present = customer("pro", after(*returns), entries=(came(day(3, 10, 11), 800),))

        assert (said(missing, day(3, 13)), automatic(missing, day(3, 13))) == ([MISSING], [800])
        assert said(present, day(3, 13)) == []


class TestJ3MovedToAnotherBillingAccount:
    """The old subscription is in no list any more; its grant of this month stands in the ledger."""

    @pytest.mark.parametrize(
        ("at", "expected"),
        [
            (day(3, 3), [IN_DOUBT]),
            (day(2, 25), [IN_DOUBT]),
            (day(2, 14), [MISSING, (Code.GRANT_UNEXPECTED, Lane.REVIEW)]),
        ],
        ids=["in this month", "0.6 of a month before", "more than 0.9 of a month before"],
    )
    @pytest.mark.parametrize("reference", [None, "in_of_the_old_account"])
    def test_one_finding_and_a_person(
        self, at: datetime, expected: list[tuple[Code, Lane]], reference: str | None
    ) -> None:
        trial = paid("pro", day(3, 15), day(4, 3))
        account = customer("pro", trial, entries=(came(at, 800, reference=reference),), status=BillingStatus.TRIALING)
        local = a_local(label="pro", status="trialing")
        assert said(replace(account, local=local), day(3, 16)) == expected


class TestJ6GrantedAtTheClickBeforeItWasBilled:
    @pytest.mark.parametrize(
        ("days", "expected"), [(0.9, []), (5, [IN_DOUBT]), (26, [IN_DOUBT])], ids=["in the window", "5 days", "26 days"]
    )
    def test_the_early_grant_is_named(self, days: float, expected: list[tuple[Code, Lane]]) -> None:
        renewal = day(3, 20)
        lines = paid("pro", day(2, 20)), paid("business", renewal)
        entries = came(day(2, 20, 10), 800), came(renewal - timedelta(days=days), 3000)
        account = customer("business", *lines, entries=entries)
        assert said(account, renewal + timedelta(hours=5)) == expected
        assert automatic(account, renewal + timedelta(hours=5)) == []

    def test_a_month_s_own_grant_of_the_plan_does_not_stand_for_the_next(self) -> None:
        lines = paid("business", day(2, 20)), paid("business", day(3, 20))
        account = customer("business", *lines, entries=(came(day(2, 20, 10), 3000),))
        assert said(account, day(3, 20, 12)) == [MISSING]
        assert automatic(account, day(3, 20, 12)) == [3000]


class TestJ8SwitchedInATrial:
    def test_a_trial_receives_one_plan_s_credits_once(self) -> None:
        line = paid("starter", day(3, 10), day(3, 24))
        account = customer(
            "enterprise",
            line,
            entries=(came(day(3, 10, 11), 300),),
            status=BillingStatus.TRIALING,
            period=line.period,
            local=a_local(label="enterprise", status="trialing"),
        )
        assert said(account, day(3, 12)) == [IN_DOUBT]
        assert automatic(account, day(3, 12)) == []


class TestS4ABonusClosesNoOpenEvent:
    @pytest.mark.parametrize("kind", [EntryKind.GRANT, EntryKind.ADJUSTMENT])
    def test_the_lost_grant_stays_lost(self, kind: EntryKind) -> None:
        line = paid("pro", day(3, 10))
        held = [a_grant("pro", start=day(3, 10))]
        gone = customer("pro", line, grants=held, gap=-800, total=0)
        (lost,) = [f for f in judged(gone, day(3, 12)).findings if f.code is Code.GRANT_LOST]
        bonus = came(day(3, 13), 400, kind)
        account = customer("pro", line, entries=(bonus,), grants=held, open_mismatches=[an_open(lost)])
        assert (Code.GRANT_LOST, Lane.APPROVE) in said(account, day(3, 14))
        assert judged(account, day(3, 14)).closed == ()


class TestS5AndS6APaidPeriodStaysOwed:
    @pytest.mark.parametrize(
        "status", [BillingStatus.ENDED, BillingStatus.DUNNING], ids=["cancelled on the 2nd", "past due or paused"]
    )
    @pytest.mark.parametrize("granted", [False, True])
    def test_whatever_became_of_the_subscription(self, status: BillingStatus, granted: bool) -> None:
        entries = (came(day(3, 10, 11), 800),) if granted else ()
        over = {"ends_at": day(3, 11), "local": None, "label": "free"} if status is BillingStatus.ENDED else {}
        account = customer("pro", paid("pro", day(3, 10)), entries=entries, status=status, **over)
        found = said(account, day(3, 12))
        assert (IN_DOUBT in found) is not granted
        assert MISSING not in found
        assert automatic(account, day(3, 12)) == []

    def test_a_renewal_that_was_paid_after_the_cancellation(self) -> None:
        lines = paid("pro", day(2, 10)), paid("pro", day(3, 10), paid_at=day(3, 10, 15))
        over = {"status": BillingStatus.ENDED, "ends_at": day(3, 10, 12), "local": None, "label": "free"}
        account = customer("pro", *lines, entries=(came(day(2, 10, 10), 800),), **over)
        assert said(account, day(3, 12)) == [IN_DOUBT]

    def test_an_unpaid_one_is_owed_nothing(self) -> None:
        line = paid("pro", day(3, 10), status=InvoiceStatus.OPEN, paid_at=None)
        account = customer("pro", line, status=BillingStatus.DUNNING)
        assert said(account, day(3, 12)) == [(Code.DUNNING, Lane.NONE)]

    def test_one_that_was_cancelled_and_bought_again(self) -> None:
        old = a_stripe_billing(
            "pro",
            catalogue=PLANS,
            subscription_id="sub_0",
            status=BillingStatus.ENDED,
            ends_at=day(3, 2),
            period=Period(start=day(2, 10), end=day(3, 10)),
            invoices=(paid("pro", day(2, 10), subscription_id="sub_0"),),
        )
        new = a_stripe_billing(
            "pro",
            catalogue=PLANS,
            period=Period(start=day(3, 20), end=day(4, 20)),
            invoices=(paid("pro", day(3, 20)),),
            started_at=day(3, 20),
        )
        account = customer("pro", billing=new, subscriptions=(old, new), entries=(came(day(3, 20, 10), 800),))
        assert said(account, day(3, 22)) == [IN_DOUBT], "the month that was paid and never granted"
        granted = (came(day(2, 10, 10), 800), came(day(3, 20, 10), 800))
        account = customer("pro", billing=new, subscriptions=(old, new), entries=granted)
        assert said(account, day(3, 22)) == []


class TestN1AYearThatWasCancelledInTheMiddle:
    @pytest.mark.parametrize("now", [day(6, 2), day(7, 20)])
    def test_its_drips_stay_explained(self, now: datetime) -> None:
        year = paid("business", day(7, 12, year=2025), day(7, 12))
        drips = [add_months(day(7, 12, 10, year=2025), n) for n in range(11)]
        account = customer(
            "business",
            year,
            entries=tuple(came(at, 3000) for at in drips if at <= now),
            cycle=Cycle.YEARLY,
            status=BillingStatus.ENDED,
            ends_at=day(6, 1),
            label="free",
            local=None,
        )
        assert said(account, now) == []


class TestN4TwoPaidPeriodsInAMonth:
    @pytest.mark.parametrize("days", [3, 14, 26])
    @pytest.mark.parametrize("granted", [True, False], ids=["the first was granted", "none was granted"])
    def test_the_first_full_month_is_automatic(self, days: int, granted: bool) -> None:
        """A trial that converted, or the rest of a month up to a fixed billing day: each has its paid line."""
        first = day(3, 10) - timedelta(days=days)
        lines = paid("pro", first, day(3, 10)), paid("pro", day(3, 10))
        account = customer("pro", *lines, entries=(came(first + timedelta(hours=2), 800),) if granted else ())
        assert automatic(account, day(3, 12)) == [800]
        assert (IN_DOUBT in said(account, day(3, 12))) is not granted

    def test_a_period_that_was_marked_is_near_since_its_end_is_not_remembered(self) -> None:
        lines = paid("pro", day(3, 1), day(3, 10)), paid("pro", day(3, 10))
        marked = replace(seen(billed="pro", start=day(3, 1), mark=Mark.ADOPTED), as_of=day(3, 2), seen_until=day(3, 9))
        account = customer("pro", *lines, entries=(came(day(3, 1, 11), 800),), states=(replace(marked, gap=0),))
        assert said(account, day(3, 12)) == [IN_DOUBT]

    def test_without_trial_credits_the_trial_is_nobody_s_period(self) -> None:
        lines = paid("pro", day(3, 1), day(3, 10)), paid("pro", day(3, 10))
        account = customer("pro", *lines)
        assert said(account, day(3, 12), trial=Trial.NONE) == [MISSING]


class TestN5NeverGrantedAtAll:
    @pytest.mark.parametrize("months", [2, 3])
    def test_the_current_month_is_automatic_and_the_older_ones_a_person_s(self, months: int) -> None:
        lines = [paid("pro", add_months(day(3, 10), -n)) for n in reversed(range(months))]
        account = customer("pro", *lines)
        visible = [line for line in lines if line.period.start > day(3, 12) - timedelta(days=61)]
        assert said(account, day(3, 12)) == [IN_DOUBT] * (len(visible) - 1) + [MISSING]
        assert automatic(account, day(3, 12)) == [800]


class TestN6GivenInParts:
    @pytest.mark.parametrize(
        ("amounts", "minutes", "reference", "expected"),
        [
            ((400, 400), 1, None, []),
            ((200, 400, 200), 20, None, []),
            ((400, 400), 600, "in_031009", []),
            ((400, 400), 600, None, [(Code.GRANT_AMOUNT_MISMATCH, Lane.APPROVE)]),
            ((300, 500), 1, None, [(Code.GRANT_AMOUNT_MISMATCH, Lane.APPROVE)]),
        ],
        ids=["two", "three", "one reference", "hours apart", "one is a plan's own"],
    )
    def test_two_or_three_entries_are_one_grant(
        self, amounts: tuple[int, ...], minutes: int, reference: str | None, expected: list[tuple[Code, Lane]]
    ) -> None:
        at = day(3, 10, 10)
        entries = tuple(
            replace(came(at + timedelta(minutes=minutes * n), amount, reference=reference), entry_id=f"part{n}")
            for n, amount in enumerate(amounts)
        )
        line = paid("pro", day(3, 10))
        account = customer("pro", line, entries=entries)
        found = said(account, day(3, 12), reference="{invoice}")
        assert found[: len(expected)] == expected
        if not expected:
            assert found == []
