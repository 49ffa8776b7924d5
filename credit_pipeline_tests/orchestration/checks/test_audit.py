"""The check audit_chain_verifies, and the head that every run notes outside the database, on the fake world."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from credit_pipeline_tests.orchestration.fake_world import World, a_world
from credit_pipeline_tests.orchestration.jobs import test_reconcile_job
from credit_pipeline_tests.orchestration.jobs.test_reconcile_job import Bench, check_of
from credit_pipeline_tests.services.audit.audit_rows import Audit, rechained

NAME = "audit_chain_verifies"
bench = test_reconcile_job.bench


def notes(tmp_path: Path) -> list[dict[str, object]]:
    path = tmp_path / "home" / "anchors" / "wix_app.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_every_run_notes_the_head_outside_the_database_with_time_and_run(
    bench: Callable[[World], Bench], tmp_path: Path
) -> None:
    world = a_world()
    first = bench(world).run(dry_run=False, attended=True)
    again = bench(world).run()
    seq, head = world.chain.head()
    assert seq == 2
    assert [(note["seq"], note["hash"], note["run_id"]) for note in notes(tmp_path)] == [
        (seq, head, first.run_id),
        (seq, head, again.run_id),
    ]
    check = check_of(again, NAME)
    assert check.passed
    assert {name: value.value for name, value in check.metadata.items()} == {
        "rows": 2,
        "head_sequence": seq,
        "head_hash": head,
        "anchors": 1,
    }


def test_a_chain_that_never_began_verifies_and_is_not_noted(bench: Callable[[World], Bench], tmp_path: Path) -> None:
    assert check_of(bench(a_world()).run(), NAME).passed
    assert notes(tmp_path) == []


def test_without_an_install_the_check_is_not_green(bench: Callable[[World], Bench]) -> None:
    check = check_of(bench(a_world(installed=False)).run(), NAME)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "Not evaluated: nothing is installed in the product's database, so there is no audit."


def test_a_chain_written_anew_since_an_earlier_run_fails_the_check_and_not_the_run(
    bench: Callable[[World], Bench],
) -> None:
    world = a_world()
    bench(world).run(dry_run=False, attended=True)
    payload = world.chain.rows_[0].payload.replace("upgrade", "a gift")
    world.chain.rows_ = rechained(world.chain.rows_, {1: payload})
    result = bench(world).run()
    assert result.success
    check = check_of(result, NAME)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(check.description).startswith("1 faults in 2 audit rows: wix_app: the hash of audit row 2 is not the")
    assert check.metadata["count"].value == 1
    assert len(check.metadata["sample"].value) == 1  # type: ignore[arg-type]
    assert check.metadata["truncated"].value is False
    assert "credit-pipeline audit wix_app verify" in str(check.metadata["recovery"].value)


def test_a_chain_cut_to_nothing_is_found_by_the_note_that_was_kept(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    bench(world).run(dry_run=False, attended=True)
    world.chain = Audit()
    check = check_of(bench(world).run(), NAME)
    assert not check.passed
    assert "row 2 was the head" in str(check.description)
