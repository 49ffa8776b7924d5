"""Events of the sandbox's Stripe: one for something that happened to a row, delivered or not.

How they are listed is in `stripe_lists`; who looks for undelivered ones is no concern of the sandbox's.
"""

import hashlib
from datetime import datetime
from typing import Any

from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.file import unix
from credit_pipeline.sandbox.stripe.objects import StripeObjects
from credit_pipeline.sandbox.stripe.rows import Customer, Event, Invoice, Subscription


def an_event(type_: str, row: Customer | Subscription | Invoice, at: datetime, *, delivered: bool = False) -> Event:
    """What Stripe says happened to the row, with the row as it was then. The same happening has the same id."""
    return Event(id=event_id(type_, row.id, at), type=type_, created=at, object=_snapshot(row), delivered=delivered)


def lost_payment(invoice_id: str, customer: str, at: datetime) -> Event:
    """The event of a paid invoice, of which only that much is told, and which never reached the product."""
    told = {"id": invoice_id, "object": "invoice", "customer": customer, "status": "paid"}
    known_as = event_id("invoice.paid", invoice_id, at)
    return Event(id=known_as, type="invoice.paid", created=at, object=told, delivered=False)


def event_id(type_: str, row_id: str, at: datetime) -> str:
    """An id as Stripe makes them."""
    return "evt_" + hashlib.sha256(f"{type_} {row_id} {unix(at)}".encode()).hexdigest()[:24]


def event_body(event: Event) -> dict[str, Any]:
    """The event as it goes over the wire, in the newest API version."""
    return StripeObjects(book=StripeBook()).event(event)


def _snapshot(row: Customer | Subscription | Invoice) -> dict[str, Any]:
    objects = StripeObjects(book=StripeBook())
    if isinstance(row, Customer):
        return objects.customer(row)
    return objects.subscription(row) if isinstance(row, Subscription) else objects.invoice(row)
