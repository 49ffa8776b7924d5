"""Stripe's payments of an invoice, refunds and disputes as JSON."""

from typing import Any

from credit_pipeline.sandbox.stripe.file import unix
from credit_pipeline.sandbox.stripe.rows import Dispute, Invoice, Refund


def payments(invoice: Invoice, *, livemode: bool) -> list[dict[str, Any]]:
    """All payments of an invoice."""
    if invoice.paid_by is None:
        return []
    intent, _ = invoice.paid_by
    at = unix(invoice.paid_at or invoice.created)
    return [
        {
            "id": f"inpay_{invoice.id.removeprefix('in_')}",
            "object": "invoice_payment",
            "amount_paid": invoice.amount_paid,
            "amount_requested": invoice.amount_paid,
            "created": at,
            "currency": "usd",
            "invoice": invoice.id,
            "is_default": True,
            "livemode": livemode,
            "payment": {"payment_intent": intent, "type": "payment_intent"},
            "status": "paid",
            "status_transitions": {"canceled_at": None, "paid_at": at},
        }
    ]


def refund(row: Refund, invoice: Invoice | None) -> dict[str, Any]:
    """A refund. Stripe's has no `livemode`."""
    return {
        "id": row.id,
        "object": "refund",
        "amount": row.amount,
        "balance_transaction": None,
        "created": unix(row.created),
        "currency": "usd",
        "metadata": {},
        "reason": "requested_by_customer",
        "receipt_number": None,
        "status": row.status,
    } | _payment(invoice)


def dispute(row: Dispute, invoice: Invoice | None, *, livemode: bool) -> dict[str, Any]:
    """A dispute."""
    return {
        "id": row.id,
        "object": "dispute",
        "amount": row.amount,
        "balance_transactions": [],
        "created": unix(row.created),
        "currency": "usd",
        "evidence_details": {"due_by": None, "has_evidence": False, "past_due": False, "submission_count": 0},
        "is_charge_refundable": row.status.startswith("warning_"),
        "livemode": livemode,
        "metadata": {},
        "reason": "fraudulent",
        "status": row.status,
    } | _payment(invoice)


def _payment(invoice: Invoice | None) -> dict[str, Any]:
    intent, charge = (invoice and invoice.paid_by) or (None, None)
    return {"charge": charge, "payment_intent": intent}
