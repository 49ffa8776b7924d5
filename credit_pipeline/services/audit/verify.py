"""Whether the audit still says what was written: the chain, its columns, keys, grants and corrections, noted heads.

Pure over rows that come in order; reading them is the port's. Nothing is kept but the undos and what one row needs, so
a chain may be longer than memory. Only a head noted elsewhere shows that the end was cut off and the head set back, or
that a row was edited and every later hash made anew.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from credit_pipeline.domain.corrections.audit import (
    COLUMNS,
    START,
    Anchor,
    AuditedCorrection,
    AuditedGrant,
    AuditRow,
    Fault,
    TakenKey,
)
from credit_pipeline.domain.corrections.undo import in_effect, undone_by
from credit_pipeline.services.audit.text import AuditedChange, UnreadableText
from credit_pipeline.services.plans.ports import AuditSnapshot

MOST = 100
"""More faults than this are counted and not listed."""

KINDS = {
    "payload_edited": "the hash is of another text",
    "payload_unreadable": "the text is not what the write path writes",
    "column_edited": "a column says something else than the text it is derived from",
    "row_missing": "a number is left out",
    "row_misplaced": "the row holds the text of another row or system",
    "link_broken": "the row does not follow from the row before it",
    "head_differs": "the chain does not end where its head says",
    "delta_wrong": "before, after and the change do not add up",
    "loss_unapproved": "available was lowered and nobody approved it",
    "key_differs": "the keys taken are not the keys of the row",
    "correction_differs": "the plan's row and the audit row do not name each other",
    "grant_differs": "the grants recorded are not the grants of the row",
    "anchor_missing": "the chain ends before a head that was noted",
    "anchor_differs": "a row's hash is not the one that was noted",
    "anchor_unreadable": "a noted head cannot be read",
}
"""Every kind of fault, and what it means."""

Item = TypeVar("Item", bound=TakenKey | AuditedCorrection | AuditedGrant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of reading the whole audit. `faults` are at most MOST; `found` counts all."""

    system: str
    rows: int
    head: tuple[int, str]
    anchors: int
    faults: tuple[Fault, ...]
    found: int

    @property
    def verified(self) -> bool:
        """Whether nothing was found wrong."""
        return self.found == 0

    def as_json(self) -> dict[str, Any]:
        """The JSON object of the command."""
        return {
            "system": self.system,
            "verified": self.verified,
            "rows": self.rows,
            "head": {"seq": self.head[0], "hash": self.head[1]},
            "anchors": self.anchors,
            "faults": [{"kind": one.kind, "seq": one.seq, "sentence": one.sentence} for one in self.faults],
            "found": self.found,
            "truncated": self.found > len(self.faults),
        }


def verify(
    system: str,
    snapshot: AuditSnapshot,
    anchors: Sequence[Anchor] = (),
    *,
    unreadable: Sequence[str] = (),
    observe: Callable[[AuditRow], None] | None = None,
) -> Verification:
    """Reads the audit to its end. `unreadable` are the places of noted heads that nobody can read any more; `observe`
    is shown every row as it comes."""
    judge, head = _Judge(system, anchors), snapshot.head()
    for place in unreadable:
        judge.note("anchor_unreadable", 0, f"{place} is no head of this chain: restore the file from a copy")
    keys, corrections, grants = beside = (
        _Beside(snapshot.keys()),
        _Beside(snapshot.corrections()),
        _Beside(snapshot.grants()),
    )
    for row in snapshot.rows():
        if observe:
            observe(row)
        judge.orphans(beside, row.seq)
        judge.row(row, keys.at(row.seq), corrections.at(row.seq), grants.at(row.seq))
    judge.orphans(beside, None)
    return judge.end(head)


