"""What the sandbox's Stripe knows: customers, subscriptions, invoices and events, in memory and in a JSON file.

Instants are UTC datetimes here and whole unix seconds in the file and on the wire. How the objects look on the wire is
in `stripe_objects`, how they are listed in `stripe_shelf` and `stripe_lists`.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox.stripe.ordered_rows import Shelf

ACCOUNT = "acct_1SandboxBestauth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer. A deleted one is answered by id, as Stripe does, and never listed."""

    id: str
    email: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    created: datetime
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a subscription: a price, how many of it, and the period it is billed for. Amounts in cents."""

    price_id: str
    lookup_key: str | None = None
    interval: Literal["month", "year"] = "month"
    quantity: int = 1
    price_metadata: Mapping[str, str] = field(default_factory=dict)
    unit_amount: int = 1_000
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription. `customer` and `latest_invoice` are ids."""

    id: str
    customer: str
    status: str
    """One of Stripe's eight words: active, trialing, past_due, canceled, unpaid, paused, incomplete,
    incomplete_expired."""
    items: tuple[Item, ...]
    created: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    cancel_at_period_end: bool = False
    canceled_at: datetime | None = None
    ended_at: datetime | None = None
    trial_start: datetime | None = None
    trial_end: datetime | None = None
    pause_collection: str | None = None
    """Its behaviour: keep_as_draft, mark_uncollectible or void."""
    billing_cycle_anchor: datetime | None = None
    """None: `created`."""
    latest_invoice: str | None = None
    """None: the newest invoice of this subscription in the book."""
    period_on: Literal["items", "subscription"] = "items"
    """Where the period is sent under a new API version; an old one always sends it on the subscription."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an invoice, in cents. `proration`: billed because the subscription changed in mid-period."""

    id: str
    price_id: str
    amount: int
    period_start: datetime
    period_end: datetime
    proration: bool = False
    subscription: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice. `credit_notes` is what was given back of it, in cents."""

    id: str
    customer: str
    subscription: str | None
    status: Literal["draft", "open", "paid", "void", "uncollectible"]
    created: datetime
    paid_at: datetime | None = None
    billing_reason: str = "subscription_cycle"
    lines: tuple[Line, ...] = ()
    amount_paid: int = 0
    credit_notes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event. `object` is the snapshot as it goes over the wire (`stripe_objects` makes one)."""

    id: str
    type: str
    created: datetime
    object: Mapping[str, Any]
    delivered: bool = True


Row = Customer | Subscription | Invoice | Event


class StripeBook:
    """One Stripe account. Safe to change from one thread while another serves from it.

    `add` sets a row whole, new or known; what is never added, Stripe does not know.
    """

    def __init__(
        self,
        customers: Iterable[Customer] = (),
        subscriptions: Iterable[Subscription] = (),
        invoices: Iterable[Invoice] = (),
        *,
        events: Iterable[Event] = (),
        path: Path | None = None,
        livemode: bool = False,
        account: str = ACCOUNT,
    ) -> None:
        self.path = path
        self.livemode = livemode
        self.account = account
        lock = threading.RLock()
        self.customers: Shelf[Customer] = Shelf(lock)
        self.subscriptions: Shelf[Subscription] = Shelf(lock, "customer")
        self.invoices: Shelf[Invoice] = Shelf(lock, "customer", "subscription")
        self.events: Shelf[Event] = Shelf(lock)
        self._prices: dict[str, Item] = {}
        self._saving = threading.Lock()
        self.add(*customers, *subscriptions, *invoices, *events)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The book stored in a file by `save`."""
        from credit_pipeline.sandbox.stripe.file import read  # it needs the rows above

        stored = read(path)
        return cls(
            stored.customers,
            stored.subscriptions,
            stored.invoices,
            events=stored.events,
            path=path,
            livemode=stored.livemode,
            account=stored.account,
        )

    def save(self, path: Path | None = None) -> None:
        """Writes the file whole or not at all; readable by its owner only. Without any path nothing is written."""
        from credit_pipeline.sandbox.stripe.file import write  # it needs the rows above

        target = path or self.path
        if target is None:
            return
        with self._saving:
            write(self, target)
            self.path = target

    def add(self, *rows: Row) -> None:
        """Sets rows, each whole."""
        for row in rows:
            if isinstance(row, Customer):
                self.customers.put(row)
            elif isinstance(row, Subscription):
                for item in row.items:
                    self._prices[item.price_id] = item
                self.subscriptions.put(row)
            elif isinstance(row, Invoice):
                self.invoices.put(row)
            else:
                self.events.put(row)

    def patch(self, row_id: str, **values: Any) -> None:
        """Changes some values of a row that exists, of whatever kind. Raises ConfigurationError where it cannot."""
        found = self.get(row_id)
        if found is None:
            raise ConfigurationError(f"sandbox: Stripe's book has no {row_id}: add it before you patch it")
        try:
            self.add(replace(found, **values))
        except TypeError as error:
            raise ConfigurationError(f"sandbox: {row_id} cannot be patched: {error}") from error

    def remove(self, *row_ids: str) -> None:
        """Forgets rows, as if Stripe had never known them; unknown ids are ignored."""
        for row_id in row_ids:
            for shelf in (self.customers, self.subscriptions, self.invoices, self.events):
                shelf.pop(row_id)

    def get(self, row_id: str) -> Row | None:
        """The customer, subscription, invoice or event of that id; None where there is none."""
        return (
            self.customers.get(row_id)
            or self.subscriptions.get(row_id)
            or self.invoices.get(row_id)
            or self.events.get(row_id)
        )

    def price(self, price_id: str) -> Item | None:
        """An item of that price, as last added; None for a price that no subscription ever had."""
        return self._prices.get(price_id)

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return len(self.subscriptions)
