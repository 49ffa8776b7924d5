"""One `check` as the command runs it, with billing's answers from a snapshot file; prints seconds and peak memory."""

import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from credit_pipeline.adapters.memory import PostgresMemory
from credit_pipeline.adapters.plan_store import PostgresPlans
from credit_pipeline.adapters.snapshots import ParquetSnapshots
from credit_pipeline.adapters.store_counter import CounterStore
from credit_pipeline.domain.account import BillingId
from credit_pipeline.services.check import check
from credit_pipeline.services.ports import Gateways, Progress, Pull
from credit_pipeline_tests.benchmarks.accounts import START, SYSTEM
from credit_pipeline_tests.benchmarks.peak import peak_mb


class RecordedBilling:
    """Billing's answers as they were written down."""

    provider = "wix"
    lists = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def pull(self, ids: Sequence[BillingId], now: datetime, progress: Progress | None = None) -> Pull:
        return Pull(table=pq.read_table(self.path), level="L3", enumerated=True, asked=len(ids), unanswered=0)


def main(url: str, snapshot: str, folder: str, number: str) -> None:
    """Collect, reconcile, remember; six hours after the run before."""
    began = time.perf_counter()
    now = START + timedelta(hours=6 * int(number))
    gateways = Gateways(
        billing=RecordedBilling(Path(snapshot)),
        store=CounterStore(SYSTEM, url),
        memory=PostgresMemory(SYSTEM, url),
        plans=PostgresPlans(url, SYSTEM),
        snapshots=ParquetSnapshots(SYSTEM.name, Path(folder)),
    )
    report = check(SYSTEM, gateways, run_id=f"bench-{number}", now=now)
    seconds = time.perf_counter() - began
    assert report.population > 0
    assert 0 < sum(report.classes.values()) < report.population / 100
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "classes": dict(report.classes)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
