"""Killed with 9 at any message to Postgres, an apply that is run again ends where one clean run ends.

The suite plays every eleventh boundary; `python -m credit_pipeline_tests.chaos.test_every_boundary` plays all of them.
"""

import argparse
import json
import logging
import tempfile
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline_tests.chaos.dying import Dying
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.evidence import assert_audited
from credit_pipeline_tests.incidents.world import World, install_product

STRIDE = 11
_GRANTS = 'SELECT account, plan, period_start, credits FROM credit_pipeline."grant" ORDER BY 1, 2, 3'
_LEFT = "SELECT count(*) FROM credit_pipeline.correction WHERE outcome IS NULL"


@dataclass(frozen=True)
class Ended:
    """What an apply left behind."""

    rows: dict[str, Row]
    grants: list[tuple[Any, ...]]
    outcomes: Counter[str | None]
    state: str


class Campaign:
    """One approved plan of all kinds of rows, in a database that is copied for each death."""

    def __init__(self, databases: Databases, folder: Path) -> None:
        self._databases, self._folder = databases, folder
        self._order: dict[str, Any] = {}
        self._template = databases.template(f"a plan to die over {uuid.uuid4().hex}", self._plan)
        self.clean = self._again(self._copy(), "clean")

    def _plan(self, url: str) -> None:
        install_product(url)
        with World(url, self._folder / "planning") as world:
            hour_ago = world.now - timedelta(hours=1)
            robbed = [world.site(f"robbed {n}", "starter", 1_378, 382) for n in range(2)]
            for n in range(4):
                world.site(f"missed {n}", "starter", 1_000, n, billed="pro", since=hour_ago)
                world.site(f"short {n}", "pro", 100, n)
                world.site(f"relabelled {n}", "free", 5_000, 3_000 + n, billed="pro")
            world.check()
            for account in robbed:
                world.app.run("UPDATE app_instances SET credits_total = 1000 WHERE instance_id = %s", account)
            world.later(hours=1)
            plan = world.plan()
            world.approve(plan)
            world.approve(plan, lane="approve")
            world.book.save(self._folder / "book.json")
            self._order = {
                "plan": plan.plan_id,
                "book": str(self._folder / "book.json"),
                "now": world.now.isoformat(),
            }

    def _copy(self) -> str:
        return self._databases.new(self._template)

    def order(self, url: str, name: str) -> dict[str, Any]:
        return self._order | {"url": url, "home": str(self._folder / name)}

    def die(self, dying: Dying, boundary: int) -> bool:
        """One death and one run after it; False where the apply had fewer boundaries."""
        url = self._copy()
        if not dying.apply(self.order(url, f"dead {boundary}"), boundary):
            return False
        ended = self._again(url, f"again {boundary}")
        assert ended == self.clean, f"boundary {boundary}: {ended}"
        return True

    def _again(self, url: str, name: str) -> Ended:
        order = self.order(url, name)
        book, now = BillingBook.load(Path(order["book"])), datetime.fromisoformat(order["now"])
        with World(url, Path(order["home"]), book=book, now=now) as world:
            plan = world.gateways.plans.load(order["plan"])
            if plan.state not in {"applied", "partly_applied"}:
                plan = world.apply(order["plan"])
            with psycopg.connect(url) as connection:
                grants = connection.execute(_GRANTS).fetchall()
                assert connection.execute(_LEFT).fetchone() == (0,)
            ended = Ended(
                rows=world.app.rows(),
                grants=grants,
                outcomes=Counter(row.outcome for row in plan.rows),
                state=plan.state,
            )
        assert_audited(url, changes=len(plan.rows))
        return ended


def deaths(databases: Databases, folder: Path, *, first: int, stride: int) -> int:
    """Dies at every `stride`-th boundary from `first` on, until there is none left; how often."""
    campaign, died = Campaign(databases, folder), 0
    assert campaign.clean.state == "applied"
    assert set(campaign.clean.outcomes) == {"changed"}
    with Dying() as dying:
        boundary = first
        while campaign.die(dying, boundary):
            databases.drop_made()
            died += 1
            boundary += stride
    return died


def test_killed_at_any_boundary_a_second_run_ends_where_one_clean_run_ends(
    databases: Databases, tmp_path: Path
) -> None:
    assert deaths(databases, tmp_path, first=1, stride=STRIDE) >= 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--stride", type=int, default=1)
    asked = parser.parse_args()
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            died = deaths(Databases(server), Path(folder), first=asked.first, stride=asked.stride)
            print(json.dumps({"deaths": died, "violations": 0}))
        finally:
            server.remove()


if __name__ == "__main__":
    main()
