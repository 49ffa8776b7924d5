"""The product's handler fails: sensors, jobs and the command line bring its records to an end while nobody looks."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.orchestration.assemble import reconciliation_defs
from credit_pipeline.orchestration.instance import instance, prepare_home
from credit_pipeline_tests.incidents.app import Row
from credit_pipeline_tests.incidents.conftest import Run
from credit_pipeline_tests.incidents.evidence import granted
from credit_pipeline_tests.incidents.world import SYSTEM, World
from credit_pipeline_tests.services.sync.failed_webhooks import Doors

APPLYING = replace(SYSTEM, policy=replace(SYSTEM.policy, automation_apply=True))
WEBHOOKS, REQUESTS = "wix_app_failed_webhook_sensor", "wix_app_sync_request_sensor"


class Daemon:
    """What Dagster's daemon does with our sensors, tick by tick, in this process."""

    def __init__(self, opened: dg.DagsterInstance, system: CreditSystem) -> None:
        self._instance, self._cursors = opened, dict[str, str | None]()
        self._tags = {"test": uuid4().hex}  # the instance is that of other tests too
        self.definitions = reconciliation_defs(system)
        self.repository = self.definitions.get_repository_def()

    def tick(self, sensor: str) -> list[dg.RunRequest]:
        """What a tick asks for; a run key that the instance has seen starts no run."""
        told = self.evaluate(sensor)
        self._cursors[sensor] = told.cursor
        return [one for one in told.run_requests or () if not self._seen(one, sensor)]

    def evaluate(self, sensor: str) -> Any:
        context = dg.build_sensor_context(instance=self._instance, cursor=self._cursors.get(sensor))
        return self.repository.get_sensor_def(sensor).evaluate_tick(context)

    def run(self, request: dg.RunRequest, sensor: str) -> Any:
        """The run that was asked for; its output."""
        job = self.repository.get_sensor_def(sensor).job_name
        result = self.definitions.resolve_job_def(job).execute_in_process(
            run_config=request.run_config,
            instance=self._instance,
            tags=self._tags_of(request, sensor),
            raise_on_error=False,
        )
        assert result.success, [event.message for event in result.all_events if event.is_failure]
        return result.output_for_node("wix_app_repair" if sensor == WEBHOOKS else "wix_app_sync")

    def settle(self, sensor: str) -> list[Any]:
        """A tick and its runs."""
        return [self.run(request, sensor) for request in self.tick(sensor)]

    def _seen(self, request: dg.RunRequest, sensor: str) -> bool:
        """As the daemon asks: by the key and the sensor's name."""
        return bool(self._instance.get_runs(filters=dg.RunsFilter(tags=self._tags_of(request, sensor))))

    def _tags_of(self, request: dg.RunRequest, sensor: str) -> dict[str, str]:
        return self._tags | {"dagster/run_key": str(request.run_key), "dagster/sensor_name": sensor}


@pytest.fixture
def daemon(live_world: World) -> Iterator[Callable[[CreditSystem], Daemon]]:
    prepare_home(Path(live_world.environment["CREDIT_PIPELINE_HOME"]), os.environ["CREDIT_PIPELINE_DAGSTER_URL"])
    with instance() as opened:
        yield lambda system: Daemon(opened, system)


@pytest.fixture
def doors(live_world: World) -> Doors:
    """A live system whose first plan was approved."""
    live_world.site("first", "free", 100, billed="pro")
    live_world.repair()
    return Doors(live_world)


@contextmanager
def claims_lost(doors: Doors) -> Iterator[None]:
    """What was claimed inside goes stale."""
    yield
    doors.run("UPDATE credit_pipeline.webhook_event SET claimed_at = claimed_at - interval '11 min'")


def an_upgraded(world: World, name: str = "upgraded") -> str:
    site = world.site(name, "starter", 1_000, 600)
    world.check()
    world.later(hours=2)
    world.bill(site, "pro", since=world.now - timedelta(hours=1))
    return site


def test_a_failed_webhook_is_repaired_by_the_next_tick(
    live_world: World, doors: Doors, daemon: Callable[[CreditSystem], Daemon]
) -> None:
    site = an_upgraded(live_world)
    doors.failed(site, "evt")
    doors.failed_raw("poison", b"\x00")
    here = daemon(APPLYING)
    [request] = here.tick(WEBHOOKS)
    record = doors.run("SELECT min(id) AS id FROM credit_pipeline.webhook_event")[0]["id"]
    assert request.run_key == f"{record}:1"
    assert request.run_config["dry_run"] is False
    done = here.run(request, WEBHOOKS)
    assert done["states"] == {"dead": 1, "repaired": 1}
    assert live_world.app.row(site) == Row("pro", 5_400, 0)
    assert granted(live_world.url, site) == [("pro", 5_000)]
    told = here.evaluate(WEBHOOKS)
    assert told.skip_message == "wix_app: no failed webhook is due: 0 failed, 0 stuck, 1 dead"


