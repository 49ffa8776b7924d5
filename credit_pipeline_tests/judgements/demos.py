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
_PLACES = "credit_pipeline.sandbox.scenarios"
FORMER = {
    "credit_pipeline.adapters.install.install": "credit_pipeline.adapters.install",
    "credit_pipeline.sandbox.postgres.server": "credit_pipeline.sandbox.postgres",
    f"{_PLACES}.planting": "credit_pipeline.sandbox.planting",
    f"{_PLACES}.past": "credit_pipeline.sandbox.past",
    f"{_PLACES}.worlds": "credit_pipeline.sandbox.worlds",
}
"""Module -> its name in 0.1.0."""


def found(module: str, *names: str) -> Any:
    """Something of the package, wherever this checkout keeps it and whatever it calls it."""
    for place in (module, FORMER.get(module, module)):
        for name in names:
            try:
                return getattr(import_module(place), name)
            except (ModuleNotFoundError, AttributeError):
                continue
    raise SystemExit(f"no {names} in this checkout")


def play(folder: Path, seeds: Sequence[int], inputs: Any = None) -> None:
    """Record the judgements of these seeds."""
    sandbox_system = found("credit_pipeline.sandbox.lifecycle", "sandbox_system")
    playing = [0]
    sys.path.insert(0, str(Path(__file__).parent))
    import_module(f"{_PLACES}.past" if _is_there(f"{_PLACES}.past") else FORMER[f"{_PLACES}.past"])
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
                    _live(server, sandbox_system(name), seed, Path(home) / f"{name}-{seed}")
        finally:
            server.remove()


def _live(server: Any, system: Any, seed: int, folder: Path) -> None:
    """The past of one system as it is planted, and one check of the present, which settles nothing."""
    database = f"{system.name}_{seed}"
    server.create_database(database)
    url = server.url(database)
    folder.mkdir()
    world = found(f"{_PLACES}.worlds", "WORLDS")[system.name](
        system, url, accounts=ACCOUNTS, seed=seed, present=PRESENT
    )
    environment = found(f"{_PLACES}.planting", "_environment")(system, url)
    with world, found("credit_pipeline.adapters.connect", "open_gateways")(system, folder, environment) as opened:
        world.create()
        found("credit_pipeline.adapters.install.install", "install")(url, system)
        gateways = world.as_seen(opened)
        found(f"{_PLACES}.past", "write_past")(system, gateways, world, present=PRESENT)
        found(f"{_PLACES}.past", "run_at", "look")(system, gateways, PRESENT, settle=False)


def _is_there(module: str) -> bool:
    try:
        return bool(import_module(module))
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    play(Path(sys.argv[1]), range(1, int(sys.argv[2]) + 1), None)
    os._exit(0)
