"""Stripe's side of a simulated product: what its book holds after a purchase, a renewal, a payment, a change, an end.

It writes rows of the sandbox's book and schedules nothing. When things happen is `ledger_life.py`'s.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from credit_pipeline.domain.plans.periods import Period, add_months
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.rows import Customer, Invoice, Item, Line, Subscription
from credit_pipeline_tests.simulation.ledger_truth import plan_of

CENTS_A_CREDIT = 2


@dataclass(kw_only=True)
class Sold:
    """A subscription as its customer sees it."""

    id: str
    customer: str
    plan: str
    interval: Literal["month", "year"]
    anchor: datetime
    """What terms are counted from; a switch to another interval moves it."""
    term: Period
    terms: int
    """How many terms since the anchor have begun."""
    next_plan: str | None = None
    """Scheduled for the next renewal."""
    ending: bool = False
    over: bool = False
    unbilled: list[Line] = field(default_factory=list)
    """Changes that the next invoice will bill."""

    @property
    def price(self) -> str:
        return f"price_{self.plan}_{self.interval}"


class StripeSide:
    """One Stripe account. Every method says when it happens."""

    def __init__(self) -> None:
        self.book = StripeBook()
        self._numbers = 0

    def customer(self, user: str, at: datetime) -> str:
        """A customer whose metadata name the product's user."""
        found = Customer(id=self._id("cus"), email=f"{user}@example.com", metadata={"user_id": user}, created=at)
        self.book.add(found)
        return found.id

    def subscribe(
        self, customer: str, plan: str, interval: Literal["month", "year"], at: datetime, trial_end: datetime | None
    ) -> Sold:
        """A new subscription, without its invoice."""
        anchor = trial_end or at
        end = trial_end or add_months(at, _months(interval))
        sold = Sold(
            id=self._id("sub"),
            customer=customer,
            plan=plan,
            interval=interval,
            anchor=anchor,
            term=Period(start=at, end=end),
            terms=0 if trial_end else 1,
        )
        self.book.add(
            Subscription(
                id=sold.id,
                customer=customer,
                status="active" if trial_end is None else "trialing",
                items=(self._item(sold),),
                created=at,
                billing_cycle_anchor=anchor,
                trial_start=None if trial_end is None else at,
                trial_end=trial_end,
            )
        )
        return sold

    def renew(self, sold: Sold) -> Invoice:
        """The next term, whose invoice is a draft for about an hour."""
        sold.terms += 1
        start = sold.term.end
        sold.plan, sold.next_plan = sold.next_plan or sold.plan, None
        sold.term = Period(start=start, end=add_months(sold.anchor, _months(sold.interval) * sold.terms))
        self.book.patch(sold.id, items=(self._item(sold),), status="active")
        return self.bill(sold, start, status="draft", reason="subscription_cycle")

    def bill(
        self, sold: Sold, at: datetime, *, status: Literal["draft", "paid"], reason: str, trial: bool = False
    ) -> Invoice:
        """The invoice of the current term; what changed before is on it as well."""
        line = self._line(sold, sold.term, 0 if trial else _cents(sold))
        lines, sold.unbilled = (*sold.unbilled, line), []
        return self._invoice(sold, at, lines, status=status, reason=reason)

    def change(self, sold: Sold, plan: str, at: datetime, *, billed: bool) -> Invoice | None:
        """Another plan in mid-term, with an invoice of its own, or on the next one."""
        old = self._line(sold, Period(start=at, end=sold.term.end), -_cents(sold) // 2, proration=True)
        sold.plan = plan
        new = self._line(sold, Period(start=at, end=sold.term.end), _cents(sold) // 2, proration=True)
        self.book.patch(sold.id, items=(self._item(sold),))
        if not billed:
            sold.unbilled += [old, new]
            return None
        return self._invoice(sold, at, (old, new), status="paid", reason="subscription_update")

    def to_yearly(self, sold: Sold, at: datetime) -> Invoice:
        """The same plan by the year: the anchor moves, the whole year is billed at once."""
        old = self._line(sold, Period(start=at, end=sold.term.end), -_cents(sold) // 2, proration=True)
        sold.interval, sold.anchor, sold.terms = "year", at, 1
        sold.term = Period(start=at, end=add_months(at, 12))
        self.book.patch(sold.id, items=(self._item(sold),), billing_cycle_anchor=at)
        year = self._line(sold, sold.term, _cents(sold))
        return self._invoice(sold, at, (old, year), status="paid", reason="subscription_update")

    def pay(self, invoice: Invoice, sold: Sold, at: datetime) -> None:
        """The invoice is paid; what was overdue is active again."""
        amount = max(0, sum(line.amount for line in invoice.lines))
        self.book.patch(invoice.id, status="paid", paid_at=at, amount_paid=amount)
        if not sold.over:
            self.book.patch(sold.id, status="active")

    def fail(self, invoice: Invoice, sold: Sold) -> None:
        """The payment failed."""
        self.book.patch(invoice.id, status="open")
        self.book.patch(sold.id, status="past_due")

    def cancel(self, sold: Sold, at: datetime) -> None:
        """At the end of the term."""
        sold.ending = True
        self.book.patch(sold.id, cancel_at_period_end=True, canceled_at=at)

    def end(self, sold: Sold, at: datetime) -> None:
        """The subscription is over."""
        sold.over = True
        self.book.patch(sold.id, status="canceled", ended_at=at)

    def _item(self, sold: Sold) -> Item:
        return Item(
            price_id=sold.price,
            interval=sold.interval,
            unit_amount=_cents(sold),
            period_start=sold.term.start,
            period_end=sold.term.end,
        )

    def _line(self, sold: Sold, period: Period, amount: int, *, proration: bool = False) -> Line:
        return Line(
            id=self._id("il"),
            price_id=sold.price,
            amount=amount,
            period_start=period.start,
            period_end=period.end,
            proration=proration,
        )

    def _invoice(
        self, sold: Sold, at: datetime, lines: tuple[Line, ...], *, status: Literal["draft", "paid"], reason: str
    ) -> Invoice:
        paid = status == "paid"
        made = Invoice(
            id=self._id("in"),
            customer=sold.customer,
            subscription=sold.id,
            status=status,
            created=at,
            paid_at=at if paid else None,
            billing_reason=reason,
            lines=lines,
            amount_paid=max(0, sum(line.amount for line in lines)) if paid else 0,
        )
        self.book.add(made)
        return made

    def _id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}_{self._numbers:05}"


def _months(interval: str) -> int:
    return 12 if interval == "year" else 1


def _cents(sold: Sold) -> int:
    return plan_of(sold.plan).credits * CENTS_A_CREDIT * (10 if sold.interval == "year" else 1)
