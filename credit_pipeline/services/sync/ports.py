"""What the doors of the product need from the outside: failed webhooks and requests for a sync, beside their promises.

A record is claimed before it is worked on, and a claim is only good together with its attempt: whoever comes back after
somebody else took the record over changes nothing.
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
    """What a webhook's body says. It is never believed: it only names whose state is to be read again."""

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
    """What came of an attempt. `failed` is tried again until its attempts are used up, and dead then."""

    state: RecordState
    sentence: str
    account: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownWebhook:
    """A record as a person sees it. `said` is what came of its last attempt."""

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
    """What billing listed of a stretch of time, oldest first. `doubts` say why it may not be all."""

    events: tuple[UndeliveredEvent, ...]
    doubts: tuple[str, ...] = ()
    too_many: bool = False
    """There are more than are read at once, which is a doubt too: ask for less time."""


@runtime_checkable
class EventSource(Protocol):
    """A billing provider that lists the events which it could not deliver."""

    def undelivered(self, oldest: datetime, newest: datetime, within: timedelta) -> Undelivered:
        """Those created from `oldest` to `newest`, both included, to the second; asked for so long at most.

        Raises SourceError where billing cannot be reached, refuses the key, or answered nothing at all.
        """
        ...


class Inbox(Protocol):
    """The failed webhooks of one system. Every change is a transaction of its own."""

    def installed(self) -> bool:
        """Whether this installation keeps failed webhooks."""
        ...

    def keep(self, events: Sequence[UndeliveredEvent], pulled_at: datetime) -> int:
        """Keeps events that the product never had, each once, whoever hands it over. Returns how many were new."""
        ...

    def claim(self, by: str, limit: int = BATCH) -> Sequence[Claim]:
        """At most `limit` records that are due, longest due first, each by one caller alone. Brings the product's own
        failed records in before, and takes over those whose claim is older than ten minutes."""
        ...

    def hold(self, claims: Sequence[Claim]) -> Sequence[WebhookRecord]:
        """Those of the claims that are still good, for ten minutes from now, with what they say."""
        ...

    def settle(self, claim: Claim, settlement: Settlement) -> RecordState | None:
        """Notes what came of it and returns where the record stands; None where the claim is no longer good."""
        ...

    def counts(self) -> Mapping[str, int]:
        """`webhook_failed` (waiting for a repair), `webhook_stuck` (nobody repairs it), `webhook_dead`."""
        ...

    def records(self, states: Sequence[RecordState], limit: int) -> Sequence[KnownWebhook]:
        """The newest records in these states."""
        ...

    def replay(self, records: Sequence[int], by: str) -> Sequence[Claim]:
        """Claims these, whatever became of them, with all their attempts before them again; but not one that is
        claimed."""
        ...

    def discard(self, records: Sequence[int], who: str, reason: str) -> Sequence[int]:
        """Ends these without a repair, on record with who and why. Returns which: an ended one stays as it is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """One claimed request."""

    claim: Claim
    account_id: AccountId
    reason: str


class SyncRequests(Protocol):
    """What the product asked to be looked at now, of one system. Every change is a transaction of its own."""

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
        """Notes what came of it; `again` has it tried again while attempts are left. False where the claim is no
        longer good."""
        ...
