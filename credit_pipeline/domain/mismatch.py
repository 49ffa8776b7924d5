"""A mismatch: a finding as it is stored, reported and decided about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from credit_pipeline.domain.subjects.ids import AccountId, BillingId


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One finding about one subject, with its history; in a report, the subject's primary finding.

    Fields with a default are filled only where their readers need them.
    """

    fingerprint: str
    account_id: AccountId | None
    """None if the subject has no account in the store."""
    billing_id: BillingId | None = None
    code: str
    secondary: tuple[str, ...] = ()
    """The subject's other codes; in a report only."""
    severity: str
    lane: str
    is_event: bool = False
    expected: Mapping[str, Any] = field(default_factory=dict)
    """What billing says."""
    actual: Mapping[str, Any] = field(default_factory=dict)
    """What the store holds."""
    delta: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Of the finding; in a report code → evidence, for all codes of the subject."""
    first_seen: datetime
    opened_at: datetime
    """Start of the current opening, from which the age counts."""
    aged: bool = False
    state: str = "open"
    """`open`, `acknowledged`, `accepted` or `resolved`. An expired acceptance counts as open."""
    last_seen: datetime | None = None
    seen_count: int = 0
    closed_why: str | None = None
    accepted_until: datetime | None = None
    """None: accepted for good, or not accepted."""
    decided_by: str | None = None
    """Who acknowledged or accepted it, while that counts."""
    decided_at: datetime | None = None
    reason: str | None = None
