"""Which audit rows an evidence pack holds, and the control totals by which it can be compared with other books.

Pure. The files are written by the command; whether the audit verifies is judged in `audit.py`.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from credit_pipeline.services.audit.text import AuditedChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Rows that fit every word given; no word at all means all rows. Days are UTC, both ends included."""

    since: date | None = None
    until: date | None = None
    plan: str | None = None
    accounts: frozenset[str] = frozenset()

    def takes(self, change: AuditedChange | None) -> bool:
        """Whether the pack holds this row. A text that nobody can read is never left out."""
        if change is None:
            return True
        day = str(change.fields.get("at"))[:10]
        return (
            (self.since is None or day >= self.since.isoformat())
            and (self.until is None or day <= self.until.isoformat())
            and (self.plan is None or change.plan_id == self.plan)
            and (not self.accounts or change.account in self.accounts)
        )

    def as_json(self) -> dict[str, Any]:
        """The words, for whoever wonders why a row is not there."""
        return {
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "plan": self.plan,
            "accounts": sorted(self.accounts),
        }


@dataclass(slots=True)
class Sum:
    """Rows, and the credits they gave and took."""

    rows: int = 0
    up: int = 0
    down: int = 0

    def add(self, delta: int) -> None:
        """One more row."""
        self.rows += 1
        self.up += max(0, delta)
        self.down += max(0, -delta)

    def as_json(self) -> dict[str, int]:
        """Credits; `net` is what was given less what was taken."""
        return {"rows": self.rows, "up": self.up, "down": self.down, "net": self.up - self.down}


@dataclass(slots=True)
class ControlTotals:
    """Sums over the rows of a pack. The parts by code and by plan each add up to the whole, but for unreadable rows."""

    whole: Sum = field(default_factory=Sum)
    by_code: defaultdict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    """A row with several codes counts once, under all of them together."""
    by_plan: defaultdict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    first: int | None = None
    last: int | None = None
    unreadable: int = 0

    def add(self, seq: int, change: AuditedChange | None) -> None:
        """One more row of the pack, in the chain's order."""
        self.first = seq if self.first is None else self.first
        self.last = seq
        self.whole.add(change.delta if change else 0)
        if change is None:
            self.unreadable += 1
            return
        self.by_code[", ".join(change.codes)].add(change.delta)
        self.by_plan[change.plan_id].add(change.delta)

    def as_json(self) -> dict[str, Any]:
        """The totals, as control.json holds them."""
        return {
            "rows": self.whole.rows,
            "credits": {name: value for name, value in self.whole.as_json().items() if name != "rows"},
            "by_code": {name: self.by_code[name].as_json() for name in sorted(self.by_code)},
            "by_plan": {name: self.by_plan[name].as_json() for name in sorted(self.by_plan)},
            "first_seq": self.first,
            "last_seq": self.last,
            "unreadable": self.unreadable,
        }
