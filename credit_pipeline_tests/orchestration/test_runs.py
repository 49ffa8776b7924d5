"""The command line's way to the jobs, on the real parts: sandbox, Postgres, billing over HTTP, Dagster on Postgres."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
import psycopg
import pytest

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.adapters.system_yaml import load_system
from credit_pipeline.domain.errors import ConfigurationError, PlanError
from credit_pipeline.orchestration.runs import RunResult, apply_run, reconcile_run
from credit_pipeline.sandbox import lifecycle
from credit_pipeline.services.ports import Selection
from credit_pipeline_tests.orchestration.conftest import Sandbox

SYSTEM = load_system("wix_app", environ={})
NOUNS = [
    "balances",
    "subscriptions",
    "mismatch_report",
    "health_report",
    "correction_plan",
    "applied_corrections",
    "audit_trail",
]


def rows(sandbox: Sandbox) -> list[tuple[object, ...]]:
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        return connection.execute("SELECT * FROM app_instances ORDER BY instance_id").fetchall()


@dataclass(frozen=True)
class DryRun:
    """One dry run, what was asked meanwhile, and what the terminal showed."""

    result: RunResult
    before: list[tuple[object, ...]]
    asked: list[tuple[int, int]]
    shown: str


@pytest.fixture(scope="module")
def dry_run(sandbox: Sandbox, dagster_instance: dg.DagsterInstance) -> DryRun:
    before, asked = rows(sandbox), list[tuple[int, int]]()
    with tempfile.TemporaryFile() as terminal, redirected(terminal.fileno()):
        result = reconcile_run(SYSTEM, dagster_instance, progress=lambda done, total: asked.append((done, total)))
        terminal.seek(0)
        shown = terminal.read().decode()
    return DryRun(result=result, before=before, asked=asked, shown=shown)


@contextmanager
def redirected(target: int) -> Iterator[None]:
    """Both of the process's streams, below Python's own."""
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    try:
        for stream, _ in kept:
            os.dup2(target, stream)
        yield
    finally:
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)


def test_a_dry_run_finds_what_was_planted_and_writes_nothing(sandbox: Sandbox, dry_run: DryRun) -> None:
    assert rows(sandbox) == dry_run.before
    report = dry_run.result.report
    assert report is not None
    planted = lifecycle.truth(sandbox.home)["planted"]
    assert sum(planted.values()) > 0
    assert dict(report.classes) == planted
    assert dry_run.result.plan["mode"] == "dry_run"
    assert set(dry_run.result.plan["outcomes"]) <= {"would_change", "needs_approval"}
    assert dry_run.asked[-1] == (report.population, report.population)


def test_the_lineage_is_whole(dry_run: DryRun, dagster_instance: dg.DagsterInstance) -> None:
    for noun in NOUNS:
        event = dagster_instance.get_latest_materialization_event(dg.AssetKey(["wix_app", noun]))
        assert event is not None, noun
        assert event.run_id == dry_run.result.run_id
    assert dry_run.result.checks.keys() == {
        "audit_chain_verifies",
        "counts_add_up",
        "no_credits_lost",
        "no_paid_account_on_free_limits",
        "no_paid_account_without_its_grant",
        "plan_within_limits",
    }
    assert dry_run.result.checks["counts_add_up"]
    assert not dry_run.result.checks["no_paid_account_without_its_grant"]


def test_dagster_says_nothing_on_the_terminal_and_keeps_the_decisions(
    dry_run: DryRun, dagster_instance: dg.DagsterInstance
) -> None:
    assert dry_run.shown == ""
    logged = [entry.user_message for entry in dagster_instance.all_logs(dry_run.result.run_id)]
    assert "sync started" in logged
    assert any(line.startswith("acct_") for line in logged)


def test_no_secret_and_no_address_reaches_dagsters_storage(
    sandbox: Sandbox, dry_run: DryRun, dagster_instance: dg.DagsterInstance
) -> None:
    everything = [path.read_text() for path in (sandbox.home / "records").rglob("*.json")]
    everything += [str(run) for run in dagster_instance.get_runs()]
    everything += [str(entry) for entry in dagster_instance.all_logs(dry_run.result.run_id)]
    text = "\n".join(everything)
    assert "acct_" in text
    for name in ("WIX_APP_SECRET", "WIX_DATABASE_URL", "CREDIT_PIPELINE_DAGSTER_URL"):
        assert sandbox.environment[name] not in text, name
    assert "OauthNG" not in text
    assert "@example" not in text


def test_a_live_plan_is_refused_then_approved_then_applied_once(
    sandbox: Sandbox, dagster_instance: dg.DagsterInstance
) -> None:
    before = rows(sandbox)
    refused = reconcile_run(SYSTEM, dagster_instance, dry_run=False, attended=True)
    assert refused.plan["state"] == "quarantined"
    assert refused.checks["plan_within_limits"] is False
    assert rows(sandbox) == before
    assert refused.plan_id is not None
    with open_gateways(SYSTEM, sandbox.home, os.environ) as gateways:
        gateways.plans.approve(refused.plan_id, Selection(lane="auto"), "ada", "looked at it")
    applied = apply_run(SYSTEM, dagster_instance, refused.plan_id)
    assert applied.plan["outcomes"]["changed"] > 0
    assert applied.report is None
    assert rows(sandbox) != before
    after = rows(sandbox)
    again = reconcile_run(SYSTEM, dagster_instance, dry_run=False, attended=True)
    assert again.plan["outcomes"].get("changed", 0) == 0
    assert rows(sandbox) == after
    trail = dagster_instance.get_latest_materialization_event(dg.AssetKey(["wix_app", "audit_trail"]))
    assert trail is not None
    assert trail.asset_materialization is not None
    assert trail.asset_materialization.metadata["head_sequence"].value == applied.plan["outcomes"]["changed"]


def test_a_missing_variable_is_one_sentence_here_and_in_the_ui(
    sandbox: Sandbox, dagster_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WIX_DATABASE_URL")
    with pytest.raises(ConfigurationError) as caught:
        reconcile_run(SYSTEM, dagster_instance)
    assert "wix_app: set WIX_DATABASE_URL" in str(caught.value)
    assert "\n" not in str(caught.value)
    (run,) = dagster_instance.get_runs(limit=1)
    assert run.status is dg.DagsterRunStatus.FAILURE
    (failed,) = [
        e for e in dagster_instance.all_logs(run.run_id) if e.is_dagster_event and e.dagster_event.is_step_failure
    ]
    assert failed.dagster_event.step_failure_data.user_failure_data.description == str(caught.value)


def test_an_unknown_plan_comes_back_as_itself(sandbox: Sandbox, dagster_instance: dg.DagsterInstance) -> None:
    with pytest.raises(PlanError):
        apply_run(SYSTEM, dagster_instance, "no-such-plan")
