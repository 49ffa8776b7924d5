"""Ports for failed webhooks and sync requests.

A record is claimed before it is processed. A claim is valid for one attempt only: a worker that returns after another
one took the record over changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

from credit_pipeline.domain.subjects.ids import AccountId

BATCH = 50
"""Records claimed at once."""


class RecordState(StrEnum):
    """Where a failed webhook stands."""

    FAILED = "failed"
    CLAIMED = "claimed"
    REPAIRED = "repaired"
    DEAD = "dead"
    SUPERSEDED = "superseded"
    DISCARDED = "discarded"


OPEN = (RecordState.FAILED, RecordState.CLAIMED, RecordState.DEAD)
"""What somebody or something has still to do with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One attempt at one record. `attempt` counts from 1 and never repeats for a record."""

    record: int
    attempt: int

    @property
    def key(self) -> str:
        """`17:2`: the second attempt at record 17."""
        return f"{self.record}:{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What a webhook's body says. It is a hint only: it names the account whose state is read again."""

    type: str | None = None
    names: tuple[str, ...] = ()
    """Accounts, users or customers, as the body names them."""
    fault: str | None = None
    """Why the body cannot be read; it will not become readable."""
    silent: str | None = None
    """Why it names nobody, where that is as it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRecord:
    """One claimed record."""

    claim: Claim
    event_id: str
    hint: Hint
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The result of an attempt. `failed` is retried until the attempts are used up, then dead."""

    state: RecordState
    sentence: str
    account: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownWebhook:
    """A record as shown to people. `said` is the result of its last attempt."""

    record: int
    provider: str
    event_id: str
    type: str | None
    account: str | None
    state: RecordState
    attempts: int
    verified: bool
    received_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None
    said: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeliveredEvent:
    """An event that billing could not hand to the product. Its body is a hint, as any webhook's."""

    event_id: str
    created: datetime
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """The events that billing listed for a time span, oldest first. `doubts` say why they may be incomplete."""

    events: tuple[UndeliveredEvent, ...]
    doubts: tuple[str, ...] = ()
    too_many: bool = False
    """There are more than are read at once, which is a doubt too: ask for less time."""


@runtime_checkable
class EventSource(Protocol):
    """A billing provider that lists the events which it could not deliver."""

    def undelivered(self, oldest: datetime, newest: datetime, within: timedelta) -> Undelivered:
        """Events created from `oldest` to `newest`, both included, to the second; `within` limits how long this
        may take.

        Raises SourceError where billing cannot be reached, refuses the key, or answered nothing at all.
        """
        ...


class Inbox(Protocol):
    """The failed webhooks of one system. Every change is a transaction of its own."""

    def installed(self) -> bool:
        """Whether this installation keeps failed webhooks."""
        ...

    def keep(self, events: Sequence[UndeliveredEvent], pulled_at: datetime) -> int:
        """Stores undelivered events, each once. Returns how many were new."""
        ...

    def claim(self, by: str, limit: int = BATCH) -> Sequence[Claim]:
        """Claims at most `limit` due records, longest due first, each for one caller only.

        First copies the product's own failed records in, and takes over claims older than ten minutes.
        """
        ...

    def hold(self, claims: Sequence[Claim]) -> Sequence[WebhookRecord]:
        """Renews the claims that are still valid, for ten minutes, and returns their records."""
        ...

    def settle(self, claim: Claim, settlement: Settlement) -> RecordState | None:
        """Stores the result and returns the record's state; None if the claim is no longer valid."""
        ...

    def counts(self) -> Mapping[str, int]:
        """`webhook_failed` (waiting for a repair), `webhook_stuck` (nobody repairs it), `webhook_dead`."""
        ...

    def records(self, states: Sequence[RecordState], limit: int) -> Sequence[KnownWebhook]:
        """The newest records in these states."""
        ...

    def replay(self, records: Sequence[int], by: str) -> Sequence[Claim]:
        """Claims these records again with all attempts restored, whatever their state; a claimed one is left alone."""
        ...

    def discard(self, records: Sequence[int], who: str, reason: str) -> Sequence[int]:
        """Ends these without a repair, and stores who and why. Returns those that were not ended before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """One claimed request."""

    claim: Claim
    account_id: AccountId
    reason: str


class SyncRequests(Protocol):
    """The product's requests to look at an account now, of one system. Every change is its own transaction."""

    def installed(self) -> bool:
        """Whether this installation keeps requests."""
        ...

    def claim(self, by: str, limit: int = BATCH) -> Sequence[Claim]:
        """As `Inbox.claim`."""
        ...

    def hold(self, claims: Sequence[Claim]) -> Sequence[SyncRequest]:
        """As `Inbox.hold`."""
        ...

    def settle(self, claim: Claim, outcome: str, sentence: str, *, again: bool) -> bool:
        """Stores the result; with `again` it is retried while attempts are left.

        False if the claim is no longer valid.
        """
        ...
