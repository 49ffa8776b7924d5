"""The product's endpoint was down and Stripe could not deliver: we fetch the event, and the account is granted once."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_pipeline.adapters.connect import billing_identity
from credit_pipeline.domain.errors import SourceError
from credit_pipeline.orchestration.assemble import reconciliation_defs
from credit_pipeline.orchestration.instance import instance, prepare_home
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.incidents.conftest import Run
from credit_pipeline_tests.incidents.stripe_world import SYSTEM, StripeWorld, an_installed_ledger

APPLYING = replace(SYSTEM, policy=replace(SYSTEM.policy, automation_apply=True))
PULLS, REPAIRS = "bestauth_undelivered_sensor", "bestauth_failed_webhook_sensor"


@pytest.fixture
def stripe_world(
    databases: Databases, tmp_path: Path, _dagster_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StripeWorld]:
    """Everything as the daemon and the command line meet it."""
    with BillingServer(per_second=10_000) as server:
        world = StripeWorld(an_installed_ledger(databases), server)
        home = {"CREDIT_PIPELINE_HOME": str(tmp_path / "home"), "CREDIT_PIPELINE_DAGSTER_URL": _dagster_url}
        for name, value in {**world.environment, **home}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("CREDIT_PIPELINE_DEFS", raising=False)
        world.pin(billing_identity(SYSTEM, os.environ))
        yield world


class Sensors:
    """Ticks of both sensors and the runs that they ask for, in this process."""

    def __init__(self, opened: dg.DagsterInstance) -> None:
        self._instance = opened
        self._definitions = reconciliation_defs(APPLYING)
        self._repository = self._definitions.get_repository_def()
        self.cursor: str | None = None

    def pull(self) -> str:
        """A tick of the undelivered sensor; what it tells. It asks for no run."""
        told = self._tick(PULLS, self.cursor)
        assert not told.run_requests
        self.cursor = told.cursor or self.cursor
        return str(told.skip_message)

    def repair(self) -> list[dict[str, Any]]:
        """A tick of the failed webhooks' sensor and its runs."""
        done = []
        for request in self._tick(REPAIRS, None).run_requests or ():
            job = self._definitions.resolve_job_def("bestauth_repair_webhooks")
            result = job.execute_in_process(run_config=request.run_config, instance=self._instance)
            done.append(result.output_for_node("bestauth_repair"))
        return done

    def _tick(self, sensor: str, cursor: str | None) -> Any:
        context = dg.build_sensor_context(instance=self._instance, cursor=cursor)
        return self._repository.get_sensor_def(sensor).evaluate_tick(context)


@pytest.fixture
def sensors(stripe_world: StripeWorld) -> Iterator[Sensors]:
    prepare_home(Path(os.environ["CREDIT_PIPELINE_HOME"]), os.environ["CREDIT_PIPELINE_DAGSTER_URL"])
    with instance() as opened:
        yield Sensors(opened)


def test_what_stripe_could_not_deliver_is_fetched_repaired_and_granted_once(
    stripe_world: StripeWorld, sensors: Sensors
) -> None:
    account = stripe_world.signs_up("ann")
    lost = stripe_world.buys("ann", hours=30)
    assert (stripe_world.balance(account), stripe_world.grants(account)) == (100, [])

    told = sensors.pull()
    assert "1 undelivered events" in told
    assert "1 of them new" in told
    [done] = sensors.repair()
    assert done["states"] == {"repaired": 1}
    assert (stripe_world.balance(account), stripe_world.grants(account)) == (900, [800])

    for cursor, listed in ((sensors.cursor, 0), (None, 1)):  # Stripe lists it for 30 days
        sensors.cursor = cursor
        told = sensors.pull()
        assert f"{listed} undelivered events" in told
        assert "0 of them new" in told
        assert sensors.repair() == []
    assert stripe_world.records() == {lost.id: "repaired"}
    assert (stripe_world.balance(account), stripe_world.grants(account)) == (900, [800])


