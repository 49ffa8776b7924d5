"""A simulated ledger product with its customers and their Stripe, moment by moment; every choice comes from one seed.

What is owed is written down as it comes to be owed. Nothing here knows the pipeline.
"""

import heapq
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from credit_pipeline.domain.plans.catalogue import YearlyMode
from credit_pipeline.domain.plans.periods import Cycle, Period, add_months, months_of
from credit_pipeline.sandbox.stripe.rows import Invoice
from credit_pipeline_tests.simulation.ledger_app import LedgerApp
from credit_pipeline_tests.simulation.ledger_stripe import Sold, StripeSide
from credit_pipeline_tests.simulation.ledger_truth import CATALOGUE, Owed, Truth, plan_of

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

Fate = tuple[timedelta, ...]
"""After how long an event's webhook reaches the handler, once for each delivery; empty: never."""
ON_TIME: Fate = (3 * MINUTE,)
LOST: Fate = ()
TWICE: Fate = (3 * MINUTE, 47 * MINUTE)

References = Literal["shared", "own", "none"]
"""What the product's own grants carry: the pipeline's template, its invoice's id, nothing."""


@dataclass(kw_only=True)
class Customer:
    """A user of the product. `fate` says what becomes of the webhook of each payment and change."""

    name: str
    user: str
    account: str
    customer: str
    fate: Callable[[], Fate]
    calendar: bool = False
    """Yearly plans are granted on the 1st of the month instead of the anniversary."""
    pays_after: timedelta = timedelta(hours=1)
    """How long a renewal's invoice is a draft."""
    fails_for: timedelta | None = None
    """The next renewal's payment fails at first; paid so long after it."""
    subscriptions: list[Sold] = field(default_factory=list)

    @property
    def sold(self) -> Sold:
        """The newest subscription."""
        return self.subscriptions[-1]

    @property
    def judged(self) -> Sold | None:
        """The one whose credits are owed: the only one that goes on, else the highest, else the newest."""
        live = [one for one in self.subscriptions if not one.over]
        going_on = [one for one in live if not one.ending]
        found = going_on if len(going_on) == 1 else live
        return max(found, key=lambda one: (plan_of(one.plan).rank, one.id), default=None)


