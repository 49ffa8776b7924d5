"""Builds one Stripe subscription of a user: what Stripe bills, and how the product handles each paid invoice.

Terms are added in order up to the present. As at Stripe, a renewal is billed at once and paid an hour later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.domain.plans.catalogue import Plan, YearlyMode
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.sandbox.scenarios.bestauth.life import Patch
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import UserScenario
from credit_pipeline.sandbox.scenarios.bestauth.tables import GRANT, LocalSubscription, Tier, adds, puts, relabels
from credit_pipeline.sandbox.stripe.events import lost_payment
from credit_pipeline.sandbox.stripe.rows import Invoice, Item, Line, Subscription

CENTS = {"pro": 1_900, "business": 4_900, "annual": 29_900}
"""The price of a month of each plan, and of a year of `annual`."""
DRAFT = timedelta(minutes=61)
"""The time between a renewal and its payment."""
FLOOR = 20
"""The points that a subscriber never spends, so that she is not `spent_out` by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """How the product handles one paid period: its grants (None: the allowance, once) and its tier row."""

    amounts: tuple[int, ...] | None = None
    tier: bool = True
    delay: timedelta = timedelta(seconds=20)
    keyed: bool | None = None
    """Whether the grant carries its reference; None: the user's default."""


DONE = Handling()
MISSED = Handling(amounts=(), tier=False)  # the webhook was lost
FAILED = Handling(amounts=())  # the tier was written, and `add_points` failed


