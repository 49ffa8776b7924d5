"""bestauth's five weeks written by the real collector, judged by the real rules: just what was planted is found."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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
from credit_pipeline.sandbox.scenarios.worlds import BestauthWorld
from credit_pipeline.services.report.report import Report

PRESENT = datetime(2027, 3, 1, 4, 30, tzinfo=UTC)
"""A moment whose past holds a short month; the rules count from the injected clock, not from today."""
SYSTEM = sandbox_system("bestauth")


class Lived:
    """A population of 200 with its past, and what a run at the present makes of it."""

    def __init__(self, url: str, home: Any) -> None:
        environ = {"BESTAUTH_DATABASE_URL": url, "BESTAUTH_STRIPE_KEY": "rk_test_0"}
        with (
            BestauthWorld(SYSTEM, url, accounts=200, seed=3, present=PRESENT) as world,
            open_gateways(SYSTEM, home, environ) as opened,
        ):
            world.create()
            install(url, SYSTEM)
            gateways = world.as_seen(opened)
            write_past(SYSTEM, gateways, world, present=PRESENT)
            self.rows = dict(world.app.states())
            changes = world.app.last_change()
            self.report: Report = run_at(SYSTEM, gateways, PRESENT + timedelta(seconds=30), settle=False)
            self.changed_by_looking = world.app.last_change() - changes
            product = world.life.product
            self.states = {account: product.state(account) for account in product.accounts()}
            self.truth = world.truth()
        self.url = url

    @property
    def found(self) -> dict[str, Mismatch]:
        """What was found, by what a report calls the subject."""
        return {str(mismatch.account_id or mismatch.billing_id): mismatch for mismatch in self.report.mismatches}

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(text.encode()).fetchall()


@pytest.fixture(scope="module")
def lived(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    postgres.create_database("sandbox_bestauth")
    yield Lived(postgres.url("sandbox_bestauth"), tmp_path_factory.mktemp("past"))
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE sandbox_bestauth WITH (FORCE)")


def _named(account: dict[str, Any]) -> str:
    return str(account["billing_id"] or account["account_id"])


def test_the_product_stands_as_the_story_ends(lived: Lived) -> None:
    assert lived.rows == lived.states


def test_looking_changes_nothing_of_the_product(lived: Lived) -> None:
    assert lived.changed_by_looking == 0


def test_every_look_was_complete_and_is_remembered(lived: Lived) -> None:
    seen = lived.query("SELECT as_of FROM credit_pipeline.snapshot ORDER BY as_of")
    times = run_times(PRESENT, BestauthWorld.spacing)
    assert [as_of for (as_of,) in seen] == [*times, PRESENT + timedelta(seconds=30)]
    assert times[0] - (PRESENT - WATCH) < BestauthWorld.spacing


def test_marks_are_assumed_by_the_first_look_and_adopted_by_later_ones(lived: Lived) -> None:
    marks = "SELECT mark, count(*) FROM (SELECT mark FROM credit_pipeline.observation UNION ALL "
    marks += "SELECT mark FROM credit_pipeline.observation_log) AS all_of_them WHERE mark IS NOT NULL GROUP BY mark"
    counted = dict(lived.query(marks))
    assert counted["assumed"] > 30
    assert counted["adopted"] > 60


def test_what_is_planted_is_found_with_code_lane_and_secondary_codes(lived: Lived) -> None:
    told = {_named(a): (a["code"], tuple(a["secondary"]), a["lane"]) for a in lived.truth["accounts"]}
    assert {name: (m.code, m.secondary, m.lane) for name, m in lived.found.items()} == told
    assert lived.report.in_sync == lived.truth["in_sync"]
    assert lived.report.population == lived.truth["population"] == 200


def test_the_corrections_are_those_of_the_truth(lived: Lived) -> None:
    planted = {
        (account["account_id"], lane): (account[lane]["set_plan"], account[lane]["delta"])
        for account in lived.truth["accounts"]
        for lane in ("auto", "approve")
        if account[lane]
    }
    assert len(planted) > 25

    def moves(correction: Correction) -> tuple[str | None, int]:
        return correction.set_plan.label if correction.set_plan else None, correction.delta

    assert {(c.account_id, c.lane.value): moves(c) for c in lived.report.corrections} == planted


def test_an_automatic_correction_has_the_steps_and_the_end_that_the_truth_says(lived: Lived) -> None:
    right = {a["account_id"]: (set(a["steps"]), a["auto"]["after"]) for a in lived.truth["accounts"] if a["auto"]}
    made = {c.account_id: c for c in lived.report.corrections if c.lane is Lane.AUTO}
    assert {
        account: (
            {type(step).__name__ for step in correction.steps},
            {
                "plan": correction.after.label,
                "total": correction.after.total,
                "used": correction.after.used,
                "available": correction.after.available,
            },
        )
        for account, correction in made.items()
    } == right


def test_layer_three_alone_never_receives_anything(lived: Lived) -> None:
    guesses = [a["account_id"] for a in lived.truth["accounts"] if a["kind"] in {"same_id_only", "same_id_only_free"}]
    assert guesses
    assert not {c.account_id for c in lived.report.corrections} & set(guesses)


def test_an_email_address_is_a_suggestion_and_never_a_link(lived: Lived) -> None:
    (account,) = [a for a in lived.truth["accounts"] if a["kind"] == "nobody"]
    evidence = lived.found[account["billing_id"]].evidence["id_unmapped"]
    assert evidence["reason"] == "no_user"
    assert len(evidence["suggestions"]) == 1
    assert account["billing_id"] not in {str(c.billing_id) for c in lived.report.corrections}
