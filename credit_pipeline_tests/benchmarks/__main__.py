"""`make bench`: what `check` costs against a raw COPY of what it reads plus a hash join.

Each measurement runs in a process of its own, so that peak memory is its own. Ratios are the result; seconds tell only
about this machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.benchmarks.accounts import SYSTEM, fill, live


def main() -> None:
    """Fill, run first and steady, and print the ratios for each size."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--accounts", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3, help="steady-state runs; the median ratio is shown")
    asked = parser.parse_args()
    table = Table(title="check, with subscriptions from a local snapshot, against raw COPY + hash join")
    for name in ("accounts", "run", "raw limit s", "check s", "ratio", "peak MB", "raw peak MB"):
        table.add_column(name, justify="right")
    for accounts in asked.accounts:
        for row in measure(accounts, asked.rounds):
            table.add_row(*row)
    Console().print(table)


def measure(accounts: int, rounds: int) -> list[tuple[str, ...]]:
    """(accounts, run, raw s, check s, ratio, peak MB, raw peak MB) for the first run and the median steady one."""
    from credit_pipeline.adapters.install.install import install

    with tempfile.TemporaryDirectory(prefix="credit_pipeline_bench-") as home:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home) / "server")
        server.start()
        try:
            server.create_database("bench")
            url = server.url("bench")
            snapshot = Path(fill(url, accounts, ParquetSnapshots(SYSTEM.name, Path(home) / "snapshots")).path)
            install(url, SYSTEM)
            first = _pair(url, snapshot, Path(home), 0)
            steady = []
            for number in range(1, rounds + 1):
                live(url, number)
                steady.append(_pair(url, snapshot, Path(home), number))
            steady.sort(key=lambda pair: pair["ratio"])
            return [_row(accounts, "first", first), _row(accounts, "steady", steady[len(steady) // 2])]
        finally:
            server.remove()


def _pair(url: str, snapshot: Path, home: Path, number: int) -> dict[str, Any]:
    raw = _child("raw_copy", url)
    check = _child("check_run", url, str(snapshot), str(home / "snapshots"), str(number))
    return {"raw": raw, "check": check, "ratio": check["seconds"] / raw["seconds"]}


def _child(module: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"credit_pipeline_tests.benchmarks.{module}", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def _row(accounts: int, run: str, pair: dict[str, Any]) -> tuple[str, ...]:
    raw, check = pair["raw"], pair["check"]
    seconds = (f"{raw['seconds']:.2f}", f"{check['seconds']:.2f}", f"{pair['ratio']:.2f}")
    return (f"{accounts:,}", run, *seconds, f"{check['peak_mb']:.0f}", f"{raw['peak_mb']:.0f}")


if __name__ == "__main__":
    main()
