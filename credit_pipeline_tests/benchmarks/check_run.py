"""One `check` as the command runs it, with billing's answers from a snapshot file; prints seconds and peak memory.

Run by its path, with the checkout to be measured on PYTHONPATH: it knows where the release before kept its modules.
"""

import json
import sys
import time
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

FORMER = {
    "config.loader": "adapters.system_yaml",
    "adapters.artifacts.snapshots": "adapters.snapshots",
    "adapters.history.memory": "adapters.memory",
    "adapters.plans.store": "adapters.plan_store",
    "adapters.stores.counter": "adapters.store_counter",
    "adapters.stores.ledger": "adapters.store_ledger",
    "services.gateways": "services.ports",
    "services.reconcile.check": "services.check",
}
"""Module -> its name in 0.1.0."""


class Archived:
    """A billing provider that is not asked: its answers are in the archive."""

    lists = True
    provider = "archive"


def found(module: str, name: str) -> Any:
    """Something of the package, wherever this checkout keeps it."""
    for place in (module, FORMER[module]):
        try:
            return getattr(import_module(f"credit_pipeline.{place}"), name)
        except ModuleNotFoundError:
            continue
    raise SystemExit(f"no {name} in this checkout")


def peak_mb() -> float:
    """This process's own peak memory. `ru_maxrss` is no use: it keeps the parent's size from before exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def main(name: str, url: str, snapshot: str, folder: str, now: str) -> None:
    """Collect, reconcile, remember."""
    system = found("config.loader", "load_system")(name, None)
    archive = found("adapters.artifacts.snapshots", "ParquetSnapshots")(name, Path(folder))
    at = datetime.fromisoformat(now)
    if hasattr(system.store, "transactions"):
        store = found("adapters.stores.ledger", "LedgerStore")(system, url, clock=lambda: at)
    else:
        store = found("adapters.stores.counter", "CounterStore")(system, url)
    gateways = found("services.gateways", "Gateways")(
        billing=Archived(),
        store=store,
        memory=found("adapters.history.memory", "PostgresMemory")(system, url),
        plans=found("adapters.plans.store", "PostgresPlans")(url, system),
        snapshots=archive,
    )
    check = found("services.reconcile.check", "check")
    began = time.perf_counter()
    report = check(system, gateways, run_id=f"bench-{at:%Y%m%d%H}", now=at, subscriptions=archive.open(snapshot))
    seconds = time.perf_counter() - began
    classes = {code: count for code, count in report.classes.items() if count}
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "population": report.population, "classes": classes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
