"""A product and its billing provider with known truth: it grants, folds, resets, loses labels and webhooks.

`Product` lives in a real Postgres table and in no other place; `Truth` knows what was bought and what was really given.
Nothing here knows the pipeline.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg

from credit_pipeline.domain.plans.periods import add_months, period_at

ALLOWANCE = {"free": 100, "starter": 1_000, "pro": 5_000}
RANK = {"free": 0, "starter": 1, "pro": 2}


@dataclass(kw_only=True)
class Purchase:
    """One plan bought: what is owed for it, and who gave it when."""

    plan: str
    at: datetime
    until: datetime | None = None
    owed: bool = True
    """False for a downgrade, and for a plan bought again within 0.9 of a cycle, or in a period that it was billed in
    before: a period's grants never exceed the allowances of the distinct plans billed in it."""
    given_by_product: datetime | None = None


@dataclass(kw_only=True)
class Customer:
    """The provider's and the product's view of one account."""

    name: str
    style: str
    plan: str = "free"
    anchor: datetime
    stamp: datetime
    """The provider's timeStamp as sent."""
    next_renewal: datetime
    busy_until: datetime
    purchases: list[Purchase] = field(default_factory=list)


@dataclass(kw_only=True)
class Pending:
    """A webhook on its way to the product."""

    due: datetime
    customer: Customer
    purchase: Purchase


class Product:
    """Plays a product over time; every random choice comes from one seed."""

    def __init__(self, url: str, *, seed: int, stamps: str, accounts: int, start: datetime) -> None:
        self.random = random.Random(seed)
        self.stamps = stamps
        self.database = psycopg.connect(url, autocommit=True)
        self.queue: list[Pending] = []
        self.rows: dict[str, tuple[str, int, int]] = {}
        self.customers = [self._customer(i, start) for i in range(accounts)]
        for customer in self.customers:
            self.database.execute(
                "INSERT INTO app_instances (instance_id, plan_id, credits_total, credits_used_month)"
                " VALUES (%s, 'free', %s, 0)",
                (customer.name, self.random.choice([100, 100, 1_200, 6_000])),
            )

    def _customer(self, number: int, start: datetime) -> Customer:
        anchor = start - timedelta(days=self.random.uniform(0, 27))
        return Customer(
            name=f"i{number:03}",
            style=self.random.choice(["fold", "fold", "add", "set"]),
            anchor=anchor,
            stamp=anchor,
            next_renewal=add_months(anchor, 1),
            busy_until=start + timedelta(hours=self.random.uniform(24, 120)),
        )

    def live(self, since: datetime, until: datetime) -> None:
        """Everything that happens between two looks of the pipeline, in order of time."""
        rows = self.database.execute(
            "SELECT instance_id, plan_id, credits_total, credits_used_month FROM app_instances"
        )
        self.rows = {name: (label, total, used) for name, label, total, used in rows}
        for customer in self.customers:
            self._spend(customer)
        moments: list[tuple[datetime, int, Callable[[], None]]] = []
        for customer in self.customers:
            if customer.busy_until < until:
                when = max(since, customer.busy_until)
                moments.append((when, len(moments), lambda c=customer, t=when: self._change_plan(c, t)))
            if customer.next_renewal < until:
                moments.append((customer.next_renewal, len(moments), lambda c=customer: self._renew(c)))
        for _, _, happen in sorted(moments, key=lambda m: m[:2]):
            happen()
        for pending in sorted((p for p in self.queue if p.due < until), key=lambda p: p.due):
            self.queue.remove(pending)
            self._webhook(pending)
        for customer in self.customers:
            if customer.plan != "free" and self.random.random() < 0.002:
                self._write(customer, label="free")  # a label lost, nothing else
            self._spend(customer)
        columns = zip(*((name, *row) for name, row in self.rows.items()), strict=True)
        self.database.execute(
            "UPDATE app_instances AS a SET plan_id = n.label, credits_total = n.total, credits_used_month = n.used"
            " FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) AS n (name, label, total, used)"
            " WHERE a.instance_id = n.name",
            [list(column) for column in columns],
        )

    def _change_plan(self, customer: Customer, now: datetime) -> None:
        customer.busy_until = now + timedelta(hours=self.random.choice([20, 26, 60, 150, 400, 900]))
        plan = self.random.choice([p for p in ALLOWANCE if p != customer.plan])
        up = RANK[plan] > RANK[customer.plan]
        previous = [p for p in customer.purchases if p.plan == plan and p.owed]
        if customer.purchases:
            customer.purchases[-1].until = now
        if plan != "free" and (customer.plan == "free" or self.stamps == "moving at a plan change"):
            customer.anchor = customer.stamp = now
            customer.next_renewal = add_months(now, 1)
        period = period_at(customer.anchor, 1, now)
        again = any(now - p.at < period.near or (p.until or now) > period.start for p in previous)
        customer.plan = plan
        purchase = Purchase(plan=plan, at=now, owed=up and not again)
        customer.purchases.append(purchase)
        fate = self.random.random()
        if fate < 0.55:
            self._webhook(Pending(due=now, customer=customer, purchase=purchase))
        elif fate < 0.70:
            late = now + timedelta(hours=self.random.uniform(0.5, 40))
            self.queue.append(Pending(due=late, customer=customer, purchase=purchase))
        elif fate < 0.78:
            self._write(customer, label=plan)  # the label, and then the handler died
        # else: the webhook is lost for good

    def _webhook(self, pending: Pending) -> None:
        """The product's handler: same label → no-op; an upgrade grants in the product's own style."""
        customer, purchase = pending.customer, pending.purchase
        label, total, used = self._row(customer)
        if customer.plan != purchase.plan or label == purchase.plan:
            return
        if RANK[purchase.plan] > RANK[label]:
            new = ALLOWANCE[purchase.plan]
            fold, add, reset = (total - used + new, 0), (total + new, used), (new, 0)
            style = customer.style if customer.style != "set" or total - used < new else "fold"
            total, used = {"fold": fold, "add": add, "set": reset}[style]
            purchase.given_by_product = pending.due
        self._write(customer, label=purchase.plan, total=total, used=used)

    def _renew(self, customer: Customer) -> None:
        now = customer.next_renewal
        count = max(1, round((now - customer.anchor) / timedelta(days=30.4)))
        customer.next_renewal = add_months(customer.anchor, count + 1)
        if self.stamps == "moving at renewal" and customer.plan != "free":
            customer.stamp = now
        if self.random.random() < 0.97:
            self._write(customer, used=0)

    def _spend(self, customer: Customer) -> None:
        share = self.random.choice([0, 0, 0.02, 0.1, 0.1, 0.9])
        _, total, used = self._row(customer)
        self._write(customer, used=used + int(max(0, total - used) * share))

    def _row(self, customer: Customer) -> tuple[str, int, int]:
        return self.rows[customer.name]

    def _write(
        self, customer: Customer, label: str | None = None, total: int | None = None, used: int | None = None
    ) -> None:
        old = self.rows[customer.name]
        self.rows[customer.name] = (
            old[0] if label is None else label,
            old[1] if total is None else total,
            old[2] if used is None else used,
        )
