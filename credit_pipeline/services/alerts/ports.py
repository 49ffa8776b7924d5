"""What telling people needs from the outside: the outbox of alerts and the sinks they go to, beside their promises.

Alerts get into the outbox in the transactions of their causes; a sink gets each at least once, and twice only where its
delivery could not be noted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

BATCH = 10_000
"""Alerts claimed at once; those of one kind become one message."""


class AlertKind(StrEnum):
    """What people are told of."""

    FINDINGS = "findings"
    AGED = "aged"
    PLAN_QUARANTINED = "plan_quarantined"
    WEBHOOK_DEAD = "webhook_dead"
    RUN_FAILED = "run_failed"
    NOT_COMPARED = "not_compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert that not every sink has. `content` holds counts and our own words; `attempts` counts claims."""

    id: int
    kind: AlertKind
    subject: str
    content: Mapping[str, Any]
    created_at: datetime
    delivered: frozenset[str] = frozenset()
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingAlert:
    """An alert as a person sees it. `last_error`: why a sink does not have it."""

    alert: Alert
    next_attempt_at: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unheard:
    """How many alerts wait, and how many of them should not: a delivery failed, or nobody delivers."""

    waiting: int
    late: int
    oldest: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a sink is to say: one line that says it, and more lines below it."""

    title: str
    lines: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join((self.title, *self.lines))


class DeliveryFailed(Exception):
    """A sink did not take a message. `str()` is a sentence without its address. `down`: it would take none now.

    `partly`: it did take it, but not for all of its recipients, and sent again it would reach the others twice.
    """

    def __init__(self, sentence: str, *, down: bool = False, partly: bool = False) -> None:
        super().__init__(sentence)
        self.down = down
        self.partly = partly


class Sink(Protocol):
    """Where messages go. `name` is how the outbox remembers that it has one."""

    @property
    def name(self) -> str:
        """Its key in the YAML."""
        ...

    def send(self, message: Message) -> None:
        """Hands the message over, within a few seconds. Raises DeliveryFailed."""
        ...


class Outbox(Protocol):
    """The alerts of one system. Every change is a transaction of its own; `now`: the database's clock unless given."""

    def installed(self) -> bool:
        """Whether this installation keeps alerts."""
        ...

    def age(self, after: timedelta, now: datetime | None = None) -> int:
        """Has people told of what is open and has waited longer than `after`, once an opening. Returns how many."""
        ...

    def silent(self, after: timedelta, now: datetime | None = None) -> bool:
        """Has people told where no complete comparison came for longer than `after`, once a silence."""
        ...

    def note(self, kind: AlertKind, subject: str, content: Mapping[str, Any]) -> bool:
        """Puts an alert in that has no transaction of ours as its cause. False: it was there."""
        ...

    def claim(
        self, by: str, *, everything: bool = False, limit: int = BATCH, now: datetime | None = None
    ) -> Sequence[Alert]:
        """At most `limit` alerts that wait, each by one caller alone, for ten minutes: where one of them is due and,
        if it was never tried, its kind was not told of just now (`everything`: whatever they wait for)."""
        ...

    def delivered(self, alerts: Sequence[Alert], sink: str) -> None:
        """Notes that the sink has them; true whoever holds them by now."""
        ...

    def settle(
        self, alerts: Sequence[Alert], sinks: Sequence[str], failures: Mapping[str, str], now: datetime | None = None
    ) -> None:
        """Lets go of claimed alerts: done where each of `sinks` has it, else due again after a wait that grows.
        `failures`: sink → why it has them not."""
        ...

    def waiting(self, limit: int) -> Sequence[WaitingAlert]:
        """The oldest alerts that not every sink has."""
        ...

    def unheard(self, now: datetime | None = None) -> Unheard:
        """How many wait."""
        ...
