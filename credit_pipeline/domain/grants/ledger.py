"""A points ledger as read: transactions, and what the product's words for them mean (semantics §5). Facts only."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EntryKind(StrEnum):
    """What a transaction is. The product's own types map to these in the YAML; any other type is a finding."""

    GRANT = "grant"
    PURCHASE = "purchase"
    ADJUSTMENT = "adjustment"
    SPEND = "spend"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One transaction that is no spending. `amount` is signed: what it did to the balance, in credits."""

    entry_id: str
    at: datetime
    amount: int
    kind: EntryKind
    type: str
    """The product's own word."""
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One account's transactions. Sums are over all of them; `entries` are those since `since`, oldest first."""

    spent: int
    """Credits spent in all (positive)."""
    rows: int
    """How many transactions there are in all."""
    since: datetime
    entries: tuple[Entry, ...] = ()
    unknown_types: tuple[str, ...] = ()
    """Types of this account that the map does not hold, over its whole ledger."""
