"""Dagster's storage follows the environment: Postgres by URL, an error where it is missing, SQLite without a home."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresRunStorage

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.orchestration.instance import instance, prepare_home, workspace_file

CHECKOUT = workspace_file().parent


def validate(folder: Path) -> subprocess.CompletedProcess[str]:
    """In a folder with the checkout's files and an empty environment."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(CHECKOUT / name, folder)
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_checkout_validates_with_an_empty_environment(tmp_path: Path) -> None:
    done = validate(tmp_path)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "Validation successful for code location credit_pipeline" in told


def test_the_url_of_the_environment_is_used_through_psycopg2(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("CREDIT_PIPELINE_DAGSTER_URL", "")
    prepare_home(tmp_path / "home", database)
    monkeypatch.setenv("CREDIT_PIPELINE_DAGSTER_URL", database)  # as a deployment may write it
    with instance() as opened:
        found = opened._run_storage
        assert isinstance(found, PostgresRunStorage)
        assert found.postgres_url.startswith("postgresql+psycopg2://")


def test_a_home_without_a_url_never_starts_a_second_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(CHECKOUT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("CREDIT_PIPELINE_DAGSTER_URL", raising=False)
    with (
        pytest.raises(ConfigurationError, match="set CREDIT_PIPELINE_DAGSTER_URL to the Postgres URL"),
        dg.DagsterInstance.get() as opened,
    ):
        opened.get_runs()
    assert [path.name for path in tmp_path.iterdir()] == ["dagster.yaml"]
