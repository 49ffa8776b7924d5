"""The port of the memory: what earlier complete collections saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.account import Memory
from credit_pipeline.domain.subjects.ids import AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRecord:
    """One complete collection, as remembered: when it was read, how much there was, and its files."""

    run_id: str
    as_of: datetime
    answered: int
    population: int
    audit_seq: int
    files: Mapping[str, str] = field(default_factory=dict)
    """Noun → `path#sha256` of each snapshot."""


class MemoryStore(Protocol):
    """The memory of one system, in our own schema."""

    def installed(self) -> bool:
        """Whether `init` has been run for this system."""
        ...

    def observations(self) -> pa.Table:
        """The current observation of every account, at COPY speed (schema OBSERVATIONS)."""
        ...

    def last_collection(self) -> CollectionRecord | None:
        """The newest complete collection."""
        ...

    def remembered(self, accounts: Sequence[AccountId], now: datetime) -> Mapping[AccountId, Memory]:
        """Everything remembered of these accounts. The answer has an entry for every account."""
        ...

    def watched(self) -> frozenset[AccountId]:
        """Accounts to judge whatever their balance: open mismatches, corrections since the last observation."""
        ...

    def exempt(self, now: datetime) -> frozenset[AccountId]:
        """Accounts exempted by a person, at `now`."""
        ...

    def waiting(self, now: datetime) -> Sequence[Mismatch]:
        """Open and acknowledged findings of accounts that are not exempt at `now`, longest open first, without those
        that our corrections answered since the last complete collection."""
        ...

    def collections(self, since: datetime, most: int) -> Sequence[datetime]:
        """When the complete collections since then were read, oldest first; at most `most`, evenly, the newest always
        among them."""
        ...

    def balances_at(self, times: Sequence[datetime]) -> Sequence[BalancePoint]:
        """What all accounts held together at these times of collections, in their order. Raises StoreError where the
        sum takes too long."""
        ...

    def record(
        self,
        collection: CollectionRecord,
        *,
        changed: pa.Table,
        mismatches: Sequence[Mismatch],
        closed: Sequence[tuple[str, str]],
    ) -> None:
        """One transaction: the changed observations (old versions to the log), the findings opened or seen again, the
        events closed as (fingerprint, why), and every open non-event finding of an account answered in this
        collection but not among `mismatches` resolved.

        `changed` has schema OBSERVATIONS; a row whose `unanswered_since` is set only notes that the account had no
        answer and keeps everything else as it was.
        """
        ...
