"""Saved plans, approvals, the audit, and the one door to the product's tables, each beside its promise."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from credit_pipeline.domain.corrections.audit import AuditedCorrection, AuditedGrant, AuditRow, TakenKey
from credit_pipeline.domain.corrections.correction import Correction
from credit_pipeline.domain.plans.catalogue import Amount
from credit_pipeline.domain.subjects.ids import AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """A correction in a saved plan. `approved`: an approval names its digest; `outcome` is set by apply."""

    seq: int
    correction: Correction
    approved: bool = False
    outcome: str | None = None
    failures: tuple[str, ...] = ()
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A correction plan as stored. States are those of architecture §4."""

    plan_id: str
    system: str
    digest: str
    state: str
    as_of: datetime
    created_at: datetime
    run_id: str
    population: int
    entitlements: int
    facts: Mapping[str, Any]
    """What the guards judged: completeness, unknowns, the last good run."""
    failures: tuple[str, ...]
    rows: tuple[PlanRow, ...]
    limits_approved: bool = False
    four_eyes: bool = False
    """Whether the installation asks another database user than the plan's maker to approve it."""
    undoes: str | None = None
    """The plan whose changes this one takes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutcome:
    """What one row of a batch came to."""

    seq: int
    account_id: AccountId
    outcome: str
    failure: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    delta: int = 0
    """The change of `available` that was meant, in credits."""
    granted: int = 0
    """The part of `delta` that is a grant's."""
    plan: str | None = None
    """The plan that was granted."""
    label: str | None = None
    """The label that was meant to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows an approval names. No code and no account means the whole lane."""

    lane: str
    codes: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


class AuditSnapshot(Protocol):
    """A consistent snapshot of one system's audit and of what must agree with it. Each iterator is read once."""

    def head(self) -> tuple[int, str]:
        """The chain's head as the database has it: (sequence number, hash)."""
        ...

    def rows(self) -> Iterator[AuditRow]:
        """The whole chain, oldest first."""
        ...

    def keys(self) -> Iterator[TakenKey]:
        """Every taken key, by audit row."""
        ...

    def corrections(self) -> Iterator[AuditedCorrection]:
        """Every correction that says it was changed or names an audit row, by audit row."""
        ...

    def grants(self) -> Iterator[AuditedGrant]:
        """Every grant of ours, by the audit row of its key."""
        ...

    def plans(self, plan_ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """These saved plans without rows, oldest first."""
        ...

    def approvals(self, plan_ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """The decisions about these plans, and earlier ones about rows that were changed in them, oldest first."""
        ...


class PlanStore(Protocol):
    """Saved plans, approvals, and the one door to the product's tables."""

    def save(self, plan: SavedPlan) -> SavedPlan:
        """Stores a proposed plan and returns it with its id; older proposed plans of the system become superseded.
        Rows whose digest an unexpired approval of this system names come back `approved`."""
        ...

    def load(self, plan_id: str) -> SavedPlan:
        """The plan with its rows. Raises PlanError where there is none."""
        ...

    def plans(self, limit: int = 20) -> Sequence[SavedPlan]:
        """The newest plans, without rows."""
        ...

    def set_state(self, plan_id: str, state: str, failures: Sequence[str] = ()) -> None:
        """Moves a plan to another state of architecture §4."""
        ...

    def approve(self, plan_id: str, selection: Selection, who: str, reason: str) -> int:
        """Records the approval and returns how many rows it released. Raises PlanError where it may not."""
        ...

    def reject(self, plan_id: str, who: str, reason: str) -> None:
        """Ends a waiting plan; earlier approvals of its rows count no more. Raises PlanError where it may not."""
        ...

    def ever_applied(self) -> bool:
        """Whether any plan of this system was ever applied; the first one needs approval."""
        ...

    def pinned(self) -> Mapping[str, int]:
        """The catalogue pinned at init: plan → credits."""
        ...

    def former(self) -> Mapping[str, Sequence[Amount]]:
        """What plans gave before a person accepted another amount, oldest first; only those that ever changed."""
        ...

    def hold(self, plan_id: str, held: Mapping[int, tuple[str, str]]) -> None:
        """Gives rows a final outcome without a write: seq → (outcome, sentence)."""
        ...

    def pins(self) -> Mapping[str, Any]:
        """What this installation belongs to: `system_identifier`, `database`, `install`, `environment` and `billing`
        (the provider's identity, name -> value), each where init found it. Empty where an older version installed."""
        ...

    def clock(self) -> datetime:
        """The database's clock, now."""
        ...

    def automatic_changes(self, accounts: Sequence[AccountId], within: timedelta) -> Mapping[AccountId, int]:
        """How many automatic corrections these accounts had in the last `within`, by the audit and the database's
        clock. An account without any may be missing."""
        ...

    def changed_alone(self, within: timedelta) -> int:
        """How many accounts were corrected automatically in the last `within`, each by a plan for it alone."""
        ...

    def waiting(self, plan_id: str) -> int:
        """How many released rows of the plan have no outcome yet."""
        ...

    def upcoming(self, plan_id: str) -> Sequence[int]:
        """The numbers of the rows that wait, in the order in which `apply_batch` takes them: by account, as the
        database sorts text. A row that nobody released may be among them."""
        ...

    def apply_batch(self, plan_id: str, size: int) -> Sequence[RowOutcome]:
        """One transaction over at most `size` waiting rows; empty at the end. The only writer of product tables."""
        ...

    def invariants(self, plan_id: str) -> Mapping[str, int]:
        """Invariants between two batches: name -> number of rows that break it, 0 included."""
        ...

    def note_apply(self, plan_id: str, failure: str | None) -> bool:
        """Stores how an apply ended; None means success and resets the count.

        True if this failure was the last allowed in a row and stopped the system.
        """
        ...

    def audit(
        self, *, account: AccountId | None = None, plan_id: str | None = None, limit: int = 100
    ) -> Iterator[Mapping[str, Any]]:
        """Audit rows, newest first."""
        ...

    def audit_since(self, accounts: Sequence[AccountId], seq: int) -> Iterator[Mapping[str, Any]]:
        """Audit rows of these accounts after number `seq`, oldest first."""
        ...

    def audit_head(self) -> tuple[int, str]:
        """The chain's head: (sequence number, hash)."""
        ...

    def audit_snapshot(self) -> AbstractContextManager[AuditSnapshot]:
        """The whole audit, to be verified or exported; nothing that is committed later is seen."""
        ...
