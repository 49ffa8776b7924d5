"""`make bench`: what `check` costs against a raw COPY of what it reads plus a hash join.

Each measurement runs in a process of its own, so that peak memory is its own. Ratios are the result; seconds tell only
about this machine. With `--against`, each check is paired with the same check by another checkout's code, in turn, on a
database of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.adapters.install.install import install
from credit_pipeline.sandbox.lifecycle import sandbox_system
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.services.collect.ports import Pull
from credit_pipeline_tests.benchmarks.products import LAYOUTS, START, Layout, fill, live

HERE = Path(__file__).parents[2]
COLUMNS = ("layout", "accounts", "wrong %", "run", "raw s", "check s", "ratio", "peak MB", "before s", "now/before")


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """The code that is measured, and the database it has for itself."""

    root: Path
    python: Path
    url: str


def main() -> None:
    """Fill, run first and steady, and print the ratios for each layout, size and share of mismatches."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--layouts", nargs="*", choices=list(LAYOUTS), default=list(LAYOUTS))
    parser.add_argument("--accounts", type=int, nargs="*", default=[100_000])
    parser.add_argument("--mismatches", type=float, nargs="*", default=[0.1, 1, 30], help="per cent of all accounts")
    parser.add_argument("--rounds", type=int, default=3, help="steady runs; the median ratio is shown")
    parser.add_argument("--against", type=Path, help="another checkout, with a .venv of its own")
    asked = parser.parse_args()
    table = Table(title="check, with subscriptions from a local snapshot, against raw COPY + hash join")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for name in asked.layouts:
        for accounts in asked.accounts:
            for percent in asked.mismatches:
                for row in measure(name, accounts, percent, asked.rounds, asked.against):
                    table.add_row(*row)
    Console(width=110).print(table)


def measure(name: str, accounts: int, percent: float, rounds: int, against: Path | None) -> Iterator[tuple[str, ...]]:
    """A row for the first run, and one for the median of the steady ones."""
    layout = LAYOUTS[name]
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_bench-") as home:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home) / "server")
        server.start()
        try:
            snapshot, contenders = _prepared(server, layout, accounts, percent, Path(home), against)
            pairs = []
            for number in range(rounds + 1):
                for one in contenders if number else ():
                    live(one.url, layout, number, START + timedelta(hours=6 * number))
                pairs.append(_pair(name, layout, contenders, snapshot, Path(home), number))
                found = sum(pairs[-1]["classes"].values())
                assert abs(found - accounts * percent / 100) <= accounts / 1000, pairs[-1]["classes"]
        finally:
            server.remove()
    facts = (name, f"{accounts:,}", f"{percent:g}")
    yield (*facts, "first", *_cells(pairs[:1]))
    yield (*facts, "steady", *_cells(pairs[1:]))


def _prepared(
    server: EmbeddedPostgres, layout: Layout, accounts: int, percent: float, home: Path, against: Path | None
) -> tuple[Path, list[Checkout]]:
    server.create_database("bench0")
    table = fill(server.url("bench0"), layout, accounts, percent)
    archive = ParquetSnapshots(layout.system, home / "snapshots")
    pull = Pull(table=table, level="L3", enumerated=True, asked=len(table), unanswered=0)
    kept = archive.write(table, noun="subscriptions", run_id="bench", as_of=START, finished_at=START, pull=pull)
    install(server.url("bench0"), sandbox_system(layout.system))
    contenders = [Checkout(root=HERE, python=Path(sys.executable), url=server.url("bench0"))]
    if against is not None:
        root = against.resolve()
        server.create_database("bench1")
        fill(server.url("bench1"), layout, accounts, percent)
        install(server.url("bench1"), sandbox_system(layout.system))
        contenders.append(Checkout(root=root, python=root / ".venv/bin/python", url=server.url("bench1")))
    return Path(kept.path), contenders


def _pair(
    name: str, layout: Layout, contenders: list[Checkout], snapshot: Path, home: Path, number: int
) -> dict[str, Any]:
    raw = _child(contenders[0], "-m", "credit_pipeline_tests.benchmarks.raw_copy", name, contenders[0].url)
    at = START + timedelta(hours=6 * number)
    script = str(Path(__file__).with_name("check_run.py"))
    arguments = (str(snapshot), str(home / "snapshots"), at.isoformat())
    checks = [_child(one, script, layout.system, one.url, *arguments) for one in contenders]
    before = checks[1]["seconds"] if len(checks) > 1 else None
    return {**checks[0], "raw": raw["seconds"], "before": before}


def _child(checkout: Checkout, *arguments: str) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(checkout.root)}
    command = [str(checkout.python), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=checkout.root)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _cells(pairs: list[dict[str, Any]]) -> tuple[str, ...]:
    middle = sorted(pairs, key=lambda pair: pair["seconds"] / pair["raw"])[len(pairs) // 2]
    seconds = (f"{middle['raw']:.2f}", f"{middle['seconds']:.2f}", f"{middle['seconds'] / middle['raw']:.2f}")
    if middle["before"] is None:
        return (*seconds, f"{middle['peak_mb']:.0f}", "", "")
    ratio = median(pair["seconds"] / pair["before"] for pair in pairs)
    return (*seconds, f"{middle['peak_mb']:.0f}", f"{middle['before']:.2f}", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
