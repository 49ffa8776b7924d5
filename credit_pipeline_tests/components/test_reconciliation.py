"""The YAML door of Dagster: the same file gives the same system as the command line's loader, and the same refusals."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from credit_pipeline.components import CreditReconciliation
from credit_pipeline.config.loader import PACKAGED, load_file, load_system
from credit_pipeline.definitions import defs
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline_tests.config.test_ledger_store import LEDGER
from credit_pipeline_tests.config.test_loader import ACME, a_system


def validate(folder: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The check a deployment makes, with nothing in the environment but the folder."""
    environ = {"CREDIT_PIPELINE_DEFS": str(folder), "PATH": os.environ["PATH"], "HOME": str(cwd)}
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "credit_pipeline.definitions"]
    return subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


ALWAYS = {"balances", "subscriptions", "mismatch_report", "health_report", "correction_plan"}
ALWAYS |= {"applied_corrections", "audit_trail"}
OF_A_LEDGER = {"identities", "id_mapping_report"}


@pytest.mark.filterwarnings("ignore:.*is currently in beta")
@pytest.mark.parametrize(
    ("text", "assets"),
    [(ACME.replace("settle_time: 60 min", "settle_time: 48 h"), ALWAYS), (LEDGER, ALWAYS | OF_A_LEDGER)],
    ids=["counter", "ledger"],
)
def test_the_component_works_in_anyones_own_dg_project(text: str, assets: set[str]) -> None:
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=CreditReconciliation, defs_path="acme")
        (path / "defs.yaml").write_text(text)
        with sandbox.load_component_and_build_defs(defs_path="acme") as (component, built):
            assert isinstance(component, CreditReconciliation)
            assert component.system == load_system("acme", path.parent)
            assert {key.to_user_string() for key in built.resolve_all_asset_keys()} == {f"acme/{one}" for one in assets}


def test_the_shape_of_both_layouts_is_there_for_editors() -> None:
    shape = CreditReconciliation.get_model_cls().model_json_schema(by_alias=True)
    shapes = shape["$defs"]
    assert shape["properties"]["store"]["discriminator"]["propertyName"] == "layout"
    assert {"CounterStoreConfig", "LedgerStoreConfig", "WixConfig", "StripeConfig"} <= set(shapes)
    assert "schema" in shapes["LedgerStoreConfig"]["properties"]


def test_a_misspelt_key_in_a_dg_project_names_the_key() -> None:
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=CreditReconciliation, defs_path="acme")
        (path / "defs.yaml").write_text(ACME.replace("settle_time", "setle_time"))
        with (
            pytest.raises(Exception, match="Error while loading component acme") as caught,
            sandbox.load_component_and_build_defs(defs_path="acme"),
        ):
            pass
    told = str(caught.value.__cause__)
    assert told.startswith(f"{path / 'defs.yaml'}, line 19: `setle_time` is not a key of `policy`")
    assert told.endswith("^^^^^^^^^^")


@pytest.mark.parametrize("line", ["url_env: ACME_DATABASE_URL", "renewal: reset_used", "credits: 5000"])
def test_a_secret_in_a_dg_project_is_refused_and_not_repeated(line: str) -> None:
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=CreditReconciliation, defs_path="acme")
        (path / "defs.yaml").write_text(ACME.replace(line, f"{line.split(':', 1)[0]}: postgres://app:hunter2@db/app"))
        with (
            pytest.raises(Exception, match="Error while loading component acme") as caught,
            sandbox.load_component_and_build_defs(defs_path="acme"),
        ):
            pass
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_two_systems_share_one_code_location(tmp_path: Path) -> None:
    acme = load_file(a_system(tmp_path))
    both = dg.Definitions.merge(
        CreditReconciliation(load_system("wix_app", PACKAGED)).build_defs(None),  # type: ignore[arg-type]
        CreditReconciliation(acme).build_defs(None),  # type: ignore[arg-type]
    )
    assert {key.path[0] for key in both.resolve_all_asset_keys()} == {"wix_app", "acme"}
    assert both.resolve_job_def("acme_reconcile").name == "acme_reconcile"
    assert both.resolve_job_def("wix_app_reconcile").name == "wix_app_reconcile"


def test_the_code_location_loads_ones_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_system(tmp_path)
    monkeypatch.setenv("CREDIT_PIPELINE_DEFS", str(tmp_path))
    assert {key.path[0] for key in defs().resolve_all_asset_keys()} == {"acme"}


def test_a_day_that_no_month_has_is_found_by_dagster_and_is_a_sentence_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_system(tmp_path, ACME.replace("0 */6 * * *", "0 0 31 2 *"))
    monkeypatch.setenv("CREDIT_PIPELINE_DEFS", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"acme: schedule\.reconcile\.cron `0 0 31 2 \*` is not a cron"):
        defs()


def test_definitions_validate_with_an_empty_environment(tmp_path: Path) -> None:
    a_system(tmp_path / "mine")
    done = validate(tmp_path / "mine", tmp_path)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "Validation successful" in told


def test_definitions_validate_names_the_file_and_the_key_of_a_mistake(tmp_path: Path) -> None:
    a_system(tmp_path / "mine")
    broken = a_system(tmp_path / "mine", ACME.replace("credits: 5000", "credit: 5000"), name="broken")
    done = validate(tmp_path / "mine", tmp_path)
    assert done.returncode == 1
    assert (
        f"{broken}, line 8: `credit` is not a key of `plans[1]`: did you mean `credits`?" in done.stdout + done.stderr
    )