def test_events_end_as_any_failed_webhook_does(stripe_world: StripeWorld, sensors: Sensors) -> None:
    """In order, known, of nobody, too young, delivered."""
    account = stripe_world.signs_up("ann")
    handed_over, stranger, young = (
        stripe_world.buys(name, hours=hours, known=name == "ann")
        for name, hours in (("ann", 6), ("stranger", 5), ("young", 0.5))
    )
    stripe_world.run("SELECT credit_pipeline.record_webhook('stripe', %s, NULL, now(), 'boom', %s)",
                     handed_over.id, account)  # fmt: skip
    told = sensors.pull()
    assert "2 undelivered events" in told
    assert "1 of them new" in told, "the handler had handed one over itself"
    [done] = sensors.repair()
    assert done["states"] == {"failed": 1, "repaired": 1}
    assert stripe_world.records() == {handed_over.id: "repaired", stranger.id: "failed"}
    [row] = stripe_world.run("SELECT * FROM credit_pipeline.webhook_event WHERE event_id = %s", stranger.id)
    assert "has no account that goes by `cus_stranger`" in row["last_error"]
    assert row["error"].startswith("never delivered by the provider")
    assert row["verified_at"] is not None
    assert json.loads(bytes(row["raw"]))["data"]["object"]["customer"] == "cus_stranger"
    stripe_world.run("UPDATE credit_pipeline.webhook_event SET state = 'discarded'")
    sensors.pull()
    assert young.id not in stripe_world.records(), "Stripe is still trying"
    assert set(stripe_world.records().values()) == {"discarded"}, "a person's word stands"


def test_a_list_with_a_gap_fails_the_tick_keeps_what_came_and_does_not_move_on(
    stripe_world: StripeWorld, sensors: Sensors
) -> None:
    stripe_world.signs_up("ann")
    lost = stripe_world.buys("ann", hours=1.1)
    sensors.pull()
    before = sensors.cursor
    assert before is not None
    stripe_world.run("DELETE FROM credit_pipeline.webhook_event")
    stripe_world.server.faults.add("wrong_livemode", endpoint="events", times=None)
    with pytest.raises(SourceError, match="the list is incomplete: the answers are of live mode"):
        sensors.pull()
    assert list(stripe_world.records()) == [lost.id]
    stripe_world.server.faults.clear()
    stripe_world.server.faults.add("forbidden", endpoint="events", times=None)
    with pytest.raises(SourceError, match="the right to read events"):
        sensors.pull()
    assert sensors.cursor == before


def test_without_a_key_or_a_schema_the_sensor_says_what_to_do(
    stripe_world: StripeWorld, sensors: Sensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensors.cursor = "nonsense"
    assert "0 undelivered events" in sensors.pull()
    with monkeypatch.context() as unset:
        unset.delenv("BESTAUTH_STRIPE_KEY")
        assert sensors.pull() == "bestauth: set BESTAUTH_STRIPE_KEY to a restricted, read-only Stripe key"
    stripe_world.run("DROP TABLE credit_pipeline.webhook_event")
    assert sensors.pull() == "bestauth: not installed here: run credit-pipeline init bestauth"


def test_pull_by_hand_shows_what_came_and_replay_repairs_it(stripe_world: StripeWorld, run: Run) -> None:
    account = stripe_world.signs_up("ann")
    lost = stripe_world.buys("ann", hours=24 * 20)
    ended = run("webhooks", "bestauth", "pull", "--format", "json")
    assert ended.status == 0, ended.err
    shown = ended.json
    assert {name: shown[name] for name in ("system", "found", "new", "complete", "doubts")} == {
        "system": "bestauth", "found": 1, "new": 1, "complete": True, "doubts": [],
    }  # fmt: skip
    assert run("webhooks", "bestauth", "pull", "--format", "json").json["new"] == 0
    [record] = run("webhooks", "bestauth", "list", "--format", "json").json["records"]
    assert (record["event_id"], record["verified"]) == (lost.id, True)
    ended = run("webhooks", "bestauth", "replay", str(record["record"]), "--live", "--format", "json")
    assert (ended.status, ended.json["states"]) == (0, {"repaired": 1})
    assert (stripe_world.balance(account), stripe_world.grants(account)) == (900, [800])


def test_a_pull_that_may_lack_events_could_not_tell(stripe_world: StripeWorld, run: Run) -> None:
    stripe_world.buys("ann", hours=6)
    stripe_world.server.faults.add("wrong_livemode", endpoint="events", times=None)
    ended = run("webhooks", "bestauth", "pull")
    assert ended.status == 2
    assert "1 undelivered events" in ended.out
    assert "the list is incomplete" in " ".join(ended.out.split())


def test_wix_has_no_such_list(stripe_world: StripeWorld, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WIX_DATABASE_URL": stripe_world.url,
        "WIX_APP_ID": "a",
        "WIX_APP_SECRET": "b",
        "WIX_API_URL": stripe_world.server.base_url,
    }.items():
        monkeypatch.setenv(name, value)
    ended = run("webhooks", "wix_app", "pull")
    assert (ended.status, ended.out) == (2, "")
    assert "wix keeps no list of undelivered events" in ended.err
