"""What people decide outside of plans: about findings, single accounts and the kill switch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.ids import AccountId


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

    def mismatches(self, states: Sequence[str], chosen: Chosen) -> Sequence[Mismatch]:
        """Findings in these states, longest open first."""
        ...

    def named(self, chosen: Chosen) -> Sequence[Mismatch]:
        """Findings in any state, without evidence, expected and actual."""
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
