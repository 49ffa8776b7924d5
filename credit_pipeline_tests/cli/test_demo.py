"""What `demo` and `sandbox` show: both systems, planted against found, and the truth of each."""

import io
from typing import Any

import pytest
from rich.console import Console

from credit_pipeline.cli.managed_servers import may_use_sandbox
from credit_pipeline.cli.sandbox import as_promised, demo_text
from credit_pipeline.cli.session import Session
from credit_pipeline.sandbox import lifecycle
from credit_pipeline_tests.cli.conftest import Run, Sandbox


def a_result(**changed: Any) -> dict[str, Any]:
    """What the demo came to for one system, as promised."""
    promised = {
        "population": 2_000,
        "planted": {"plan_mismatch": 56, "orphan_balance": 6},
        "found": {"plan_mismatch": 56, "orphan_balance": 6},
        "corrected": {"plan_mismatch": 50},
        "held_by_code": {"plan_mismatch": 6},
        "changed": 50,
        "held": 6,
        "missed": [],
        "healthy_reported": [],
        "second_run_changed": 0,
        "credits_lost": 0,
    }
    return promised | changed


def shown(**systems: dict[str, Any]) -> str:
    """The demo's text, 80 columns wide."""
    console = Console(file=io.StringIO(), width=80, markup=False)
    for part in demo_text({"systems": systems}):
        console.print(part, crop=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_system_has_its_totals_its_table_and_its_next_command() -> None:
    text = shown(wix_app=a_result(), bestauth=a_result(population=1_500))
    assert "wix_app: 2,000 accounts, 50 corrected" in text
    assert "bestauth: 1,500 accounts, 50 corrected" in text
    assert text.count("plan_mismatch") == 2
    assert all(f"credit-pipeline check {name} shows" in text for name in ("wix_app", "bestauth"))
    assert len(text.splitlines()) < 24


def test_a_code_that_differs_is_marked() -> None:
    text = shown(bestauth=a_result(found={"plan_mismatch": 55, "orphan_balance": 6}, missed=["acct"]))
    assert "plan_mismatch (differs)" in text
    assert "missed: acct" in text


@pytest.mark.parametrize(
    "changed",
    [
        {"found": {"plan_mismatch": 56}},
        {"missed": ["a"]},
        {"healthy_reported": ["a"]},
        {"second_run_changed": 1},
        {"credits_lost": 1},
    ],
)
def test_whatever_is_notas_promised_is_told_by_the_exit_status(changed: dict[str, Any]) -> None:
    assert as_promised(a_result())
    assert not as_promised(a_result(**changed))


def test_sandbox_truth_prints_one_truth_a_system(run: Run, sandbox: Sandbox) -> None:
    told = run("sandbox", "truth", "--format", "json")
    assert told.status == 0
    systems = told.json["systems"]
    assert systems == {name: lifecycle.truth(sandbox.home, name) for name in ("wix_app", "bestauth")}
    assert {truth["population"] for truth in systems.values()} == {120}


@pytest.mark.parametrize("name", ["wix_app", "bestauth"])
def test_the_sandbox_stands_in_for_either_system_while_none_of_its_variables_is_set(
    name: str, planted: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDIT_PIPELINE_HOME", str(planted.home))
    system = lifecycle.sandbox_system(name)
    for variable in system.env_names:
        monkeypatch.delenv(variable, raising=False)
    assert may_use_sandbox(Session(), system)
    monkeypatch.setenv(system.env_names[-1], "the person's own")
    assert not may_use_sandbox(Session(), system)