def test_without_automation_apply_the_sensors_write_nothing_to_the_product(
    live_world: World, doors: Doors, daemon: Callable[[CreditSystem], Daemon]
) -> None:
    site = an_upgraded(live_world)
    doors.failed(site, "evt")
    doors.run("SELECT credit_pipeline.request_sync(%s, 'opened')", site)
    here = daemon(SYSTEM)
    [repaired] = here.settle(WEBHOOKS)
    [synced] = here.settle(REQUESTS)
    assert (repaired["mode"], repaired["states"]) == ("dry_run", {"failed": 1})
    assert (synced["mode"], synced["requests"]) == ("dry_run", {"would_change": 1})
    assert live_world.app.row(site) == Row("starter", 1_000, 600)


def test_a_repair_that_failed_is_tried_again_under_another_run_key(
    live_world: World, doors: Doors, daemon: Callable[[CreditSystem], Daemon]
) -> None:
    site = an_upgraded(live_world)
    doors.failed(site, "evt")
    here = daemon(APPLYING)
    keys = []
    with claims_lost(doors):
        [request] = here.tick(WEBHOOKS)  # its run never starts
        keys.append(request.run_key)
    doors.run("UPDATE credit_pipeline.control SET stopped_at = now()")
    [request] = here.tick(WEBHOOKS)
    keys.append(request.run_key)
    assert here.run(request, WEBHOOKS)["states"] == {"failed": 1}
    assert here.tick(WEBHOOKS) == [], "not before its wait is over"
    doors.run("UPDATE credit_pipeline.control SET stopped_at = NULL")
    doors.run("UPDATE credit_pipeline.webhook_event SET next_attempt_at = now()")
    [request] = here.tick(WEBHOOKS)
    keys.append(request.run_key)
    assert here.run(request, WEBHOOKS)["states"] == {"repaired": 1}
    assert [str(key).partition(":")[2] for key in keys] == ["1", "2", "3"]
    assert granted(live_world.url, site) == [("pro", 5_000)]


def test_a_tick_asks_for_fifty_at_most_and_two_ticks_never_for_the_same(
    doors: Doors, daemon: Callable[[CreditSystem], Daemon]
) -> None:
    for number in range(70):
        doors.failed_raw(f"evt_{number}", b"%d" % number)
    here, there = daemon(SYSTEM), daemon(SYSTEM)
    [first] = here.tick(WEBHOOKS)
    [second] = there.tick(WEBHOOKS)
    assert (len(first.run_config["records"]), len(second.run_config["records"])) == (50, 20)
    assert not set(first.run_config["records"]) & set(second.run_config["records"])


def test_a_request_is_right_within_a_tick(
    live_world: World, doors: Doors, daemon: Callable[[CreditSystem], Daemon]
) -> None:
    site = an_upgraded(live_world)
    doors.run("SELECT credit_pipeline.request_sync(%s, 'opened')", site)
    [done] = daemon(APPLYING).settle(REQUESTS)
    assert (done["outcomes"], done["totals"]) == ({"changed": 1}, {"accounts": 1, "credits": 5_000})
    assert live_world.app.row(site) == Row("pro", 5_400, 0)


