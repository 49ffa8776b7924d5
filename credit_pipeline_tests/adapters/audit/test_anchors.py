"""Noted heads in the working folder: appended, private, and read back with what cannot be read named."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from credit_pipeline.adapters.audit.anchors import Anchors
from credit_pipeline.domain.errors import StoreError

AT = datetime(2026, 3, 5, 10, 0, 59, tzinfo=UTC)
ONE, TWO = "1" * 64, "2" * 64


def test_a_note_is_a_line_with_time_and_run_that_only_the_owner_reads(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path / "home", "wix_app")
    anchors.append(3, ONE, run_id="run-1", at=AT)
    anchors.append(5, TWO, run_id="run-2", at=AT)
    assert anchors.path == tmp_path / "home" / "anchors" / "wix_app.jsonl"
    assert stat.S_IMODE(anchors.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(anchors.path.parent.stat().st_mode) == 0o700
    first, second = map(json.loads, anchors.path.read_text().splitlines())
    assert first == {"seq": 3, "hash": ONE, "at": "2026-03-05T10:00:59+00:00", "run_id": "run-1"}
    assert (second["seq"], second["run_id"]) == (5, "run-2")


def test_each_head_is_read_once_with_when_it_was_first_noted(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path, "wix_app")
    for _ in range(3):
        anchors.append(3, ONE, run_id="run-1", at=AT)
    found, unreadable = anchors.read()
    assert [(one.seq, one.hash, one.noted) for one in found] == [(3, ONE, "noted 2026-03-05 10:00")]
    assert unreadable == []


def test_no_file_is_no_note(tmp_path: Path) -> None:
    assert Anchors(tmp_path, "wix_app").read() == ([], [])


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        '{"seq": 1}',
        f'{{"seq": "1", "hash": "{ONE}", "at": ""}}',
        f'{{"seq": true, "hash": "{ONE}", "at": ""}}',
        '{"seq": 1, "hash": "f", "at": 1}',
        '{"seq": 1, "hash": null, "at": ""}',
        "\x00\xff",
    ],
)
def test_a_line_that_is_no_note_is_named_and_the_others_count(tmp_path: Path, line: str) -> None:
    anchors = Anchors(tmp_path, "wix_app")
    anchors.append(3, ONE, run_id="run-1", at=AT)
    with anchors.path.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    anchors.append(5, TWO, run_id="run-2", at=AT)
    found, unreadable = anchors.read()
    assert [one.seq for one in found] == [3, 5]
    assert unreadable == [f"line 3 of {anchors.path}"]


def test_a_line_that_was_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path, "wix_app")
    anchors.append(3, ONE, run_id="run-1", at=AT)
    anchors.path.write_bytes(anchors.path.read_bytes() + b'{"seq": 4, "ha')
    anchors.append(5, TWO, run_id="run-2", at=AT)
    assert [one.seq for one in anchors.read()[0]] == [3, 5]


def test_notes_that_cannot_be_kept_or_read_are_one_sentence(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path, "wix_app")
    anchors.path.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"wix_app: the head of the audit chain cannot be noted in .* directory"):
        anchors.append(3, ONE, run_id="run-1", at=AT)
    with pytest.raises(StoreError, match=r"wix_app: the noted heads in .* cannot be read"):
        anchors.read()


def test_a_note_never_follows_a_link_to_another_file(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path, "wix_app")
    anchors.path.parent.mkdir()
    anchors.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        anchors.append(3, ONE, run_id="run-1", at=AT)
    assert not (tmp_path / "elsewhere").exists()


def test_notes_of_a_database_that_was_made_anew_are_kept_under_another_name(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path, "wix_app")
    anchors.set_aside()
    anchors.append(3, ONE, run_id="run-1", at=AT)
    anchors.set_aside()
    assert anchors.read() == ([], [])
    (kept,) = anchors.path.parent.iterdir()
    assert kept.name.startswith("wix_app.until-")
    assert ONE in kept.read_text()
