"""The rows of Stripe's book, from customers to events. Instants are in UTC, amounts in cents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

ACCOUNT = "acct_1SandboxBestauth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer. A deleted one can be fetched by id, as at Stripe, but is not listed."""

    id: str
    email: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    created: datetime
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a subscription: a price, its quantity, and the billed period."""

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
    """The behavior: keep_as_draft, mark_uncollectible or void."""
    billing_cycle_anchor: datetime | None = None
    """None: `created`."""
    latest_invoice: str | None = None
    """None: the newest invoice of this subscription in the book."""
    period_on: Literal["items", "subscription"] = "items"
    """Where new API versions send the period; old ones always send it on the subscription."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an invoice. `proration`: billed because the subscription changed in mid-period."""

    id: str
    price_id: str
    amount: int
    period_start: datetime
    period_end: datetime
    proration: bool = False
    subscription: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice. `credit_notes` is the amount of its credit notes. One with an amount paid has one payment."""

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

    @property
    def paid_by(self) -> tuple[str, str] | None:
        """The ids of its payment intent and its charge; None if nothing was paid."""
        if self.status != "paid" or not self.amount_paid:
            return None
        stem = self.id.removeprefix("in_")
        return f"pi_{stem}", f"ch_{stem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund of an invoice's payment. `invoice` is its id, which only the book knows."""

    id: str
    invoice: str
    amount: int
    created: datetime
    status: Literal["pending", "requires_action", "succeeded", "failed", "canceled"] = "succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A dispute about an invoice's payment. `invoice` is its id, which only the book knows."""

    id: str
    invoice: str
    amount: int
    created: datetime
    status: str = "needs_response"
    """One of Stripe's words: warning_needs_response, warning_under_review, warning_closed, needs_response,
    under_review, won, lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event. `object` is the snapshot in wire format."""

    id: str
    type: str
    created: datetime
    object: Mapping[str, Any]
    delivered: bool = True


Row = Customer | Subscription | Invoice | Refund | Dispute | Event
