"""The command line's way to the jobs, on the real parts: sandbox, Postgres, billing over HTTP, Dagster on Postgres."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.config.loader import load_system
from credit_pipeline.domain.errors import ConfigurationError, PlanError
from credit_pipeline.orchestration.assemble import reconciliation_defs
from credit_pipeline.orchestration.runs.system_runs import RunResult, apply_run, reconcile_run
from credit_pipeline.sandbox import lifecycle
from credit_pipeline.services.health.health import health
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline_tests.orchestration.conftest import Sandbox

SYSTEM = load_system("wix_app", environ={})
SCHEMA = "credit_pipeline"
MENDED = ("no_paid_account_without_its_grant", "no_paid_account_on_free_limits")
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
        "both_sides_were_compared_lately",
        "counts_add_up",
        "every_alert_is_delivered",
        "no_credits_lost",
        "no_paid_account_on_free_limits",
        "no_paid_account_without_its_grant",
        "plan_within_limits",
        "system_is_healthy",
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


def health_run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return reconciliation_defs(SYSTEM).resolve_job_def("wix_app_health").execute_in_process(instance=instance)


def untrue(result: dg.ExecuteInProcessResult) -> dict[str, int | None]:
    return {one["name"]: one["count"] for one in result.output_for_node("wix_app__health_report")["checks"]}


def kept(sandbox: Sandbox) -> list[str]:
    """All that is remembered and planned, as text."""
    tables = ("snapshot", "observation", "observation_log", "mismatch", "correction_plan")
    with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
        found = [
            connection.execute(sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(sql.Identifier(SCHEMA, name)))
            for name in tables
        ]
        return [row for rows in found for (row,) in rows]


def test_the_hourly_monitor_says_what_the_comparison_said_without_asking_billing(
    sandbox: Sandbox, dry_run: DryRun, dagster_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept(sandbox)
    monkeypatch.setenv("WIX_API_URL", "http://127.0.0.1:9")  # nobody answers there
    result = health_run(dagster_instance)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.asset_key == dg.AssetKey(["wix_app", "health_report"])
    assert dry_run.result.report is not None
    compared = {one.name: one.count for one in health(SYSTEM, dry_run.result.report, None).statements}
    of_now = {"both_sides_were_compared_lately": 0, "every_alert_is_delivered": 0}
    assert untrue(result) == compared | of_now
    assert compared["no_paid_account_without_its_grant"]
    assert {one.check_name: one.passed for one in result.get_asset_check_evaluations()} == {
        "both_sides_were_compared_lately": True,
        "every_alert_is_delivered": True,
        "system_is_healthy": False,
    }
    shown = event.step_materialization_data.materialization.metadata["balances over time"].value
    assert str(shown).startswith("![balances over time](data:image/png;base64,")
    assert kept(sandbox) == before


def test_the_monitor_goes_red_where_no_comparison_came_for_a_day(
    sandbox: Sandbox, dry_run: DryRun, dagster_instance: dg.DagsterInstance
) -> None:
    def moved(hours: int) -> None:
        with psycopg.connect(sandbox.environment["WIX_DATABASE_URL"]) as connection:
            connection.execute(
                "UPDATE credit_pipeline.snapshot SET as_of = as_of - make_interval(hours => %s)", (hours,)
            )

    moved(25)
    result = health_run(dagster_instance)
    moved(-25)
    assert result.success
    assert untrue(result)["both_sides_were_compared_lately"] == 1
    (check,) = [
        one for one in result.get_asset_check_evaluations() if one.check_name == "both_sides_were_compared_lately"
    ]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert "wix_app_reconcile" in str(check.metadata["recovery"].value)


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
    found = [untrue(health_run(dagster_instance))[name] for name in MENDED]
    assert refused.report is not None
    compared = {one.name: one.count for one in health(SYSTEM, refused.report, None).statements}
    assert all((now or 0) < (compared[name] or 0) for name, now in zip(MENDED, found, strict=True)), (compared, found)
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
