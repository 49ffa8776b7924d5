"""Everything the code location defines, by name: what dashboards, bookmarks and scripts hold on to."""

from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest

from credit_pipeline.config.loader import load_system
from credit_pipeline.definitions import defs
from credit_pipeline.domain.timetable import Timetable, Timetables
from credit_pipeline.orchestration.assemble import reconciliation_defs
from credit_pipeline.orchestration.run_limits import RunLimits
from credit_pipeline.orchestration.sensors.schedules import schedules_of

PARENTS = {
    "balances": [],
    "subscriptions": ["balances"],
    "mismatch_report": ["balances", "subscriptions"],
    "health_report": ["mismatch_report"],
    "correction_plan": ["mismatch_report"],
    "applied_corrections": ["correction_plan"],
    "audit_trail": ["applied_corrections"],
}
LEDGER_PARENTS = PARENTS | {
    "identities": [],
    "subscriptions": ["balances", "identities"],
    "mismatch_report": ["balances", "identities", "subscriptions"],
    "id_mapping_report": ["balances", "identities", "subscriptions"],
}
LINEAGE = {"wix_app": PARENTS, "bestauth": LEDGER_PARENTS}
ON_REPORT = ["counts_add_up", "no_credits_lost", "no_paid_account_on_free_limits", "no_paid_account_without_its_grant"]
ON_HEALTH = ["both_sides_were_compared_lately", "every_alert_is_delivered", "system_is_healthy"]
ON_AUDIT = {"audit_trail": ["audit_chain_verifies"]}
CHECKS: dict[str, dict[str, list[str]]] = {
    "wix_app": {
        "mismatch_report": ON_REPORT,
        "health_report": ON_HEALTH,
        "applied_corrections": ["plan_within_limits"],
        **ON_AUDIT,
    },
    "bestauth": {
        "mismatch_report": sorted([*ON_REPORT, "every_user_is_mapped", "ledger_explains_balance"]),
        "health_report": sorted([*ON_HEALTH, "no_recent_failed_deductions"]),
        "applied_corrections": ["plan_within_limits"],
        **ON_AUDIT,
    },
}
SYSTEMS = pytest.mark.parametrize("system", LINEAGE)


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    built = defs()
    dg.Definitions.validate_loadable(built)
    return built.get_repository_def()


