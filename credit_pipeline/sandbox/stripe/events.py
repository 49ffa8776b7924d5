"""Events of the sandbox's Stripe: one for each change of a row, delivered or not."""

import hashlib
from datetime import datetime
from typing import Any

from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.file import unix
from credit_pipeline.sandbox.stripe.objects import StripeObjects
from credit_pipeline.sandbox.stripe.rows import Customer, Event, Invoice, Subscription


def an_event(type_: str, row: Customer | Subscription | Invoice, at: datetime, *, delivered: bool = False) -> Event:
    """The event of a change, with a snapshot of the row. The same change has the same id."""
    return Event(id=event_id(type_, row.id, at), type=type_, created=at, object=_snapshot(row), delivered=delivered)


def lost_payment(invoice_id: str, customer: str, at: datetime) -> Event:
    """A minimal event of a paid invoice that was never delivered to the product."""
    invoice = {"id": invoice_id, "object": "invoice", "customer": customer, "status": "paid"}
    known_id = event_id("invoice.paid", invoice_id, at)
    return Event(id=known_id, type="invoice.paid", created=at, object=invoice, delivered=False)


def event_id(type_: str, row_id: str, at: datetime) -> str:
    """An id in Stripe's format."""
    return "evt_" + hashlib.sha256(f"{type_} {row_id} {unix(at)}".encode()).hexdigest()[:24]


def event_body(event: Event) -> dict[str, Any]:
    """The event in wire format, in the newest API version."""
    return StripeObjects(book=StripeBook()).event(event)


def _snapshot(row: Customer | Subscription | Invoice) -> dict[str, Any]:
    objects = StripeObjects(book=StripeBook())
    if isinstance(row, Customer):
        return objects.customer(row)
    return objects.subscription(row) if isinstance(row, Subscription) else objects.invoice(row)
