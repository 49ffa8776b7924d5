"""The audit as values: its rows, what must agree with them, heads noted elsewhere, and what was found wrong."""

from dataclasses import dataclass
from typing import NamedTuple

START = "0" * 64
"""What the first row of a chain follows."""

COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("at", ("at",)),
    ("plan_id", ("plan_id",)),
    ("account", ("account",)),
    ("key", ("key",)),
    ("delta", ("delta",)),
    ("before_label", ("before", "plan")),
    ("before_total", ("before", "total")),
    ("before_used", ("before", "used")),
    ("before_available", ("before", "available")),
    ("after_label", ("after", "plan")),
    ("after_total", ("after", "total")),
    ("after_used", ("after", "used")),
    ("after_available", ("after", "available")),
)
"""Columns of the audit beside the text that is hashed, and where each stands in that text."""


class AuditRow(NamedTuple):
    """One change as stored. `payload` is the exact text that was hashed after `prev_hash`."""

    seq: int
    payload: str
    prev_hash: str
    hash: str
    columns: tuple[str | int | None, ...]
    """In the order of COLUMNS, as they stand in the table."""


class TakenKey(NamedTuple):
    """A key that a change took; nothing else may take it again."""

    audit_seq: int
    key: str


class AuditedCorrection(NamedTuple):
    """A row of a saved plan that says it was changed. `audit_seq` is 0 where it names no audit row."""

    audit_seq: int
    plan_id: str
    seq: int
    account: str
    outcome: str | None
    delta: int
    """Credits by which it was to move `available`, those of its grant included."""
    grant_key: str | None
    grant_credits: int | None


class AuditedGrant(NamedTuple):
    """A grant of ours. `audit_seq` is that of its key, 0 where the key was never taken."""

    audit_seq: int
    key: str
    account: str
    plan_id: str
    credits: int
    reversed: bool = False
    """Whether it is marked as taken back; only an undo in the chain may have done that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A head of the chain as it was noted outside the database, and where."""

    seq: int
    hash: str
    noted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that does not agree. `seq` is the audit row's number, 0 where it is about no row in particular."""

    kind: str
    seq: int
    sentence: str
