"""One Stripe subscription in a tale: what Stripe bills when, and what the product makes of each paid invoice.

Told from its beginning to the present, term by term; a renewal is billed at once and paid an hour later, as Stripe
does it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.domain.plans.catalogue import Plan, YearlyMode
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.sandbox.scenarios.bestauth.life import Patch
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import Tale
from credit_pipeline.sandbox.scenarios.bestauth.tables import GRANT, LocalSubscription, Tier, adds, puts, relabels
from credit_pipeline.sandbox.stripe.events import lost_payment
from credit_pipeline.sandbox.stripe.rows import Invoice, Item, Line, Subscription

CENTS = {"pro": 1_900, "business": 4_900, "annual": 29_900}
"""What a month of a plan costs, and a year of `annual`."""
DRAFT = timedelta(minutes=61)
"""Between a renewal and its payment."""
FLOOR = 20
"""What a subscriber always leaves, so that she is not `spent_out` by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the product makes of one period: its grants (None: the allowance, once) and its tier row."""

    amounts: tuple[int, ...] | None = None
    tier: bool = True
    delay: timedelta = timedelta(seconds=20)
    keyed: bool | None = None
    """Whether the grant carries its reference; None: as her app does it."""


DONE = Heard()
MISSED = Heard(amounts=(), tier=False)
"""The webhook never came."""
FAILED = Heard(amounts=())
"""The tier was written, and `add_points` failed."""


class Contract:
    """A subscription from `start`. `anchor` is where its terms are counted from, `plan` what it is for now.

    `named_by` says where Stripe names the user: in the `subscription`'s metadata, the `customer`'s, or `nothing`, which
    leaves the product's local row; `names` is another id than hers. `metadata` is that of the local row.
    """

    def __init__(
        self,
        tale: Tale,
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
        first: Heard = DONE,
    ) -> None:
        self.tale, self.plan, self.start, self.yearly = tale, plan, start, yearly
        self.id = tale.teller.stripe_id("sub")
        self.quantity = quantity
        self.anchor = start + (trial or timedelta(0))
        self.term = (start, self.anchor) if trial else self._term(0)
        self._terms = 0 if trial else 1
        """How many whole terms began."""
        self._drips = 1
        user = names or tale.user
        tale.becomes_customer(start, {"user_id": user} if named_by == "customer" else {})
        tale.bill(
            start,
            Subscription(
                id=self.id,
                customer=tale.customer,
                status="trialing" if trial else "active",
                items=(self.item,),
                created=start,
                metadata={"user_id": user} if named_by == "subscription" else {},
                trial_start=start if trial else None,
                trial_end=self.anchor if trial else None,
                billing_cycle_anchor=self.anchor,
            ),
        )
        if local:
            row = LocalSubscription(tale.user, tale.customer, self.id, "{}", start)
            tale.do(start + timedelta(seconds=3), puts(row))
            tale.names(start + timedelta(seconds=3), metadata)
        paid = start + timedelta(seconds=5)
        self.bill(start, paid, amount=0 if trial else self.price * quantity, reason="subscription_create")
        self.hear(paid, first)

    @property
    def price(self) -> int:
        """Cents of one term."""
        return CENTS[self.plan.name] * (10 if self.yearly and self.plan.name != "annual" else 1)

    @property
    def allowance(self) -> int:
        """What one grant brings."""
        return self.plan.credits * (12 if self._upfront else 1)

    @property
    def period(self) -> tuple[datetime, datetime]:
        """What the last grant was for: the term, or a month of a yearly one."""
        if not self.yearly or self._upfront or self._terms == 0:
            return self.term
        return add_months(self.anchor, self._drips - 1), add_months(self.anchor, self._drips)

    def live(
        self, until: datetime | None = None, *, last: Heard = DONE, before: Heard = DONE, usual: Heard = DONE
    ) -> "Contract":
        """Every term and drip up to a moment. `last` is what the product makes of the last one, `before` of the one
        before that, `usual` of the others."""
        due = self._due(until or self.tale.teller.present)
        for number, (at, renewal) in enumerate(due):
            heard = {len(due) - 1: last, len(due) - 2: before}.get(number, usual)
            self._spend_some(at)
            if renewal:
                self._renew(at, at + DRAFT, heard)
            else:
                self._drips += 1
                self.hear(at, replace(heard, delay=heard.delay + timedelta(minutes=self.tale.teller.some(2, 200))))
        return self

    def renewal(self, *, status: str = "paid") -> Invoice:
        """The next term begins, and its invoice is left as it is: `draft` or `open`."""
        at = self._begin_term()
        invoice = self.bill(at, None)
        if status == "open":
            self.tale.bill(at + DRAFT, Patch(invoice.id, {"status": "open"}))
        return invoice

    def pay(self, invoice: Invoice, at: datetime, heard: Heard = DONE) -> None:
        """An open invoice is paid."""
        self.tale.bill(at, Patch(invoice.id, {"status": "paid", "paid_at": at, "amount_paid": self.price}))
        self.hear(at, heard)

    def change(self, at: datetime, plan: Plan, heard: Heard = DONE, *, billed: bool = True) -> None:
        """Another plan in mid-period; an upgrade is billed from now to the period's end, a downgrade at renewal."""
        old, self.plan = self.plan, plan
        self.patch(at, items=(self.item,))
        if billed:
            whole = (self.term[1] - self.term[0]).total_seconds()
            left = (self.term[1] - at).total_seconds() / whole
            gone = self._line(-round(CENTS[old.name] * left), start=at, proration=True, plan=old)
            come = self._line(round(CENTS[plan.name] * left), start=at, proration=True)
            paid = at + timedelta(seconds=8)
            self.bill(at, paid, lines=(gone, come), reason="subscription_update")
            self.hear(paid, heard)
        elif heard.tier:
            self.tale.do(at + heard.delay, relabels(self.tale.account, tier=plan.label))

    def switch_to_yearly(self, at: datetime) -> "Contract":
        """The same plan by the year from now on: Stripe counts from here and credits what was left of the month. The
        product grants nothing at the switch, since the month's points are there."""
        left = (self.term[1] - at) / (self.term[1] - self.term[0])
        gone = self._line(-round(self.price * left), start=at, proration=True)
        self.yearly, self.anchor, self._terms, self._drips = True, at, 1, 1
        self.term = self._term(0)
        self.patch(at, items=(self.item,), billing_cycle_anchor=at)
        paid = at + timedelta(seconds=8)
        self.bill(at, paid, lines=(gone, self._line(self.price)), reason="subscription_update")
        self.hear(paid, FAILED)
        return self

    def patch(self, at: datetime, **values: Any) -> None:
        """Some values of Stripe's subscription change."""
        self.tale.bill(at, Patch(self.id, values))

    def cancel_at_end(self, at: datetime) -> None:
        """Will not renew; live until the period's end."""
        self.patch(at, cancel_at_period_end=True, canceled_at=at)

    def end(self, at: datetime, *, heard: bool = True) -> None:
        """Over. The product writes `free` and keeps the points, if it hears of it."""
        self.patch(at, status="canceled", ended_at=at, canceled_at=at, cancel_at_period_end=False)
        if heard:
            free = self.tale.teller.catalogue.free.label
            self.tale.do(at + timedelta(seconds=20), relabels(self.tale.account, tier=free, status="canceled"))

    def hear(self, paid: datetime, heard: Heard) -> None:
        """What the product makes of a paid period."""
        at, account = paid + heard.delay, self.tale.account
        if heard.tier:
            status = "trialing" if self._terms == 0 else "active"
            self.tale.do(at, puts(Tier(account, self.plan.label, status, *self.term, at)))
        if heard == MISSED:
            self.tale.bill(paid, lost_payment(self.last_invoice, self.tale.customer, paid))
        keyed = self.tale.keyed if heard.keyed is None else heard.keyed
        reference = f"{account}/{self.plan.name}/{int(self.period[0].timestamp())}" if keyed else None
        for number, amount in enumerate((self.allowance,) if heard.amounts is None else heard.amounts):
            again = at + timedelta(minutes=number)
            self.tale.do(again, adds(account, amount, GRANT, reference=reference, text=f"{self.plan.name} points"))

    @property
    def _upfront(self) -> bool:
        return self.yearly and self.plan.yearly is YearlyMode.UPFRONT

    def _due(self, end: datetime) -> list[tuple[datetime, bool]]:
        """(moment, whether a term begins) of all that falls due after what was told, up to `end`."""
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

    def _renew(self, at: datetime, paid: datetime, heard: Heard) -> None:
        assert self._begin_term() == at
        invoice = self.bill(at, None)
        self.pay(invoice, paid, heard)

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
        """Most of what is there is spent before the next points come; within the watch the days do that."""
        if at < self.tale.teller.begin:
            share = self.tale.random.uniform(0.3, 1)
            self.tale.spends(at - timedelta(hours=7), round(self.allowance * share), floor=FLOOR)

    @property
    def item(self) -> Item:
        """What Stripe bills, as it stands now."""
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
            id=self.tale.teller.stripe_id("il"),
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
        """An invoice for the present term: paid then, or a draft."""
        lines = lines or (self._line(self.price * self.quantity if amount is None else amount),)
        invoice = Invoice(
            id=self.tale.teller.stripe_id("in"),
            customer=self.tale.customer,
            subscription=self.id,
            status="draft" if paid is None else "paid",
            created=at,
            paid_at=paid,
            billing_reason=reason,
            lines=lines,
            amount_paid=0 if paid is None else sum(line.amount for line in lines),
        )
        self.tale.bill(at, invoice)
        self.last_invoice = invoice.id
        return invoice
