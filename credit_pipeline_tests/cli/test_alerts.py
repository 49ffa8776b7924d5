"""`alerts SYSTEM list`, `send`, `test`: what waits, what was sent, and whether the sinks work."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from credit_pipeline_tests.adapters.alerts.alert_product import Alerting, a_finding, an_alerting
from credit_pipeline_tests.adapters.alerts.alert_servers import Chat, a_chat
from credit_pipeline_tests.cli.conftest import Run
from credit_pipeline_tests.conftest import Databases


@pytest.fixture
def story(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alerting]:
    with closing(an_alerting(databases)) as told:
        monkeypatch.setenv("WIX_DATABASE_URL", told.product.url)
        yield told


@pytest.fixture
def chat() -> Iterator[Chat]:
    with a_chat() as opened:
        yield opened


@pytest.fixture
def folder(systems_folder: Callable[..., Path]) -> str:
    """wix_app, whose alerts go to the log and to a webhook."""
    return str(systems_folder(("  policy:\n", "  alerts: {webhook: {url_env: TEAM_HOOK}}\n  policy:\n")))


def test_what_waits_is_listed_sent_and_gone(
    run: Run, story: Alerting, chat: Chat, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run("--defs", folder, "alerts", "wix_app", "list", "--format", "json")
    assert (ended.status, ended.json["waiting"], ended.json["sinks"]) == (0, 0, ["log", "webhook"])
    story.collect(a_finding("site"))
    ended = run("--defs", folder, "alerts", "wix_app", "list", "--format", "json")
    [one] = ended.json["alerts"]
    assert (ended.status, one["kind"], one["says"]) == (0, "findings", "wix_app: 1 finding to act on: 1 new")
    assert (one["lacking"], one["attempts"], one["last_error"]) == (["log", "webhook"], 0, None)

    ended = run("--defs", folder, "alerts", "wix_app", "send")
    assert ended.status == 1
    # A month has passed since it was collected, so that it has aged too, and nothing was compared since.
    assert ended.out.splitlines()[0] == "wix_app: 3 messages sent to log, webhook, 3 alerts left"
    assert "wix_app: set TEAM_HOOK: alerts go to the address in it" in ended.out
    ended = run("--defs", folder, "alerts", "wix_app", "list")
    assert ended.status == 1
    assert "3 alerts to deliver, 3 of them late (to log, webhook)" in ended.out
    assert "site" not in ended.out.replace("credit-pipeline", "")
    shown = run("--defs", folder, "systems", "--format", "json").json["systems"][0]
    assert shown["alerts"] == {"sinks": ["log", "webhook"], "variables": {"TEAM_HOOK": False}}

    monkeypatch.setenv("TEAM_HOOK", chat.url)
    ended = run("--defs", folder, "alerts", "wix_app", "send", "--format", "json")
    assert (ended.status, ended.json["messages"], ended.json["waiting"], ended.json["failures"]) == (0, 3, 0, {})
    assert [text.splitlines()[0] for text in chat.texts] == [
        "wix_app: 1 finding to act on: 1 new",
        "wix_app: 1 finding open for more than 24 h",
        "wix_app: no complete comparison for more than 24 h",
    ]
    assert run("--defs", folder, "alerts", "wix_app", "list").out == "wix_app: 0 alerts to deliver (to log, webhook)\n"


def test_a_test_message_shows_which_sinks_work_and_leaves_nothing(
    run: Run, story: Alerting, chat: Chat, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run("--defs", folder, "alerts", "wix_app", "test")
    assert ended.status == 1
    assert "TEAM_HOOK" in ended.out
    monkeypatch.setenv("TEAM_HOOK", chat.url)
    ended = run("--defs", folder, "alerts", "wix_app", "test", "--format", "json")
    assert (ended.status, ended.json) == (0, {"system": "wix_app", "sinks": {"log": "sent", "webhook": "sent"}})
    assert chat.texts == ["wix_app: this is a test of its alerts\nNothing is wrong."]
    assert story.rows() == []
    home = Path(folder).parent / "home"
    assert "ALERT: wix_app: this is a test of its alerts" in (home / "logs" / "wix_app.log").read_text()


def test_where_no_alerts_are_kept_it_says_what_to_do(
    run: Run, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run("alerts", "wix_app", "list")
    assert (ended.status, "set WIX_DATABASE_URL" in ended.err) == (2, True)
    monkeypatch.setenv("WIX_DATABASE_URL", "postgresql://nobody:hush@127.0.0.1:1/nowhere")
    ended = run("alerts", "wix_app", "send")
    assert (ended.status, "hush" in ended.err) == (2, False)