class LedgerLife:
    """The world: a heap of what will happen. `live` lets it happen."""

    def __init__(self, app: LedgerApp, *, seed: int, references: References, hardened: bool, start: datetime) -> None:
        self.app = app
        self.random = random.Random(seed)
        self.references = references
        self.hardened = hardened
        self.catalogue = CATALOGUE
        """With what plans gave before somebody changed an amount."""
        self.stripe = StripeSide()
        self.truth = Truth()
        self.now = start
        self.customers: dict[str, Customer] = {}
        self._heap: list[tuple[datetime, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: datetime, happen: Callable[[], None]) -> None:
        """Something will happen; of one instant, what was arranged first comes first."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, happen))

    def live(self, until: datetime) -> None:
        """Everything up to and including that instant."""
        while self._heap and self._heap[0][0] <= until:
            when, _, happen = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            self.app.set_clock(self.now)
            happen()
        self.now = max(self.now, until)
        self.app.set_clock(self.now)

    def spend(self) -> None:
        """Everybody spends a little."""
        self.app.spend([one.account for one in self.customers.values()], self.random)

    def sign_up(self, name: str, fates: Sequence[Fate] | Callable[[], Fate] = (), **facts: object) -> Customer:
        """A user; `fates` are those of their webhooks in turn, then they come on time."""
        left = iter(()) if callable(fates) else iter(fates)
        user, account = (str(uuid.UUID(int=self.random.getrandbits(128), version=4)) for _ in range(2))
        made = Customer(
            name=name,
            user=user,
            account=account,
            customer=self.stripe.customer(user, self.now),
            fate=fates if callable(fates) else lambda: next(left, ON_TIME),
            **facts,  # type: ignore[arg-type]
        )
        self.customers[name] = made
        self.app.sign_up(user, account)
        return made

    def subscribe(
        self, who: Customer, plan: str, interval: Literal["month", "year"] = "month", *, trial: timedelta | None = None
    ) -> Sold:
        """A subscription from now on, paid at once; a trial's invoice is of zero."""
        at = self.now
        sold = self.stripe.subscribe(who.customer, plan, interval, at, at + trial if trial else None)
        who.subscriptions.append(sold)
        self.app.check_out(who.user, who.account, who.customer, sold.id)
        bill = self.stripe.bill(sold, at, status="paid", reason="subscription_create", trial=trial is not None)
        self.at(sold.term.end, lambda: self._term_ends(who, sold))
        self._paid(who, sold, bill, at)
        return sold

    def change(self, who: Customer, plan: str, *, billed: bool = True) -> None:
        """Another plan in mid-term; a higher one is owed beside the old one."""
        sold = who.sold
        higher = plan_of(plan).rank > plan_of(sold.plan).rank
        bill = self.stripe.change(sold, plan, self.now, billed=billed)
        reference = bill.id if bill else sold.id
        if not higher:
            self._webhook(who, lambda: self._label(who, sold))
            return
        period = _month_of(sold, self.now)
        self._grant_webhook(who, sold, self._owe(who, sold, period, self.now, reference, upgrade=True))

    def to_yearly(self, who: Customer) -> None:
        """The same plan by the year: nothing is owed at the switch."""
        sold = who.sold
        self.stripe.to_yearly(sold, self.now)
        self.at(sold.term.end, lambda: self._term_ends(who, sold))
        self._webhook(who, lambda: self._label(who, sold))
        self._drip(who, sold, first=1)

    def cancel(self, who: Customer, sold: Sold | None = None) -> None:
        """At the end of the term."""
        self.stripe.cancel(sold or who.sold, self.now)

    def buy_credits(self, who: Customer, amount: int) -> None:
        """Bought beside the plan: never a grant."""
        self.app.add(who.account, amount, "purchase", f"pi_{self._count}")

    def by_hand(self, who: Customer, amount: int, one: Owed) -> None:
        """Support gives what did not come."""
        self.app.add(who.account, amount, "bonus", "ticket")
        one.by_hand = True

    def grant_first(self, who: Customer) -> None:
        """The month that is owed now, granted at the purchase."""
        one = self.truth.of(who.account)[-1]
        self.app.grant(one.account, one.amount, self._reference(one.account, one.plan, one.period.start, one.invoice))
        one.by_product.append(self.now)

    def grant_on_the_first(self, who: Customer, month: datetime) -> None:
        """The calendar drip, for whoever pays by the year."""
        sold = who.sold
        if sold.over or sold.interval != "year":
            return
        plan = self.catalogue.named(sold.plan)
        assert plan is not None
        self.app.grant(who.account, plan.credits_from(month), self._reference(who.account, sold.plan, month, sold.id))
        self.at(add_months(month, 1), lambda: self.grant_on_the_first(who, add_months(month, 1)))

    def _term_ends(self, who: Customer, sold: Sold) -> None:
        at = sold.term.end
        if sold.over or at > self.now:  # a switch moved it
            return
        if sold.ending:
            self.stripe.end(sold, at)
            self._webhook(who, lambda: self.app.set_tier(who.account, "free", "canceled", None))
            return
        bill = self.stripe.renew(sold)
        self.at(sold.term.end, lambda: self._term_ends(who, sold))
        if who.fails_for is None:
            self.at(at + who.pays_after, lambda: self._pay(who, sold, bill))
            return
        wait, who.fails_for = who.fails_for, None
        self.at(at + HOUR, lambda: self._fail(who, sold, bill))
        self.at(at + wait, lambda: self._pay(who, sold, bill))

    def _fail(self, who: Customer, sold: Sold, bill: Invoice) -> None:
        self.stripe.fail(bill, sold)
        self._webhook(who, lambda: self.app.set_tier(who.account, sold.plan, "past_due", sold.term), fate=ON_TIME)

    def _pay(self, who: Customer, sold: Sold, bill: Invoice) -> None:
        self.stripe.pay(bill, sold, self.now)
        self._paid(who, sold, bill, self.now)

    def _paid(self, who: Customer, sold: Sold, bill: Invoice, at: datetime) -> None:
        """The term is paid: its credits are owed now, or month by month."""
        if sold.interval == "year" and plan_of(sold.plan).yearly is YearlyMode.DRIP:
            self._webhook(who, lambda: self._label(who, sold))
            self._drip(who, sold, first=0)
        else:
            self._grant_webhook(who, sold, self._owe(who, sold, sold.term, at, bill.id))

    def _drip(self, who: Customer, sold: Sold, *, first: int) -> None:
        """The months of a paid year, each from its own start."""
        start, term = sold.term.start, sold.term

        def month(count: int) -> None:
            if sold.over or sold.term != term:
                return
            period = Period(start=add_months(start, count), end=add_months(start, count + 1))
            one = self._owe(who, sold, period, period.start, sold.id)
            if not who.calendar:
                self._grant_webhook(who, sold, one)

        for count in range(first, 12):
            self.at(add_months(start, count), lambda count=count: month(count))  # type: ignore[misc]

    def _owe(
        self, who: Customer, sold: Sold, period: Period, since: datetime, invoice: str, *, upgrade: bool = False
    ) -> Owed:
        plan = self.catalogue.named(sold.plan)
        assert plan is not None
        # An upgrade is sold at its own moment, a paid period at its start.
        sold_at = self.now if upgrade else period.start
        amount = plan.credits_from(sold_at) * months_of(
            plan, Cycle.YEARLY if sold.interval == "year" else Cycle.MONTHLY
        )
        made = Owed(account=who.account, plan=plan.name, period=period, amount=amount, since=since, invoice=invoice)
        made.owed = sold is who.judged
        return self.truth.owe(made)

    def _grant_webhook(self, who: Customer, sold: Sold, one: Owed) -> None:
        def arrive() -> None:
            self._label(who, sold)
            if self.app.grant(
                one.account, one.amount, self._reference(one.account, one.plan, one.period.start, one.invoice)
            ):
                one.by_product.append(self.now)

        self._webhook(who, arrive)

    def _webhook(self, who: Customer, arrive: Callable[[], None], fate: Fate | None = None) -> None:
        for delay in who.fate() if fate is None else fate:
            self.at(self.now + delay, arrive)

    def _label(self, who: Customer, sold: Sold) -> None:
        """The handler asks Stripe for the subscription and writes what it says now."""
        if not sold.over:
            self.app.set_tier(who.account, sold.plan, "active", sold.term)

    def _reference(self, account: str, plan: str, start: datetime, invoice: str) -> str | None:
        shared = f"{account}/{plan}/{int(start.timestamp())}"
        return {"shared": shared, "own": invoice, "none": None}[self.references]


def _month_of(sold: Sold, now: datetime) -> Period:
    """The period of one grant that `now` is in."""
    if sold.interval == "month" or plan_of(sold.plan).yearly is YearlyMode.UPFRONT:
        return sold.term
    start = max(s for s in (add_months(sold.term.start, n) for n in range(12)) if s <= now)
    count = next(n for n in range(12) if add_months(sold.term.start, n) == start)
    return Period(start=start, end=add_months(sold.term.start, count + 1))
