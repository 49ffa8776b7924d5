"""The reconcile and apply jobs between fakes: what is written when, what is handed on, what each failure says."""

import json
import logging
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from credit_pipeline.config.loader import load_system
from credit_pipeline.orchestration.assemble import reconciliation_defs
from credit_pipeline.orchestration.assets.plan import no_plan
from credit_pipeline.orchestration.io_manager import CreditRecords
from credit_pipeline.orchestration.jobs.terminal import Terminal
from credit_pipeline.orchestration.metadata import plan_metadata
from credit_pipeline.services.collect.ports import Snapshot
from credit_pipeline.services.reconcile.ports import CollectionRecord
from credit_pipeline.services.report.report import Report
from credit_pipeline_tests.orchestration.fake_world import WORLDS, FakeGateways, World, a_world

SYSTEM = load_system("wix_app", environ={})
UNTOUCHED = {"short": ["pro", 100, 20], "relabelled": ["free", 100, 0]}


class Bench:
    """One world, one instance, and the jobs over them."""

    def __init__(self, world: World, instance: dg.DagsterInstance, name: str) -> None:
        self.world, self.instance, self.name = world, instance, name
        self.system = SYSTEM
        WORLDS[name] = world

    def definitions(self, *, attended: bool = False) -> dg.Definitions:
        resources = {"credit_gateways": FakeGateways(world=self.name), "credit_records": CreditRecords()}
        return reconciliation_defs(
            self.system, terminal=Terminal(attended=True) if attended else None, resources=resources
        )

    def run(self, job: str = "wix_app_reconcile", *, attended: bool = False, **told: Any) -> dg.ExecuteInProcessResult:
        definition = self.definitions(attended=attended).resolve_job_def(job)
        return definition.execute_in_process(run_config=told, instance=self.instance, raise_on_error=False)

    def materialize(self, *nouns: str) -> dg.ExecuteInProcessResult:
        job = self.definitions().resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(["wix_app", noun]) for noun in nouns]
        return job.execute_in_process(instance=self.instance, asset_selection=keys, raise_on_error=False)


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[[World], Bench]]:
    monkeypatch.setenv("CREDIT_PIPELINE_HOME", str(tmp_path / "home"))
    caplog.set_level(logging.CRITICAL, logger="dagster")
    with dg.DagsterInstance.ephemeral() as instance:
        yield lambda world: Bench(world, instance, str(tmp_path))


def plan_of(result: dg.ExecuteInProcessResult) -> Mapping[str, Any]:
    found: Mapping[str, Any] = result.output_for_node("wix_app__applied_corrections.verify")
    return found


def metadata_of(result: dg.ExecuteInProcessResult, noun: str) -> Mapping[str, Any]:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == noun]
    return {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}