def test_the_assets_are_the_lineage_an_auditor_sees(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    found: dict[str, dict[str, list[str]]] = {}
    for key in graph.get_all_asset_keys():
        system, noun = key.path
        found.setdefault(system, {})[noun] = sorted(parent.path[-1] for parent in graph.get(key).parent_keys)
    assert found == LINEAGE


def test_every_asset_is_described_owned_and_grouped_by_its_system(repository: dg.RepositoryDefinition) -> None:
    for key in repository.asset_graph.get_all_asset_keys():
        node = repository.asset_graph.get(key)
        assert node.group_name == key.path[0], key
        assert len(node.description or "") > 60, key
        assert list(node.owners) == ["team:billing"], key
        assert node.tags["credit_pipeline/environment"] == "sandbox", key
        assert [name for name in node.tags if name.startswith("dagster/kind/")], key
        assert node.code_version == "1", key


def test_the_checks_are_true_sentences(repository: dg.RepositoryDefinition) -> None:
    found: dict[str, dict[str, list[str]]] = {}
    for key in sorted(repository.asset_graph.asset_check_keys):
        system, noun = key.asset_key.path
        found.setdefault(system, {}).setdefault(noun, []).append(key.name)
        description = repository.asset_graph.get(key).description or ""
        assert description.endswith("."), key
    assert found == CHECKS


def test_the_jobs_are_verbs_with_a_time_limit(repository: dg.RepositoryDefinition) -> None:
    jobs = {name: name.rpartition("_")[0] for name in repository.job_names if not name.startswith("__")}
    verbs = ("apply", "health", "reconcile", "repair_webhooks", "sync_accounts", "undo")
    assert sorted(jobs) == [f"{system}_{verb}" for system in sorted(LINEAGE) for verb in verbs]
    for name, system in jobs.items():
        if name.endswith(("_webhooks", "_accounts", "_health")):
            continue
        job = repository.get_job(name)
        assert job.tags["dagster/max_runtime"] == str(int(timedelta(hours=3).total_seconds()))
        assert job.tags["credit_pipeline/reconcile"] == system
        assert job.executor_def is dg.in_process_executor
        assert job.description


@SYSTEMS
@pytest.mark.parametrize("verb", ["sync_accounts", "repair_webhooks"])
def test_single_accounts_wait_for_no_reconciliation_and_are_about_no_asset(
    repository: dg.RepositoryDefinition, system: str, verb: str
) -> None:
    job = repository.get_job(f"{system}_{verb}")
    assert job.tags["dagster/max_runtime"] == str(int(timedelta(minutes=30).total_seconds()))
    assert "credit_pipeline/reconcile" not in job.tags
    assert job.executor_def is dg.in_process_executor
    assert job.description
    assert not job.asset_layer.executable_asset_keys
    (told,) = dg.validate_run_config(job, {})["ops"].values()
    assert told["config"]["dry_run"] is True, "nothing is written unless it is told to"
    with pytest.raises(dg.DagsterInvalidConfigError, match="person"):
        dg.validate_run_config(job, {"dry_run": False, "person": True})


def test_the_sensors_run_by_themselves_and_ask_for_the_jobs_of_their_system(
    repository: dg.RepositoryDefinition,
) -> None:
    asking = ("failed_webhook_sensor", "sync_request_sensor")
    found = {sensor.name: sensor for sensor in repository.sensor_defs if sensor.name.endswith(asking)}
    assert {name: sensor.job_name for name, sensor in found.items()} == {
        f"{system}_{name}": f"{system}_{job}"
        for system in LINEAGE
        for name, job in (
            ("failed_webhook_sensor", "repair_webhooks"),
            ("sync_request_sensor", "sync_accounts"),
        )
    }
    for sensor in found.values():
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert sensor.minimum_interval_seconds == 20
        assert "automation.apply" in (sensor.description or "")


@SYSTEMS
@pytest.mark.parametrize("name", ["alerts_sensor", "run_failure_sensor"])
def test_people_are_told_by_sensors_that_run_by_themselves(
    repository: dg.RepositoryDefinition, system: str, name: str
) -> None:
    [sensor] = [one for one in repository.sensor_defs if one.name == f"{system}_{name}"]
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 30
    assert not sensor.targets, "it tells, and starts nothing"
    assert sensor.description


def test_what_could_not_be_delivered_is_fetched_where_billing_lists_it(repository: dg.RepositoryDefinition) -> None:
    [sensor] = [one for one in repository.sensor_defs if one.name.endswith("_undelivered_sensor")]
    assert (sensor.name, sensor.job_name) == ("bestauth_undelivered_sensor", "bestauth_repair_webhooks")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 15 * 60
    assert "policy.settle_time" in (sensor.description or "")


@SYSTEMS
def test_reconcile_runs_everything_and_apply_only_the_applying(
    repository: dg.RepositoryDefinition, system: str
) -> None:
    reconcile, apply = repository.get_job(f"{system}_reconcile"), repository.get_job(f"{system}_apply")
    selected = [{key.path[-1] for key in job.asset_layer.executable_asset_keys} for job in (reconcile, apply)]
    assert selected == [set(LINEAGE[system]), {"applied_corrections", "audit_trail"}]
    checks = {f"{system}__{noun}_{check}" for noun, names in CHECKS[system].items() for check in names}
    assert checks <= set(reconcile.graph.node_dict)
    applying = {f"{system}__{noun}_{check}" for noun in selected[1] for check in CHECKS[system].get(noun, [])}
    assert checks & set(apply.graph.node_dict) == applying


@SYSTEMS
def test_undo_plans_and_applies_and_asks_for_no_report(repository: dg.RepositoryDefinition, system: str) -> None:
    job = repository.get_job(f"{system}_undo")
    selected = {key.path[-1] for key in job.asset_layer.executable_asset_keys}
    assert selected == {"correction_plan", "applied_corrections", "audit_trail"}
    assert f"{system}__applied_corrections_plan_within_limits" in job.graph.node_dict
    told = dg.validate_run_config(job, {"plan_id": "p", "accounts": ["a"]})["ops"]
    assert told[f"{system}__correction_plan"]["config"] == {"undo": "p", "accounts": ["a"]}
    applying = told[f"{system}__applied_corrections.guard"]["config"]
    assert (applying["dry_run"], applying["plan_id"]) == (True, None)


def test_applying_is_five_guarded_steps(repository: dg.RepositoryDefinition) -> None:
    graph = repository.get_job("wix_app_apply").graph.node_named("wix_app__applied_corrections").definition
    assert isinstance(graph, dg.GraphDefinition)
    assert {node.name for node in graph.nodes} == {"guard", "confirm", "canary", "apply", "verify"}


@SYSTEMS
def test_the_health_job_judges_what_is_remembered_and_waits_for_no_reconciliation(
    repository: dg.RepositoryDefinition, system: str
) -> None:
    job = repository.get_job(f"{system}_health")
    assert {key.path[-1] for key in job.asset_layer.executable_asset_keys} == {"health_report"}
    checks = {f"{system}__health_report_{check}" for check in CHECKS[system]["health_report"]}
    assert set(job.graph.node_dict) == {f"{system}__health_report", *checks}
    assert "credit_pipeline/reconcile" not in job.tags
    assert job.tags["dagster/max_runtime"] == str(int(timedelta(minutes=30).total_seconds()))
    told = dg.validate_run_config(job, {})["ops"]
    assert told[f"{system}__health_report"]["config"] == {"remembered": True}
    told = dg.validate_run_config(repository.get_job(f"{system}_reconcile"), {})["ops"]
    assert told[f"{system}__health_report"]["config"] == {"remembered": False}


@SYSTEMS
def test_the_health_job_runs_hourly_by_itself(repository: dg.RepositoryDefinition, system: str) -> None:
    schedule = repository.get_schedule_def(f"{system}_health_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 * * * *", "UTC")
    assert schedule.job_name == f"{system}_health"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    assert tick.run_requests is not None
    assert tick.run_requests[0].run_config == {}


def test_jitter_moves_the_minute_of_each_job_by_its_own_number() -> None:
    system = load_system("wix_app", environ={})
    times = {
        "reconcile": Timetable(cron="5 */6 * * *", jitter=timedelta(minutes=40)),
        "health": Timetable(cron="5 * * * *", timezone="Europe/Berlin", jitter=timedelta(minutes=40)),
    }
    schedules = schedules_of(replace(system, schedule=Timetables(**times)))
    lines = {schedule.job_name: schedule.cron_schedule for schedule in schedules}
    assert lines == {name: times[name.removeprefix("wix_app_")].line_for(name) for name in lines}
    assert {schedule.execution_timezone for schedule in schedules} == {"UTC", "Europe/Berlin"}


def test_the_schedule_runs_by_itself_every_six_hours_and_writes_nothing(repository: dg.RepositoryDefinition) -> None:
    assert sorted(schedule.name for schedule in repository.schedule_defs) == [
        "bestauth_health_schedule",
        "bestauth_reconcile_schedule",
        "wix_app_health_schedule",
        "wix_app_reconcile_schedule",
    ]
    schedule = repository.get_schedule_def("wix_app_reconcile_schedule")
    assert schedule.cron_schedule == "0 */6 * * *"
    assert schedule.execution_timezone == "UTC"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    assert tick.run_requests is not None
    assert tick.run_requests[0].run_config == {"dry_run": True, "settle": True}


def test_only_automation_apply_lets_the_schedule_write() -> None:
    system = load_system("wix_app", environ={})
    system = replace(system, policy=replace(system.policy, automation_apply=True))
    schedule = reconciliation_defs(system).get_repository_def().get_schedule_def("wix_app_reconcile_schedule")
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    assert tick.run_requests is not None
    assert tick.run_requests[0].run_config == {"dry_run": False, "settle": True}


def test_a_run_writes_nothing_unless_it_is_told_to(repository: dg.RepositoryDefinition) -> None:
    reconcile, apply = repository.get_job("wix_app_reconcile"), repository.get_job("wix_app_apply")
    guard = "wix_app__applied_corrections.guard"
    told = dg.validate_run_config(reconcile, {})["ops"]
    no_tighter = dict.fromkeys(RunLimits.model_fields)
    assert told[guard]["config"] == {"dry_run": True, "plan_id": None, "limits": no_tighter}
    assert told["wix_app__mismatch_report"]["config"] == {"settle": False, "accounts": []}
    told = dg.validate_run_config(apply, {"plan_id": "p", "dry_run": False})["ops"]
    assert told[guard]["config"] == {"dry_run": False, "plan_id": "p", "limits": no_tighter}


def test_run_config_cannot_say_that_a_person_is_there(repository: dg.RepositoryDefinition) -> None:
    for word in ("attended", "person"):
        with pytest.raises(dg.DagsterInvalidConfigError, match=word):
            dg.validate_run_config(repository.get_job("wix_app_reconcile"), {"dry_run": False, word: True})
