"""The archive of snapshots on a real file system: nothing is overwritten, and nothing that was changed is believed."""

import hashlib
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.domain.errors import StoreError
from credit_pipeline.services.collect.ports import Pull, Snapshot
from credit_pipeline.services.collect.tables import COUNTER_BALANCES, SUBSCRIPTIONS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLE = pa.Table.from_pylist(
    [
        {"account_id": "acct-1", "label": "pro", "total": 5000, "used": 0},
        {"account_id": "acct-2", "label": None, "total": None, "used": None},
    ],
    schema=COUNTER_BALANCES,
)


def written(folder: Path, table: pa.Table = TABLE, **overrides: Any) -> Snapshot:
    facts = {"noun": "balances", "run_id": "run-1", "as_of": NOW, "finished_at": NOW + timedelta(seconds=2)}
    return ParquetSnapshots("wix_app", folder).write(table, **(facts | overrides))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_was_written_is_read_back_with_its_schema(tmp_path: Path) -> None:
    snapshot = written(tmp_path)
    table = ParquetSnapshots("wix_app", tmp_path).read(snapshot)
    assert table == TABLE
    assert table.schema.equals(TABLE.schema, check_metadata=True)


def test_the_name_tells_run_and_content(tmp_path: Path) -> None:
    snapshot = written(tmp_path)
    [file] = files(tmp_path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert snapshot.sha256 == digest
    assert file == tmp_path / "wix_app" / "balances" / f"run-1.{digest[:12]}.parquet"
    assert snapshot.path == str(file)
    assert pq.read_metadata(file).row_group(0).column(0).compression == "ZSTD"


def test_files_are_read_only_in_folders_of_our_own(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = tmp_path / "snapshots"
        written(folder)
    finally:
        os.umask(old)
    [file] = files(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    for parent in (folder, folder / "wix_app", folder / "wix_app" / "balances"):
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700


def test_the_same_content_twice_is_one_file(tmp_path: Path) -> None:
    assert written(tmp_path) == written(tmp_path)
    assert len(files(tmp_path)) == 1


def test_other_content_of_the_same_run_is_another_file(tmp_path: Path) -> None:
    first = written(tmp_path)
    second = written(tmp_path, TABLE.slice(0, 1))
    assert first.path != second.path
    archive = ParquetSnapshots("wix_app", tmp_path)
    assert archive.read(first).num_rows == 2
    assert archive.read(second).num_rows == 1


def test_completeness_travels_in_the_file_itself(tmp_path: Path) -> None:
    pull = Pull(
        table=SUBSCRIPTIONS.empty_table(), level="L2", enumerated=False, asked=9, unanswered=2, problems=("slow", "odd")
    )
    snapshot = written(tmp_path, pull.table, noun="subscriptions", pull=pull, audit_seq=7)
    assert snapshot == Snapshot(
        system="wix_app",
        noun="subscriptions",
        run_id="run-1",
        path=snapshot.path,
        sha256=snapshot.sha256,
        rows=0,
        as_of=NOW,
        finished_at=NOW + timedelta(seconds=2),
        level="L2",
        enumerated=False,
        asked=9,
        unanswered=2,
        problems=("slow", "odd"),
        audit_seq=7,
    )
    assert ParquetSnapshots("wix_app", tmp_path).open(snapshot.path) == snapshot


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def replaced(path: Path) -> None:
    path.unlink()
    pq.write_table(TABLE.slice(0, 1), path)


@pytest.mark.parametrize("damage", [altered, replaced, Path.unlink, lambda path: os.truncate(path, 0)])
def test_a_file_that_was_changed_or_is_gone_is_not_believed(tmp_path: Path, damage: Any) -> None:
    snapshot = written(tmp_path)
    damage(Path(snapshot.path))
    name = Path(snapshot.path).name
    archive = ParquetSnapshots("wix_app", tmp_path)
    for read in (lambda: archive.read(snapshot), lambda: archive.open(snapshot.path)):
        with pytest.raises(StoreError) as caught:
            read()
        assert str(caught.value) == (
            f"wix_app: the snapshot {name} was changed or is missing: collect again for a new one"
        )


def test_a_changed_file_is_not_taken_for_the_same_content(tmp_path: Path) -> None:
    altered(Path(written(tmp_path).path))
    with pytest.raises(StoreError, match="was changed or is missing"):
        written(tmp_path)


@pytest.mark.parametrize("run_id", ["../../../etc/cron.d/evil", "/etc/passwd", "..", "", "a\0b", "x" * 500, "ü/…"])
def test_a_run_id_cannot_leave_the_folder(tmp_path: Path, run_id: str) -> None:
    folder = tmp_path / "snapshots"
    snapshot = written(folder, run_id=run_id, noun="../balances")
    [file] = files(tmp_path)
    assert file.parent.parent == folder / "wix_app"
    assert snapshot.run_id == run_id
    assert ParquetSnapshots("wix_app", folder).read(snapshot) == TABLE


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is needed")
    with pytest.raises(StoreError) as caught:
        written(tmp_path / "taken")
    assert str(caught.value) == (
        f"wix_app: the snapshot folder {tmp_path / 'taken'} cannot be written (File exists): "
        "make room there, or set CREDIT_PIPELINE_HOME to a folder of your own"
    )


def test_nothing_unfinished_stays_behind(tmp_path: Path) -> None:
    unwritable = pa.table({"span": pa.array([None], pa.month_day_nano_interval())})
    with pytest.raises(pa.ArrowNotImplementedError):
        written(tmp_path, unwritable)
    assert (tmp_path / "wix_app" / "balances").is_dir()
    assert files(tmp_path) == []
