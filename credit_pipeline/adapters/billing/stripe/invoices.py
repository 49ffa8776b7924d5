"""Parses Stripe's invoices into evidence for grants.

A line counts if it charges for a period of a subscription; a credit for unused time is negative and proves nothing.
Where an invoice names its subscription and its payments, and a line its price, depends on the API version.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from credit_pipeline.adapters.billing.json_values import WireError, flag, identity, instant, integer, mapping, text
from credit_pipeline.adapters.billing.stripe.returns import Payment, Returns
from credit_pipeline.adapters.billing.stripe.wire import Subscription, unread
from credit_pipeline.domain.grants.invoices import InvoiceStatus
from credit_pipeline.domain.subjects.account import Lookup

Object = Mapping[str, Any]
Evidence = dict[str, Any]
"""One element of the column `invoices` of LISTED_SUBSCRIPTIONS."""

_STATUSES = {
    "draft": InvoiceStatus.OPEN,
    "open": InvoiceStatus.OPEN,
    "paid": InvoiceStatus.PAID,
    "void": InvoiceStatus.VOID,
    "uncollectible": InvoiceStatus.VOID,
}
_PAID_BY = ("payments", "payment_intent", "charge")
"""A list of payments since 2025-03-31, before that the only one."""
_NOT_PAID = ("open", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """The subscription lines of one invoice. `doubt` is why it could not be parsed."""

    invoice_id: str
    customer: str | None
    lines: tuple[tuple[str, Evidence], ...]
    """(subscription id, evidence) of every line that counts."""
    payments: tuple[Payment, ...] = ()
    """What it was paid by; empty unless it is paid."""
    more_lines: bool = False
    more_payments: bool = False
    doubt: str | None = None


def parse_invoice(
    raw: Object, lines: Sequence[Object] | None = None, payments: Sequence[Object] | None = None
) -> Invoice:
    """An invoice. `lines`, `payments`: all of them, if the payload holds only the first.

    Raises WireError without an id.
    """
    invoice_id, customer = text(raw, "id"), identity(raw, "customer")
    if invoice_id is None:
        raise WireError("id is missing")
    try:
        embedded, paid_by = mapping(raw, "lines"), mapping(raw, "payments")
        return Invoice(
            invoice_id=invoice_id,
            customer=customer,
            lines=tuple(_evidence(raw, invoice_id, lines if lines is not None else _objects(embedded, "lines"))),
            payments=tuple(_payments(raw, payments)),
            more_lines=lines is None and flag(embedded, "has_more"),
            more_payments=payments is None and flag(paid_by, "has_more"),
        )
    except WireError as error:
        return Invoice(invoice_id=invoice_id, customer=customer, lines=(), doubt=f"an invoice cannot be read: {error}")


def with_evidence(
    subscriptions: Iterable[Subscription], invoices: Iterable[Invoice], returns: Returns
) -> list[dict[str, Any]]:
    """The subscriptions' rows with their invoice lines, oldest first; the last version of an invoice counts.

    A paid invoice with a refund, or with a dispute that is open or lost, becomes `refunded`. If an invoice of a
    customer could not be parsed, all of the customer's rows become lookup `error`.
    """
    lines: dict[str, list[Evidence]] = {}
    doubts: dict[str, str] = {}
    for invoice in {invoice.invoice_id: invoice for invoice in invoices}.values():
        if invoice.doubt is not None and invoice.customer is not None:
            doubts[invoice.customer] = invoice.doubt
        refunded, disputed = returns.of(invoice.payments)
        for subscription_id, evidence in invoice.lines:
            lines.setdefault(subscription_id, []).append(_returned(evidence, refunded, disputed))
    rows = []
    for subscription in subscriptions:
        row = subscription.row
        if row["lookup"] == Lookup.ERROR:
            rows.append(row)
        elif (doubt := doubts.get(subscription.billing_id)) is not None:
            rows.append(unread(row, doubt))
        else:
            found = lines.get(row["subscription_id"], [])
            rows.append(row | {"invoices": sorted(found, key=lambda line: (line["period_start"], line["line_id"]))})
    return rows


def _returned(evidence: Evidence, refunded: int, disputed: str | None) -> Evidence:
    """The evidence after refunds and disputes. A credit note may stand beside its own refund: the larger one counts."""
    if evidence["status"] not in (InvoiceStatus.PAID, InvoiceStatus.REFUNDED):
        return evidence
    refunded = max(refunded, evidence["refunded"])
    status = InvoiceStatus.REFUNDED if refunded or disputed else InvoiceStatus.PAID
    return evidence | {"status": status.value, "refunded": refunded, "disputed": disputed}


def _evidence(raw: Object, invoice_id: str, lines: Sequence[Object]) -> Iterable[tuple[str, Evidence]]:
    status = _status(raw)
    settled = status in (InvoiceStatus.PAID, InvoiceStatus.REFUNDED)
    paid_at = instant(mapping(raw, "status_transitions"), "paid_at")
    of_invoice = identity(raw, "subscription") or identity(
        mapping(mapping(raw, "parent"), "subscription_details"), "subscription"
    )
    for line in lines:
        details = _details(line)
        subscription_id = identity(line, "subscription") or identity(details, "subscription") or of_invoice
        prorated = flag(line, "proration") or flag(details, "proration")
        if subscription_id is None or not _counts(line, details, prorated=prorated):
            continue
        period = mapping(line, "period")
        start, end = instant(period, "start"), instant(period, "end")
        if start is None or end is None:
            raise WireError("a line has no period")
        line_id = text(line, "id")
        if line_id is None:
            raise WireError("a line has no id")
        if end <= start:
            continue  # a one-time charge, such as a set-up fee
        yield (
            subscription_id,
            {
                "invoice_id": invoice_id,
                "line_id": line_id,
                "status": status.value,
                "raw_plan": _price(line),
                "period_start": start,
                "period_end": end,
                "paid_at": paid_at if settled else None,
                "change": prorated,  # a switch to another interval bills a whole new period, without proration
                "paid": integer(raw, "amount_paid") or 0,
                "refunded": _credited(raw) if settled else 0,
                "disputed": None,
            },
        )


def _counts(line: Object, details: Object, *, prorated: bool) -> bool:
    """Whether the line charges for a period: it is neither a credit nor a one-time invoice item."""
    amount = integer(line, "amount")
    if amount is None:
        raise WireError("a line has no amount")
    proration = mapping(line, "proration_details") or mapping(details, "proration_details")
    single = line.get("type") == "invoiceitem" or mapping(line, "parent").get("type") == "invoice_item_details"
    # The credit for a free plan is zero, not negative: only `credited_items` shows that it is a credit.
    return amount >= 0 and not mapping(proration, "credited_items") and (prorated or not single)


def _status(raw: Object) -> InvoiceStatus:
    """The status; a paid invoice of which a credit note gave something back is refunded."""
    status = _STATUSES.get(text(raw, "status") or "")
    if status is None:
        raise WireError("its status is not known")
    return InvoiceStatus.REFUNDED if status is InvoiceStatus.PAID and _credited(raw) else status


def _credited(raw: Object) -> int:
    """What credit notes gave back after the payment, in minor units."""
    return integer(raw, "post_payment_credit_notes_amount") or 0


def _payments(raw: Object, payments: Sequence[Object] | None) -> Iterable[Payment]:
    """The payments of a paid invoice, wherever this API version has them."""
    if text(raw, "status") != "paid":
        return
    if (integer(raw, "amount_paid") or 0) > 0 and not any(name in raw for name in _PAID_BY):
        raise WireError("its payments are missing")
    if payments is None:
        payments = _objects(mapping(raw, "payments"), "payments") if raw.get("payments") is not None else ()
    for one in payments:
        if one.get("status") not in _NOT_PAID:
            payment = mapping(one, "payment")
            yield Payment(payment_intent=identity(payment, "payment_intent"), charge=identity(payment, "charge"))
    former = Payment(payment_intent=identity(raw, "payment_intent"), charge=identity(raw, "charge"))
    if former.ids:
        yield former


def _details(line: Object) -> Object:
    parent = mapping(line, "parent")
    return mapping(parent, "subscription_item_details") or mapping(parent, "invoice_item_details")


def _price(line: Object) -> str | None:
    return identity(mapping(mapping(line, "pricing"), "price_details"), "price") or identity(line, "price")


def _objects(listing: Object, name: str) -> list[Object]:
    rows = listing.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WireError(f"{name} is not a list object")
    return rows
