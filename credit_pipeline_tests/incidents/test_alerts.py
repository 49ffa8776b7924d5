"""What people hear while the command line works: each thing once, with the next command, a failed run among it.

The run history is Dagster's own Postgres, as in production; the two sensors are ticked by hand.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from credit_pipeline.config.alerts import AlertsConfig, WebhookAlerts
from credit_pipeline.orchestration.instance import instance, prepare_home
from credit_pipeline.orchestration.sensors.alerts import alert_sensors
from credit_pipeline_tests.adapters.alerts.alert_servers import Chat, a_chat
from credit_pipeline_tests.incidents.conftest import Run
from credit_pipeline_tests.incidents.world import SYSTEM, World

TOLD = replace(SYSTEM, alerts=AlertsConfig(log=False, webhook=WebhookAlerts(url_env="TEAM_HOOK")))
ALERTS, RUNS = alert_sensors(TOLD, ["wix_app_reconcile"])


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    with a_chat() as opened:
        monkeypatch.setenv("TEAM_HOOK", opened.url)
        yield opened


@pytest.fixture
def tick(live_world: World, chat: Chat) -> Iterator[Callable[[], list[str]]]:
    """Both sensors look once; returns what the chat heard since the last time, a title each."""
    prepare_home(Path(live_world.environment["CREDIT_PIPELINE_HOME"]), os.environ["CREDIT_PIPELINE_DAGSTER_URL"])
    cursor: str | None = None
    heard = 0

    with instance() as opened:

        def look() -> list[str]:
            nonlocal cursor, heard
            with dg.build_sensor_context(instance=opened, cursor=cursor) as context:
                cursor = RUNS.evaluate_tick(context).cursor
                ALERTS.evaluate_tick(context)
            news, heard = chat.texts[heard:], len(chat.posts)
            return [text.partition("\n")[0] for text in news]

        look()
        yield look


def test_each_thing_is_heard_once_with_what_to_type(
    live_world: World, run: Run, chat: Chat, tick: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        live_world.site(f"in order {number}", "starter", 1_000, number)
    live_world.site("short", "pro", 100, 10)
    assert run("check", "wix_app").status == 1
    assert tick() == ["wix_app: 1 finding to act on: 1 new"]
    assert run("check", "wix_app").status == 1
    assert tick() == []

    assert run("fix", "wix_app", "--live").status == 1
    assert tick() == ["wix_app: 1 correction plan quarantined, nothing of it was written"]
    _, plan, command = chat.texts[-1].splitlines()
    assert plan.endswith("1 row, 4,900 credits: the first applied plan of a system needs approval")
    assert command == "next: credit-pipeline plans wix_app"

    with monkeypatch.context() as away:
        away.setenv("WIX_API_URL", "http://127.0.0.1:9")
        assert run("fix", "wix_app").status == 2
    assert tick() == ["wix_app: 1 run failed"]
    assert chat.texts[-1].splitlines()[1] == "wix_app_reconcile 1"
    assert [tick() for _ in range(3)] == [[], [], []]
