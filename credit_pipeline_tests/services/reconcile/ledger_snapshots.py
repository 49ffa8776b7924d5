"""Snapshots of a small ledger product as rows: people in good order, for tests to change. Nothing is judged here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa

from credit_pipeline.domain.plans.catalogue import Amount, Catalogue, Plan, YearlyMode
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.domain.subjects.account import Mark, Memory, ObservedState
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.tables import IDENTITIES, LEDGER_BALANCES, LISTED_SUBSCRIPTIONS, OBSERVATIONS

NOW = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
LAST = NOW - timedelta(hours=6)
LOOKBACK = timedelta(days=62)
CATALOGUE = Catalogue(
    plans=(
        Plan(name="free", credits=100, rank=0, label="free", free=True),
        Plan(
            name="pro",
            credits=800,
            rank=1,
            label="pro",
            former=(Amount(until=datetime(2026, 3, 1, tzinfo=UTC), credits=700),),
            provider_ids=("price_pro",),
            lookup_keys=("pro_monthly",),
            yearly=YearlyMode.DRIP,
        ),
        Plan(name="business", credits=3_000, rank=2, label="business", provider_ids=("price_business",)),
        Plan(
            name="annual",
            credits=1_500,
            rank=3,
            label="annual",
            provider_ids=("price_annual",),
            yearly=YearlyMode.UPFRONT,
        ),
    )
)
PRICES = {"pro": "price_pro", "business": "price_business", "annual": "price_annual"}

Row = dict[str, Any]


def auth(number: int) -> str:
    """The auth user's id of the person of that number."""
    return str(UUID(int=0xA << 124 | number))


def store(number: int) -> str:
    """Their id in the store."""
    return str(UUID(int=0xB << 124 | number))


def an_entry(at: datetime, amount: int, **overrides: Any) -> Row:
    facts = {
        "entry_id": f"t{at.timestamp():.0f}{amount}",
        "at": at,
        "amount": amount,
        "kind": "grant",
        "type": "subscription_grant",
        "reference": None,
    }
    return facts | overrides


def an_invoice(start: datetime, end: datetime, plan: str, **overrides: Any) -> Row:
    facts = {
        "invoice_id": f"in{start.timestamp():.0f}",
        "line_id": f"il{start.timestamp():.0f}",
        "status": "paid",
        "raw_plan": PRICES.get(plan, plan),
        "period_start": start,
        "period_end": end,
        "paid_at": start + timedelta(hours=1),
        "change": False,
    }
    return facts | overrides


@dataclass
class Person:
    """One person's rows. A test changes them as it likes before they become tables."""

    number: int
    identity: Row | None
    balance: Row | None
    subscriptions: list[Row] = field(default_factory=list)
    observation: Row | None = None

    @property
    def subscription(self) -> Row:
        """The first of the subscriptions."""
        return self.subscriptions[0]

    @property
    def entries(self) -> list[Row]:
        """The ledger's entries, to be changed in place."""
        assert self.balance is not None
        found: list[Row] = self.balance["entries"]
        return found

    def grant(self, at: datetime, amount: int, **overrides: Any) -> None:
        """One more transaction, which the balance shows."""
        assert self.balance is not None
        self.entries.append(an_entry(at, amount, **overrides))
        self.balance["total"] += amount
        self.balance["rows"] += 1


def a_user(number: int, *, label: str | None = None, subscribed: bool = False) -> Row:
    """A user whose layers agree."""
    return {
        "auth_id": auth(number),
        "mapped": [store(number)],
        "metadata": [{"key": "resolved_supabase_user_id", "value": store(number)}] if subscribed else [],
        "local": subscribed,
        "same_id": False,
        "billing_id": f"cus_{number}" if subscribed else None,
        "subscription_id": f"sub_{number}" if subscribed else None,
        "email_hash": f"mail{number}",
    }


def a_free_person(number: int, *, local: bool = True) -> Person:
    """Somebody who pays nothing, with a welcome bonus of which some is spent."""
    balance = {
        "account_id": store(number),
        "label": "free" if local else None,
        "total": 100,
        "used": 30,
        "status": "free" if local else None,
        "local": local,
        "period_start": None,
        "period_end": None,
        "spent": 30,
        "rows": 3,
        "unknown_types": [],
        "entries": [],
    }
    return Person(number=number, identity=a_user(number), balance=balance)


def periods_to(anchor: datetime, months: int, now: datetime = NOW) -> list[tuple[datetime, datetime]]:
    """All periods of `months` each from the anchor to now."""
    starts = [anchor]
    while (following := add_months(anchor, len(starts) * months)) <= now:
        starts.append(following)
    return [(start, add_months(anchor, (n + 1) * months)) for n, start in enumerate(starts)]


