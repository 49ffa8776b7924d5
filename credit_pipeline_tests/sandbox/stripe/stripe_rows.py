"""Rows of Stripe's book for tests, each healthy unless a test says otherwise."""

from datetime import UTC, datetime, timedelta
from typing import Any

from credit_pipeline.sandbox.stripe.rows import Customer, Dispute, Event, Invoice, Item, Line, Refund, Subscription

START = datetime(2026, 10, 31, 9, tzinfo=UTC)
END = datetime(2026, 11, 30, 9, tzinfo=UTC)


def a_customer(row_id: str = "cus_1", **overrides: Any) -> Customer:
    values = {"email": f"{row_id}@example.com", "metadata": {"user_id": f"user of {row_id}"}, "created": START}
    return Customer(id=row_id, **{**values, **overrides})


def an_item(**overrides: Any) -> Item:
    values = {"price_id": "price_pro", "lookup_key": "pro_monthly", "period_start": START, "period_end": END}
    return Item(**{**values, **overrides})


def a_subscription(row_id: str = "sub_1", **overrides: Any) -> Subscription:
    values = {"customer": "cus_1", "status": "active", "items": (an_item(),), "created": START}
    return Subscription(id=row_id, **{**values, **overrides})


def a_line(row_id: str = "il_1", **overrides: Any) -> Line:
    values = {"price_id": "price_pro", "amount": 1_000, "period_start": START, "period_end": END}
    return Line(id=row_id, **{**values, **overrides})


def an_invoice(row_id: str = "in_1", **overrides: Any) -> Invoice:
    values = {
        "customer": "cus_1",
        "subscription": "sub_1",
        "status": "paid",
        "created": START,
        "paid_at": START + timedelta(hours=1),
        "lines": (a_line(f"il_of_{row_id}"),),
        "amount_paid": 1_000,
    }
    return Invoice(id=row_id, **{**values, **overrides})


def a_refund(row_id: str = "re_1", **overrides: Any) -> Refund:
    values = {"invoice": "in_1", "amount": 1_000, "created": START + timedelta(days=2)}
    return Refund(id=row_id, **{**values, **overrides})


def a_dispute(row_id: str = "dp_1", **overrides: Any) -> Dispute:
    values = {"invoice": "in_1", "amount": 1_000, "created": START + timedelta(days=2)}
    return Dispute(id=row_id, **{**values, **overrides})


def an_event(row_id: str = "evt_1", **overrides: Any) -> Event:
    values = {"type": "invoice.paid", "created": START, "object": {"id": "in_1", "object": "invoice"}}
    return Event(id=row_id, **{**values, **overrides})
