"""The product bestauth in memory: its rows, and what its app, its jobs and its accidents do to them."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from credit_pipeline.sandbox.scenarios.wix_app.life import State


class User(NamedTuple):
    """A user of the auth system."""

    id: str
    email: str
    created_at: datetime


class Link(NamedTuple):
    """A row of the mapping table."""

    bestauth_user_id: str
    supabase_user_id: str
    created_at: datetime


class LocalSubscription(NamedTuple):
    """A user's subscription as the auth system keeps it; `metadata` is JSON."""

    user_id: str
    stripe_customer_id: str | None
    stripe_subscription_id: str | None
    metadata: str
    updated_at: datetime


class Tier(NamedTuple):
    """The subscription row that the front end reads."""

    user_id: str
    tier: str
    status: str
    current_period_start: datetime | None
    current_period_end: datetime | None
    updated_at: datetime


class Points(NamedTuple):
    """A balance."""

    user_id: str
    balance: int
    updated_at: datetime


class Transaction(NamedTuple):
    """One movement of points; spending is negative."""

    id: str
    user_id: str
    amount: int
    type: str
    reference: str | None
    description: str | None
    created_at: datetime


class Failure(NamedTuple):
    """A deduction that the app could not make."""

    user_id: str
    amount: int
    reason: str
    created_at: datetime


Row = User | Link | LocalSubscription | Tier | Points | Transaction | Failure
GRANT, BONUS, PURCHASE, ADJUSTMENT, USAGE = "subscription_grant", "bonus", "purchase", "adjustment", "usage"
"""The product's types of transactions."""

TABLES: Mapping[type, str] = {
    User: "bestauth_users",
    Link: "user_id_mapping",
    LocalSubscription: "bestauth_subscriptions",
    Tier: "subscriptions_consolidated",
    Points: "points_balances",
    Transaction: "points_transactions",
    Failure: "points_deduction_failures",
}
"""Type of row → its table, in the order of foreign keys. The first column is the key; failures have none."""


@dataclass(slots=True)
class Changes:
    """Rows set and keys removed since they were last taken, by kind."""

    rows: dict[type, dict[str, Row]] = field(default_factory=lambda: {kind: {} for kind in TABLES})
    gone: dict[type, set[str]] = field(default_factory=lambda: {kind: set() for kind in TABLES})

    def __bool__(self) -> bool:
        return any(self.rows.values()) or any(self.gone.values())


