"""A world for each incident: with billing's book in hand, or with billing over HTTP and the command line before it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from credit_pipeline.cli.main import main
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.incidents.world import World, an_installed_product


@pytest.fixture
def world(databases: Databases, tmp_path: Path) -> Iterator[World]:
    """An empty product, and a clock that stands in March 2026."""
    with World(an_installed_product(databases), tmp_path / "home") as made:
        yield made


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


Run = Callable[..., Ended]


@pytest.fixture(scope="session")
def _dagster_url(postgres: EmbeddedPostgres) -> str:
    """Dagster's own storage, one for all incidents of this worker."""
    postgres.create_database("incidents_dagster")
    return postgres.url("incidents_dagster")


@pytest.fixture
def billing() -> Iterator[BillingServer]:
    """Billing in its wire format, on a loopback port."""
    with BillingServer(per_minute=10_000) as server:
        yield server


@pytest.fixture
def live_world(
    databases: Databases, tmp_path: Path, billing: BillingServer, _dagster_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A product as the command line meets it: billing over HTTP, all variables set, the clock two days back.

    The commands go by the real clock, so what a test lets happen before them is in their past.
    """
    past = datetime.now(UTC) - timedelta(days=2)
    with World(an_installed_product(databases), tmp_path / "home", server=billing, now=past) as made:
        made.environment["CREDIT_PIPELINE_DAGSTER_URL"] = _dagster_url
        for name in ("CREDIT_PIPELINE_DEFS", "DAGSTER_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command of the command line in this process."""

    def command(*arguments: str) -> Ended:
        capfd.readouterr()
        status = main(list(arguments))
        told = capfd.readouterr()
        return Ended(status=status, out=told.out, err=told.err)

    return command
