"""What people decide outside of plans: about findings, single accounts and the kill switch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from credit_pipeline.domain.subjects.ids import AccountId, BillingId


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Who decided, and why; both are kept with what was changed."""

    who: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which findings are meant: those that fit every word given. No word at all means all of them."""

    fingerprints: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedMismatch:
    """A finding by its names. An acceptance that ran out counts as open."""

    fingerprint: str
    account_id: AccountId
    code: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMismatch:
    """A finding with its life. `opened_at` is of the current opening; who decided is told while that still counts."""

    fingerprint: str
    account_id: AccountId
    billing_id: BillingId | None
    code: str
    severity: str
    lane: str
    is_event: bool
    state: str
    delta: int | None
    expected: Mapping[str, Any]
    actual: Mapping[str, Any]
    evidence: Mapping[str, Any]
    opened_at: datetime
    first_seen: datetime
    last_seen: datetime
    seen_count: int
    closed_why: str | None
    accepted_until: datetime | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """An account that is left alone, and until when. None: until a person ends it."""

    account_id: AccountId
    reason: str
    until: datetime | None
    set_by: str
    set_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The kill switch, set. `by` is None where it was set past the command."""

    since: datetime
    by: str | None
    reason: str | None


class Lifecycle(Protocol):
    """What people decide outside of plans. Each change is written in one transaction with who, when and why."""

    def mismatches(self, states: Sequence[str], chosen: Chosen) -> Sequence[KnownMismatch]:
        """Findings in these states, longest open first."""
        ...

    def named(self, chosen: Chosen) -> Sequence[NamedMismatch]:
        """Findings in any state, by name only."""
        ...

    def counts(self, chosen: Chosen) -> Mapping[str, int]:
        """State → findings."""
        ...

    def acknowledge(self, fingerprints: Sequence[str], decided: Decided) -> Sequence[str]:
        """Notes that somebody looks after these. Returns those that were open; any other is left as it is."""
        ...

    def accept(self, fingerprints: Sequence[str], decided: Decided, *, until: datetime | None) -> Sequence[str]:
        """Makes these count no more, until then. Returns those it changed: a resolved one is left as it is."""
        ...

    def exemptions(self) -> Sequence[Exemption]:
        """Every exemption, those that ran out too."""
        ...

    def exempt(self, accounts: Sequence[AccountId], decided: Decided, *, until: datetime | None) -> Sequence[AccountId]:
        """Leaves these accounts alone. Returns those that were exempt already, with other words."""
        ...

    def end_exemptions(self, accounts: Sequence[AccountId], decided: Decided) -> None:
        """Ends all of them or, where one is not exempt, none. Raises DecisionError naming it."""
        ...

    def stopped(self) -> Stopped | None:
        """Since when nothing is applied, or None."""
        ...

    def stop(self, decided: Decided) -> bool:
        """Sets the kill switch, after the batch under way. False where it was set already; then it stays as it is."""
        ...

    def resume(self, decided: Decided) -> bool:
        """Clears the kill switch. False where it was not set."""
        ...
