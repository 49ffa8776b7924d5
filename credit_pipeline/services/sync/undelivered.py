"""Events that billing could not deliver, brought over as records of failed webhooks.

They are read in time spans, oldest first, so that a long outage is processed over several ticks. Known events are not
stored again, so spans may overlap.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.domain.errors import SourceError
from credit_pipeline.services.sync.ports import EventSource, Inbox

KEPT = timedelta(days=30)
"""How long the provider keeps events."""
STRETCH, SHORTEST = timedelta(days=1), timedelta(minutes=1)
"""What is asked for at once, and what it is halved down to where that is too much."""
OVERLAP = timedelta(minutes=30)
"""Read again at each look, in case of clocks. It is so short that also in a long outage every look gets further."""
LEAST = timedelta(seconds=5)
"""A stretch that is begun has so long at least, so that the last one does not end for want of time."""
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """One look at the provider's list. Everything created before `until` was read; complete if that is `newest`."""

    oldest: datetime
    newest: datetime
    until: datetime
    found: int = 0
    kept: int = 0
    """How many of those found were new."""
    doubts: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the list was read to its end and nothing spoke against it."""
        return not self.doubts and self.until >= self.newest

    @property
    def sentence(self) -> str:
        """What came of it."""
        told = (
            f"{self.found:,} undelivered events since {self.oldest:%Y-%m-%d %H:%M} UTC, {self.kept:,} of them new"
            " and waiting for repair"
        )
        if self.complete:
            return told
        why = "; ".join(self.doubts) or f"time was over at those of {self.until:%Y-%m-%d %H:%M} UTC, the rest is next"
        return f"{told}; the list is incomplete: {why}"

    def as_json(self) -> dict[str, Any]:
        """What `webhooks SYSTEM pull` shows."""
        return {
            "oldest": self.oldest,
            "newest": self.newest,
            "until": self.until,
            "found": self.found,
            "new": self.kept,
            "complete": self.complete,
            "doubts": list(self.doubts),
        }


def pull(
    source: EventSource,
    inbox: Inbox,
    *,
    now: datetime,
    settle_time: timedelta,
    within: timedelta,
    until: datetime | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Pulled:
    """Keeps the undelivered events of the last 30 days, or of those days whose events were not all read `until` now.

    What is younger than `settle_time` is left to the provider, which is still trying. A stretch that may lack some is
    kept as far as it goes, and told. Raises SourceError where not even the first stretch could be read, StoreError
    where our table cannot be written; what was kept stays.
    """
    end = clock() + within.total_seconds()
    first, newest = ((now - back).replace(microsecond=0) for back in (KEPT, settle_time))
    oldest = max(first, min(until, newest) - OVERLAP) if until else first
    start, read, found, kept, stretch = oldest, oldest, 0, 0, STRETCH
    doubts: list[str] = []
    while start <= newest and (left := end - clock()) > 0:
        last = min(start + stretch - _SECOND, newest)
        try:
            listed = source.undelivered(start, last, max(timedelta(seconds=left), LEAST))
        except SourceError as error:
            if start == oldest:
                raise
            doubts.append(str(error))
            break
        if listed.too_many and stretch > SHORTEST:
            stretch = max(timedelta(seconds=stretch.total_seconds() // 2), SHORTEST)
            continue
        stretch = stretch if listed.events else STRETCH
        found += len(listed.events)
        kept += inbox.keep(listed.events, now) if listed.events else 0
        doubts += listed.doubts
        read = read if doubts else last
        start = last + _SECOND
    return Pulled(oldest=oldest, newest=newest, until=read, found=found, kept=kept, doubts=tuple(doubts))
