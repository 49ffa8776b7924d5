"""Everything the code location defines, by name: what dashboards, bookmarks and scripts hold on to."""

from datetime import timedelta

import dagster as dg
import pytest

from credit_pipeline.adapters.system_yaml import load_system
from credit_pipeline.definitions import defs
from credit_pipeline.orchestration.assemble import reconciliation_defs

NOUNS = ["balances", "subscriptions", "mismatch_report", "correction_plan", "applied_corrections", "audit_trail"]
CHECKS = {
    "mismatch_report": [
        "counts_add_up",
        "no_credits_lost",
        "no_paid_account_on_free_limits",
        "no_paid_account_without_its_grant",
    ],
    "applied_corrections": ["plan_within_limits"],
}


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    built = defs()
    dg.Definitions.validate_loadable(built)
    return built.get_repository_def()


def test_the_assets_are_the_lineage_an_auditor_sees(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {f"wix_app/{noun}" for noun in NOUNS}
    parents = {
        noun: sorted(parent.path[-1] for parent in graph.get(dg.AssetKey(["wix_app", noun])).parent_keys)
        for noun in NOUNS
    }
    assert parents == {
        "balances": [],
        "subscriptions": ["balances"],
        "mismatch_report": ["balances", "subscriptions"],
        "correction_plan": ["mismatch_report"],
        "applied_corrections": ["correction_plan"],
        "audit_trail": ["applied_corrections"],
    }


def test_every_asset_is_described_owned_and_grouped_by_its_system(repository: dg.RepositoryDefinition) -> None:
    for key in repository.asset_graph.get_all_asset_keys():
        node = repository.asset_graph.get(key)
        assert node.group_name == "wix_app", key
        assert len(node.description or "") > 60, key
        assert list(node.owners) == ["team:billing"], key
        assert node.tags["credit_pipeline/environment"] == "sandbox", key
        assert [name for name in node.tags if name.startswith("dagster/kind/")], key
        assert node.code_version == "1", key


def test_the_checks_are_true_sentences(repository: dg.RepositoryDefinition) -> None:
    found: dict[str, list[str]] = {}
    for key in repository.asset_graph.asset_check_keys:
        found.setdefault(key.asset_key.path[-1], []).append(key.name)
        description = repository.asset_graph.get(key).description or ""
        assert description.endswith("."), key
    assert {noun: sorted(names) for noun, names in found.items()} == CHECKS


def test_the_jobs_are_verbs_with_a_time_limit(repository: dg.RepositoryDefinition) -> None:
    assert sorted(name for name in repository.job_names if not name.startswith("__")) == [
        "wix_app_apply",
        "wix_app_reconcile",
    ]
    for name in ("wix_app_apply", "wix_app_reconcile"):
        job = repository.get_job(name)
        assert job.tags["dagster/max_runtime"] == str(int(timedelta(hours=3).total_seconds()))
        assert job.tags["credit_pipeline/reconcile"] == "wix_app"
        assert job.executor_def is dg.in_process_executor
        assert job.description


def test_reconcile_runs_everything_and_apply_only_the_applying(repository: dg.RepositoryDefinition) -> None:
    selected = {
        name: {key.path[-1] for key in repository.get_job(name).asset_layer.executable_asset_keys}
        for name in ("wix_app_reconcile", "wix_app_apply")
    }
    assert selected == {"wix_app_reconcile": set(NOUNS), "wix_app_apply": {"applied_corrections", "audit_trail"}}
    steps = {name: set(repository.get_job(name).graph.node_dict) for name in selected}
    checks = {f"wix_app__{noun}_{check}" for noun, names in CHECKS.items() for check in names}
    assert checks <= steps["wix_app_reconcile"]
    assert checks & steps["wix_app_apply"] == {"wix_app__applied_corrections_plan_within_limits"}


def test_applying_is_five_guarded_steps(repository: dg.RepositoryDefinition) -> None:
    graph = repository.get_job("wix_app_apply").graph.node_named("wix_app__applied_corrections").definition
    assert isinstance(graph, dg.GraphDefinition)
    assert {node.name for node in graph.nodes} == {"guard", "confirm", "canary", "apply", "verify"}


def test_the_schedule_runs_by_itself_every_six_hours_and_writes_nothing(repository: dg.RepositoryDefinition) -> None:
    (schedule,) = repository.schedule_defs
    assert schedule.name == "wix_app_reconcile_schedule"
    assert schedule.cron_schedule == "0 */6 * * *"
    assert schedule.execution_timezone == "UTC"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    assert tick.run_requests is not None
    assert tick.run_requests[0].run_config == {"dry_run": True, "settle": True}


def test_only_automation_apply_lets_the_schedule_write() -> None:
    from dataclasses import replace

    system = load_system("wix_app", environ={})
    system = replace(system, policy=replace(system.policy, automation_apply=True))
    (schedule,) = reconciliation_defs(system).get_repository_def().schedule_defs
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    assert tick.run_requests is not None
    assert tick.run_requests[0].run_config == {"dry_run": False, "settle": True}


def test_a_run_writes_nothing_unless_it_is_told_to(repository: dg.RepositoryDefinition) -> None:
    reconcile, apply = repository.get_job("wix_app_reconcile"), repository.get_job("wix_app_apply")
    guard = "wix_app__applied_corrections.guard"
    told = dg.validate_run_config(reconcile, {})["ops"]
    assert told[guard]["config"] == {"dry_run": True, "plan_id": None}
    assert told["wix_app__mismatch_report"]["config"] == {"settle": False, "accounts": []}
    told = dg.validate_run_config(apply, {"plan_id": "p", "dry_run": False})["ops"]
    assert told[guard]["config"] == {"dry_run": False, "plan_id": "p"}


def test_run_config_cannot_say_that_a_person_is_there(repository: dg.RepositoryDefinition) -> None:
    for word in ("attended", "person"):
        with pytest.raises(dg.DagsterInvalidConfigError, match=word):
            dg.validate_run_config(repository.get_job("wix_app_reconcile"), {"dry_run": False, word: True})
