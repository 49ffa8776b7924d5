"""Which audit rows an evidence pack holds, and the control totals by which it can be compared with other books.

Pure: it writes no files, and does not judge whether the audit verifies.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from credit_pipeline.domain.corrections.audit import AuditRow
from credit_pipeline.services.audit.text import AuditedChange, UnreadableText
from credit_pipeline.services.audit.verify import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The filters of a pack: a row must fit each one given. Days are UTC, both ends included."""

    since: date | None = None
    until: date | None = None
    plan: str | None = None
    accounts: frozenset[str] = frozenset()

    def takes(self, change: AuditedChange | None) -> bool:
        """Whether the pack holds this row. A row with unreadable text is always in it."""
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
        """The filters, which explain why a row is absent."""
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
        """Credits; `net` is the credits given less the credits taken."""
        return {"rows": self.rows, "up": self.up, "down": self.down, "net": self.up - self.down}


@dataclass(slots=True)
class ControlTotals:
    """Sums over the rows of a pack. By code and by plan each add up to the whole, except for unreadable rows."""

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


class Export:
    """Passes the wanted rows of an audit to `write`, with the fields of their text, and adds them up."""

    def __init__(self, wanted: Wanted, write: Callable[[AuditRow, Mapping[str, Any]], None]) -> None:
        self.totals = ControlTotals()
        self._wanted = wanted
        self._write = write

    def add(self, row: AuditRow) -> None:
        """One audit row, in the chain's order."""
        try:
            change = AuditedChange(row.payload)
        except UnreadableText:
            change = None
        if self._wanted.takes(change):
            self.totals.add(row.seq, change)
            self._write(row, change.fields if change else {})

    def control(self, found: Verification, exported_at: str) -> dict[str, Any]:
        """What control.json says about the rows and about the whole chain."""
        chain = found.as_json()
        return {
            "system": found.system,
            "exported_at": exported_at,
            "filters": self._wanted.as_json(),
            **self.totals.as_json(),
            "head": chain["head"],
            "chain": {name: chain[name] for name in ("verified", "rows", "anchors", "found", "faults", "truncated")},
        }