@pytest.mark.parametrize("sensor", [WEBHOOKS, REQUESTS])
def test_a_sensor_without_its_database_says_what_to_set_or_run(
    live_world: World,
    doors: Doors,
    daemon: Callable[[CreditSystem], Daemon],
    sensor: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = daemon(SYSTEM)
    with monkeypatch.context() as unset:
        unset.delenv("WIX_DATABASE_URL")
        assert here.evaluate(sensor).skip_message == "wix_app: set WIX_DATABASE_URL to the credit store's Postgres URL"
    doors.run("DROP TABLE credit_pipeline.webhook_event, credit_pipeline.sync_request")
    assert here.evaluate(sensor).skip_message == "wix_app: not installed here: run credit-pipeline init wix_app"


def test_sync_by_hand_shows_and_then_corrects(live_world: World, doors: Doors, run: Run) -> None:
    site, fine = an_upgraded(live_world), live_world.site("fine", "pro", 5_000)
    ended = run("sync", "wix_app", site, fine, "--format", "json")
    assert ended.status == 1
    shown = ended.json
    assert (shown["mode"], shown["outcomes"]) == ("dry_run", {"in_order": 1, "would_change": 1})
    assert live_world.app.row(site) == Row("starter", 1_000, 600)
    assert f"to correct: credit-pipeline sync wix_app {site} --live" in run("sync", "wix_app", site).out
    ended = run("sync", "wix_app", site, fine, "--live", "--format", "json")
    assert ended.status == 0
    assert ended.json["outcomes"] == {"in_order": 1, "changed": 1}
    [changed] = [one for one in ended.json["accounts"] if one["outcome"] == "changed"]
    assert (changed["account_id"], changed["delta"]) == (site, 5_000)
    assert live_world.app.row(site) == Row("pro", 5_400, 0)
    assert run("sync", "wix_app", site, "--live").status == 0
    assert granted(live_world.url, site) == [("pro", 5_000)]


def test_sync_names_an_account_that_is_not_there(doors: Doors, run: Run) -> None:
    ended = run("sync", "wix_app", "nobody")
    assert (ended.status, ended.out) == (2, "")
    assert "the store has no account `nobody`" in ended.err
    assert run("sync", "wix_app").status == 2


def test_the_records_are_listed_replayed_and_discarded(live_world: World, doors: Doors, run: Run) -> None:
    site = an_upgraded(live_world)
    doors.failed(site, "evt")
    doors.failed_raw("poison", b"\x00")
    doors.run("UPDATE credit_pipeline.webhook_event SET state = 'dead', attempts = 8, last_error = 'no answer'")
    ended = run("webhooks", "wix_app", "list", "--format", "json")
    assert ended.status == 1
    assert ended.json["counts"] == {"webhook_failed": 0, "webhook_stuck": 0, "webhook_dead": 2}
    assert [one["event_id"] for one in ended.json["records"]] == ["poison", "evt"]
    text = run("webhooks", "wix_app", "list").out
    assert "replay --dead --live" in text
    assert "instanceId" not in text

    poison, mended = (one["record"] for one in ended.json["records"])
    ended = run("webhooks", "wix_app", "replay", str(mended), "--format", "json")
    assert (ended.status, ended.json["mode"], ended.json["states"]) == (1, "dry_run", {"failed": 1})
    assert live_world.app.row(site) == Row("starter", 1_000, 600)
    ended = run("webhooks", "wix_app", "replay", str(mended), "--live", "--format", "json")
    assert (ended.status, ended.json["states"]) == (0, {"repaired": 1})
    assert live_world.app.row(site) == Row("pro", 5_400, 0)
    ended = run("webhooks", "wix_app", "replay", "--dead", "--format", "json")
    assert (ended.status, ended.json["states"]) == (1, {"dead": 1})
    assert run("webhooks", "wix_app", "discard", str(poison)).status == 2, "who and why are asked for"
    who = ("--as", "eva", "--reason", "a test event")
    ended = run("webhooks", "wix_app", "discard", str(poison), *who, "--format", "json")
    assert (ended.status, ended.json["discarded"]) == (0, [poison])
    assert run("webhooks", "wix_app", "list", "--format", "json").status == 0
    shown = run("webhooks", "wix_app", "list", "--state", "all", "--format", "json").json
    assert {one["event_id"]: one["state"] for one in shown["records"]} == {"evt": "repaired", "poison": "discarded"}


def test_it_must_be_said_which_records_are_meant(doors: Doors, run: Run) -> None:
    for words in (("replay",), ("replay", "1", "--dead")):
        ended = run("webhooks", "wix_app", *words)
        assert (ended.status, ended.out) == (2, "")
        assert "name records by number, or give --dead" in ended.err


def test_an_older_installation_is_told_to_run_init(doors: Doors, run: Run) -> None:
    doors.run("DROP TABLE credit_pipeline.webhook_event")
    ended = run("webhooks", "wix_app", "list")
    assert (ended.status, ended.out) == (2, "")
    assert "run credit-pipeline init wix_app" in ended.err
    ended = run("check", "wix_app", "--format", "json")
    assert ended.json["webhooks"] == {}


def test_check_shows_the_counts(doors: Doors, run: Run) -> None:
    doors.failed_raw("evt", b"{}")
    found = run("check", "wix_app", "--format", "json").json["webhooks"]
    assert found == {"webhook_failed": 1, "webhook_stuck": 0, "webhook_dead": 0}
