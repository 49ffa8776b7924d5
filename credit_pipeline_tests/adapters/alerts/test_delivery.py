"""From the outbox to real sinks: one that is away loses nothing, a worker that dies delivers again, two do not double.

Postgres, HTTP and SMTP are real; only the clock is moved, by the time that each look is told.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from credit_pipeline.adapters.alerts.outbox import PostgresOutbox
from credit_pipeline.adapters.open_alerts import sinks_of
from credit_pipeline.config.alerts import AlertsConfig, EmailAlerts, WebhookAlerts
from credit_pipeline.domain.policy import Policy
from credit_pipeline.services.alerts.alerts import Drained, drain
from credit_pipeline.services.alerts.ports import AlertKind, Sink
from credit_pipeline_tests.adapters.alerts.alert_product import Alerting, Listener, a_finding, an_alerting
from credit_pipeline_tests.adapters.alerts.alert_servers import Chat, Post, a_chat, a_post
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC
from credit_pipeline_tests.conftest import Databases

SYSTEM = replace(
    PUBLIC,
    policy=Policy(aged_after=timedelta(days=365), max_gap=timedelta(days=365)),  # nothing ages where no test says so
    alerts=AlertsConfig(
        webhook=WebhookAlerts(url_env="HOOK_URL"),
        email=EmailAlerts(smtp_url_env="SMTP_URL", sender="a@example.com", to=("b@example.com",)),
    ),
)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def story(databases: Databases) -> Iterator[Alerting]:
    with closing(an_alerting(databases)) as told:
        yield told


@pytest.fixture
def chat() -> Iterator[Chat]:
    with a_chat() as opened:
        yield opened


@pytest.fixture
def post() -> Iterator[Post]:
    with a_post() as opened:
        yield opened


def look(story: Alerting, sinks: list[Sink], now: datetime | None = None) -> Drained:
    return drain(SYSTEM, story.outbox, sinks, by="test", now=now)


def now_of(story: Alerting) -> datetime:
    [row] = story.product.run("SELECT clock_timestamp() AS now")
    moment: datetime = row["now"]
    return moment


def fail(story: Alerting, run: str) -> None:
    story.outbox.note(AlertKind.RUN_FAILED, run, {"job": "wix_app_reconcile"})


def test_an_hour_without_the_webhook_loses_none_and_the_others_have_each_once(
    story: Alerting, chat: Chat, post: Post
) -> None:
    """A tick every half minute; the chat answers 503 from minute 0 to 60; for two hours something fails each 7 min."""
    sinks = sinks_of(SYSTEM, {"HOOK_URL": chat.url, "SMTP_URL": f"smtp://127.0.0.1:{post.port}"})
    listener = Listener("log")
    start, made = now_of(story), 0
    for half_minute in range(260):
        now = start + half_minute * MINUTE / 2
        chat.status = 503 if half_minute < 120 else 200
        if half_minute % 14 == 0 and half_minute < 240:
            made += 1
            fail(story, f"run-{half_minute}")
            story.product.run("UPDATE credit_pipeline.outbox SET next_attempt_at = %s WHERE attempts = 0", now)
        told = look(story, [listener, *sinks[1:]], now)
        assert set(told.failures) == ({"webhook"} if told.failures else set())
    assert made == 18
    counts = [
        sum(_count(text) for text in said)
        for said in (listener.titles, chat.texts, [_subject(one) for one in post.letters])
    ]
    assert counts == [18, 18, 18]
    assert all(row["done_at"] is not None for row in story.rows())
    assert len(chat.posts) < 18, "what waited comes together"
    assert story.outbox.unheard().waiting == 0


def _count(text: str) -> int:
    """`wix_app: 3 runs failed` -> 3."""
    return int(text.split(": ")[1].partition(" ")[0])


def _subject(letter: object) -> str:
    content = getattr(letter, "content")  # noqa: B009 (aiosmtpd says bytes or str)
    return next(line for line in content.decode().splitlines() if line.startswith("Subject: ")).removeprefix(
        "Subject: "
    )


def test_a_sink_that_is_away_is_asked_once_a_look_and_keeps_nothing_from_the_others(story: Alerting) -> None:
    story.collect(a_finding())
    fail(story, "run-1")
    story.product.run("SELECT credit_pipeline.record_webhook('wix', 'e', %s, NULL, '')", b"x" * 262_145)
    away, log = Listener("webhook", down="webhook: away"), Listener("log")
    told = look(story, [away, log])
    assert (told.claimed, told.messages, told.failures) == (3, 3, {"webhook": "webhook: away"})
    assert (away.asked, len(log.heard)) == (1, 3)
    assert {row["last_error"] for row in story.rows()} == {"webhook: away"}
    away.down = None
    assert look(story, [away, log], now_of(story) + 2 * MINUTE).messages == 3
    assert (len(away.heard), len(log.heard)) == (3, 3)


def test_a_message_that_one_sink_refuses_for_its_own_sake_is_not_held_against_the_next(
    story: Alerting, chat: Chat
) -> None:
    story.collect(a_finding())
    fail(story, "run-1")
    chat.status = 400
    sinks = sinks_of(replace(SYSTEM, alerts=SYSTEM.alerts.model_copy(update={"email": None})), {"HOOK_URL": chat.url})
    assert look(story, sinks).messages == 2, "the log's"
    chat.status = 200
    assert look(story, sinks, now_of(story) + 2 * MINUTE).messages == 2
    assert len(chat.posts) == 2


def test_a_recipient_who_is_refused_is_seen_and_the_others_are_not_told_twice(story: Alerting, post: Post) -> None:
    fail(story, "run-1")
    mail = SYSTEM.alerts.email.model_copy(update={"to": ("b@example.com", "gone@example.com")})  # type: ignore[type-var]
    post.refuses = {"gone@example.com": "550 no such user"}
    sinks = sinks_of(replace(SYSTEM, alerts=AlertsConfig(email=mail)), {"SMTP_URL": f"smtp://127.0.0.1:{post.port}"})
    told = look(story, sinks)
    assert (told.messages, list(told.failures)) == (2, ["email"])
    assert "refused 1 of 2 recipients" in told.failures["email"]
    assert look(story, sinks, now_of(story) + 60 * MINUTE).claimed == 0
    assert len(post.letters) == 1


def test_alerts_of_a_kind_that_wait_are_one_message(story: Alerting, chat: Chat) -> None:
    for number in range(40):
        fail(story, f"run-{number}")
    sinks = sinks_of(SYSTEM, {"HOOK_URL": chat.url})[1:2]
    assert look(story, sinks).messages == 1
    assert chat.texts == ["wix_app: 40 runs failed\nwix_app_reconcile 40\nnext: credit-pipeline ui, then Runs"]


def test_a_sink_that_is_new_hears_what_is_not_done_and_one_that_left_holds_nothing_up(story: Alerting) -> None:
    fail(story, "run-1")
    log, away = Listener("log"), Listener("webhook", down="away")
    look(story, [log, away])
    mail = Listener("email")
    look(story, [log, mail], now_of(story) + 2 * MINUTE)
    assert (len(log.heard), len(mail.heard)) == (1, 1)
    assert story.outbox.unheard().waiting == 0


KILLED = """
import os, signal, sys
from credit_pipeline.adapters.alerts.sinks import WebhookSink
from credit_pipeline.adapters.alerts.outbox import PostgresOutbox
from credit_pipeline.services.alerts.alerts import drain
from credit_pipeline_tests.adapters.alerts.alert_product import Listener
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC

