"""One `check` as the command runs it, with billing's answers from a snapshot file; prints seconds and peak memory."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.adapters.history.memory import PostgresMemory
from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.adapters.stores.counter import CounterStore
from credit_pipeline.sandbox.billing.book_billing import BookBilling
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.check import check
from credit_pipeline_tests.benchmarks.accounts import START, SYSTEM
from credit_pipeline_tests.benchmarks.peak import peak_mb


def main(url: str, snapshot: str, folder: str, number: str) -> None:
    """Collect, reconcile, remember; six hours after the run before."""
    began = time.perf_counter()
    now = START + timedelta(hours=6 * int(number))
    archive = ParquetSnapshots(SYSTEM.name, Path(folder))
    gateways = Gateways(
        billing=BookBilling(BillingBook()),  # not asked: its answers are in the archive
        store=CounterStore(SYSTEM, url),
        memory=PostgresMemory(SYSTEM, url),
        plans=PostgresPlans(url, SYSTEM),
        snapshots=archive,
    )
    report = check(SYSTEM, gateways, run_id=f"bench-{number}", now=now, subscriptions=archive.open(snapshot))
    seconds = time.perf_counter() - began
    assert report.population > 0
    assert 0 < sum(report.classes.values()) < report.population / 100
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "classes": dict(report.classes)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