def check_of(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    (found,) = [check for check in result.get_asset_check_evaluations() if check.check_name == name]
    return found


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    assert event.step_failure_data.user_failure_data is not None
    return str(event.step_failure_data.user_failure_data.description)


def test_a_dry_run_reports_plans_and_changes_nothing(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    before = {name: list(row) for name, row in world.accounts.items()}
    result = bench(world).run()
    assert result.success
    plan = plan_of(result)
    assert (plan["mode"], plan["state"], plan["outcomes"]) == ("dry_run", "proposed", {"would_change": 2})
    assert {row["account_id"]: row["delta"] for row in plan["rows"]} == {"short": 4900, "relabelled": 5000}
    assert world.accounts == before
    assert world.audit == []
    assert {e.asset_key.path[-1] for e in result.get_asset_materialization_events()} == {
        "balances",
        "subscriptions",
        "mismatch_report",
        "health_report",
        "correction_plan",
        "applied_corrections",
        "audit_trail",
    }


def test_a_live_run_of_a_person_applies_what_is_proven_and_verifies_it(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    result = bench(world).run(dry_run=False, attended=True)
    assert result.success
    assert plan_of(result)["outcomes"] == {"changed": 2}
    assert plan_of(result)["state"] == "applied"
    assert world.accounts["short"] == ["pro", 5000, 20]
    assert world.accounts["relabelled"][0] == "pro"
    assert world.accounts["relabelled"][1] - world.accounts["relabelled"][2] == 5100
    assert check_of(result, "plan_within_limits").passed
    assert metadata_of(result, "audit_trail")["dagster/row_count"] == 2
    assert world.opened == 1, "one set of connections a run"


def test_run_config_alone_never_writes(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    result = bench(world).run(dry_run=False)
    assert result.success
    plan = plan_of(result)
    assert (plan["mode"], plan["state"], plan["outcomes"]) == ("live", "quarantined", {"blocked_by_guard": 2})
    assert {name: world.accounts[name] for name in UNTOUCHED} == UNTOUCHED
    check = check_of(result, "plan_within_limits")
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert "automation.apply or an approval" in str(check.description)


def test_a_quarantined_plan_is_released_by_an_approval_and_applied_by_its_id(bench: Callable[[World], Bench]) -> None:
    world = a_world(applied_before=False)
    here = bench(world)
    refused = plan_of(here.run(dry_run=False, attended=True))
    assert refused["state"] == "quarantined"
    assert "first applied plan" in refused["failures"][0]
    world.gateways().plans.approve(refused["plan_id"], None, "ada", "looked at it")  # type: ignore[arg-type]
    result = here.run("wix_app_apply", plan_id=refused["plan_id"], dry_run=False)
    assert result.success
    assert plan_of(result)["outcomes"] == {"changed": 2}
    assert world.accounts["short"] == ["pro", 5000, 20]


def test_automation_apply_stands_for_the_approval(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    here = bench(world)
    here.system = replace(SYSTEM, policy=replace(SYSTEM.policy, automation_apply=True))
    assert plan_of(here.run(dry_run=False, settle=False))["outcomes"] == {"changed": 2}


def test_an_empty_plan_is_not_applied(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    for name in UNTOUCHED:
        del world.accounts[name]
    result = bench(world).run(dry_run=False, attended=True)
    assert result.success
    assert plan_of(result)["rows"] == []
    assert [plan.state for plan in world.plans.values()] == ["proposed"]


def test_a_failed_canary_stops_the_rest(bench: Callable[[World], Bench]) -> None:
    many = {f"short-{n:02}": ["pro", 100, 0] for n in range(9)}
    well = {f"well-{n}": ["pro", 5000, 0] for n in range(191)}
    world = a_world(accounts=many | well, fail_rows=frozenset({"short-03"}))
    world.billed = dict.fromkeys(world.accounts, a_world().billed["short"])
    result = bench(world).run(dry_run=False, attended=True)
    assert result.success
    plan = plan_of(result)
    assert plan["outcomes"] == {"blocked_by_guard": 4, "changed": 4, "failed": 1}
    assert plan["state"] == "partly_applied"
    assert world.batches == [5]
    assert plan["failures"] == [
        "1/5 (20.0%) rows of the canary failed, limit 0, so nothing else was applied: "
        "see their failures, then credit-pipeline fix wix_app"
    ]
    assert world.ends == plan["failures"], "it counts as a failed apply"
    assert not check_of(result, "plan_within_limits").passed


def test_batches_double_after_the_canary(bench: Callable[[World], Bench]) -> None:
    many = {f"short-{n:02}": ["pro", 100, 0] for n in range(40)}
    well = {f"well-{n}": ["pro", 5000, 0] for n in range(960)}
    world = a_world(accounts=many | well)
    world.billed = dict.fromkeys(world.accounts, a_world().billed["short"])
    assert plan_of(bench(world).run(dry_run=False, attended=True))["outcomes"] == {"changed": 40}
    assert world.batches == [5, 10, 20, 5]


def many_short(number: int, *, of: int = 1_000) -> World:
    """So many accounts that are short of a plan's credits, in a product that is large enough for them."""
    short = {f"short-{n:03}": ["pro", 100, 0] for n in range(number)}
    well = {f"well-{n}": ["pro", 5000, 0] for n in range(of - number)}
    world = a_world(accounts=short | well)
    world.billed = dict.fromkeys(world.accounts, a_world().billed["short"])
    return world


def test_a_run_may_tighten_canary_and_batches(bench: Callable[[World], Bench]) -> None:
    world = many_short(40)
    result = bench(world).run(dry_run=False, attended=True, limits={"canary": 2, "batch": 10, "rows": 40})
    assert plan_of(result)["outcomes"] == {"changed": 40}
    assert world.batches == [2, 4, 8, 10, 10, 6]


@pytest.mark.parametrize("job", ["wix_app_reconcile", "wix_app_apply"])
def test_a_run_that_asks_for_looser_limits_changes_nothing(bench: Callable[[World], Bench], job: str) -> None:
    world = a_world()
    here = bench(world)
    plan_id = plan_of(here.run())["plan_id"]
    named = {"plan_id": plan_id} if job == "wix_app_apply" else {}
    result = here.run(job, dry_run=False, attended=True, limits={"rows": 200, "max_snapshot_age": 60.0}, **named)
    assert result.success
    plan = plan_of(result)
    assert plan["failures"] == [
        "limits.rows of this run is 200, limit 5: a run may only tighten it, so give at most 5 or leave it out",
        "limits.max_snapshot_age of this run is 60, limit 30: "
        "a run may only tighten it, so give at most 30 or leave it out",
    ]
    assert (plan["outcomes"], world.batches) == ({"blocked_by_guard": 2}, [])
    assert {name: world.accounts[name] for name in UNTOUCHED} == UNTOUCHED
    assert not check_of(result, "plan_within_limits").passed


def test_the_apply_tells_how_far_it_is_and_reads_the_plan_no_more_often_for_more_batches(
    bench: Callable[[World], Bench], caplog: pytest.LogCaptureFixture
) -> None:
    loads = []
    for number in (5, 40):
        world = many_short(number)
        caplog.clear()
        caplog.set_level(logging.INFO, logger="credit_pipeline.wix_app")
        assert bench(world).run(dry_run=False, attended=True).success
        loads.append(world.loads)
    told = [record.getMessage() for record in caplog.records if record.name == "credit_pipeline.wix_app"]
    assert [line for line in told if line.startswith("applied ")] == [
        "applied 5 of 40 rows: 5 changed",
        "applied 15 of 40 rows: 10 changed",
        "applied 35 of 40 rows: 20 changed",
        "applied 40 of 40 rows: 5 changed",
    ]
    assert loads[0] == loads[1]


def test_an_account_that_something_undoes_is_held_and_the_others_are_corrected(
    bench: Callable[[World], Bench],
) -> None:
    world = a_world(corrected={"short": 2})
    here = bench(world)
    held = {row["account_id"]: row["outcome"] for row in plan_of(here.run())["rows"]}
    assert held == {"short": "blocked_by_guard", "relabelled": "would_change"}
    plan = plan_of(here.run(dry_run=False, attended=True))
    assert (plan["outcomes"], plan["state"]) == ({"blocked_by_guard": 1, "changed": 1}, "partly_applied")
    (row,) = [row for row in plan["rows"] if row["account_id"] == "short"]
    assert row["failures"] == [
        "had 2 automatic corrections in 24 h, and is held from 2 on: "
        "find what undoes them with credit-pipeline account wix_app ID"
    ]
    assert world.accounts["short"] == UNTOUCHED["short"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"corrected": {"short": 2, "relabelled": 3}}, "2/2 (100.0%) rows are of accounts corrected automatically"),
        ({"clock_ahead": timedelta(minutes=2)}, "s behind the database's, limit 30 s"),
        ({"pins": {}}, "billing's account is not pinned in this database: run credit-pipeline init wix_app"),
        ({"identity": {"app_id": "app-2", "host": "www.wixapis.com"}}, "app_id is app-2, pinned app-1"),
    ],
)
def test_a_refused_live_run_is_quarantined_and_changes_nothing(
    bench: Callable[[World], Bench], changes: dict[str, Any], sentence: str
) -> None:
    world = a_world(**changes)
    result = bench(world).run(dry_run=False, attended=True)
    assert result.success
    plan = plan_of(result)
    assert (plan["state"], plan["outcomes"], world.batches) == ("quarantined", {"blocked_by_guard": 2}, [])
    (failure,) = plan["failures"]
    assert sentence in failure
    assert {name: world.accounts[name] for name in UNTOUCHED} == UNTOUCHED
    assert check_of(result, "plan_within_limits").severity is dg.AssetCheckSeverity.ERROR


def test_a_broken_invariant_stops_the_apply_after_its_batch(bench: Callable[[World], Bench]) -> None:
    world = many_short(40)
    world.breaks = {"no_credits_were_lost": 2}
    result = bench(world).run(dry_run=False, attended=True)
    plan = plan_of(result)
    assert (plan["state"], world.batches) == ("partly_applied", [5])
    assert plan["failures"] == [
        "after a batch of plan-1 this does not hold: no_credits_were_lost in 2 rows, limit 0, so nothing else was "
        "applied: run credit-pipeline audit wix_app verify and look at them before the next apply"
    ]
    assert world.ends == plan["failures"]
    assert plan["outcomes"] == {"blocked_by_guard": 35, "changed": 5}


def test_three_failed_applies_in_a_row_stop_the_system_and_a_good_one_ends_the_count(
    bench: Callable[[World], Bench],
) -> None:
    world = a_world(fail_rows=frozenset({"short"}))
    here = bench(world)
    told = [plan_of(here.run(dry_run=False, attended=True))["failures"][1:] for _ in range(3)]
    assert told == [
        [],
        [],
        [
            "3 applies in a row failed, so wix_app is stopped: mend the cause, then "
            "credit-pipeline resume wix_app --as YOU --reason WHY"
        ],
    ]
    world.fail_rows = frozenset()
    assert plan_of(here.run(dry_run=False, attended=True))["failures"] == []
    assert world.ends[-1] is None


def test_an_error_of_the_database_counts_as_a_failed_apply(bench: Callable[[World], Bench]) -> None:
    world = a_world(away=True)
    result = bench(world).run(dry_run=False, attended=True)
    assert failure_of(result) == "wix_app: the database ended the connection: run it again"
    assert world.ends == ["wix_app: the database ended the connection: run it again"]


def test_a_live_run_confirms_again_what_was_confirmed_too_long_ago(
    bench: Callable[[World], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = many_short(40)
    monkeypatch.setattr("credit_pipeline.services.apply.CONFIRMED_AT_ONCE", 15)
    assert plan_of(bench(world).run(dry_run=False, attended=True))["outcomes"] == {"changed": 40}
    assert world.batches == [5, 10, 15, 10], "no batch is larger than what billing confirmed for it"


def test_who_approved_is_shown_in_the_metadata_without_an_address() -> None:
    decided = {
        "decision": "approve",
        "who": "person_1a2b3c4d",
        "login": "approver",
        "lane": "auto",
        "rows": 2,
        "four_eyes": True,
        "plan_id": "plan-1",
        "decided_at": "2026-03-10T06:00:00+00:00",
    }
    shown = plan_metadata(no_plan(SYSTEM, "live", "why") | {"approvals": [decided]})
    (record,) = shown["approvals"].records
    assert record.data == decided


def test_billing_is_asked_again_before_the_write(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    here = bench(world)
    plan_id = plan_of(here.run())["plan_id"]
    world.billed["short"] = None
    result = here.run("wix_app_apply", plan_id=plan_id, dry_run=False, attended=True)
    assert plan_of(result)["outcomes"] == {"changed": 1, "stale_skipped": 1}
    assert world.accounts["short"] == ["pro", 100, 20]


def test_an_account_still_broken_after_its_correction_fails_the_run(bench: Callable[[World], Bench]) -> None:
    world = a_world(ignore_rows=frozenset({"short"}))
    result = bench(world).run(dry_run=False, attended=True)
    assert not result.success
    assert "1 accounts changed by plan-1 would be corrected again" in failure_of(result)
    assert metadata_of(result, "applied_corrections")["state"] == "applied", (
        "what was written is in the lineage all the same"
    )


def test_a_store_without_our_schema_is_reported_and_nothing_is_planned(bench: Callable[[World], Bench]) -> None:
    world = a_world(installed=False)
    result = bench(world).run()
    assert result.success
    assert plan_of(result)["plan_id"] is None
    report: Report = result.output_for_node("wix_app__mismatch_report")
    assert report.history == "not_evaluated"
    assert "credit-pipeline init wix_app" in plan_of(result)["failures"][0]
    lost = check_of(result, "no_credits_lost")
    assert not lost.passed, "not known is not green"
    assert lost.severity is dg.AssetCheckSeverity.WARN


def test_the_checks_are_red_with_count_sample_and_recovery(bench: Callable[[World], Bench]) -> None:
    result = bench(a_world()).run()
    grant = check_of(result, "no_paid_account_without_its_grant")
    assert not grant.passed
    assert grant.severity is dg.AssetCheckSeverity.ERROR
    assert grant.description == "2 paid accounts were not granted the credits of the period."
    assert grant.metadata["count"].value == 2
    assert sorted(grant.metadata["sample"].value) == ["relabelled", "short"]
    assert grant.metadata["truncated"].value is False
    assert "credit-pipeline fix wix_app" in str(grant.metadata["recovery"].value)
    limits = check_of(result, "no_paid_account_on_free_limits")
    assert limits.metadata["sample"].value == ["relabelled"]
    assert check_of(result, "counts_add_up").passed


def test_the_checks_are_green_where_all_is_well(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    for name in UNTOUCHED:
        del world.accounts[name]
    world.last = CollectionRecord(
        run_id="r", as_of=datetime(2026, 1, 1, tzinfo=UTC), answered=10, population=10, audit_seq=0
    )
    checks = {check.check_name: check.passed for check in bench(world).run().get_asset_check_evaluations()}
    assert checks == dict.fromkeys(
        [
            "audit_chain_verifies",
            "both_sides_were_compared_lately",
            "counts_add_up",
            "every_alert_is_delivered",
            "no_credits_lost",
            "no_paid_account_on_free_limits",
            "no_paid_account_without_its_grant",
            "plan_within_limits",
            "system_is_healthy",
        ],
        True,
    )


def test_only_the_accounts_asked_for_are_read_and_nothing_is_remembered(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    result = bench(world).run(accounts=["short", "well-1"])
    assert result.output_for_node("wix_app__mismatch_report").population == 2
    assert world.last is None


def test_the_same_balances_are_not_judged_twice(bench: Callable[[World], Bench]) -> None:
    here = bench(a_world())
    assert here.run().success
    again = here.materialize("mismatch_report")
    assert not again.success
    assert "judged already" in failure_of(again)


def test_old_snapshots_are_not_judged(bench: Callable[[World], Bench], tmp_path: Path) -> None:
    here = bench(a_world())
    assert here.materialize("balances", "subscriptions").success
    for path in (tmp_path / "home" / "records" / "wix_app").rglob("*.json"):
        record = json.loads(path.read_text())
        finished = datetime.fromisoformat(record["value"]["finished_at"]) - timedelta(minutes=31)
        path.chmod(0o600)
        path.write_text(json.dumps({**record, "value": {**record["value"], "finished_at": finished.isoformat()}}))
    assert "the snapshots are 31 min old, limit 30" in failure_of(here.materialize("mismatch_report"))


def test_a_fault_of_ours_is_one_sentence_in_the_ui(bench: Callable[[World], Bench]) -> None:
    result = bench(a_world()).run("wix_app_apply", plan_id="plan-77", dry_run=False)
    assert failure_of(result) == "plan-77: there is no such plan: see credit-pipeline plans wix_app"
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    assert event.step_failure_data.user_failure_data.metadata["error"].value == "PlanError"


def test_a_frame_is_made_for_whoever_asks_for_one(bench: Callable[[World], Bench]) -> None:
    here = bench(a_world())
    seen: list[Any] = []

    @dg.asset(ins={"found": dg.AssetIn(key=["wix_app", "mismatch_report"])}, io_manager_key="credit_records")
    def of_ones_own(found: pd.DataFrame) -> None:
        seen.append(found)

    assert here.run().success
    mine = dg.Definitions.merge(here.definitions(), dg.Definitions(assets=[of_ones_own]))
    job = mine.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=here.instance, asset_selection=[of_ones_own.key]).success
    assert sorted(seen[0]["account_id"]) == ["relabelled", "short"]


def test_records_are_json_private_and_one_a_run(bench: Callable[[World], Bench], tmp_path: Path) -> None:
    here = bench(a_world())
    runs = [here.materialize("balances").run_id, here.materialize("balances").run_id]
    folder = tmp_path / "home" / "records" / "wix_app" / "balances"
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{run}.json" for run in runs)
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text())["kind"] == "snapshot"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    everything = [path for path in (tmp_path / "home" / "records").rglob("*") if path.is_file()]
    assert {path.suffix for path in everything} == {".json"}, "nothing is pickled"


def test_a_run_reads_its_own_record_and_not_that_of_a_run_between(bench: Callable[[World], Bench]) -> None:
    here = bench(a_world())
    balances = dg.AssetKey(["wix_app", "balances"])
    runs: dict[str, str] = {}

    @dg.asset(deps=[balances])
    def between() -> None:
        runs["other"] = here.materialize("balances").run_id

    @dg.asset(deps=[between], ins={"read": dg.AssetIn(key=balances)})
    def afterwards(read: Snapshot) -> None:
        runs["read"] = read.run_id

    mine = dg.Definitions.merge(here.definitions(), dg.Definitions(assets=[between, afterwards]))
    job = mine.resolve_implicit_global_asset_job_def()
    keys = [balances, between.key, afterwards.key]
    result = job.execute_in_process(instance=here.instance, asset_selection=keys)
    assert runs["read"] == result.run_id
    assert runs["other"] != result.run_id


def test_what_is_shown_is_counts_hashes_and_tables(bench: Callable[[World], Bench]) -> None:
    result = bench(a_world()).run()
    balances = metadata_of(result, "balances")
    assert balances["dagster/row_count"] == 12
    assert len(balances["sha256"]) == 64
    assert balances["run_id"] == result.run_id
    assert metadata_of(result, "subscriptions")["completeness_level"] == "L3"
    report = metadata_of(result, "mismatch_report")
    assert report["population"] == report["in_sync"] + report["exempt"] + report["mismatches"] == 12
    plan = metadata_of(result, "correction_plan")
    assert (plan["plan_id"], plan["credits"], plan["rows_by_lane"]) == ("plan-1", 9900, {"auto": 2})
    (rows,) = [value for name, value in plan.items() if name.startswith("before and after")]
    shown = {row.data["account"]: row.data["total"] for row in rows.records}
    assert shown["short"] == "100 -> 5000"


def test_every_value_has_a_data_version_that_follows_its_content(bench: Callable[[World], Bench]) -> None:
    here = bench(a_world())

    def versions(result: dg.ExecuteInProcessResult) -> dict[str, str]:
        events = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]
        return {m.asset_key.path[-1]: (m.tags or {})["dagster/data_version"] for m in events}

    first = versions(here.run())
    here.world.accounts["well-1"][2] += 1
    second = versions(here.run())
    assert all(len(version) == 64 for version in first.values())
    assert first["balances"] != second["balances"]


def test_metadata_is_never_markdown(bench: Callable[[World], Bench]) -> None:
    world = a_world()
    world.accounts["![x](/graphql?query=mutation)"] = ["free", 100, 0]
    world.billed["![x](/graphql?query=mutation)"] = "![x](/graphql)"
    result = bench(world).run()
    assert result.success
    kinds = {
        type(value)
        for event in result.get_asset_materialization_events()
        for value in event.step_materialization_data.materialization.metadata.values()
    }
    assert dg.MarkdownMetadataValue not in kinds