class Contract:
    """A subscription from `start`. Its terms are counted from `anchor`; `plan` is the current plan.

    `named_by` says where Stripe names the user: in the metadata of the `subscription` or the `customer`, or `nothing`,
    so that only the product's local row does. `names` replaces her id there. `metadata` is that of the local row.
    """

    def __init__(
        self,
        user: UserScenario,
        plan: Plan,
        start: datetime,
        *,
        yearly: bool = False,
        trial: timedelta | None = None,
        quantity: int = 1,
        named_by: str = "subscription",
        names: str | None = None,
        local: bool = True,
        metadata: Mapping[str, str] | None = None,
        first: Handling = DONE,
    ) -> None:
        self.user, self.plan, self.start, self.yearly = user, plan, start, yearly
        self.id = user.builder.stripe_id("sub")
        self.quantity = quantity
        self.anchor = start + (trial or timedelta(0))
        self.term = (start, self.anchor) if trial else self._term(0)
        self._terms = 0 if trial else 1
        """How many full terms have begun."""
        self._drips = 1
        named = names or user.auth_id
        user.becomes_customer(start, {"user_id": named} if named_by == "customer" else {})
        user.bill(
            start,
            Subscription(
                id=self.id,
                customer=user.customer,
                status="trialing" if trial else "active",
                items=(self.item,),
                created=start,
                metadata={"user_id": named} if named_by == "subscription" else {},
                trial_start=start if trial else None,
                trial_end=self.anchor if trial else None,
                billing_cycle_anchor=self.anchor,
            ),
        )
        if local:
            row = LocalSubscription(user.auth_id, user.customer, self.id, "{}", start)
            user.do(start + timedelta(seconds=3), puts(row))
            user.names(start + timedelta(seconds=3), metadata)
        paid = start + timedelta(seconds=5)
        self.bill(start, paid, amount=0 if trial else self.price * quantity, reason="subscription_create")
        self.handle(paid, first)

    @property
    def price(self) -> int:
        """The price of one term in cents."""
        return CENTS[self.plan.name] * (10 if self.yearly and self.plan.name != "annual" else 1)

    @property
    def allowance(self) -> int:
        """The points of one grant."""
        return self.plan.credits * (12 if self._upfront else 1)

    @property
    def period(self) -> tuple[datetime, datetime]:
        """The period of the last grant: the term, or a month of a yearly term."""
        if not self.yearly or self._upfront or self._terms == 0:
            return self.term
        return add_months(self.anchor, self._drips - 1), add_months(self.anchor, self._drips)

    def live(
        self, until: datetime | None = None, *, last: Handling = DONE, before: Handling = DONE, usual: Handling = DONE
    ) -> "Contract":
        """Adds every term and monthly grant up to a moment. `last`, `before` and `usual` say how the product handles
        the last one, the one before it, and the others."""
        due = self._due(until or self.user.builder.present)
        for number, (at, renewal) in enumerate(due):
            handled = {len(due) - 1: last, len(due) - 2: before}.get(number, usual)
            self._spend_some(at)
            if renewal:
                self._renew(at, at + DRAFT, handled)
            else:
                self._drips += 1
                self.handle(
                    at, replace(handled, delay=handled.delay + timedelta(minutes=self.user.builder.some(2, 200)))
                )
        return self

    def renewal(self, *, status: str = "paid") -> Invoice:
        """The next term begins, and its invoice stays `draft` or `open`."""
        at = self._begin_term()
        invoice = self.bill(at, None)
        if status == "open":
            self.user.bill(at + DRAFT, Patch(invoice.id, {"status": "open"}))
        return invoice

    def pay(self, invoice: Invoice, at: datetime, handled: Handling = DONE) -> None:
        """An open invoice is paid."""
        self.user.bill(at, Patch(invoice.id, {"status": "paid", "paid_at": at, "amount_paid": self.price}))
        self.handle(at, handled)

    def change(self, at: datetime, plan: Plan, handled: Handling = DONE, *, billed: bool = True) -> None:
        """A change of plan in mid-period. An upgrade is billed for the rest of the period, a downgrade at renewal."""
        old, self.plan = self.plan, plan
        self.patch(at, items=(self.item,))
        if billed:
            whole = (self.term[1] - self.term[0]).total_seconds()
            left = (self.term[1] - at).total_seconds() / whole
            gone = self._line(-round(CENTS[old.name] * left), start=at, proration=True, plan=old)
            come = self._line(round(CENTS[plan.name] * left), start=at, proration=True)
            paid = at + timedelta(seconds=8)
            self.bill(at, paid, lines=(gone, come), reason="subscription_update")
            self.handle(paid, handled)
        elif handled.tier:
            self.user.do(at + handled.delay, relabels(self.user.account, tier=plan.label))

    def switch_to_yearly(self, at: datetime) -> "Contract":
        """The same plan, billed by the year from now on. Stripe restarts the term and credits the rest of the month.
        The product grants nothing: it granted the month's points."""
        left = (self.term[1] - at) / (self.term[1] - self.term[0])
        gone = self._line(-round(self.price * left), start=at, proration=True)
        self.yearly, self.anchor, self._terms, self._drips = True, at, 1, 1
        self.term = self._term(0)
        self.patch(at, items=(self.item,), billing_cycle_anchor=at)
        paid = at + timedelta(seconds=8)
        self.bill(at, paid, lines=(gone, self._line(self.price)), reason="subscription_update")
        self.handle(paid, FAILED)
        return self

    def patch(self, at: datetime, **values: Any) -> None:
        """Changes values of Stripe's subscription."""
        self.user.bill(at, Patch(self.id, values))

    def cancel_at_end(self, at: datetime) -> None:
        """Cancelled, and active until the period's end."""
        self.patch(at, cancel_at_period_end=True, canceled_at=at)

    def end(self, at: datetime, *, handled: bool = True) -> None:
        """The subscription ends. If the webhook is `handled`, the product writes `free` and keeps the points."""
        self.patch(at, status="canceled", ended_at=at, canceled_at=at, cancel_at_period_end=False)
        if handled:
            free = self.user.builder.catalogue.free.label
            self.user.do(at + timedelta(seconds=20), relabels(self.user.account, tier=free, status="canceled"))

    def handle(self, paid: datetime, handled: Handling) -> None:
        """The product handles a paid period."""
        at, account = paid + handled.delay, self.user.account
        if handled.tier:
            status = "trialing" if self._terms == 0 else "active"
            self.user.do(at, puts(Tier(account, self.plan.label, status, *self.term, at)))
        if handled == MISSED:
            self.user.bill(paid, lost_payment(self.last_invoice, self.user.customer, paid))
        keyed = self.user.keyed if handled.keyed is None else handled.keyed
        reference = f"{account}/{self.plan.name}/{int(self.period[0].timestamp())}" if keyed else None
        for number, amount in enumerate((self.allowance,) if handled.amounts is None else handled.amounts):
            again = at + timedelta(minutes=number)
            self.user.do(again, adds(account, amount, GRANT, reference=reference, text=f"{self.plan.name} points"))

    @property
    def _upfront(self) -> bool:
        return self.yearly and self.plan.yearly is YearlyMode.UPFRONT

    def _due(self, end: datetime) -> list[tuple[datetime, bool]]:
        """(moment, whether a term begins) of everything that falls due next, up to `end`."""
        due: list[tuple[datetime, bool]] = []
        step, months = 12 if self.yearly else 1, self._terms * (12 if self.yearly else 1)
        while (at := add_months(self.anchor, months)) <= end:
            due.append((at, True))
            months += step
        if self.yearly and not self._upfront and self._terms == 1 and not due:
            number = self._drips
            while (at := add_months(self.anchor, number)) <= end:
                due.append((at, False))
                number += 1
        return due

    def _renew(self, at: datetime, paid: datetime, handled: Handling) -> None:
        assert self._begin_term() == at
        invoice = self.bill(at, None)
        self.pay(invoice, paid, handled)

    def _begin_term(self) -> datetime:
        self.term = self._term(self._terms)
        if self._terms == 0:
            self.patch(self.term[0], status="active")
        self._terms += 1
        self.patch(self.term[0], items=(self.item,))
        return self.term[0]

    def _term(self, number: int) -> tuple[datetime, datetime]:
        step = 12 if self.yearly else 1
        return add_months(self.anchor, number * step), add_months(self.anchor, (number + 1) * step)

    def _spend_some(self, at: datetime) -> None:
        """Before the watch, most points are spent before the next grant. Within it, daily spending does this."""
        if at < self.user.builder.begin:
            share = self.user.random.uniform(0.3, 1)
            self.user.spends(at - timedelta(hours=7), round(self.allowance * share), floor=FLOOR)

    @property
    def item(self) -> Item:
        """The item that Stripe bills now."""
        return Item(
            price_id=self._price_id(self.plan),
            lookup_key=self._lookup_key(self.plan),
            interval="year" if self.yearly else "month",
            quantity=self.quantity,
            unit_amount=self.price,
            period_start=self.term[0],
            period_end=self.term[1],
        )

    def _price_id(self, plan: Plan) -> str:
        return plan.provider_ids[-1 if self.yearly else 0]

    def _lookup_key(self, plan: Plan) -> str | None:
        return plan.lookup_keys[-1 if self.yearly else 0] if plan.lookup_keys else None

    def _line(
        self, amount: int, *, start: datetime | None = None, proration: bool = False, plan: Plan | None = None
    ) -> Line:
        return Line(
            id=self.user.builder.stripe_id("il"),
            price_id=self._price_id(plan or self.plan),
            amount=amount,
            period_start=start or self.term[0],
            period_end=self.term[1],
            proration=proration,
            subscription=self.id,
        )

    def bill(
        self,
        at: datetime,
        paid: datetime | None,
        *,
        amount: int | None = None,
        lines: tuple[Line, ...] = (),
        reason: str = "subscription_cycle",
    ) -> Invoice:
        """An invoice for the present term, paid at `paid` or a draft."""
        lines = lines or (self._line(self.price * self.quantity if amount is None else amount),)
        invoice = Invoice(
            id=self.user.builder.stripe_id("in"),
            customer=self.user.customer,
            subscription=self.id,
            status="draft" if paid is None else "paid",
            created=at,
            paid_at=paid,
            billing_reason=reason,
            lines=lines,
            amount_paid=0 if paid is None else sum(line.amount for line in lines),
        )
        self.user.bill(at, invoice)
        self.last_invoice = invoice.id
        return invoice
