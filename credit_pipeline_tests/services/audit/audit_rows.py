"""An audit in memory behind the port AuditSnapshot, and builders of one that verifies. No assertions."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from credit_pipeline.domain.corrections.audit import COLUMNS, START, AuditedCorrection, AuditedGrant, AuditRow, TakenKey

PERIOD = 1772323200


@dataclass
class Audit:
    """Rows, and what must agree with them; `head` is None for the last row's."""

    rows_: list[AuditRow] = field(default_factory=list)
    keys_: list[TakenKey] = field(default_factory=list)
    corrections_: list[AuditedCorrection] = field(default_factory=list)
    grants_: list[AuditedGrant] = field(default_factory=list)
    head_: tuple[int, str] | None = None

    def head(self) -> tuple[int, str]:
        if self.head_ is not None:
            return self.head_
        return (self.rows_[-1].seq, self.rows_[-1].hash) if self.rows_ else (0, START)

    def rows(self) -> Iterator[AuditRow]:
        return iter(self.rows_)

    def keys(self) -> Iterator[TakenKey]:
        return iter(sorted(self.keys_))

    def corrections(self) -> Iterator[AuditedCorrection]:
        return iter(sorted(self.corrections_, key=lambda one: one[:3]))

    def grants(self) -> Iterator[AuditedGrant]:
        return iter(sorted(self.grants_))

    def plans(self, plan_ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        return []

    def approvals(self, plan_ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        return []

    def chain(self, fields: Mapping[str, Any]) -> AuditRow:
        """Appends a row of these words, chained to the last one."""
        prev = self.rows_[-1].hash if self.rows_ else START
        self.rows_.append(a_row(fields, prev))
        return self.rows_[-1]


def a_row(fields: Mapping[str, Any], prev: str) -> AuditRow:
    """A row as the database would store it."""
    payload = json.dumps(fields)
    return AuditRow(fields["seq"], payload, prev, hashed(prev, payload), columns_of(fields))


def hashed(prev: str, payload: str) -> str:
    return hashlib.sha256((prev + payload).encode()).hexdigest()


def columns_of(fields: Mapping[str, Any]) -> tuple[str | int | None, ...]:
    """What the database derives from these words."""

    def at(value: Any, path: tuple[str, ...]) -> Any:
        for name in path:
            value = (value or {}).get(name)
        return value

    return tuple(at(fields, path) for _, path in COLUMNS)


def words_of(seq: int, **changes: Any) -> dict[str, Any]:
    """A grant of 5,000 to an account of its own, unless `changes` says otherwise."""
    account = changes.pop("account", f"a{seq}")
    available = changes.pop("available", (1000, 6000))
    key = f"{account}/pro/{PERIOD}"
    before, after = (
        {"plan": "pro", "total": value, "used": None if value is None else 0, "available": value} for value in available
    )
    words: dict[str, Any] = {
        "system": "wix_app",
        "seq": seq,
        "at": f"2026-03-{(seq - 1) % 28 + 1:02}T10:00:00.000000Z",
        "plan_id": "wix_app-1",
        "correction": seq,
        "run_id": "run-1",
        "account": account,
        "billing_id": account,
        "codes": ["grant_missing"],
        "lane": "auto",
        "reasons": ["upgrade"],
        "key": key,
        "keys": [key],
        "steps": [],
        "delta": (available[1] or 0) - (available[0] or 0),
        "before": before,
        "after": after,
        "approver": None,
        "session_user": "postgres",
        "application_name": "credit_pipeline wix_app",
    }
    return words | changes


def add_change(audit: Audit, **changes: Any) -> AuditRow:
    """One more change with all that belongs to it. Keys of the account's own are grants, the others adjustments."""
    seq = len(audit.rows_) + 1
    words = words_of(seq, **changes)
    granted = next((key for key in words["keys"] if key.startswith(words["account"] + "/")), None)
    audit.keys_ += [TakenKey(seq, key) for key in words["keys"]]
    audit.corrections_.append(
        AuditedCorrection(
            audit_seq=seq,
            plan_id=words["plan_id"],
            seq=words["correction"],
            account=words["account"],
            outcome="changed",
            delta=words["delta"],
            grant_key=granted,
            grant_credits=words["delta"] if granted else None,
        )
    )
    if granted:
        audit.grants_.append(AuditedGrant(seq, granted, words["account"], words["plan_id"], words["delta"]))
    return audit.chain(words)


def an_audit(rows: int = 3) -> Audit:
    """A chain of grants that verifies."""
    audit = Audit()
    for _ in range(rows):
        add_change(audit)
    return audit


def rechained(rows: Sequence[AuditRow], edited: Mapping[int, str]) -> list[AuditRow]:
    """The rows with other texts (seq → payload), every later hash made anew: what only a noted head shows."""
    made: list[AuditRow] = []
    for row in rows:
        prev = made[-1].hash if made else START
        payload = edited.get(row.seq, row.payload)
        made.append(AuditRow(row.seq, payload, prev, hashed(prev, payload), columns_of(json.loads(payload))))
    return made
