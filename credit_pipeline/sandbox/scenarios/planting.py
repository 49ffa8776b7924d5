"""Plants the sandbox's data: each product, its five weeks of past, our schema, its truth and its provider's book.

The systems share only the server, so their pasts are written in parallel.
"""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import sql

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.adapters.install.install import install
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.sandbox.scenarios.past import run_times, write_past
from credit_pipeline.sandbox.scenarios.truth import save_truth
from credit_pipeline.sandbox.scenarios.worlds import WORLDS, World
from credit_pipeline.services.collect.ports import Progress

PAST_KEY = "rk_test_past"
"""The value of every billing secret while billing is read from its book."""


def book_of(folder: Path) -> Path:
    """The file of the provider's book in a system's folder."""
    return folder / "billing_book.json"


def truth_of(folder: Path) -> Path:
    """The file of the right answers in a system's folder."""
    return folder / "truth.json"


def plant(
    server: EmbeddedPostgres,
    systems: dict[Path, CreditSystem],
    *,
    accounts: int,
    seed: int,
    present: datetime,
    progress: Progress | None = None,
) -> None:
    """Plants each system into its folder (the key) and the database of its name, replacing what is there."""
    with ExitStack() as open_worlds:
        worlds: dict[Path, World] = {}
        for folder, system in systems.items():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            _new_database(server, system.name)
            url = server.url(system.name)
            made = WORLDS[system.name](system, url, accounts=accounts, seed=seed, present=present)
            worlds[folder] = open_worlds.enter_context(made)
            worlds[folder].create()
            install(url, system)  # not in parallel: migrations have one context per process
        shared = _SharedProgress(progress, sum(len(run_times(present, world.spacing)) for world in worlds.values()))
        with _parallel(shared, len(systems)) as pool:
            lives = [
                pool.submit(_live, systems[folder], server, folder, world, present, shared)
                for folder, world in worlds.items()
            ]
            for life in wait(lives, return_when=FIRST_EXCEPTION).done:
                life.result()


class _SharedProgress:
    """The progress of all systems together. After `stopped`, the next report raises InterruptedError."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self._lock = threading.Lock()
        self.stopped = False

    def __call__(self, _done: int, _of: int) -> None:
        if self.stopped:
            raise InterruptedError("the planting of another system ended")
        with self._lock:
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)


@contextmanager
def _parallel(progress: _SharedProgress, workers: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool that stops all work if one task fails or a signal ends the planting."""
    with ThreadPoolExecutor(workers, thread_name_prefix="planting") as pool:
        try:
            yield pool
        except BaseException:
            progress.stopped = True
            raise


def _live(
    system: CreditSystem, server: EmbeddedPostgres, folder: Path, world: World, present: datetime, progress: Progress
) -> None:
    # The memory refers to the past's snapshots, so they are kept in the sandbox's folder.
    with open_gateways(system, folder / "past", _environment(system, server.url(system.name))) as gateways:
        write_past(system, world.as_seen(gateways), world, present=present, progress=progress)
    world.save_book(book_of(folder))
    save_truth(truth_of(folder), world.truth())


def _environment(system: CreditSystem, url: str) -> dict[str, str]:
    """The environment of the past. Billing is read from its book, so its address leads nowhere."""
    billing = system.billing
    nowhere = {billing.base_url_env: "http://127.0.0.1:9"} if billing.base_url_env else {}
    return dict.fromkeys(billing.variables, PAST_KEY) | nowhere | {system.store.url_env: url}


def _new_database(server: EmbeddedPostgres, name: str) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    server.create_database(name)