class Dying(WebhookSink):
    def send(self, message):
        super().send(message)
        os.kill(os.getpid(), signal.SIGKILL)

outbox = PostgresOutbox(sys.argv[1], PUBLIC)
drain(PUBLIC, outbox, [Listener("log"), Dying("acme", sys.argv[2], "HOOK_URL")], by="dying")
"""


def test_a_worker_killed_between_delivery_and_its_note_delivers_again_and_only_there(
    story: Alerting, chat: Chat
) -> None:
    fail(story, "run-1")
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, story.product.url, chat.url], check=False, env=dict(os.environ)
    )
    assert ended.returncode == -signal.SIGKILL
    assert len(chat.posts) == 1
    [row] = story.rows()
    assert (row["delivered"], row["done_at"], row["attempts"]) == (["log"], None, 1)
    log, webhook = Listener("log"), sinks_of(SYSTEM, {"HOOK_URL": chat.url})[1]
    assert look(story, [log, webhook], now_of(story) + 9 * MINUTE).claimed == 0, "its claim may still be good"
    assert look(story, [log, webhook], now_of(story) + 11 * MINUTE).claimed == 1
    assert len(chat.posts) == 2, "at least once: nobody knows that it arrived"
    assert log.heard == [], "the log has it already"
    assert story.rows()[0]["done_at"] is not None


def test_what_dies_one_by_one_is_no_message_each_and_a_sink_that_is_away_is_not_asked_for_each(story: Alerting) -> None:
    """A tick and a failure every half minute: an hour in which the sink hears them, and one in which it is away."""
    start, listener, number = now_of(story), Listener("webhook"), 0

    def an_hour() -> None:
        nonlocal number
        for _ in range(120):
            number += 1
            now = start + number * MINUTE / 2
            fail(story, f"run-{number}")
            story.product.run("UPDATE credit_pipeline.outbox SET next_attempt_at = %s WHERE attempts = 0", now)
            look(story, [listener], now)

    an_hour()
    assert 6 <= len(listener.heard) <= 8
    listener.down, listener.asked = "away", 0
    an_hour()
    assert 6 <= listener.asked <= 16
    listener.down = None
    look(story, [listener], start + 200 * MINUTE)
    assert sum(map(_count, listener.titles)) == 240


def test_ten_thousand_at_once_are_one_message(story: Alerting) -> None:
    story.product.run(
        "INSERT INTO credit_pipeline.outbox (system, kind, subject)"
        " SELECT 'wix_app', 'webhook_dead', n || ':8' FROM generate_series(1, 10000) AS n"
    )
    listener = Listener()
    look(story, [listener])
    assert listener.titles == ["wix_app: 10,000 failed webhooks given up"]
    assert story.outbox.unheard().waiting == 0


def test_looks_at_once_hand_each_alert_over_once(story: Alerting) -> None:
    listener, lock = Listener("log"), threading.Lock()

    class Slow(Listener):
        def send(self, message: object) -> None:
            with lock:
                listener.send(message)  # type: ignore[arg-type]

    for number in range(30):
        fail(story, f"run-{number}")
    barrier = threading.Barrier(4)

    def work() -> None:
        with closing(PostgresOutbox(story.product.url, story.product.system)) as outbox:
            barrier.wait()
            drain(SYSTEM, outbox, [Slow("log")], by="worker")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(_count(title) for title in listener.titles) == 30
    assert all(row["attempts"] == 1 for row in story.rows())


def test_a_look_tells_of_what_has_waited_too_long(story: Alerting) -> None:
    story.collect(a_finding())
    listener = Listener("log")
    look(story, [listener])
    system = replace(SYSTEM, policy=Policy(max_gap=timedelta(days=365)))
    later = story.now + timedelta(hours=24)
    for _ in range(3):
        drain(system, story.outbox, [listener], by="test", now=max(later, now_of(story)))
    assert listener.titles == [
        "wix_app: 1 finding to act on: 1 new",
        "wix_app: 1 finding open for more than 24 h",
    ]


def test_where_no_comparison_comes_any_more_people_are_told_once_a_silence(story: Alerting) -> None:
    system, listener = replace(SYSTEM, policy=replace(SYSTEM.policy, max_gap=timedelta(hours=24))), Listener("log")
    installed = now_of(story)

    def look_at(now: datetime) -> list[str]:
        listener.heard.clear()
        drain(system, story.outbox, [listener], by="test", now=now)
        return listener.titles

    told = ["wix_app: no complete comparison for more than 24 h"]
    assert look_at(installed + timedelta(hours=23)) == []
    assert [look_at(installed + timedelta(hours=24 + n)) for n in (1, 2, 300)] == [told, [], []], "there never was one"
    story.start = installed
    story.collect()
    day = timedelta(hours=24)
    assert [look_at(story.now + n * day) for n in (0.5, 1, 1.1, 3)] == [[], [], told, []]
    story.number += 40
    story.collect()
    assert [look_at(story.now + n * day) for n in (1, 1.1)] == [[], told]
