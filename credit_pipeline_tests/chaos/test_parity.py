"""A dry run says what a live run does, row by row, when nothing else changes: 1,000 random states."""

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

from credit_pipeline.services.plans.ports import SavedPlan
from credit_pipeline.services.plans.report import PlanReport
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.incidents.evidence import assert_audited
from credit_pipeline_tests.incidents.world import World, an_installed_product

SITES = 1_000
SEED = 20261121
PLANS = ("free", "starter", "pro", "pro_plus")
SAME = ("account_id", "codes", "steps", "set_plan", "reset_used", "delta", "grant_key", "lane", "before", "after")


def told(plan: SavedPlan, mode: str) -> list[dict[str, Any]]:
    """The rows as a person reads them."""
    rows: list[dict[str, Any]] = PlanReport(plan=plan, mode=mode, failures=()).as_json()["rows"]
    return rows


def _random_sites(world: World, chance: random.Random) -> None:
    """Sites in any state a product may leave them in, and what billing says of them."""
    for number in range(SITES):
        label, billed = chance.choice([*PLANS, None]), chance.choice([*PLANS, None])
        total = chance.choice((0, 100, 1_000, 5_000, 15_000, chance.randrange(20_000)))
        used = chance.choice((0, total, chance.randrange(total + 1)))
        since = world.now - timedelta(minutes=chance.randrange(80_000))
        world.site(f"site {number}", label, total, used, billed=None if billed == "free" else billed, since=since)


def _random_changes(world: World, chance: random.Random) -> None:
    """What happens between two looks: purchases, spending, jobs that reset credits, lost labels."""
    for account, row in world.app.rows().items():
        match chance.randrange(6):
            case 0:
                world.bill(account, chance.choice(PLANS[1:]))
            case 1:
                world.bill(account, None)
            case 2 | 3:
                total = max(0, row.total - chance.randrange(1, 3_000))
                world.app.run(
                    "UPDATE app_instances SET credits_total = %s, credits_used_month = least(credits_used_month, %s)"
                    " WHERE instance_id = %s",
                    total, total, account,
                )  # fmt: skip


def test_a_dry_run_is_what_the_live_run_does_in_1_000_random_states(databases: Databases, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with World(an_installed_product(databases), tmp_path / "home") as world:
        _random_sites(world, chance)
        world.check()
        _random_changes(world, chance)
        world.later(hours=1)
        planned = world.plan()
        world.approve(planned)
        world.approve(planned, lane="approve")
        dry = told(world.gateways.plans.load(planned.plan_id), "dry_run")
        rows_before = world.app.rows()
        applied = world.apply(planned.plan_id)
        live = told(applied, "live")
        rows_after = world.app.rows()

    assert {row["outcome"] for row in dry} == {"would_change"}
    assert [row["failures"] for row in live if row["outcome"] != "changed"] == [], SEED
    assert applied.state == "applied"
    twice = {row["account_id"] for row in dry if [r["account_id"] for r in dry].count(row["account_id"]) > 1}
    alone = [(d, s) for d, s in zip(dry, live, strict=True) if d["account_id"] not in twice]
    for said, done in alone:
        assert {name: said[name] for name in SAME} == {name: done[name] for name in SAME}, SEED
    # Two corrections of one account, one of them released by a person, stand on each other: their sum is what is said.
    delta = {account: sum(row["delta"] for row in dry if row["account_id"] == account) for account in rows_before}
    assert {a: row.available - rows_before[a].available for a, row in rows_after.items()} == delta, SEED
    assert len({row["account_id"] for row in dry}) > SITES / 4
    assert {row["lane"] for row in dry} == {"auto", "approve"}
    assert_audited(world.url, changes=len(dry))
