"""Writes an evidence pack: the audit as CSV and as hashed text, plans, approvals, totals and how to verify them.

The folder appears when everything is in it, or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from credit_pipeline.adapters.artifacts.review_pack import safe_cell
from credit_pipeline.domain.corrections.audit import AuditRow
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.plans.ports import AuditSnapshot

STATE = ("plan", "total", "used", "available")
FIELDS = ("at", "account", "billing_id", "plan_id", "correction", "lane", "codes", "reasons", "key", "delta")
SIGNED = ("approver", "run_id", "session_user", "application_name")
COLUMNS = (
    "seq",
    *FIELDS,
    *(f"{name}_{when}" for name in STATE for when in ("before", "after")),
    "other_before",
    "other_after",
    *SIGNED,
    "prev_hash",
    "hash",
)
PLAN_COLUMNS = (
    *("plan_id", "digest", "state", "as_of", "created_at", "created_by", "run_id", "population", "entitlements"),
    *("limits_approved", "failures", "finished_at"),
)
APPROVAL_COLUMNS = (
    *("id", "plan_id", "plan_digest", "lane", "rows", "decision", "approver", "login", "reason", "four_eyes"),
    "decided_at",
)
README = """Evidence pack: every change that credit_pipeline made to the credits of {system}{part}.

audit.csv      one row per change: before and after, who approved it, why it was made. A cell that a spreadsheet could
               take for a formula has a ' before it; the exact text is in audit.jsonl.
audit.jsonl    the same rows: the exact text that was hashed (payload), the hash before it (prev_hash), and the hash.
plans.csv      the plans that the changes belong to
approvals.csv  who decided about those plans, and earlier decisions about the same rows
control.json   totals, the chain's head, the result of verifying the whole chain, and the sha256 of each file

To verify a row by hand, here the first one: both commands print the same 64 digits.

row=1
python3 -c "import json,sys; r=[json.loads(x) for x in open('audit.jsonl','rb')][$row-1]; sys.stdout.buffer.write((r['prev_hash']+r['payload']).encode())" | sha256sum
sed -n "${{row}}p" audit.jsonl | cut -c11-74

Each row's prev_hash is the hash of the row before it (64 zeros for row 1), so the last hash covers all of them.
Compare it with a head noted elsewhere: the asset audit_trail in the Dagster UI, or anchors/{system}.jsonl in the working
folder. To verify the files, compare `sha256sum *` with control.json.
"""  # noqa: E501 (a line to copy)


class EvidencePack:
    """A pack that is being written. `target` must not exist, or be an empty folder."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._files: dict[str, _File] = {}

    def __enter__(self) -> EvidencePack:
        if self._target.is_symlink() or (self._target.exists() and not _empty(self._target)):
            raise ConfigurationError(f"{self._target} exists already and is not overwritten: name a new folder")
        with _writable(self._target):
            self._target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._draft = Path(tempfile.mkdtemp(dir=self._target.parent, prefix=".audit-"))  # 0700
            self._rows = csv.writer(self._file("audit.csv"))
            self._rows.writerow(COLUMNS)
            self._texts = self._file("audit.jsonl")
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._draft, ignore_errors=True)  # nothing is there once it became the target

    def add(self, row: AuditRow, fields: Mapping[str, Any]) -> None:
        """Writes one audit row and the fields of its text, of which there are none if it cannot be read."""
        text = {"hash": row.hash, "prev_hash": row.prev_hash, "seq": row.seq, "payload": row.payload}
        with _writable(self._target):
            self._texts.write(json.dumps(text, ensure_ascii=False) + "\n")
            self._rows.writerow([safe_cell(cell) for cell in _cells(row, fields)])

    def finish(self, snapshot: AuditSnapshot, control: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the other files and gives the folder its name. Returns what control.json holds."""
        plans, system = list(control["by_plan"]), control["system"]
        filtered = any(control["filters"].values())
        with _writable(self._target):
            self._table("plans.csv", PLAN_COLUMNS, snapshot.plans(plans))
            self._table("approvals.csv", APPROVAL_COLUMNS, snapshot.approvals(plans))
            part = " that fits the filters in control.json" if filtered else ""
            self._file("README.txt").write(README.format(system=system, part=part))
            written = {**control, "files": self._hashes()}
            self._file("control.json").write(json.dumps(written, indent=2, ensure_ascii=False) + "\n")
            for file in self._files.values():
                file.close()
            os.rename(self._draft, self._target)  # the system refuses if a folder with files appeared meanwhile
        return written

    def _hashes(self) -> dict[str, Any]:
        for file in self._files.values():
            file.flush()
        return {name: {"sha256": file.sha256, "bytes": file.size} for name, file in self._files.items()}

    def _table(self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        writer = csv.writer(self._file(name))
        writer.writerow(columns)
        writer.writerows([safe_cell(_plain(row[column])) for column in columns] for row in rows)

    def _file(self, name: str) -> _File:
        self._files[name] = _File(self._draft / name)
        return self._files[name]


class _File:
    """A new file that only its owner can read, hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self._out = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")
        self._hash = hashlib.sha256()
        self.size = 0
        self.flush: Callable[[], None] = self._out.flush
        self.close: Callable[[], None] = self._out.close

    @property
    def sha256(self) -> str:
        """The hash of what was written so far."""
        return self._hash.hexdigest()

    def write(self, text: str) -> int:
        """Writes text as UTF-8."""
        data = text.encode()
        self._hash.update(data)
        self.size += len(data)
        return self._out.write(data)


def free_folder(reports: Path, name: str) -> Path:
    """The path of a folder that does not exist yet, with a number after its name if it must."""
    found, number = reports / name, 1
    while found.exists():
        number += 1
        found = reports / f"{name}-{number}"
    return found


def _cells(row: AuditRow, fields: Mapping[str, Any]) -> Iterator[object]:
    yield row.seq
    yield from (_plain(fields.get(name)) for name in FIELDS)
    before, after = (fields.get(when) or {} for when in ("before", "after"))
    yield from (state.get(name) for name in STATE for state in (before, after))
    for state in (before, after):
        other = {name: value for name, value in state.items() if name not in STATE}
        yield json.dumps(other, ensure_ascii=False, sort_keys=True) if other else None
    yield from (fields.get(name) for name in SIGNED)
    yield row.prev_hash
    yield row.hash


def _plain(value: Any) -> object:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return value.isoformat() if hasattr(value, "isoformat") else value


def _empty(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


@contextlib.contextmanager
def _writable(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"The evidence pack {target} cannot be written ({error.strerror}): name another folder with --out"
        ) from None