class _Beside(Generic[Item]):
    """What stands beside the chain, in its order."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._next: Item | None = next(items, None)

    def before(self, seq: int | None) -> Iterator[Item]:
        """What belongs to rows before `seq` and was not asked for: those rows are not there. None is the end."""
        while self._next is not None and (seq is None or self._next.audit_seq < seq):
            yield self._take()

    def at(self, seq: int) -> list[Item]:
        """What belongs to row `seq`."""
        found: list[Item] = []
        while self._next is not None and self._next.audit_seq == seq:
            found.append(self._take())
        return found

    def _take(self) -> Item:
        assert self._next is not None
        taken = self._next
        self._next = next(self._items, None)
        return taken


_AllBeside = tuple[_Beside[TakenKey], _Beside[AuditedCorrection], _Beside[AuditedGrant]]


class _Judge:
    """What was found so far, and where the chain stands."""

    def __init__(self, system: str, anchors: Sequence[Anchor]) -> None:
        self._system = system
        self._seq, self._hash, self._rows = 0, START, 0
        self._faults: list[Fault] = []
        self._found = 0
        self._reversed: dict[int, str] = {}
        self._undos: list[tuple[int, tuple[str, ...]]] = []
        self._noted: dict[int, dict[str, str]] = {}
        for anchor in anchors:
            self._noted.setdefault(anchor.seq, {}).setdefault(anchor.hash, anchor.noted)
        self._anchors = sum(map(len, self._noted.values()))
        self._meet_anchors(0, START)

    def note(self, kind: str, seq: int, sentence: str) -> None:
        """Counts a fault, and keeps it while there are few."""
        assert kind in KINDS, kind
        self._found += 1
        if len(self._faults) < MOST:
            self._faults.append(Fault(kind=kind, seq=seq, sentence=f"{self._system}: {sentence}"))

    def row(
        self,
        row: AuditRow,
        keys: Sequence[TakenKey],
        corrections: Sequence[AuditedCorrection],
        grants: Sequence[AuditedGrant],
    ) -> None:
        """One row: its place, its hash, its columns, and what stands beside it."""
        self._follow(row)
        try:
            change = AuditedChange(row.payload)
        except UnreadableText:
            self.note("payload_unreadable", row.seq, f"the text of audit row {row.seq} is not one of the write path's")
            return
        if (change.system, change.seq) != (self._system, row.seq):
            held = f"row {change.seq}" + ("" if change.system == self._system else f" of {change.system}")
            self.note("row_misplaced", row.seq, f"audit row {row.seq} holds the text of {held}")
        if change.columns != row.columns:
            told = zip(COLUMNS, change.columns, row.columns, strict=True)
            names = ", ".join(name for (name, _), text, column in told if text != column)
            self.note("column_edited", row.seq, f"{names} of audit row {row.seq} differs from the text it is made of")
        self._credits(row.seq, change)
        self._keys(row.seq, change, keys)
        self._correction(row.seq, change, corrections)
        self._grants(row.seq, change, corrections, grants)

    def orphans(self, beside: _AllBeside, seq: int | None) -> None:
        """Whatever belongs to audit rows before `seq` that are not there."""
        keys, corrections, grants = beside
        for key in keys.before(seq):
            self.note("key_differs", key.audit_seq, f"key {key.key} was taken by audit row {key.audit_seq}, {_GONE}")
        for one in corrections.before(seq):
            said = f"by audit row {one.audit_seq}, {_GONE}" if one.audit_seq else "and names no audit row"
            self.note(
                "correction_differs", one.audit_seq, f"row {one.seq} of plan {one.plan_id} was {one.outcome} {said}"
            )
        for grant in grants.before(seq):
            said = f"belongs to audit row {grant.audit_seq}, {_GONE}" if grant.audit_seq else "has no audit row"
            self.note("grant_differs", grant.audit_seq, f"the grant {grant.key} of {grant.credits} credits {said}")

    def end(self, head: tuple[int, str]) -> Verification:
        """The head in the database, and the noted heads that no row answered for."""
        if (self._seq, self._hash) != head:
            what = "with another hash" if self._seq == head[0] else f"its head says row {head[0]}"
            self.note("head_differs", head[0], f"the chain ends at row {self._seq}, but {what}")
        for seq, noted in sorted(self._noted.items()):
            for place in noted.values():
                what = f"row {seq} was the head ({place}) and is gone: the chain ends at row {self._seq}"
                self.note("anchor_missing", seq, what)
        standing = in_effect([*self._undos, *((seq, ()) for seq in self._reversed)])
        for seq in sorted(standing & self._reversed.keys()):
            what = f"the grant {self._reversed[seq]} is marked as taken back, and no undo in effect took it"
            self.note("grant_differs", seq, what)
        return Verification(
            system=self._system,
            rows=self._rows,
            head=head,
            anchors=self._anchors,
            faults=tuple(self._faults),
            found=self._found,
        )

    def _follow(self, row: AuditRow) -> None:
        seq = row.seq
        if seq <= self._seq:
            self.note("row_misplaced", seq, f"audit row {seq} comes after row {self._seq}")
        elif seq > self._seq + 1:
            gone = f"row {self._seq + 1} is" if seq == self._seq + 2 else f"rows {self._seq + 1} to {seq - 1} are"
            self.note("row_missing", self._seq + 1, f"audit {gone} missing before row {seq}")
        elif row.prev_hash != self._hash:
            self.note("link_broken", seq, f"audit row {seq} does not follow from the row before it")
        if hashlib.sha256((row.prev_hash + row.payload).encode()).hexdigest() != row.hash:
            self.note("payload_edited", seq, f"audit row {seq} was edited: its hash is of another text")
        self._seq, self._hash = seq, row.hash
        self._rows += 1
        self._meet_anchors(seq, row.hash)

    def _meet_anchors(self, seq: int, found: str) -> None:
        for noted, place in self._noted.pop(seq, {}).items():
            if noted != found:
                what = f"the hash of audit row {seq} is not the one noted ({place}): the chain was written anew"
                self.note("anchor_differs", seq, what)

    def _credits(self, seq: int, change: AuditedChange) -> None:
        before, after = change.before or 0, change.after or 0
        if after - before != change.delta:
            self.note("delta_wrong", seq, f"audit row {seq} says {change.delta:+}, but went from {before} to {after}")
        if after < before and not (change.approver or "").strip():
            self.note("loss_unapproved", seq, f"audit row {seq} lowered {before} to {after} credits with no approver")

    def _keys(self, seq: int, change: AuditedChange, taken: Sequence[TakenKey]) -> None:
        if any(undone_by(change.keys)):
            self._undos.append((seq, tuple(change.keys)))
        found = {one.key for one in taken}
        for key in change.keys:
            if key not in found:
                self.note("key_differs", seq, f"key {key} of audit row {seq} is not taken: the change could come twice")
        for key in sorted(found - set(change.keys)):
            self.note("key_differs", seq, f"key {key} names audit row {seq}, which took no such key")

    def _correction(self, seq: int, change: AuditedChange, named: Sequence[AuditedCorrection]) -> None:
        own = (change.plan_id, change.correction, change.account)
        for one in named:
            if (one.plan_id, one.seq, one.account) != own or one.outcome != "changed":
                what = f"row {one.seq} of plan {one.plan_id} ({one.outcome}, account {one.account})"
                self.note("correction_differs", seq, f"{what} names audit row {seq}, which is about another change")
            elif one.delta != change.delta:
                what = f"was to move {one.delta:+} credits, audit row {seq} says {change.delta:+}"
                self.note("correction_differs", seq, f"row {one.seq} of plan {one.plan_id} {what}")
        count = sum((one.plan_id, one.seq) == own[:2] for one in named)
        if count == 0:
            what = f"row {change.correction} of plan {change.plan_id}, which does not name it"
            self.note("correction_differs", seq, f"audit row {seq} is about {what}")

    def _grants(
        self, seq: int, change: AuditedChange, named: Sequence[AuditedCorrection], grants: Sequence[AuditedGrant]
    ) -> None:
        own = f"{change.account}/"
        due = dict.fromkeys(key for key in change.keys if key.startswith(own))
        credits = {one.grant_key: one.grant_credits for one in named if one.grant_key}
        found = [grant.key for grant in grants]
        for key in sorted((due.keys() | credits.keys()) - set(found)):
            self.note("grant_differs", seq, f"audit row {seq} granted {key}, and no grant says so")
        for grant in grants:
            if grant.reversed:
                self._reversed[seq] = grant.key
            what = f"the grant {grant.key} of {grant.credits} credits"
            if grant.key not in due or (grant.account, grant.plan_id) != (change.account, change.plan_id):
                self.note("grant_differs", seq, f"{what} names audit row {seq}, which is about another change")
            elif found.count(grant.key) > 1:
                self.note("grant_differs", seq, f"{what} is one of several for audit row {seq}")
            elif grant.credits != credits.get(grant.key, grant.credits):
                self.note("grant_differs", seq, f"{what} differs from the {credits[grant.key]} of its plan's row")


_GONE = "which is not there"
