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

import psycopg
import pytest

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.sandbox import lifecycle
from credit_pipeline.sandbox.billing import process as billing_process
from credit_pipeline.sandbox.demo import run_demo
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.sandbox.scenarios.wix_app.life import State
from credit_pipeline.sandbox.scenarios.worlds import PRODUCTS
from credit_pipeline.services.plans.report import PlanReport
from credit_pipeline_tests.conftest import in_memory

ACCOUNTS = 150


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A working folder in which a demo was interrupted while it planted."""
    with tempfile.TemporaryDirectory(prefix="a demo ", dir=in_memory()) as folder:
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
    return result["systems"] | {"said": said}


@pytest.fixture(params=["wix_app", "bestauth"])
def name(request: pytest.FixtureRequest) -> str:
    """Each of the two systems."""
    return str(request.param)


@pytest.fixture
def came(played: dict[str, Any], name: str) -> dict[str, Any]:
    """What it came to for one of them."""
    result: dict[str, Any] = played[name]
    return result


@pytest.fixture
def broken(played: dict[str, Any], name: str, home: Path) -> list[dict[str, Any]]:
    """Its broken accounts, by the truth."""
    assert played[name]["runs"]
    accounts: list[dict[str, Any]] = lifecycle.truth(home, name)["accounts"]
    return accounts


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


def test_for_every_code_found_is_planted(came: dict[str, Any], name: str, home: Path) -> None:
    assert came["population"] == ACCOUNTS
    assert len(came["planted"]) == {"wix_app": 14, "bestauth": 26}[name]
    assert came["found"] == came["planted"] == lifecycle.truth(home, name)["planted"]


def test_every_broken_account_has_its_own_code_and_no_healthy_one_is_reported(came: dict[str, Any]) -> None:
    assert (came["missed"], came["healthy_reported"]) == ([], [])


def test_the_auto_lane_is_corrected_and_the_rest_is_held(came: dict[str, Any], broken: list[dict[str, Any]]) -> None:
    assert came["changed"] == sum(1 for account in broken if account["auto"]) > 10
    assert came["held"] == sum(1 for account in broken if account["approve"]) > 6


def test_the_corrected_rows_stand_as_the_truth_says(broken: list[dict[str, Any]], name: str, home: Path) -> None:
    url = lifecycle.sandbox_system(name).store.url_env
    with lifecycle.running(home) as environment, PRODUCTS[name](environment[url]) as product:
        rows = product.states()
    for account in broken:
        right = account["auto"]["after"] if account["auto"] else account["now"]
        stands = rows.get(account["account_id"], State(None, None, None))
        assert stands == (right["plan"], right["total"], right["used"]), account


def test_what_the_dry_run_said_is_what_was_done(came: dict[str, Any], name: str, home: Path) -> None:
    said = ("account_id", "codes", "steps", "set_plan", "reset_used", "delta", "grant_key", "before", "after")
    with (
        lifecycle.running(home) as environment,
        open_gateways(lifecycle.sandbox_system(name), home, os.environ | dict(environment)) as gateways,
    ):
        (dry,) = [plan.plan_id for plan in gateways.plans.plans() if plan.run_id == came["runs"][0]]
        rows, done = (
            PlanReport(plan=gateways.plans.load(plan), mode="dry_run", failures=()).as_json()["rows"]
            for plan in (dry, came["plan_id"])
        )
    assert {row["outcome"] for row in rows} == {"would_change", "needs_approval"}
    would, changed = (
        {row["account_id"]: {word: row[word] for word in said} for row in plan if row["lane"] == "auto"}
        for plan in (rows, done)
    )
    assert len(changed) == came["changed"]
    for row in changed.values():  # the audit names the other columns it touched as well; a plan says the credits
        for state in ("before", "after"):
            row[state] = {word: row[state][word] for word in ("plan", "total", "used", "available")}
    assert changed == would


def test_links_and_metadata_are_written_where_the_truth_says(played: dict[str, Any], home: Path) -> None:
    broken = lifecycle.truth(home, "bestauth")["accounts"]
    linked = {account["account_id"] for account in broken if "LinkIdentity" in account["steps"]}
    resolved = {account["account_id"] for account in broken if "SetResolvedId" in account["steps"]}
    assert played["bestauth"]["changed"] > len(linked) + len(resolved) > 3
    with lifecycle.running(home) as environment, psycopg.connect(environment["BESTAUTH_DATABASE_URL"]) as connection:
        mapped = {row[0] for row in connection.execute("SELECT supabase_user_id::text FROM user_id_mapping")}
        named = "SELECT metadata->>'resolved_supabase_user_id' FROM bestauth_subscriptions"
        written = {row[0] for row in connection.execute(named.encode())}
    assert linked <= mapped
    assert resolved <= written
    assert not mapped & {account["account_id"] for account in broken if account["kind"] == "same_id_only"}


def test_the_first_live_run_is_quarantined_and_approved(
    played: dict[str, Any], came: dict[str, Any], name: str
) -> None:
    assert any("needs approval" in sentence for sentence in came["quarantined"])
    assert any(sentence.startswith(f"{name}: Approved by demo-approver") for sentence in played["said"])


def test_the_second_run_changes_nothing_and_nobody_lost_a_credit(came: dict[str, Any]) -> None:
    assert (came["second_run_changed"], came["credits_lost"]) == (0, 0)


def test_the_servers_are_stopped_and_the_data_stays(played: dict[str, Any], home: Path) -> None:
    assert played["said"]
    assert not EmbeddedPostgres(home).is_running()
    assert lifecycle.planted(home) == ("wix_app", "bestauth")


def test_the_demo_can_be_played_again_and_begins_afresh(played: dict[str, Any], home: Path) -> None:
    before = lifecycle.truth(home)["as_of"]
    again = run_demo(home, accounts=ACCOUNTS, seed=4)["systems"]
    assert lifecycle.truth(home)["as_of"] > before
    same = ("population", "planted", "found", "corrected", "held_by_code", "changed", "held", "missed")
    for system, came in again.items():
        assert {what: came[what] for what in same} == {what: played[system][what] for what in same}
        assert (came["second_run_changed"], came["credits_lost"]) == (0, 0)
