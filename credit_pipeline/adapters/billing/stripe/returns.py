"""Parses Stripe's refunds and disputes: which payments were returned to the customer, or may be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from credit_pipeline.adapters.billing.json_values import WireError, identity, integer, text
from credit_pipeline.adapters.billing.stripe.wire import plain_word

_NOT_REFUNDED = frozenset({"failed", "canceled"})
"""A pending refund counts: the money is on its way."""
_NOT_DISPUTED = frozenset({"won", "warning_closed"})
"""Won, or an inquiry that ended without a dispute. Every other status counts, also one that we do not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One payment of an invoice. A payment made outside Stripe has neither id."""

    payment_intent: str | None = None
    charge: str | None = None

    @property
    def ids(self) -> frozenset[str]:
        """Every id by which a refund or dispute may name it."""
        return frozenset(filter(None, (self.payment_intent, self.charge)))

    @property
    def params(self) -> dict[str, str]:
        """The query parameter that selects its refunds or disputes; empty if it has no id."""
        if self.payment_intent is not None:
            return {"payment_intent": self.payment_intent}
        return {"charge": self.charge} if self.charge is not None else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """One refund or dispute. One that returned nothing has amount 0 and no dispute."""

    return_id: str
    payment: Payment
    refunded: int = 0
    """Minor units of the currency."""
    disputed: str | None = None
    """The dispute's status."""


class Returns:
    """Refunds and disputes by the payments that they are of."""

    def __init__(self, found: Iterable[Return] = ()) -> None:
        self._by_payment: dict[str, dict[str, Return]] = {}
        for one in found:
            for payment_id in one.payment.ids:
                self._by_payment.setdefault(payment_id, {})[one.return_id] = one

    def of(self, payments: Iterable[Payment]) -> tuple[int, str | None]:
        """The amount refunded of these payments together, and the status of a dispute about one of them."""
        found: dict[str, Return] = {}
        for payment in payments:
            for payment_id in payment.ids:
                found |= self._by_payment.get(payment_id, {})
        disputes = sorted(one.disputed for one in found.values() if one.disputed is not None)
        return sum(one.refunded for one in found.values()), ", ".join(disputes) or None


def parse_refund(raw: Mapping[str, Any]) -> Return:
    """A refund. Raises WireError without an id, a status or an amount."""
    return_id, status, amount = _facts(raw)
    return Return(return_id=return_id, payment=_payment(raw), refunded=0 if status in _NOT_REFUNDED else amount)


def parse_dispute(raw: Mapping[str, Any]) -> Return:
    """A dispute. Raises WireError without an id, a status or an amount."""
    return_id, status, _ = _facts(raw)
    return Return(return_id=return_id, payment=_payment(raw), disputed=None if status in _NOT_DISPUTED else status)


def _facts(raw: Mapping[str, Any]) -> tuple[str, str, int]:
    return_id, status, amount = text(raw, "id"), plain_word(raw.get("status")), integer(raw, "amount")
    if return_id is None:
        raise WireError("id is missing")
    if status is None:
        raise WireError("its status is not known")
    if amount is None or amount < 0:
        raise WireError("its amount is missing or negative")
    return return_id, status, amount


def _payment(raw: Mapping[str, Any]) -> Payment:
    return Payment(payment_intent=identity(raw, "payment_intent"), charge=identity(raw, "charge"))
