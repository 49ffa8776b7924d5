"""The sensors that tell people, each tick by hand on a real database: what they say, and what they never lose."""

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from credit_pipeline.config.alerts import AlertsConfig, WebhookAlerts
from credit_pipeline.orchestration.sensors.alerts import alert_sensors, every_alert_is_delivered_of
from credit_pipeline.services.health.health import undelivered_alerts
from credit_pipeline_tests.adapters.alerts.alert_product import Alerting, a_finding, an_alerting
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC
from credit_pipeline_tests.conftest import Databases

SYSTEM = replace(PUBLIC, alerts=AlertsConfig(webhook=WebhookAlerts(url_env="HOOK_URL")))
JOBS = ["wix_app_reconcile", "wix_app_sync_accounts"]
ALERTS, RUNS = alert_sensors(SYSTEM, JOBS)


@pytest.fixture
def story(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alerting]:
    with closing(an_alerting(databases)) as told:
        monkeypatch.setenv("PRODUCT_URL", told.product.url)
        for name in ("HOOK_URL", "CREDIT_PIPELINE_DAGSTER_URL"):
            monkeypatch.delenv(name, raising=False)
        yield told


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    with dg.build_sensor_context(instance=instance, cursor=cursor, sensor_name=sensor.name) as context:
        return sensor.evaluate_tick(context)


def ran(instance: dg.DagsterInstance, name: str, *, fails: bool) -> str:
    """A run of a job of that name; returns its id."""

    @dg.op
    def work() -> None:
        if fails:
            raise dg.Failure("billing did not answer")

    @dg.job(name=name)
    def job() -> None:
        work()

    return job.execute_in_process(instance=instance, raise_on_error=False).run_id


def test_a_tick_delivers_and_says_the_numbers(
    story: Alerting, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    story.collect(a_finding())
    (only_log,) = (sensor for sensor in alert_sensors(PUBLIC, JOBS) if sensor.name.endswith("_alerts_sensor"))
    with caplog.at_level(logging.WARNING, logger="credit_pipeline.wix_app"):
        said = tick(only_log, instance).skip_message
    # It is a month old by the database's clock, so it has aged as well, and nothing was compared since.
    assert said == "wix_app: 3 alerts were due, 3 messages sent, 0 alerts wait"
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "ALERT: wix_app: 1 finding to act on: 1 new",
        "ALERT: wix_app: 1 finding open for more than 24 h",
        "ALERT: wix_app: no complete comparison for more than 24 h",
    ]
    assert tick(only_log, instance).skip_message == "wix_app: 0 alerts were due, 0 messages sent, 0 alerts wait"


def test_a_delivery_that_failed_makes_the_tick_fail_and_the_check_too(
    story: Alerting, instance: dg.DagsterInstance
) -> None:
    story.collect(a_finding(lane="review"))
    check = every_alert_is_delivered_of(SYSTEM)

    def judged() -> dg.AssetCheckResult:
        result = check({"checks": [undelivered_alerts(SYSTEM, story.outbox).as_json()]})
        assert isinstance(result, dg.AssetCheckResult)
        return result

    assert judged().passed, "nothing was tried yet"
    with pytest.raises(Exception, match="3 messages sent, 3 alerts wait; wix_app: set HOOK_URL") as failed:
        tick(ALERTS, instance)
    assert isinstance(failed.value.__cause__ or failed.value, dg.Failure)
    assert not judged().passed
    assert judged().description == "3 alerts have failed a delivery or waited over an hour."
    assert tick(ALERTS, instance).skip_message.endswith("0 alerts were due, 0 messages sent, 3 alerts wait")


def test_failed_runs_of_this_system_are_told_once_from_now_on(story: Alerting, instance: dg.DagsterInstance) -> None:
    ran(instance, "wix_app_reconcile", fails=True)
    first = tick(RUNS, instance)
    assert story.rows() == [], "what failed before the first look is history"
    story.product.run("SELECT pg_sleep(0.01)")
    before = instance.get_run_records()[0].update_timestamp.isoformat()
    failed = [ran(instance, name, fails=True) for name in JOBS]
    ran(instance, "wix_app_reconcile", fails=False)
    ran(instance, "other_app_reconcile", fails=True)
    cursor = tick(RUNS, instance, max(first.cursor, before)).cursor
    told = {row["subject"]: row["content"] for row in story.rows("run_failed")}
    assert {run: told[run] for run in failed} == dict(zip(failed, ({"job": name} for name in JOBS), strict=True))
    count = len(story.rows())
    for _ in range(3):
        cursor = tick(RUNS, instance, cursor).cursor
    assert len(story.rows()) == count


def test_a_run_that_failed_while_the_database_was_away_is_told_when_it_is_back(
    story: Alerting, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = tick(RUNS, instance).cursor
    failed = ran(instance, "wix_app_reconcile", fails=True)
    with monkeypatch.context() as away:
        away.setenv("PRODUCT_URL", "postgresql://nobody:hush@127.0.0.1:9/nowhere")
        with pytest.raises(Exception, match="PRODUCT_URL is not running") as unreachable:
            tick(RUNS, instance, cursor)
        assert "hush" not in str(unreachable.value)
    tick(RUNS, instance, cursor)
    assert [row["subject"] for row in story.rows("run_failed")] == [failed]


@pytest.mark.parametrize("sensor", [ALERTS, RUNS], ids=lambda sensor: sensor.name)
def test_what_is_missing_is_said_and_no_fault(
    sensor: dg.SensorDefinition,
    story: Alerting,
    instance: dg.DagsterInstance,
    databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cursor = tick(RUNS, instance).cursor
    monkeypatch.setenv("PRODUCT_URL", databases.new())
    assert tick(sensor, instance, cursor).skip_message == (
        "wix_app: not installed here: run credit-pipeline init wix_app"
    )
    monkeypatch.delenv("PRODUCT_URL")
    assert "set PRODUCT_URL" in tick(sensor, instance, cursor).skip_message


@pytest.mark.parametrize("cursor", ["", "x", "{}", "2026-01-01T00:00:00", "12"])
def test_a_cursor_that_somebody_wrote_begins_anew(story: Alerting, instance: dg.DagsterInstance, cursor: str) -> None:
    assert tick(RUNS, instance, cursor).skip_message == "wix_app: starts with runs that fail from now on"
    assert story.rows() == []
