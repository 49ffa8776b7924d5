"""How often something that failed is tried again, and how long is waited between. Pure; the clock is the database's."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """Attempts are counted from 1. After each but the last one a wait follows, the longer the later."""

    most: int
    waits: tuple[timedelta, ...]
    """After attempt 1, 2, …; the last one stands for all that follow."""

    def after(self, attempt: int) -> timedelta | None:
        """How long to wait after this attempt failed; None: it was the last."""
        if attempt >= self.most:
            return None
        return self.waits[min(attempt, len(self.waits)) - 1]


def _minutes(*numbers: int) -> tuple[timedelta, ...]:
    return tuple(timedelta(minutes=number) for number in numbers)


WEBHOOKS = Retrying(most=8, waits=_minutes(1, 5, 30, 120, 300, 600, 840))
"""Eight attempts over 32 hours: longer than most outages of a provider, shorter than a person's patience."""

SYNCS = Retrying(most=4, waits=_minutes(1, 5, 30))
"""Somebody waits for it, and the next reconciliation sees the account anyway."""

ALERTS = _minutes(1, 2, 5, 10, 30)
"""Between deliveries of an alert, which is never given up: the last wait stands for all that follow."""
