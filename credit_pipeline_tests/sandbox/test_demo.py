"""The demo on real parts: everything planted is found, nothing else, and the repair loses nobody a credit."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from credit_pipeline.sandbox import billing_process, lifecycle
from credit_pipeline.sandbox.demo import run_demo
from credit_pipeline.sandbox.postgres import EmbeddedPostgres
from credit_pipeline.sandbox.wix_app import WixApp

ACCOUNTS = 150


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A working folder in which a demo was interrupted while it planted."""
    with tempfile.TemporaryDirectory(prefix="a demo ") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another account
        try:
            yield Path(folder)
        finally:
            lifecycle.down(Path(folder))
            EmbeddedPostgres(Path(folder)).remove()


@pytest.fixture(scope="module")
def played(home: Path) -> dict[str, Any]:
    """What the demo came to, and what it said."""
    said: list[str] = []
    before = dict(os.environ)
    result = run_demo(home, accounts=ACCOUNTS, seed=4, say=said.append)
    assert dict(os.environ) == before
    return result["systems"]["wix_app"] | {"said": said}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_demo_stops_its_servers(home: Path, number: signal.Signals) -> None:
    program = "import sys, pathlib; from credit_pipeline.sandbox.demo import run_demo; "
    program += f"run_demo(pathlib.Path(sys.argv[1]), accounts={ACCOUNTS})"
    command = [sys.executable, "-c", program, str(home)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            while not EmbeddedPostgres(home).is_running():
                process.wait(0.05)
        assert process.poll() is None
        process.send_signal(number)
        process.wait(60)
    assert process.returncode != 0
    assert not EmbeddedPostgres(home).is_running()
    assert billing_process.running(home / "sandbox") is None


def test_for_every_code_found_is_planted(played: dict[str, Any], home: Path) -> None:
    assert played["population"] == ACCOUNTS
    assert len(played["planted"]) == 14
    assert played["found"] == played["planted"] == lifecycle.truth(home)["planted"]


def test_every_broken_site_has_its_own_code_and_no_healthy_one_is_reported(played: dict[str, Any]) -> None:
    assert (played["missed"], played["healthy_reported"]) == ([], [])


def test_the_auto_lane_is_corrected_and_the_rest_is_held(played: dict[str, Any], home: Path) -> None:
    broken = lifecycle.truth(home)["accounts"]
    assert played["changed"] == sum(1 for account in broken if account["auto"]) > 10
    assert played["held"] == sum(1 for account in broken if account["approve"]) > 8


def test_the_corrected_rows_stand_as_the_truth_says(played: dict[str, Any], home: Path) -> None:
    assert played["changed"]
    with lifecycle.running(home) as environment, WixApp(environment["WIX_DATABASE_URL"]) as app:
        rows = app.states()
    for account in lifecycle.truth(home)["accounts"]:
        right = account["auto"]["after"] if account["auto"] else account["now"]
        assert rows[account["account_id"]] == (right["plan"], right["total"], right["used"]), account


def test_the_first_live_run_is_quarantined_and_approved(played: dict[str, Any]) -> None:
    assert any("needs approval" in sentence for sentence in played["quarantined"])
    assert any(sentence.startswith("Approved by demo-approver") for sentence in played["said"])


def test_the_second_run_changes_nothing_and_nobody_lost_a_credit(played: dict[str, Any]) -> None:
    assert (played["second_run_changed"], played["credits_lost"]) == (0, 0)


def test_the_servers_are_stopped_and_the_data_stays(played: dict[str, Any], home: Path) -> None:
    assert played["runs"]
    assert not EmbeddedPostgres(home).is_running()
    assert lifecycle.planted(home) == ("wix_app",)


def test_the_demo_can_be_played_again_and_begins_afresh(played: dict[str, Any], home: Path) -> None:
    before = lifecycle.truth(home)["as_of"]
    again = run_demo(home, accounts=ACCOUNTS, seed=4)["systems"]["wix_app"]
    assert lifecycle.truth(home)["as_of"] > before
    same = ("population", "planted", "found", "corrected", "held_by_code", "changed", "held", "missed")
    assert {name: again[name] for name in same} == {name: played[name] for name in same}
    assert (again["second_run_changed"], again["credits_lost"]) == (0, 0)
