"""Lines of invoices as evidence for grants: which subscription, plan and period was billed, and whether it was paid."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.domain.plans.periods import Period


class InvoiceStatus(StrEnum):
    """The state of an invoice, in words common to all providers."""

    OPEN = "open"
    """Drafted or sent, not paid."""
    PAID = "paid"
    """Also with an amount of zero."""
    REFUNDED = "refunded"
    """Paid, and then refunded in full or in part, or disputed: open or lost."""
    VOID = "void"
    """Void or uncollectible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """One line for one subscription's item and period."""

    invoice_id: str
    line_id: str
    subscription_id: str
    status: InvoiceStatus
    period: Period
    """What the line is for; a change in mid-period is billed from the change to the period's end."""
    plan: Plan | None
    """None where the line's price is in no catalogue."""
    raw_plan: str | None
    paid_at: datetime | None = None
    change: bool = False
    """Billed because the subscription changed in mid-period (a proration), not because a period began."""
    amount_paid: int = 0
    amount_refunded: int = 0
    """Of the whole invoice, in minor units of its currency."""
    disputed: str | None = None
    """The provider's word for a dispute that is open or lost."""

    @property
    def returned(self) -> str | None:
        """What became of the payment, if it is refunded: `refunded 50 of 100`, `disputed: under_review`."""
        if self.status is not InvoiceStatus.REFUNDED:
            return None
        parts = []
        if self.amount_refunded and self.amount_refunded < self.amount_paid:
            parts.append(f"refunded {self.amount_refunded} of {self.amount_paid}")
        elif self.amount_refunded or self.disputed is None:
            parts.append("refunded in full")
        if self.disputed is not None:
            parts.append(f"disputed: {self.disputed}")
        return ", ".join(parts)
