"""The schedules under Dagster's own scheduler, on a real instance with the packaged settings, at times of ours.

A daemon is one pass of the scheduler's loop with nothing in memory, as after a restart. Runs are queued, not started.
"""

import logging
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import dagster._daemon.daemon  # before the scheduler, with which it is a circle
import psycopg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus
from dagster._core.storage.tags import SCHEDULED_EXECUTION_TIME_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._scheduler.scheduler import launch_scheduled_runs

from credit_pipeline.config.loader import PACKAGED
from credit_pipeline.orchestration.instance import DAGSTER_URL, instance, prepare_home

# Dagster reads a property of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*environment_vars:DeprecationWarning")

RECONCILE, HEALTH = "wix_app_reconcile", "wix_app_health"
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
"""Dagster forgets ticks that are 90 days old by the real clock."""
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LOCATION = InProcessCodeLocationOrigin(
    LoadableTargetOrigin(
        executable_path=sys.executable, module_name="credit_pipeline.definitions", working_directory=str(Path.cwd())
    ),
    location_name="credit_pipeline",
)


class Installation:
    """An instance whose daemon runs when a test says so."""

    def __init__(self, opened: dg.DagsterInstance, url: str) -> None:
        self.instance, self.url = opened, url

    def daemon(self, at: datetime) -> None:
        """One pass of the scheduler's loop by a daemon that has just started, at that time."""
        scheduler = self.instance.scheduler
        with WorkspaceProcessContext(self.instance, InProcessWorkspaceLoadTarget(LOCATION)) as workspace:
            told = launch_scheduled_runs(
                workspace,
                logging.getLogger("scheduler"),
                end_datetime_utc=at,
                iteration_times={},
                max_catchup_runs=scheduler.max_catchup_runs,
                max_tick_retries=scheduler.max_tick_retries,
            )
            list(told)

    def runs(self, job: str) -> list[datetime]:
        """For which times runs of the job were asked for, oldest first."""
        found = self.instance.get_runs(dg.RunsFilter(job_name=job))
        return sorted(datetime.fromisoformat(run.tags[SCHEDULED_EXECUTION_TIME_TAG]) for run in found)

    def ticks(self, job: str) -> list[InstigatorTick]:
        (state,) = [one for one in self.instance.all_instigator_state() if one.instigator_name == f"{job}_schedule"]
        return list(self.instance.get_ticks(state.instigator_origin_id, state.selector_id))


@pytest.fixture
def installation(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    for name in ("DAGSTER_HOME", DAGSTER_URL):
        monkeypatch.setenv(name, "")
    shutil.copytree(PACKAGED / "wix_app", tmp_path / "defs" / "wix_app")
    monkeypatch.setenv("CREDIT_PIPELINE_DEFS", str(tmp_path / "defs"))
    prepare_home(tmp_path, database)
    with instance() as opened:
        yield Installation(opened, database)


def test_ticks_missed_while_no_daemon_ran_are_made_up_for_by_one_run(installation: Installation) -> None:
    installation.daemon(MIDNIGHT + HOUR)
    assert installation.runs(RECONCILE) == [], "a new installation has missed nothing"
    installation.daemon(MIDNIGHT + 6 * HOUR + MINUTE)
    assert installation.runs(RECONCILE) == [MIDNIGHT + 6 * HOUR]
    back = MIDNIGHT + 24 * HOUR + 10 * MINUTE  # 12, 18 and 24 h were missed, and as many hours of the monitor
    installation.daemon(back)
    assert installation.runs(RECONCILE) == [MIDNIGHT + 6 * HOUR, MIDNIGHT + 24 * HOUR]
    assert installation.runs(HEALTH) == [MIDNIGHT + 5.5 * HOUR, MIDNIGHT + 23.5 * HOUR]
    for later in (MINUTE, 2 * MINUTE):
        installation.daemon(back + later)
    assert len(installation.runs(RECONCILE)) == 2
    assert len(installation.runs(HEALTH)) == 2
    installation.daemon(MIDNIGHT + 30 * HOUR)
    assert installation.runs(RECONCILE)[2:] == [MIDNIGHT + 30 * HOUR], "and the next one is on time again"


def test_a_tick_that_failed_is_tried_again_and_runs_once(installation: Installation) -> None:
    installation.daemon(MIDNIGHT + HOUR)
    due = MIDNIGHT + 6 * HOUR
    with psycopg.connect(installation.url, autocommit=True) as connection:
        connection.execute("ALTER TABLE runs ADD CONSTRAINT disk_full CHECK (false) NOT VALID")
        installation.daemon(due)
        connection.execute("ALTER TABLE runs DROP CONSTRAINT disk_full")
    assert installation.runs(RECONCILE) == []
    assert [tick.status for tick in installation.ticks(RECONCILE)] == [TickStatus.FAILURE]
    installation.daemon(due + 3 * MINUTE)
    installation.daemon(due + 4 * MINUTE)
    assert installation.runs(RECONCILE) == [due]
    assert [tick.status for tick in installation.ticks(RECONCILE)] == [TickStatus.SUCCESS]


def test_a_run_that_was_asked_for_before_the_daemon_died_is_not_asked_for_again(installation: Installation) -> None:
    installation.daemon(MIDNIGHT + HOUR)
    due = MIDNIGHT + 6 * HOUR
    installation.daemon(due)
    (tick,) = installation.ticks(RECONCILE)
    installation.instance.update_tick(tick.with_status(TickStatus.STARTED))  # killed before it noted the end
    installation.daemon(due + MINUTE)
    assert installation.runs(RECONCILE) == [due]
    assert [tick.status for tick in installation.ticks(RECONCILE)] == [TickStatus.SUCCESS]
