"""Stripe's objects as JSON, in the shapes of two API generations.

Since 2025-03-31 the period is on the subscription's items, and an invoice names its subscription under `parent` and
has a list of payments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.file import unix
from credit_pipeline.sandbox.stripe.payments import dispute, payments, refund
from credit_pipeline.sandbox.stripe.prices import plan, price, product
from credit_pipeline.sandbox.stripe.rows import Customer, Dispute, Event, Invoice, Line, Refund, Subscription
from credit_pipeline.sandbox.stripe.versions import VERSION, is_old

EMBEDDED = 10
"""The number of rows in a list inside an object; the others are fetched from the list's url."""


def sublist(rows: Sequence[dict[str, Any]], url: str) -> dict[str, Any]:
    """A list object inside another object, with its first rows."""
    return {"object": "list", "data": list(rows[:EMBEDDED]), "has_more": len(rows) > EMBEDDED, "url": url}


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeObjects:
    """The objects of one book in one API version."""

    book: StripeBook
    version: str = VERSION

    @property
    def _old(self) -> bool:
        return is_old(self.version)

    def expandable(self, prefix: str = "") -> frozenset[str]:
        """What can be expanded in an invoice: its payments only where the version lists them."""
        names = {"customer"} if self._old else {"customer", "payments"}
        return frozenset(prefix + name for name in names)

    def customer(self, customer: Customer) -> dict[str, Any]:
        """A customer; a deleted one has only its id and `deleted`."""
        if customer.deleted:
            return {"id": customer.id, "object": "customer", "deleted": True}
        return {
            "id": customer.id,
            "object": "customer",
            "balance": 0,
            "created": unix(customer.created),
            "currency": "usd",
            "default_source": None,
            "delinquent": False,
            "description": None,
            "email": customer.email,
            "livemode": self.book.livemode,
            "metadata": dict(customer.metadata),
            "name": None,
            "phone": None,
            "test_clock": None,
        }

    def subscription(self, subscription: Subscription, expand: frozenset[str] = frozenset()) -> dict[str, Any]:
        """A subscription with its first ten items. `expand`: customer, latest_invoice."""
        on_top = self._old or subscription.period_on == "subscription"
        items = self.items(subscription)
        latest = self._latest(subscription)
        trial = subscription.trial_end is not None
        wire: dict[str, Any] = {
            "id": subscription.id,
            "object": "subscription",
            "billing_cycle_anchor": unix(subscription.billing_cycle_anchor or subscription.created),
            "cancel_at": _last_end(subscription) if subscription.cancel_at_period_end else None,
            "cancel_at_period_end": subscription.cancel_at_period_end,
            "canceled_at": _unix(subscription.canceled_at),
            "collection_method": "charge_automatically",
            "created": unix(subscription.created),
            "currency": "usd",
            "customer": subscription.customer,
            "discounts": [],
            "ended_at": _unix(subscription.ended_at),
            "items": sublist(items, f"/v1/subscription_items?subscription={subscription.id}"),
            "latest_invoice": latest.id if latest is not None else subscription.latest_invoice,
            "livemode": self.book.livemode,
            "metadata": dict(subscription.metadata),
            "pause_collection": _paused(subscription.pause_collection),
            "schedule": None,
            "start_date": unix(subscription.created),
            "status": subscription.status,
            "test_clock": None,
            "trial_end": _unix(subscription.trial_end),
            "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}} if trial else None,
            "trial_start": _unix(subscription.trial_start),
        }
        if on_top and subscription.items:
            first = subscription.items[0]
            wire["current_period_start"] = unix(first.period_start)
            wire["current_period_end"] = unix(first.period_end)
        if self._old:
            if len(subscription.items) == 1:
                wire["plan"], wire["quantity"] = items[0]["plan"], items[0]["quantity"]
        else:
            wire["billing_mode"] = {"type": "classic"}
        if "customer" in expand:
            known = self.book.customers.get(subscription.customer)
            wire["customer"] = subscription.customer if known is None else self.customer(known)
        if "latest_invoice" in expand and latest is not None:
            wire["latest_invoice"] = self.invoice(latest)
        return wire

    def items(self, subscription: Subscription) -> list[dict[str, Any]]:
        """All items of a subscription."""
        stem = subscription.id.removeprefix("sub_")
        on_items = not self._old and subscription.period_on == "items"
        return [
            {
                "id": f"si_{stem}_{place}",
                "object": "subscription_item",
                "created": unix(subscription.created),
                "discounts": [],
                "metadata": {},
                "plan": plan(item, livemode=self.book.livemode),
                "price": price(item, livemode=self.book.livemode),
                "quantity": item.quantity,
                "subscription": subscription.id,
                "tax_rates": [],
            }
            | (
                {"current_period_start": unix(item.period_start), "current_period_end": unix(item.period_end)}
                if on_items
                else {}
            )
            for place, item in enumerate(subscription.items)
        ]

    def invoice(self, invoice: Invoice, expand: frozenset[str] = frozenset()) -> dict[str, Any]:
        """An invoice with its first ten lines. `expand`: customer, and in new versions payments."""
        total = sum(line.amount for line in invoice.lines)
        owed = max(0, total)
        paid = invoice.status == "paid"
        wire: dict[str, Any] = {
            "id": invoice.id,
            "object": "invoice",
            "amount_due": owed,
            "amount_paid": invoice.amount_paid,
            "amount_remaining": 0 if paid else max(0, owed - invoice.amount_paid),
            "attempted": invoice.status != "draft",
            "auto_advance": invoice.status in ("draft", "open"),
            "billing_reason": invoice.billing_reason,
            "collection_method": "charge_automatically",
            "created": unix(invoice.created),
            "currency": "usd",
            "customer": invoice.customer,
            "lines": sublist(self.lines(invoice), f"/v1/invoices/{invoice.id}/lines"),
            "livemode": self.book.livemode,
            "metadata": {},
            "period_end": unix(invoice.created),
            "period_start": unix(invoice.created),
            "post_payment_credit_notes_amount": invoice.credit_notes if paid else 0,
            "pre_payment_credit_notes_amount": 0 if paid else invoice.credit_notes,
            "status": invoice.status,
            "status_transitions": {
                "finalized_at": None if invoice.status == "draft" else unix(invoice.created),
                "marked_uncollectible_at": None,
                "paid_at": _unix(invoice.paid_at),
                "voided_at": None,
            },
            "subtotal": total,
            "total": total,
        }
        if self._old:
            wire["subscription"] = invoice.subscription
            wire["paid"] = paid
            wire["payment_intent"], wire["charge"] = invoice.paid_by or (None, None)
        else:
            wire["parent"] = _parent_of_invoice(invoice)
            if "payments" in expand:
                wire["payments"] = sublist(self.payments(invoice), f"/v1/invoice_payments?invoice={invoice.id}")
        if "customer" in expand:
            known = self.book.customers.get(invoice.customer)
            wire["customer"] = invoice.customer if known is None else self.customer(known)
        return wire

    def lines(self, invoice: Invoice) -> list[dict[str, Any]]:
        """All lines of an invoice."""
        return [self._line(invoice, line) for line in invoice.lines]

    def payments(self, invoice: Invoice) -> list[dict[str, Any]]:
        """All payments of an invoice."""
        return payments(invoice, livemode=self.book.livemode)

    def refund(self, row: Refund) -> dict[str, Any]:
        """A refund."""
        return refund(row, self.book.invoices.get(row.invoice))

    def dispute(self, row: Dispute) -> dict[str, Any]:
        """A dispute."""
        return dispute(row, self.book.invoices.get(row.invoice), livemode=self.book.livemode)

    def event(self, event: Event) -> dict[str, Any]:
        """An event. An undelivered one has a pending webhook."""
        return {
            "id": event.id,
            "object": "event",
            "api_version": self.version,
            "created": unix(event.created),
            "data": {"object": dict(event.object)},
            "livemode": self.book.livemode,
            "pending_webhooks": 0 if event.delivered else 1,
            "request": {"id": None, "idempotency_key": None},
            "type": event.type,
        }

    def _line(self, invoice: Invoice, line: Line) -> dict[str, Any]:
        subscription = line.subscription or invoice.subscription
        wire: dict[str, Any] = {
            "id": line.id,
            "object": "line_item",
            "amount": line.amount,
            "currency": "usd",
            "description": None,
            "discounts": [],
            "livemode": self.book.livemode,
            "metadata": {},
            "period": {"start": unix(line.period_start), "end": unix(line.period_end)},
            "quantity": 1,
        }
        known = self.book.price(line.price_id)
        if self._old:
            return wire | {
                "invoice": invoice.id,
                "price": {"id": line.price_id, "object": "price"}
                if known is None
                else price(known, livemode=self.book.livemode),
                "proration": line.proration,
                "subscription": subscription,
                "subscription_item": None,
                "type": "subscription" if subscription else "invoiceitem",
            }
        details = {
            "invoice_item": None,
            "proration": line.proration,
            "subscription": subscription,
            "subscription_item": None,
        }
        return wire | {
            "invoice": invoice.id,
            "parent": {
                "invoice_item_details": None,
                "subscription_item_details": details,
                "type": "subscription_item_details",
            },
            "pricing": {
                "price_details": {"price": line.price_id, "product": product(line.price_id)},
                "type": "price_details",
                "unit_amount_decimal": str(line.amount),
            },
            "subscription": subscription,
        }

    def _latest(self, subscription: Subscription) -> Invoice | None:
        if subscription.latest_invoice is not None:
            return self.book.invoices.get(subscription.latest_invoice)
        return next(iter(self.book.invoices.of("subscription", subscription.id)), None)


def _parent_of_invoice(invoice: Invoice) -> dict[str, Any] | None:
    if invoice.subscription is None:
        return None
    return {
        "quote_details": None,
        "subscription_details": {"metadata": {}, "subscription": invoice.subscription},
        "type": "subscription_details",
    }


def _paused(behavior: str | None) -> Mapping[str, Any] | None:
    return None if behavior is None else {"behavior": behavior, "resumes_at": None}


def _last_end(subscription: Subscription) -> int | None:
    ends = [item.period_end for item in subscription.items]
    return unix(max(ends)) if ends else None


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else unix(moment)
