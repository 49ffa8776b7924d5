"""The sandbox's servers and data: starts and stops them, and returns the environment to export.

A running sandbox has the embedded Postgres, with a database for each planted product, its five weeks of past and our
schema; a billing server for both providers; and a database for Dagster.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from credit_pipeline.adapters.audit.anchors import Anchors
from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.adapters.install.install import install
from credit_pipeline.config.loader import PACKAGED, load_system
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox.billing import process as billing_process
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.sandbox.scenarios.bestauth import product as bestauth
from credit_pipeline.sandbox.scenarios.planting import book_of, plant, truth_of
from credit_pipeline.sandbox.scenarios.wix_app import product as wix_app
from credit_pipeline.sandbox.scenarios.worlds import WORLDS
from credit_pipeline.services.collect.ports import Progress

DAGSTER = "dagster"
PLANTING = 4
"""Increased when a seed plants something else, so that older sandboxes are planted again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The record of a complete sandbox, written after everything else."""

    accounts: int
    seed: int
    present: str
    """The moment at which the past ends."""
    planting: int = PLANTING

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """The sandbox of that working folder; None if there is none or its planting was interrupted."""
        try:
            return cls(**json.loads((_folder(home) / "sandbox.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, home: Path) -> None:
        """Writes the record atomically."""
        scratch = _folder(home) / "sandbox.json.new"
        scratch.write_text(json.dumps(asdict(self)), encoding="utf-8")
        scratch.replace(_folder(home) / "sandbox.json")


def sandbox_system(name: str = wix_app.NAME) -> CreditSystem:
    """The packaged system of that name, even if another folder of systems is configured."""
    return load_system(name, PACKAGED)


def up(
    home: Path, *, accounts: int = 2_000, seed: int = 1, fresh: bool = False, progress: Progress | None = None
) -> dict[str, str]:
    """Starts the servers and plants `accounts` accounts in each system. Returns the environment to export.

    An existing sandbox is kept unless `fresh` is set or its size or seed differs. An interrupted one is planted again.
    """
    server = EmbeddedPostgres(home)
    with _lock(home):
        server.start()
        wanted = Sandbox(accounts=accounts, seed=seed, present="")
        found = Sandbox.read(home)
        plants = found is None or fresh or replace(found, present="") != wanted
        if plants:
            _plant(home, server, wanted, progress)
        server.create_database(DAGSTER)
        _start_billing(home)
        if plants:
            _pin(home)
    return environment(home)


def down(home: Path) -> bool:
    """Stops both servers and keeps the data. Returns whether any was running."""
    server = EmbeddedPostgres(home)
    ran = server.is_running()
    if _folder(home).is_dir():
        ran = billing_process.stop_process(_folder(home)) or ran
    server.stop()
    return ran


@contextmanager
def running(home: Path) -> Iterator[dict[str, str]]:
    """Runs a planted sandbox's servers and yields the environment. Stops only servers that it started."""
    if not planted(home):
        raise _not_planted()
    with EmbeddedPostgres(home):
        ran = billing_process.running(_folder(home)) is not None
        _start_billing(home)
        try:
            yield environment(home)
        finally:
            if not ran:
                billing_process.stop_process(_folder(home))


def planted(home: Path) -> tuple[str, ...]:
    """The systems in the sandbox of that working folder; empty for one that an older program planted."""
    found = Sandbox.read(home)
    return tuple(WORLDS) if found is not None and found.planting == PLANTING else ()


def environment(home: Path) -> dict[str, str]:
    """The environment that uses the sandbox. Raises ConfigurationError if it is not running."""
    server, billing = EmbeddedPostgres(home), billing_process.running(_folder(home))
    if billing is None or not planted(home):
        raise ConfigurationError("sandbox: it is not running: start it with `credit-pipeline sandbox up`")
    return {
        "CREDIT_PIPELINE_HOME": str(home.expanduser().resolve()),
        "CREDIT_PIPELINE_DAGSTER_URL": server.url(DAGSTER),
        "WIX_DATABASE_URL": server.url(wix_app.NAME),
        "WIX_API_URL": billing.base_url,
        "WIX_APP_ID": billing.app_id,
        "WIX_APP_SECRET": billing.app_secret,
        "BESTAUTH_DATABASE_URL": server.url(bestauth.NAME),
        "BESTAUTH_STRIPE_URL": billing.base_url,
        "BESTAUTH_STRIPE_KEY": billing.stripe_key,
    }


def truth(home: Path, name: str = wix_app.NAME) -> dict[str, Any]:
    """What was planted in that system. Raises ConfigurationError if nothing is planted."""
    if name not in planted(home):
        raise _not_planted()
    answers: dict[str, Any] = json.loads(truth_of(_world(home, name)).read_text(encoding="utf-8"))
    return answers


def _not_planted() -> ConfigurationError:
    return ConfigurationError("sandbox: nothing is planted: plant it with `credit-pipeline sandbox up`")


def _plant(home: Path, server: EmbeddedPostgres, wanted: Sandbox, progress: Progress | None) -> None:
    """Plants everything from scratch. The record of completeness comes last."""
    present = datetime.now(UTC).replace(microsecond=0)
    (_folder(home) / "sandbox.json").unlink(missing_ok=True)
    billing_process.stop_process(_folder(home))
    systems = {_world(home, name): sandbox_system(name) for name in WORLDS}
    for name in WORLDS:  # the audit restarts with the database
        Anchors(home.expanduser().resolve(), name).set_aside()
    plant(server, systems, accounts=wanted.accounts, seed=wanted.seed, present=present, progress=progress)
    replace(wanted, present=present.isoformat()).write(home)


def _start_billing(home: Path) -> None:
    wix, stripe = (book_of(_world(home, name)) for name in (wix_app.NAME, bestauth.NAME))
    billing_process.start_process(_folder(home), wix, stripe_book=stripe)


def _pin(home: Path) -> None:
    """Pins the billing account in each database, as `init` does. Needs the billing server."""
    exported = environment(home)
    for name in WORLDS:
        system = sandbox_system(name)
        with open_gateways(system, home, exported) as gateways:
            install(exported[system.store.url_env], system, gateways.billing.identity())


def _folder(home: Path) -> Path:
    return home.expanduser().resolve() / "sandbox"


def _world(home: Path, name: str) -> Path:
    return _folder(home) / name


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Lets one process at a time plant."""
    folder = _folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
