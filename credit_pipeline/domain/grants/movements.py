"""Movements: what changed an account's credits, in one shape for every store (semantics §5).

A transaction is exact. What raised a balance without a transaction is known by the two looks between which it did.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from credit_pipeline.domain.grants.ledger import Entry, EntryKind
from credit_pipeline.domain.subjects.account import Account, ObservedState, StateKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """A gain of credits that is neither spending nor ours."""

    amount: int
    since: datetime | None
    """The last look without it, or its own time; None where no look came before it."""
    until: datetime
    """The first look with it, or its own time."""
    kind: EntryKind | None = None
    """None for a rise that has no transaction."""
    entry_id: str | None = None
    reference: str | None = None

    def within(self, first: datetime, last: datetime) -> bool:
        """Whether it may have come in that time; one that stood at a look before it did not."""
        return self.until >= first and (self.since is None or self.since <= last)

    @property
    def words(self) -> str:
        """For a person."""
        what = f"{self.kind.value} " if self.kind else ""
        when = f"on {self.until:%Y-%m-%d}" if self.since == self.until else f"until {self.until:%Y-%m-%d}"
        return f"{what}{self.amount} {when}"

    def facts(self) -> dict[str, Any]:
        """As evidence of a finding."""
        kind = self.kind.value if self.kind else "no transaction"
        told = {"amount": self.amount, "kind": kind, "from": self.since, "to": self.until}
        names = {"entry": self.entry_id, "reference": self.reference}
        return told | {name: value for name, value in names.items() if value is not None}


def of_entry(entry: Entry) -> Movement:
    """A transaction as a movement."""
    return Movement(
        amount=entry.amount,
        since=entry.at,
        until=entry.at,
        kind=entry.kind,
        entry_id=entry.entry_id,
        reference=entry.reference,
    )


def gap_rises(account: Account, now: datetime) -> tuple[Movement, ...]:
    """What raised a ledger's balance past its transactions and is in it still, oldest first.

    What came back after a loss is no rise, and what was taken away again is none either.
    """
    rises: list[Movement] = []
    debt = 0
    for since, until, change in _gap_changes(account, now):
        if change > 0:
            back = min(debt, change)
            debt -= back
            if change > back:
                rises.append(Movement(amount=change - back, since=since, until=until))
            continue
        fallen = -change
        while fallen > 0 and rises:
            newest = rises.pop()
            if newest.amount > fallen:
                rises.append(Movement(amount=newest.amount - fallen, since=newest.since, until=newest.until))
            fallen -= min(fallen, newest.amount)
        debt += fallen
    return tuple(rises)


def _gap_changes(account: Account, now: datetime) -> Iterator[tuple[datetime | None, datetime, int]]:
    """(last look before, first look after, change of the gap less what corrections of ours closed of it)."""
    states = account.memory.states if account.memory else ()
    looks = [(number, seen) for number, seen in enumerate(states) if seen.gap is not None]
    if looks and looks[0][1].gap:
        yield None, looks[0][1].as_of, looks[0][1].gap
    for (first, before), (last, after) in pairwise(looks):
        assert before.gap is not None
        assert after.gap is not None
        yield before.seen_until, after.as_of, after.gap - before.gap - closed_by_us(before, states[first + 1 : last])
    if account.gap is None:
        return
    if not looks:
        yield None, now, account.gap
        return
    number, newest = looks[-1]
    assert newest.gap is not None
    yield newest.seen_until, now, account.gap - newest.gap - closed_by_us(newest, states[number + 1 :])


def closed_by_us(look: ObservedState, since: Sequence[ObservedState]) -> int:
    """What corrections of ours closed of the gap after a look: they alone lower `used` without a transaction.

    One that the look already shows is left out: the read began a moment before the correction and ended after.
    """
    closed = 0
    for number, (before, after) in enumerate(pairwise(since)):
        if (before.kind, after.kind) != (StateKind.BEFORE, StateKind.AFTER):
            continue
        shown = number == 0 and abs(look.used - after.used) < abs(look.used - before.used)
        closed += 0 if shown else before.used - after.used
    return closed
