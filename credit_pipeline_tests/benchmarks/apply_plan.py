"""What a large plan costs to apply: `python -m credit_pipeline_tests.benchmarks.apply_plan`.

The one-time fix of a very sick product: 30 of 100 accounts bought Pro unheard, one plan, one approval. Measured is the
whole apply as the job's ops make it (guards, billing asked again, canary, batches with invariants between, the chained
audit), against the same rows updated in batches of 200 with one plain audit row each, in the same run.
"""

import argparse
import json
import logging
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline.services.apply import Apply
from credit_pipeline_tests.incidents.world import World, account_id, install_product

SICK = 30
"""Of 100 accounts."""
CANARY, LARGEST = 5, 200

_SITE = (
    "INSERT INTO app_instances (instance_id, plan_id, credits_total, credits_used_month) VALUES (%s, 'starter', %s, %s)"
)
_RAW = """
CREATE TABLE raw_balance AS SELECT instance_id, plan_id, credits_total, credits_used_month FROM app_instances;
ALTER TABLE raw_balance ADD PRIMARY KEY (instance_id);
CREATE TABLE raw_audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload text NOT NULL)
"""
_RAW_BATCH = """
WITH changed AS (
    UPDATE raw_balance SET plan_id = 'pro', credits_total = credits_total - credits_used_month + 5000,
        credits_used_month = 0 WHERE instance_id = ANY (%s)
    RETURNING instance_id, plan_id, credits_total)
INSERT INTO raw_audit (payload) SELECT to_json(c)::text FROM changed AS c
"""


def main() -> None:
    """Plan, approve and apply; print the rows a second of both and their ratio."""
    parser = argparse.ArgumentParser(prog="apply_plan")
    parser.add_argument("--accounts", type=int, default=100_000)
    accounts = parser.parse_args().accounts
    logging.disable(logging.ERROR)  # a line a row is not what is measured
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_bench-") as home:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home) / "server")
        server.start()
        try:
            server.create_database("bench")
            measured = measure(server.url("bench"), Path(home), accounts)
        finally:
            server.remove()
    print(json.dumps(measured, indent=2))


def measure(url: str, home: Path, accounts: int) -> dict[str, float]:
    """Seconds of each phase, and the ratio to the raw limit."""
    install_product(url)
    book = BillingBook()
    ids = [account_id(f"site {n}") for n in range(accounts)]
    _fill(url, book, ids)
    with (
        World(url, home / "snapshots", book=book, now=datetime.now(UTC) - timedelta(minutes=1)) as world,
        closing(PostgresPlans(url, world.system)) as plans,  # the world's own have a clock that moves, which costs
    ):
        world.gateways = replace(world.gateways, plans=plans)
        began = time.perf_counter()
        plan = world.plan()
        planned = time.perf_counter()
        world.approve(plan)
        apply = Apply(system=world.system, gateways=world.gateways, clock=lambda: datetime.now(UTC))
        state = apply.guard(plan.plan_id, live=True, person=True)
        assert state.go, state.failures
        approved = time.perf_counter()
        applied_plan = apply.finish(apply.rest(apply.canary(apply.confirm(state)))).plan
        applied = time.perf_counter()
        assert applied_plan.state == "applied"
    rows = len(plan.rows)
    assert rows == accounts * SICK // 100
    raw = _raw(url, [row.correction.account_id for row in plan.rows])
    return {
        "accounts": accounts,
        "rows": rows,
        "check_and_plan_s": round(planned - began, 1),
        "approve_and_guard_s": round(approved - planned, 1),
        "apply_s": round(applied - approved, 1),
        "rows_per_s": round(rows / (applied - approved)),
        "raw_rows_per_s": round(rows / raw),
        "ratio": round((applied - approved) / raw, 1),
    }


def _fill(url: str, book: BillingBook, ids: list[str]) -> None:
    bought = datetime.now(UTC) - timedelta(hours=30)
    for number, account in enumerate(ids):
        word = "pro" if number % 100 < SICK else "starter"
        book.put(account, is_free=False, package_name=word, time_stamp=bought, auto_renewing=True)
    with psycopg.connect(url) as connection:
        rows = [(account, 1_000, number % 900) for number, account in enumerate(ids)]
        connection.cursor().executemany(_SITE, rows)
        for statement in _RAW.split(";"):
            connection.execute(statement.encode())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _raw(url: str, accounts: list[str]) -> float:
    began = time.perf_counter()
    with psycopg.connect(url) as connection:
        for first in range(0, len(accounts), LARGEST):
            connection.execute(_RAW_BATCH, (accounts[first : first + LARGEST],))
            connection.commit()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
