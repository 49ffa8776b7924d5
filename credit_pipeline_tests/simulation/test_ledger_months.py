"""Months of six-hourly scheduled runs over a ledger product with known truth, on real parts but for billing's HTTP.

Promises: every paid period's grant is made once, by the product or by us, or held for a person with the reason; nothing
else is granted, and no credit is lost. `python -m credit_pipeline_tests.simulation.test_ledger_months --seeds 5` plays
more and longer lives.
"""

import argparse
import logging
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from credit_pipeline.adapters.install.hardening import hardening_sql
from credit_pipeline.adapters.install.install import install
from credit_pipeline.domain.plans.catalogue import Amount, Catalogue, Plan
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.simulation.ledger_app import LedgerApp, create_tables
from credit_pipeline_tests.simulation.ledger_fates import CHECKS, Fate, unexplained
from credit_pipeline_tests.simulation.ledger_life import LedgerLife, References
from credit_pipeline_tests.simulation.ledger_lives import FIRST_RUN, LAST_NAMED, LIVES, WORLD_BEGINS, random_life
from credit_pipeline_tests.simulation.ledger_operations import STEP, SYSTEM, LedgerOperations

SEED = 20261121
REPRICED: Mapping[datetime, Mapping[str, int]] = {
    FIRST_RUN + timedelta(days=9, hours=5): {"pro": 6_000, "starter": 1_500},
    FIRST_RUN + timedelta(days=20, hours=17): {"pro": 7_000, "free": 200},
    FIRST_RUN + timedelta(days=37, hours=3): {"pro": 5_000, "business": 12_000},
}


@dataclass(frozen=True)
class World:
    """How the product names its grants, whether it installed the hardening, and whether somebody decides."""

    references: References
    hardened: bool
    decides: bool

    def __str__(self) -> str:
        return f"{self.references}{', hardened' * self.hardened}{', with a person' * self.decides}"


WORLDS = (
    World("shared", hardened=True, decides=False),
    World("shared", hardened=False, decides=True),
    World("own", hardened=False, decides=True),
    World("none", hardened=False, decides=False),
)
IN_SUITE = WORLDS[:1]
"""A minute and more each; the command plays all of them."""


def _tables(url: str) -> None:
    create_tables(url)
    install(url, SYSTEM)


def play(
    databases: Databases,
    folder: Path,
    world: World,
    *,
    seed: int,
    until: datetime,
    others: int,
    repriced: Mapping[datetime, Mapping[str, int]] | None = None,
) -> dict[str, int]:
    """All named lives and some random ones; returns counts so that a reader sees that something happened."""
    url = databases.new(databases.template("ledger simulation", _tables))
    if world.hardened:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute((hardening_sql(SYSTEM) or "").encode())
    with ExitStack() as opened:
        app = opened.enter_context(closing(LedgerApp(url, once=world.hardened)))
        life = LedgerLife(app, seed=seed, references=world.references, hardened=world.hardened, start=WORLD_BEGINS)
        life.live(WORLD_BEGINS)
        for script in LIVES.values():
            script(life)
        for number in range(others):
            random_life(life, number, until)
        operations = opened.enter_context(closing(LedgerOperations(url, folder, life, decides=world.decides)))
        wrong = _months(life, operations, until, repriced or {})
        wrong += _named(life, operations) if until >= LAST_NAMED and not repriced else []
        rows, faults = operations.verified()
        assert not faults
        assert rows == operations.outcomes["changed"]
        assert not wrong, "\n".join([f"world {world}, seed {seed}", *dict.fromkeys(wrong)])
        return _counts(life, operations)


def _months(
    life: LedgerLife, operations: LedgerOperations, until: datetime, repriced: Mapping[datetime, Mapping[str, int]]
) -> list[str]:
    wrong: list[str] = []
    now = FIRST_RUN
    for at in repriced:
        life.at(at, lambda at=at: _reprice(life, operations, at, repriced[at]))  # type: ignore[misc]
    while now <= until:
        life.spend()
        operations.run(now)
        wrong += unexplained(life, operations, now)
        now += STEP
    return wrong


def _reprice(life: LedgerLife, operations: LedgerOperations, at: datetime, credits: Mapping[str, int]) -> None:
    """The product sells other amounts, and somebody accepts them at once."""

    def of(plan: Plan) -> Plan:
        if plan.name not in credits:
            return plan
        return replace(plan, credits=credits[plan.name], former=(*plan.former, Amount(until=at, credits=plan.credits)))

    life.catalogue = Catalogue(plans=tuple(of(plan) for plan in life.catalogue.plans))
    written = tuple(replace(plan, former=()) for plan in life.catalogue.plans)
    operations.accept(Catalogue(plans=written), at)


def _named(life: LedgerLife, operations: LedgerOperations) -> list[str]:
    wrong = []
    for name, check in CHECKS.items():
        fate = Fate(name=name, life=life, operations=operations)
        try:
            check(fate)
        except AssertionError as error:
            wrong.append(f"{name}: {str(error).splitlines()[:1]} {fate}")
    return wrong


def _counts(life: LedgerLife, operations: LedgerOperations) -> dict[str, int]:
    return {
        "owed": sum(one.owed for one in life.truth),
        "given by product": sum(bool(one.by_product) for one in life.truth),
        "given by us": len(operations.given),
        "given twice": sum(one.times > 1 for one in life.truth),
        "held at the end": sum(s.code == "grant_missing" for s in operations.open),
        "stale": operations.outcomes["stale_skipped"],
    }


def test_every_named_life_is_checked() -> None:
    assert set(LIVES) == set(CHECKS)


@pytest.mark.parametrize("world", IN_SUITE, ids=str)
def test_months_of_a_careless_product(databases: Databases, tmp_path: Path, world: World) -> None:
    counts = play(databases, tmp_path, world, seed=SEED, until=LAST_NAMED, others=6)
    print(f"{world}, seed {SEED}: {counts}")
    assert counts["given by product"] >= 40
    assert counts["given by us"] >= 15


def main() -> None:
    """More and longer lives than the suite plays."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--others", type=int, default=24)
    parser.add_argument("--repriced", action="store_true", help="amounts are raised, raised again and lowered")
    parser.add_argument("--world", choices=list(map(str, WORLDS)))
    asked = parser.parse_args()
    logging.disable(logging.ERROR)
    logging.disable()  # one line a finding and run
    until = FIRST_RUN + timedelta(days=asked.days)
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            databases = Databases(server)
            for seed in range(asked.first, asked.first + asked.seeds):
                for world in (w for w in WORLDS if asked.world in {None, str(w)}):
                    with tempfile.TemporaryDirectory() as folder:
                        how = {"until": until, "others": asked.others, "repriced": REPRICED if asked.repriced else None}
                        told = play(databases, Path(folder), world, seed=seed, **how)  # type: ignore[arg-type]
                        print(seed, world, told, flush=True)
        finally:
            server.remove()


if __name__ == "__main__":
    main()
