"""Five weeks written by the real collector, then judged by the real rules: exactly what was planted is found."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.adapters.install.install import install
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.sandbox.lifecycle import sandbox_system
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.sandbox.scenarios.past import run_at, run_times, write_past
from credit_pipeline.sandbox.scenarios.seeded_values import WATCH
from credit_pipeline.sandbox.scenarios.worlds import WixWorld
from credit_pipeline.services.report.report import Report

PRESENT = datetime(2027, 3, 1, 4, 30, tzinfo=UTC)
"""A moment whose past holds a short month; the rules count from the injected clock, not from today."""
SYSTEM = sandbox_system()


class Lived:
    """A population of 200 with its past, and what a run at the present makes of it."""

    def __init__(self, url: str, home: Any) -> None:
        environ = {"WIX_DATABASE_URL": url, "WIX_APP_ID": "a", "WIX_APP_SECRET": "b"}
        with (
            WixWorld(SYSTEM, url, accounts=200, seed=3, present=PRESENT) as world,
            open_gateways(SYSTEM, home, environ) as opened,
        ):
            world.create()
            install(url, SYSTEM)
            gateways = world.as_seen(opened)
            write_past(SYSTEM, gateways, world, present=PRESENT)
            self.rows = dict(world.app.states())
            self.changes = world.app.last_change()
            self.report: Report = _check(gateways)
            self.changed_by_looking = world.app.last_change() - self.changes
            self.states = world.life.states
            self.truth = world.truth()
        self.url = url

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(text.encode()).fetchall()


def _check(gateways: Any) -> Report:
    """What `check` would say at the present: nothing is left to settle."""
    return run_at(SYSTEM, gateways, PRESENT + timedelta(seconds=30), settle=False)


@pytest.fixture(scope="module")
def lived(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    postgres.create_database("sandbox_past")
    yield Lived(postgres.url("sandbox_past"), tmp_path_factory.mktemp("past"))
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE sandbox_past WITH (FORCE)")


def test_no_look_is_more_than_a_day_after_the_one_before() -> None:
    times = run_times(PRESENT, WixWorld.spacing)
    assert max(later - earlier for earlier, later in pairwise([*times, PRESENT])) < timedelta(hours=24)
    assert times[0] - (PRESENT - WATCH) < timedelta(hours=24)
    assert PRESENT - times[-1] == timedelta(hours=6)


def test_the_product_stands_as_the_story_ends(lived: Lived) -> None:
    assert lived.rows == lived.states
    assert lived.changes > 500


def test_looking_changes_nothing_of_the_product(lived: Lived) -> None:
    assert lived.changed_by_looking == 0


def test_marks_are_assumed_by_the_first_look_and_adopted_by_later_ones(lived: Lived) -> None:
    marks = "SELECT mark, count(*) FROM (SELECT mark FROM credit_pipeline.observation UNION ALL "
    marks += "SELECT mark FROM credit_pipeline.observation_log) AS all_of_them WHERE mark IS NOT NULL GROUP BY mark"
    counted = dict(lived.query(marks))
    assert counted["assumed"] > 30
    assert counted["adopted"] > 60


def test_every_look_was_complete_and_is_remembered(lived: Lived) -> None:
    seen = lived.query("SELECT as_of FROM credit_pipeline.snapshot ORDER BY as_of")
    assert [as_of for (as_of,) in seen] == [*run_times(PRESENT, WixWorld.spacing), PRESENT + timedelta(seconds=30)]


def test_what_is_planted_is_found_with_code_lane_and_secondary_codes(lived: Lived) -> None:
    def told(account: dict[str, Any]) -> tuple[Any, ...]:
        return account["code"], tuple(account["secondary"]), account["lane"]

    def found(mismatch: Mismatch) -> tuple[Any, ...]:
        return mismatch.code, mismatch.secondary, mismatch.lane

    planted = {account["account_id"]: told(account) for account in lived.truth["accounts"]}
    assert {str(m.account_id): found(m) for m in lived.report.mismatches} == planted
    assert lived.report.in_sync == lived.truth["in_sync"]


def test_the_corrections_are_those_of_the_truth(lived: Lived) -> None:
    planted = {
        (account["account_id"], lane): (account[lane]["set_plan"], account[lane]["delta"])
        for account in lived.truth["accounts"]
        for lane in ("auto", "approve")
        if account[lane]
    }
    assert len(planted) > 20

    def moves(correction: Correction) -> tuple[str | None, int]:
        return correction.set_plan.label if correction.set_plan else None, correction.delta

    assert {(c.account_id, c.lane.value): moves(c) for c in lived.report.corrections} == planted


def test_an_automatic_correction_ends_where_the_truth_says(lived: Lived) -> None:
    after = {a["account_id"]: a["auto"]["after"] for a in lived.truth["accounts"] if a["auto"]}
    made = {c.account_id: c.after for c in lived.report.corrections if c.lane is Lane.AUTO}
    assert {
        account: {"plan": seen.label, "total": seen.total, "used": seen.used, "available": seen.available}
        for account, seen in made.items()
    } == after
