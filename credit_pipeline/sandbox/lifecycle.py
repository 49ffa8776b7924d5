"""The sandbox's servers and data: up, down, and what to export to use them.

Up means: the embedded Postgres with the product `wix_app`, its five weeks of past, and our schema; the billing server
over the same sites; a database for Dagster. What the data is, is in `population.py` and `past.py`.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import sql

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.adapters.install import install
from credit_pipeline.adapters.system_yaml import PACKAGED, load_system
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox import billing_process
from credit_pipeline.sandbox.author import WATCH
from credit_pipeline.sandbox.billing_book import BillingBook
from credit_pipeline.sandbox.book_billing import BookBilling
from credit_pipeline.sandbox.life import Life
from credit_pipeline.sandbox.past import write_past
from credit_pipeline.sandbox.population import scripts
from credit_pipeline.sandbox.postgres import EmbeddedPostgres
from credit_pipeline.sandbox.truth import save_truth, truth_of
from credit_pipeline.sandbox.wix_app import NAME, WixApp
from credit_pipeline.services.ports import Progress
from credit_pipeline.services.system import CreditSystem

DAGSTER = "dagster"
PLANTING = 1
"""Raised when the same seed comes to plant something else, so that an older sandbox is planted again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A complete sandbox. It is written down only when everything else is there."""

    accounts: int
    seed: int
    present: str
    """The moment the past leads up to."""
    planting: int = PLANTING

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """The sandbox of that working folder; None where there is none, or none that was finished."""
        try:
            return cls(**json.loads((_folder(home) / "sandbox.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, home: Path) -> None:
        """Whole or not at all."""
        scratch = _folder(home) / "sandbox.json.new"
        scratch.write_text(json.dumps(asdict(self)), encoding="utf-8")
        scratch.replace(_folder(home) / "sandbox.json")


def sandbox_system() -> CreditSystem:
    """The packaged system the sandbox is made for, whatever folder of systems is in effect."""
    return load_system(NAME, PACKAGED)


def up(
    home: Path, *, accounts: int = 2_000, seed: int = 1, fresh: bool = False, progress: Progress | None = None
) -> dict[str, str]:
    """Servers running and data planted; returns what to export to use them.

    What is there already is kept, unless `fresh` or of another size or seed. A sandbox whose making was interrupted is
    made again from the beginning.
    """
    server = EmbeddedPostgres(home)
    with _alone(home):
        server.start()
        wanted = Sandbox(accounts=accounts, seed=seed, present="")
        found = Sandbox.read(home)
        if found is None or fresh or replace(found, present="") != wanted:
            _plant(home, server, wanted, progress)
        server.create_database(DAGSTER)
        billing_process.start_process(_folder(home), _book(home))
    return environment(home)


def down(home: Path) -> bool:
    """Both servers stopped, the data kept. Returns whether any was running."""
    server = EmbeddedPostgres(home)
    ran = server.is_running()
    if _folder(home).is_dir():
        ran = billing_process.stop_process(_folder(home)) or ran
    server.stop()
    return ran


@contextmanager
def running(home: Path) -> Iterator[dict[str, str]]:
    """A planted sandbox's servers for a while, and what to export; only those that were started here are stopped."""
    if not planted(home):
        raise _not_planted()
    with EmbeddedPostgres(home):
        ran = billing_process.running(_folder(home)) is not None
        billing_process.start_process(_folder(home), _book(home))
        try:
            yield environment(home)
        finally:
            if not ran:
                billing_process.stop_process(_folder(home))


def planted(home: Path) -> tuple[str, ...]:
    """The systems a complete sandbox of that working folder holds."""
    return (NAME,) if Sandbox.read(home) else ()


def environment(home: Path) -> dict[str, str]:
    """What to export to use the sandbox. Raises ConfigurationError where it is not up."""
    server, billing = EmbeddedPostgres(home), billing_process.running(_folder(home))
    if billing is None or not planted(home):
        raise ConfigurationError("sandbox: it is not running: start it with `credit-pipeline sandbox up`")
    return {
        "CREDIT_PIPELINE_HOME": str(home.expanduser().resolve()),
        "CREDIT_PIPELINE_DAGSTER_URL": server.url(DAGSTER),
        "WIX_DATABASE_URL": server.url(NAME),
        "WIX_API_URL": billing.base_url,
        "WIX_APP_ID": billing.app_id,
        "WIX_APP_SECRET": billing.app_secret,
    }


def truth(home: Path) -> dict[str, Any]:
    """What was planted. Raises ConfigurationError where nothing was."""
    if not planted(home):
        raise _not_planted()
    answers: dict[str, Any] = json.loads((_folder(home) / "truth.json").read_text(encoding="utf-8"))
    return answers


def _not_planted() -> ConfigurationError:
    return ConfigurationError("sandbox: nothing is planted: plant it with `credit-pipeline sandbox up`")


def _plant(home: Path, server: EmbeddedPostgres, wanted: Sandbox, progress: Progress | None) -> None:
    """Product, past, truth and billing from nothing. The record that it is complete comes last."""
    folder, system = _folder(home), sandbox_system()
    present = datetime.now(UTC).replace(microsecond=0)
    written = list(scripts(system.catalogue, accounts=wanted.accounts, seed=wanted.seed, present=present))
    (folder / "sandbox.json").unlink(missing_ok=True)
    billing_process.stop_process(folder)
    shutil.rmtree(folder / "past", ignore_errors=True)
    _new_database(server)
    life = Life(written, seed=wanted.seed, start=present - WATCH)
    book = BillingBook({script.account_id: script.instance for script in written}, path=_book(home))
    with WixApp(server.url(NAME)) as app:
        app.create(system.catalogue)
        install(server.url(NAME), system)
        # The memory names the past's snapshots, so they are kept; they belong to the sandbox and go with it.
        with open_gateways(system, folder / "past", _reading(server)) as gateways:
            past = replace(gateways, billing=BookBilling(book))
            write_past(system, past, app, life, book, present=present, progress=progress)
    book.save()
    save_truth(folder / "truth.json", truth_of(written, life.states, system=NAME, seed=wanted.seed, present=present))
    replace(wanted, present=present.isoformat()).write(home)


def _reading(server: EmbeddedPostgres) -> Mapping[str, str]:
    """The environment of the past, in which billing is a book."""
    nowhere = {"WIX_API_URL": "http://127.0.0.1:9", "WIX_APP_ID": "past", "WIX_APP_SECRET": "past"}
    return {"WIX_DATABASE_URL": server.url(NAME)} | nowhere


def _new_database(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(NAME)))
    server.create_database(NAME)


def _folder(home: Path) -> Path:
    return home.expanduser().resolve() / "sandbox"


def _book(home: Path) -> Path:
    return _folder(home) / "billing_book.json"


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One process at a time plants; another waits and finds the work done."""
    folder = _folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
