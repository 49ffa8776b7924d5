"""The Dagster home is private, complete and on Postgres, however the URL was written."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.orchestration.instance import (
    DAGSTER_URL,
    instance,
    prepare_home,
    storage_url,
    workspace_file,
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What prepare_home sets is undone after each test."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv(DAGSTER_URL, "")


@pytest.fixture
def spaced(database: str, tmp_path: Path) -> Iterator[str]:
    """The same database through a socket folder with a space in its path."""
    folder = tmp_path / "a socket"
    folder.symlink_to(database.partition("?host=")[2].partition("&")[0])
    name = database.partition("@/")[2].partition("?")[0]
    yield f"postgresql://postgres@/{name}?host={str(folder).replace(' ', '%20')}&port=5432"
    folder.unlink()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u@h/d", "postgresql+psycopg2://u@h/d"),
        ("postgres://u@h/d", "postgresql+psycopg2://u@h/d"),
        ("postgresql+psycopg://u@h:1/d", "postgresql+psycopg2://u@h:1/d"),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg2://u@h/d"),
        ("postgresql://u:p%40ss@h/d?sslmode=require", "postgresql+psycopg2://u:p%40ss@h/d?sslmode=require"),
        ("postgresql://u@/d?host=/run/pg", "postgresql+psycopg2://u@/d?host=%2Frun%2Fpg"),
        ("postgresql://u@/d?host=/a b", "postgresql+psycopg2://u@/d?host=%2Fa+b"),
        ("postgresql://u@/d?host=/a%20b", "postgresql+psycopg2://u@/d?host=%2Fa+b"),
        ("postgresql://u@%2Fa%20b/d", "postgresql+psycopg2://u@/d?host=%2Fa+b"),
        ("postgresql:///d", "postgresql+psycopg2:///d"),
        ("postgresql://[::1]:5432/d", "postgresql+psycopg2://[::1]:5432/d"),
    ],
)
def test_every_postgres_url_goes_through_psycopg2(given: str, expected: str) -> None:
    assert storage_url(given) == expected
    assert storage_url(expected) == expected


@pytest.mark.parametrize("given", ["", "mysql://u:secret@h/d", "host=h password=secret", "postgresql://h:port/d"])
def test_another_url_is_refused_in_a_sentence_without_it(given: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        storage_url(given)
    assert str(refused.value) == (
        "CREDIT_PIPELINE_DAGSTER_URL is not a Postgres URL: write postgresql://user@host/database."
    )
    assert refused.value.__cause__ is None


@dg.op
def _noted() -> int:
    return 7


@dg.job
def _noting() -> None:
    _noted()


@pytest.mark.parametrize("which", ["database", "spaced"])
def test_a_run_is_stored_in_the_database_of_the_url(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue(which)
    prepare_home(tmp_path / "a home", url)
    with instance() as opened:
        result = _noting.execute_in_process(instance=opened)
        assert result.success
    with instance() as opened:
        stored = opened.get_run_by_id(result.run_id)
        assert stored is not None
        assert stored.status is dg.DagsterRunStatus.SUCCESS
        assert opened.telemetry_enabled is False
        assert opened.run_monitoring_max_runtime_seconds == 7200
        assert opened.run_retries_max_retries == 0
        assert opened.run_retries_retry_on_asset_or_op_failure is False
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT run_id, status FROM runs").fetchall()
    assert rows == [(result.run_id, "SUCCESS")]


def test_the_home_is_private_and_the_environment_names_it(tmp_path: Path) -> None:
    folder = prepare_home(tmp_path, "postgres://u@h/d")
    assert folder == tmp_path / "dagster"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.environ["DAGSTER_HOME"] == str(folder)
    assert os.environ["CREDIT_PIPELINE_DAGSTER_URL"] == "postgresql+psycopg2://u@h/d"
    assert [path.name for path in folder.iterdir()] == ["dagster.yaml"]


def test_a_home_prepared_again_gets_the_packaged_settings_back(tmp_path: Path) -> None:
    settings = prepare_home(tmp_path, "postgresql://h/d") / "dagster.yaml"
    packaged = settings.read_text()
    settings.write_text("telemetry: {enabled: true}")
    settings.parent.chmod(0o755)
    prepare_home(tmp_path, "postgresql://h/d")
    assert settings.read_text() == packaged
    assert stat.S_IMODE(settings.parent.stat().st_mode) == 0o700
    assert yaml.safe_load(packaged)["storage"]["custom"]["config"] == {"url_env": DAGSTER_URL}


def test_a_home_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(ConfigurationError, match=r"cannot be written .*: set CREDIT_PIPELINE_HOME"):
        prepare_home(tmp_path / "home", "postgresql://h/d")


def test_the_workspace_loads_our_code_location_under_its_name() -> None:
    assert yaml.safe_load(workspace_file().read_text()) == {
        "load_from": [
            {
                "python_module": {
                    "module_name": "credit_pipeline.definitions",
                    "location_name": "credit_pipeline",
                }
            }
        ]
    }