class Product:
    """All tables of the product and their changes. Every method takes the time of the event."""

    def __init__(self) -> None:
        self._rows: dict[type, dict[str, Row]] = {kind: {} for kind in TABLES}
        self._ledger: dict[str, dict[str, Transaction]] = {}
        self._numbers: dict[str, int] = {}
        self._changes = Changes()

    def taken(self) -> Changes:
        """The changes since the last call."""
        changes, self._changes = self._changes, Changes()
        return changes

    def put(self, row: Row) -> None:
        """Sets a row, whole."""
        kind = type(row)
        key = str(len(self._rows[kind])) if kind is Failure else row[0]
        self._rows[kind][key] = row
        self._changes.rows[kind][key] = row
        self._changes.gone[kind].discard(key)
        if isinstance(row, Transaction):
            self._ledger.setdefault(row.user_id, {})[row.id] = row

    def drop(self, kind: type, key: str) -> None:
        """Removes a row; an unknown key is ignored."""
        row = self._rows[kind].pop(key, None)
        self._changes.rows[kind].pop(key, None)
        if row is not None:
            self._changes.gone[kind].add(key)
        if isinstance(row, Transaction):
            del self._ledger[row.user_id][key]

    def add_points(
        self, account: str, amount: int, type_: str, at: datetime, *, reference: str | None = None, text: str = ""
    ) -> None:
        """The product's function of that name: a transaction, and the balance with it."""
        self.enter(account, amount, type_, at, reference=reference, text=text)
        self.shift(account, amount, at)

    def enter(
        self, account: str, amount: int, type_: str, at: datetime, *, reference: str | None = None, text: str = ""
    ) -> None:
        """Adds a transaction without changing the balance."""
        self._numbers[account] = number = self._numbers.get(account, 0) + 1
        name = hashlib.sha256(f"{account}/{number}".encode()).digest()[:16]
        key = str(uuid.UUID(bytes=name, version=4))
        self.put(Transaction(key, account, amount, type_, reference, text or None, at))

    def shift(self, account: str, amount: int, at: datetime) -> None:
        """Changes only the balance, by an amount. Creates a missing row."""
        self.put(Points(account, (self.balance(account) or 0) + amount, at))

    def spend(self, account: str, amount: int, at: datetime, *, floor: int = 0) -> None:
        """The product's `deduct_points`, down to `floor` at most."""
        amount = min(amount, (self.balance(account) or 0) - floor)
        if amount > 0:
            self.add_points(account, -amount, USAGE, at)

    def balance(self, account: str) -> int | None:
        """The points that the account can spend; None without a balance row."""
        row = self._rows[Points].get(account)
        return row.balance if isinstance(row, Points) else None

    def tier(self, account: str) -> Tier | None:
        """The row the front end reads, if there is one."""
        row = self._rows[Tier].get(account)
        return row if isinstance(row, Tier) else None

    def entries(self, account: str) -> list[Transaction]:
        """The account's transactions, oldest first."""
        return sorted(self._ledger.get(account, {}).values(), key=lambda entry: entry.created_at)

    def local(self, user: str) -> LocalSubscription | None:
        """The user's local subscription row, if there is one."""
        row = self._rows[LocalSubscription].get(user)
        return row if isinstance(row, LocalSubscription) else None

    def accounts(self) -> Iterator[str]:
        """Every account named by a balance, a tier, a transaction or the mapping, each once."""
        linked = (row.supabase_user_id for row in self._rows[Link].values() if isinstance(row, Link))
        yield from dict.fromkeys([*self._rows[Points], *self._rows[Tier], *self._ledger, *linked])

    def state(self, account: str) -> State:
        """The account as a counter: total = all transactions but spending, used = total − balance."""
        tier, balance = self.tier(account), self.balance(account)
        total = sum(entry.amount for entry in self._ledger.get(account, {}).values() if entry.type != USAGE)
        return State(tier.tier if tier else None, total, None if balance is None else total - balance)


Action = Callable[[Product, datetime], None]
"""A change of the product at a moment."""


def puts(row: Row) -> Action:
    """A row is written."""
    return lambda product, _: product.put(row)


def drops(kind: type, key: str) -> Action:
    """A row is removed."""
    return lambda product, _: product.drop(kind, key)


def adds(account: str, amount: int, type_: str, *, reference: str | None = None, text: str = "") -> Action:
    """Points are added by the product's own function."""
    return lambda product, at: product.add_points(account, amount, type_, at, reference=reference, text=text)


def spends(account: str, amount: int, *, floor: int = 0) -> Action:
    """Points are spent, down to `floor` at most."""
    return lambda product, at: product.spend(account, amount, at, floor=floor)


def spends_down_to(account: str, left: int) -> Action:
    """The user spends all but this."""
    return lambda product, at: product.spend(account, 10**9, at, floor=left)


def shifts(account: str, amount: int) -> Action:
    """A job changes the balance without a transaction."""
    return lambda product, at: product.shift(account, amount, at)


def loses(account: str, which: Callable[[Transaction], bool]) -> Action:
    """Transactions are deleted and their points with them, as by a half restored backup."""

    def lose(product: Product, at: datetime) -> None:
        for entry in filter(which, product.entries(account)):
            product.drop(Transaction, entry.id)
            product.shift(account, -entry.amount, at)

    return lose


def relabels(account: str, **values: object) -> Action:
    """Some columns of the tier row are written."""

    def relabel(product: Product, at: datetime) -> None:
        row = product.tier(account)
        assert row is not None, account
        product.put(row._replace(updated_at=at, **values))  # type: ignore[arg-type]

    return relabel


def remembers(user: str, metadata: Mapping[str, str]) -> Action:
    """The metadata of the user's local subscription row is written."""

    def remember(product: Product, at: datetime) -> None:
        row = product.local(user) or LocalSubscription(user, None, None, "{}", at)
        product.put(row._replace(metadata=json.dumps(metadata), updated_at=at))

    return remember
