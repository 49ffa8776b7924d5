"""Anchors: heads of the audit chain noted outside the database, one per line of `<home>/anchors/<system>.jsonl`.

The file is append-only and readable by its owner only.
"""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from credit_pipeline.domain.corrections.audit import Anchor
from credit_pipeline.domain.errors import StoreError

_HASH = re.compile(r"[0-9a-f]{64}")


class Anchors:
    """The anchors of one system. `home` is the working folder."""

    def __init__(self, home: Path, system: str) -> None:
        self.path = home / "anchors" / f"{system}.jsonl"
        self._system = system

    def append(self, seq: int, head_hash: str, *, run_id: str, at: datetime) -> None:
        """Appends the head: sequence number, hash, time (UTC). Raises StoreError if the file cannot be written."""
        note = {"seq": seq, "hash": head_hash, "at": at.isoformat(timespec="seconds"), "run_id": run_id}
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            with os.fdopen(os.open(self.path, flags, 0o600), "rb+", buffering=0) as file:
                # If a full disk cut the last line short, start a new one.
                truncated = file.seek(0, os.SEEK_END) > 0 and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
                file.write(b"\n" * truncated + json.dumps(note).encode() + b"\n")
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"{self._system}: the head of the audit chain cannot be noted in {self.path} ({error.strerror}): "
                "make the file writable for this user"
            ) from None

    def read(self) -> tuple[list[Anchor], list[str]]:
        """All anchors without duplicates, and the places of invalid lines. Raises StoreError if it cannot be read."""
        found: dict[tuple[int, str], Anchor] = {}
        unreadable: list[str] = []
        for number, line in self._lines():
            anchor = _anchor(line)
            if anchor is None:
                unreadable.append(f"line {number} of {self.path}")
            else:
                found.setdefault((anchor.seq, anchor.hash), anchor)
        return list(found.values()), unreadable

    def set_aside(self) -> None:
        """Renames the file, because a recreated database starts another chain."""
        if self.path.exists():
            noted = datetime.fromtimestamp(self.path.stat().st_mtime, UTC)
            self.path.rename(self.path.with_suffix(f".until-{noted:%Y%m%dT%H%M%S}.jsonl"))

    def _lines(self) -> Iterator[tuple[int, str]]:
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"{self._system}: the noted heads in {self.path} cannot be read ({error.strerror}): make the file "
                "readable for this user"
            ) from None


def _anchor(line: str) -> Anchor | None:
    try:
        note = json.loads(line)
        seq, head_hash, at = note["seq"], note["hash"], note["at"]
        if type(seq) is int and _HASH.fullmatch(head_hash):
            return Anchor(seq=seq, hash=head_hash, noted=f"noted {str(at)[:16].replace('T', ' ')}")
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None
