"""When a system's jobs start by themselves: cron lines, and the shift by which systems do not all start at once.

What the jobs do is elsewhere, and so is what evaluates the lines.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta

MINUTE = timedelta(minutes=1)
RECONCILE = "0 */6 * * *"
HEALTH = "30 * * * *"
"""Half an hour after the comparison that it mostly speaks about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """When one job runs. `jitter` is the longest shift of the minute; the line's minute is then a number."""

    cron: str
    timezone: str = "UTC"
    jitter: timedelta = timedelta()

    def line_for(self, name: str) -> str:
        """The line in effect for the job of that name: later by a number of minutes that only the name decides.

        So two systems on one line do not ask billing in the same minute, and each of them keeps its own every day.
        """
        if not self.jitter:
            return self.cron
        minute, rest = self.cron.split(" ", 1)
        places = self.jitter // MINUTE + 1
        shift = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % places
        return f"{int(minute) + shift} {rest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetables:
    """All that a system does at fixed times."""

    reconcile: Timetable = field(default_factory=lambda: Timetable(cron=RECONCILE))
    health: Timetable = field(default_factory=lambda: Timetable(cron=HEALTH))
