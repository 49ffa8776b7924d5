"""The health report where little is known, and its pictures. What it says of a real product is in `test_runs.py`."""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline_tests.orchestration.fake_world import World, a_world
from credit_pipeline_tests.orchestration.jobs.test_reconcile_job import Bench, check_of, metadata_of

NOW = datetime.now(UTC)
PICTURE = "![balances over time](data:image/png;base64,"
COMPARED = "both_sides_were_compared_lately"
POINTS = [BalancePoint(at=NOW + n * timedelta(hours=6), accounts=2, available=10 * n, granted=20 * n) for n in range(3)]


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[[World], Bench]]:
    monkeypatch.setenv("CREDIT_PIPELINE_HOME", str(tmp_path / "home"))
    caplog.set_level(logging.CRITICAL, logger="dagster")
    with dg.DagsterInstance.ephemeral() as instance:
        yield lambda world: Bench(world, instance, str(tmp_path))


def counts(result: dg.ExecuteInProcessResult) -> dict[str, int | None]:
    assert result.success
    return {one["name"]: one["count"] for one in result.output_for_node("wix_app__health_report")["checks"]}


def test_before_anything_was_compared_the_monitor_says_so_and_asks_nobody(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    result = bench(world).run("wix_app_health")
    told = counts(result)
    assert {name for name, count in told.items() if count is not None} == {COMPARED}
    assert told[COMPARED] == 1
    assert check_of(result, COMPARED).metadata["last comparison"].value == "never"
    assert world.pulls == 0
    assert "balances over time" not in metadata_of(result, "health_report")


def test_where_nothing_is_installed_the_last_report_is_judged(bench: Callable[[World], Bench]) -> None:
    here = bench(a_world(installed=False))
    assert here.run().success
    told = counts(here.run("wix_app_health"))
    assert told["no_paid_account_without_its_grant"] == 2
    assert told["no_credits_lost"] is None
    assert told[COMPARED] == 0
    assert here.world.pulls == 1


@pytest.mark.parametrize("installed", [True, False])
def test_by_an_incomplete_collection_nobody_is_called_healthy(bench: Callable[[World], Bench], installed: bool) -> None:
    found = {f"well-{n}": ["pro", 5000, n] for n in range(10)}
    result = bench(a_world(accounts=found, enumerated=False, installed=installed)).run()
    told = counts(result)
    assert {name for name, count in told.items() if count is not None} == {COMPARED}
    assert told[COMPARED] == 1


@pytest.mark.parametrize("job", ["wix_app_reconcile", "wix_app_health"])
def test_the_balances_of_the_last_month_are_a_picture_in_the_metadata(
    bench: Callable[[World], Bench], job: str
) -> None:
    result = bench(a_world(history=POINTS)).run(job)
    assert result.success
    assert str(metadata_of(result, "health_report")["balances over time"]).startswith(PICTURE)


def test_a_run_is_not_worth_less_because_the_picture_could_not_be_drawn(bench: Callable[[World], Bench]) -> None:
    result = bench(a_world(history=None)).run()
    assert result.success
    told = metadata_of(result, "health_report")["balances over time"]
    assert told == "not drawn: wix_app: the database took too long: run it again"


def test_a_look_at_single_accounts_shows_the_balance_of_the_first_three(bench: Callable[[World], Bench]) -> None:
    names = ["short", "well-1", "well-2", "well-3"]
    result = bench(a_world()).run("wix_app_sync_accounts", accounts=names)
    assert result.success
    (shown,) = map(_metadata, result.filter_events(lambda event: event.event_type_value == "STEP_OUTPUT"))
    drawn = {name: value for name, value in shown.items() if name.startswith("balance")}
    assert drawn.keys() == {f"balance of {name}" for name in names[:3]}
    assert all(str(value).startswith(PICTURE) for value in drawn.values())


def _metadata(event: dg.DagsterEvent) -> Mapping[str, Any]:
    return {name: value.value for name, value in event.step_output_data.metadata.items()}
