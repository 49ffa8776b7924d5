"""Plays the planting of the sandbox for some seeds, both systems, at one present: five weeks of judgements each.

Runs in a checkout of 0.1.0 as well, loaded by its path.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

PRESENT = datetime(2026, 11, 17, 9, 30, tzinfo=UTC)
ACCOUNTS = 60
"""The fewest in which every incident has room."""
FORMER = {
    "credit_pipeline.sandbox.postgres.server": "credit_pipeline.sandbox.postgres",
    "credit_pipeline.sandbox.scenarios.planting": "credit_pipeline.sandbox.planting",
}
"""Module -> its name in 0.1.0."""


def found(module: str, name: str) -> Any:
    """Something of the package, wherever this checkout keeps it."""
    for place in (module, FORMER.get(module, module)):
        try:
            return getattr(import_module(place), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise SystemExit(f"no {name} in this checkout")


def play(folder: Path, seeds: Sequence[int], inputs: Any = None) -> None:
    """Record the judgements of these seeds."""
    plant = found("credit_pipeline.sandbox.scenarios.planting", "plant")
    sandbox_system = found("credit_pipeline.sandbox.lifecycle", "sandbox_system")
    playing = [0]
    sys.path.insert(0, str(Path(__file__).parent))
    recorder = import_module("recorder").Recorder(folder, lambda: f"demo seed {playing[0]}", inputs)
    recorder.install()
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_judgements-") as home:
        Path(home).chmod(0o755)
        server = found("credit_pipeline.sandbox.postgres.server", "EmbeddedPostgres")(Path(home))
        try:
            server.start()
            for seed in seeds:
                playing[0] = seed
                for name in ("wix_app", "bestauth"):
                    systems = {Path(home) / f"{name}-{seed}": sandbox_system(name)}
                    plant(server, systems, accounts=ACCOUNTS, seed=seed, present=PRESENT)
        finally:
            server.remove()


if __name__ == "__main__":
    play(Path(sys.argv[1]), range(1, int(sys.argv[2]) + 1), None)
    os._exit(0)
