"""A planted sandbox and a Dagster home on its server, for the tests that run the real jobs."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from credit_pipeline.orchestration.instance import instance, prepare_home
from credit_pipeline.sandbox import lifecycle
from credit_pipeline_tests.conftest import in_memory


@dataclass(frozen=True)
class Sandbox:
    """Where it is, and what to export to use it."""

    home: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """120 accounts with five weeks of past; its variables are set as long as it runs."""
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_tests-", dir=in_memory()) as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another account
        home = Path(folder) / "home"
        before = dict(os.environ)
        try:
            environment = lifecycle.up(home, accounts=120, seed=3)
            os.environ.update(environment)
            yield Sandbox(home=home, environment=environment)
        finally:
            lifecycle.down(home)
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture(scope="module")
def dagster_instance(sandbox: Sandbox) -> Iterator[dg.DagsterInstance]:
    """The sandbox's Dagster instance, on Postgres."""
    prepare_home(sandbox.home, sandbox.environment["CREDIT_PIPELINE_DAGSTER_URL"])
    with instance() as opened:
        yield opened
