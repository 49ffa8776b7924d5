"""Live runs that meet, and live runs that die: every row is changed once, a second run ends where one would have."""

import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.conftest import Run
from credit_pipeline_tests.incidents.evidence import assert_audited, granted
from credit_pipeline_tests.incidents.gate import Gate, until
from credit_pipeline_tests.incidents.world import World, an_installed_product

COMMAND = "import sys; from credit_pipeline.cli.main import main; sys.exit(main())"


def command(*arguments: str) -> "subprocess.Popen[str]":
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def missed_upgrades(world: World, number: int) -> list[str]:
    """Sites that bought Pro unheard, in the order in which a batch takes them."""
    hour_ago = world.now - timedelta(hours=1)
    return sorted(world.site(f"missed {n}", "starter", 1_000, n, billed="pro", since=hour_ago) for n in range(number))


def an_approved_plan(run: Run) -> str:
    """The id of a plan whose limits were approved."""
    plan = run("fix", "wix_app", "--format", "json").json["plan_id"]
    assert run("approve", plan, "--as", "eva", "--reason", "I looked").status == 0
    return str(plan)


def test_two_appliers_of_one_plan_at_once_change_each_row_once(
    databases: Databases, tmp_path: Path, world: World
) -> None:
    accounts = missed_upgrades(world, 60)
    saved = world.plan()
    world.approve(saved)
    gate = Gate(world.url)
    with World(world.url, tmp_path / "other", book=world.book, now=world.now) as other:
        begun = [(one, one.begin(saved.plan_id)) for one in (world, other)]
        assert all(state.go for _, state in begun)
        appliers = [threading.Thread(target=one.carry_out, args=(state,)) for one, state in begun]
        with gate.closed(accounts[0]):
            for applier in appliers:
                applier.start()
            until(lambda: gate.waiting() == 2)
        for applier in appliers:
            applier.join()
    written = [row["account"] for row in world.gateways.plans.audit(plan_id=saved.plan_id)]
    assert len(written) == len(set(written)) > 0
    world.repair()  # the gate may have tried the first row's patience
    assert sorted(world.app.rows().values()) == sorted(Row("pro", 6_000 - n, 0) for n in range(60))
    assert all(granted(world.url, account) == [("pro", 5_000)] for account in accounts)
    assert_audited(world.url, changes=60)


def test_two_live_runs_of_the_command_line_at_once_change_each_row_once(run: Run, live_world: World) -> None:
    live_world.site("first", "pro", 100)
    live_world.repair()
    accounts = missed_upgrades(live_world, 5)
    assert run("fix", "wix_app").status == 1
    both = [command("fix", "wix_app", "--live") for _ in range(2)]
    for process in both:
        _, told = process.communicate(timeout=120)
        assert process.returncode in {0, 1, 2}
        assert "Traceback" not in told
        if process.returncode == 2:  # overtaken: its plan is superseded, or its collection is the older one
            assert told.startswith("wix_app")
            assert told.count("\n") == 1
    assert run("fix", "wix_app", "--live").status == 0
    rows = live_world.app.rows()
    assert sorted(rows[account] for account in accounts) == sorted(Row("pro", 6_000 - n, 0) for n in range(5))
    assert all(granted(live_world.url, account) == [("pro", 5_000)] for account in accounts)
    assert_audited(live_world.url, changes=6)


@pytest.fixture
def clean(databases: Databases, tmp_path: Path, billing: BillingServer, live_world: World) -> dict[str, Row]:
    """The same product after one run that nobody disturbed."""
    with World(an_installed_product(databases), tmp_path / "clean", server=billing, now=live_world.now) as other:
        missed_upgrades(other, 100)
        other.repair()
        assert_audited(other.url, changes=100)
        return other.app.rows()


def test_a_process_killed_twice_with_9_ends_where_one_clean_run_ends(
    run: Run, live_world: World, clean: dict[str, Row]
) -> None:
    accounts = missed_upgrades(live_world, 100)
    plan, gate = an_approved_plan(run), Gate(live_world.url)
    # In the second batch, and on the way again in the fourth: 5, then 5 + 5 + 10 + 20 rows are committed.
    for stop_at, committed in ((10, 5), (60, 40)):
        with gate.closed(accounts[stop_at]):
            process = command("apply", plan, "--live")
            try:
                until(gate.waiting)
            finally:
                process.kill()
                process.communicate()
        until(lambda: gate.writing() == 0)
        changed = [account for account, row in live_world.app.rows().items() if row.label == "pro"]
        assert sorted(changed) == accounts[:committed]
        assert_audited(live_world.url, changes=committed)
    ended = run("apply", plan, "--live", "--format", "json")
    assert (ended.status, ended.json["state"], ended.json["outcomes"]) == (0, "applied", {"changed": 100})
    assert live_world.app.rows() == clean
    assert all(granted(live_world.url, account) == [("pro", 5_000)] for account in accounts)
    assert_audited(live_world.url, changes=100)
    again = run("fix", "wix_app", "--live", "--format", "json")
    assert (again.status, again.json["rows"]) == (0, [])
