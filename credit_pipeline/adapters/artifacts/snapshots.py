"""The Snapshots port: Parquet files that are never overwritten, named by run and content.

`<folder>/<system>/<noun>/<run_id>.<sha12>.parquet`; files are read-only, folders private to our user.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from credit_pipeline.domain.errors import StoreError
from credit_pipeline.services.collect.ports import Pull, Snapshot

_KEY = b"credit_pipeline"
"""Metadata key for completeness and times, so that a file is self-describing without a database."""
_PARTS = re.compile(r"[^A-Za-z0-9_-]+")


class ParquetSnapshots:
    """The Snapshots of one system below `folder`."""

    def __init__(self, system_name: str, folder: Path) -> None:
        self._system = system_name
        self._folder = Path(folder).absolute()
        self._written: dict[str, pa.Table] = {}

    def write(
        self,
        table: pa.Table,
        *,
        noun: str,
        run_id: str,
        as_of: datetime,
        finished_at: datetime,
        pull: Pull | None = None,
        audit_seq: int = 0,
    ) -> Snapshot:
        """Stores the table and returns its reference; the same content of the same run is stored once.

        Raises StoreError if the folder cannot be written.
        """
        facts: dict[str, Any] = {
            "system": self._system,
            "noun": noun,
            "run_id": run_id,
            "as_of": as_of.isoformat(),
            "finished_at": finished_at.isoformat(),
            "rows": table.num_rows,
            "audit_seq": audit_seq,
        }
        if pull is not None:
            facts |= {
                "level": pull.level,
                "enumerated": pull.enumerated,
                "asked": pull.asked,
                "unanswered": pull.unanswered,
                "problems": list(pull.problems),
            }
        try:
            folder = self._own_folder(noun)
            with _temporary(folder) as (file, unfinished):
                digest = _write(table, facts, file)
                path = folder / f"{_part(run_id)}.{digest[:12]}.parquet"
                self._keep(unfinished, path, digest)
        except OSError as error:
            raise StoreError(
                f"{self._system}: the snapshot folder {self._folder} cannot be written ({error.strerror}): "
                "make room there, or set CREDIT_PIPELINE_HOME to a folder of your own"
            ) from error
        self._written[digest] = table
        return _snapshot(facts, path, digest)

    def read(self, snapshot: Snapshot) -> pa.Table:
        """The table as it was written. Raises StoreError if the file was changed or is missing.

        A table that this object wrote is returned without reading the file.
        """
        if (written := self._written.get(snapshot.sha256)) is not None:
            return written
        buffer = self._verified(Path(snapshot.path), snapshot.sha256)
        return _without_facts(pq.read_table(pa.BufferReader(buffer)))

    def open(self, path: str | Path) -> Snapshot:
        """The reference to an archived file, from the file alone. Raises StoreError if it was changed or is missing."""
        path = Path(path).absolute()
        buffer = self._verified(path, path.name.split(".")[-2] if path.name.count(".") >= 2 else "")
        facts = (pq.read_metadata(pa.BufferReader(buffer)).metadata or {}).get(_KEY)
        if facts is None:
            raise self._changed(path)
        return _snapshot(json.loads(facts), path, hashlib.sha256(buffer).hexdigest())

    def _verified(self, path: Path, sha256: str) -> pa.Buffer:
        """The file's bytes, memory-mapped, after checking their hash against `sha256` or a prefix of it."""
        try:
            with pa.memory_map(str(path)) as source:
                buffer = source.read_buffer()
        except OSError:
            raise self._changed(path) from None
        if not sha256 or not hashlib.sha256(buffer).hexdigest().startswith(sha256):
            raise self._changed(path)
        return buffer

    def _keep(self, unfinished: Path, path: Path, digest: str) -> None:
        """Links the finished file to its name, which never overwrites; an existing file must have the same content."""
        try:
            os.link(unfinished, path)
        except FileExistsError:
            self._verified(path, digest)

    def _own_folder(self, noun: str) -> Path:
        folder = self._folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        for part in (".", _part(self._system), _part(noun)):
            folder = folder / part
            folder.mkdir(mode=0o700, exist_ok=True)  # parents=True would give parents the umask's mode
        return folder

    def _changed(self, path: Path) -> StoreError:
        return StoreError(
            f"{self._system}: the snapshot {path.name} was changed or is missing: collect again for a new one"
        )


class _Hashing(io.RawIOBase):
    """A file that is hashed while it is written."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            written += self._file.write(view[written:]) or 0
        return written

    def writable(self) -> bool:
        return True


def _write(table: pa.Table, facts: dict[str, Any], file: io.FileIO) -> str:
    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(facts)}
    with _Hashing(file) as sink:
        pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", compression_level=1)
        os.fsync(file.fileno())
        return sink.sha256.hexdigest()


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[io.FileIO, Path]]:
    """A new file under a temporary name that is removed at the end; links to the file stay."""
    path = folder / f".{uuid4().hex}.unfinished"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with io.FileIO(descriptor, "w") as file:
            os.fchmod(descriptor, 0o444)
            yield file, path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def _snapshot(facts: dict[str, Any], path: Path, digest: str) -> Snapshot:
    times = {name: datetime.fromisoformat(facts[name]) for name in ("as_of", "finished_at")}
    problems = {"problems": tuple(facts["problems"])} if "problems" in facts else {}
    return Snapshot(**{**facts, **times, **problems}, path=str(path), sha256=digest)


def _without_facts(table: pa.Table) -> pa.Table:
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != _KEY}
    return table.replace_schema_metadata(metadata or None)


def _part(name: str) -> str:
    """A name as one path segment: without separators or dots, not empty, at most 80 characters."""
    return _PARTS.sub("_", name)[:80] or "_"