def a_paying_person(
    number: int, plan: str = "pro", *, anchor: datetime = datetime(2025, 12, 31, 9, tzinfo=UTC), yearly: bool = False
) -> Person:
    """Somebody whose every period was paid and granted once, with the product's reference, and some of it spent."""
    terms = periods_to(anchor, 12 if yearly else 1)
    found = CATALOGUE.named(plan)
    assert found is not None
    upfront = yearly and found.yearly is YearlyMode.UPFRONT
    granted = terms if upfront or not yearly else periods_to(terms[-1][0], 1)
    amounts = [found.credits_from(start) * (12 if upfront else 1) for start, _ in granted]
    seen_since = NOW - LOOKBACK - timedelta(days=2)
    entries = [
        an_entry(
            start + timedelta(hours=1, minutes=1),
            amount,
            reference=f"{store(number)}/{plan}/{int(start.timestamp())}",
        )
        for (start, _), amount in zip(granted, amounts, strict=True)
        if start >= seen_since
    ]
    balance = {
        "account_id": store(number),
        "label": plan,
        "total": sum(amounts) + 100,
        "used": 300,
        "status": "active",
        "local": True,
        "period_start": terms[-1][0],
        "period_end": terms[-1][1],
        "spent": 300,
        "rows": len(granted) + 4,
        "unknown_types": [],
        "entries": entries,
    }
    subscription = dict.fromkeys(LISTED_SUBSCRIPTIONS.names) | {
        "billing_id": f"cus_{number}",
        "lookup": "answered",
        "status": "active",
        "raw_plan": PRICES[plan],
        "subscription_id": f"sub_{number}",
        "cycle": "yearly" if yearly else "monthly",
        "anchor": terms[-1][0],
        "auto_renews": True,
        "period_start": terms[-1][0],
        "period_end": terms[-1][1],
        "started_at": anchor,
        "quantity": 1,
        "items": 1,
        "subjects": [{"source": "metadata.user_id", "id": auth(number)}],
        "email_hash": f"mail{number}",
        "invoices": [an_invoice(start, end, plan) for start, end in terms if yearly or start >= seen_since],
    }
    return Person(
        number=number, identity=a_user(number, subscribed=True), balance=balance, subscriptions=[subscription]
    )


def seen(person: Person, **overrides: Any) -> Row:
    """The person's present state as the last complete run remembered it, with the current grant adopted."""
    assert person.balance is not None
    paid = person.subscriptions[0] if person.subscriptions else None
    plan = CATALOGUE.resolve(paid["raw_plan"]) if paid else None
    facts = {
        "account": person.balance["account_id"],
        "label": person.balance["label"],
        "total": person.balance["total"],
        "used": person.balance["used"],
        "billed_plan": plan.plan.name if plan and hasattr(plan, "plan") else "free",
        "billed_period_start": paid["period_start"] if paid else None,
        "billed_status": paid["status"] if paid else "free",
        "mark": "adopted" if paid else None,
        "as_of": LAST,
        "unanswered_since": None,
        "gap": 0,
    }
    return facts | overrides


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """One moment's four tables."""

    balances: pa.Table
    identities: pa.Table
    subscriptions: pa.Table
    observations: pa.Table


def tables(people: Iterable[Person]) -> Tables:
    """The snapshots of these people."""
    everyone = list(people)
    return Tables(
        balances=_table([p.balance for p in everyone if p.balance], LEDGER_BALANCES),
        identities=_table([p.identity for p in everyone if p.identity], IDENTITIES),
        subscriptions=_table([s for p in everyone for s in p.subscriptions], LISTED_SUBSCRIPTIONS),
        observations=_table([p.observation for p in everyone if p.observation], OBSERVATIONS),
    )


def _table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


class Remembered:
    """A memory that holds one observation an account, as the last complete run left it."""

    def __init__(self, observations: Iterable[Mapping[str, Any]]) -> None:
        self.rows = {row["account"]: row for row in observations}

    def remembered(self, accounts: Sequence[AccountId], now: datetime) -> dict[AccountId, Memory]:
        return {account: self._memory(account) for account in accounts}

    def _memory(self, account: AccountId) -> Memory:
        row = self.rows.get(account)
        if row is None:
            return Memory(complete_runs=(LAST,) if self.rows else ())
        observed_state = ObservedState(
            as_of=row["as_of"],
            seen_until=row["unanswered_since"] or LAST,
            label=row["label"],
            total=row["total"],
            used=row["used"],
            billed_plan=row["billed_plan"],
            billed_period_start=row["billed_period_start"],
            billed_status=row["billed_status"],
            mark=Mark(row["mark"]) if row["mark"] else None,
            gap=row["gap"],
        )
        return Memory(states=(observed_state,), complete_runs=(LAST,))
