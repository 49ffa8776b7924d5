"""The log and the webhook as sinks, over real HTTP on loopback: what arrives, and what is said where it does not."""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from credit_pipeline.adapters.alerts.sinks import WebhookSink
from credit_pipeline.adapters.open_alerts import sinks_of
from credit_pipeline.config.alerts import AlertsConfig, EmailAlerts, WebhookAlerts
from credit_pipeline.services.alerts.ports import DeliveryFailed, Message
from credit_pipeline_tests.adapters.alerts.alert_servers import Chat, a_chat
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC

SAID = Message(
    title="acme: 2 findings to act on: 2 new", lines=("2 error", "next: credit-pipeline mismatches acme list")
)
SOON = timedelta(seconds=2)
BOTH = replace(
    PUBLIC,
    alerts=AlertsConfig(
        webhook=WebhookAlerts(url_env="HOOK_URL"),
        email=EmailAlerts(smtp_url_env="SMTP_URL", sender="a@example.com", to=("b@example.com",)),
    ),
)


@pytest.fixture
def chat() -> Iterator[Chat]:
    with a_chat() as opened:
        yield opened


def refusal(url: str) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as failed:
        WebhookSink("acme", url, "HOOK_URL", SOON).send(SAID)
    assert "SECRET" not in str(failed.value)
    return failed.value


def test_the_webhook_gets_slacks_json_at_its_own_path(chat: Chat) -> None:
    WebhookSink("acme", chat.url, "HOOK_URL").send(SAID)
    [(path, headers, body)] = chat.posts
    assert path == "/hooks/T0/SECRET"
    assert headers["Content-Type"] == "application/json"
    assert body == {"text": SAID.text}


@pytest.mark.parametrize(
    ("status", "down"), [(302, False), (400, False), (404, False), (408, True), (429, True), (500, True), (503, True)]
)
def test_an_answer_that_is_not_2xx_is_no_delivery(chat: Chat, status: int, down: bool) -> None:
    chat.status = status
    failed = refusal(chat.url)
    assert (str(failed).split(":")[1], failed.down) == (f" the webhook of HOOK_URL answered with HTTP {status}", down)


def test_a_redirect_is_not_followed(chat: Chat) -> None:
    chat.how, chat.status = "redirect", 307
    refusal(chat.url)
    chat.status = 200
    assert chat.posts == []


def test_a_server_that_answers_a_byte_at_a_time_is_left_alone_in_time(chat: Chat) -> None:
    chat.how = "drip"
    began = time.monotonic()
    failed = refusal(chat.url)
    assert time.monotonic() - began < 30
    assert (str(failed), failed.down) == ("acme: the webhook of HOOK_URL did not answer in time: check it", True)


def test_a_proxy_of_the_environment_is_not_asked(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    WebhookSink("acme", chat.url, "HOOK_URL").send(SAID)
    assert len(chat.posts) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/SECRET", "cannot be reached"),
        ("http://chat.example/SECRET", "use https"),
        ("ftp://chat.example/SECRET", "not a webhook URL"),
        ("https:///SECRET", "not a webhook URL"),
        ("SECRET words", "not a webhook URL"),
        ("https://chat.example/SECRET\udc80", "not a webhook URL"),
        ("https://chat..example/SECRET", "cannot be reached"),
    ],
)
def test_an_address_to_which_nothing_can_be_sent_is_said_without_it(url: str, said: str) -> None:
    assert said in str(refusal(url))


def test_no_logger_is_told_the_address(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        WebhookSink("acme", chat.url.replace("http://", "http://eva:SECRET@"), "HOOK_URL").send(SAID)
    assert chat.texts == [SAID.text]
    assert "SECRET" not in caplog.text


def test_user_and_password_of_the_address_are_handed_over(chat: Chat) -> None:
    WebhookSink("acme", chat.url.replace("http://", "http://eva:p%40ss@"), "HOOK_URL").send(SAID)
    assert chat.posts[0][1]["Authorization"] == "Basic ZXZhOnBAc3M="


def test_the_log_gets_one_line_a_message(caplog: pytest.LogCaptureFixture) -> None:
    [sink] = sinks_of(PUBLIC, {})
    with caplog.at_level(logging.INFO, logger="credit_pipeline.wix_app"):
        sink.send(SAID)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "ALERT: acme: 2 findings to act on: 2 new; 2 error; next: credit-pipeline mismatches acme list"
    )


def test_a_variable_that_is_not_set_makes_its_own_sink_fail_and_no_other(chat: Chat) -> None:
    log, webhook, email = sinks_of(BOTH, {"HOOK_URL": chat.url, "SMTP_URL": " "})
    assert [sink.name for sink in (log, webhook, email)] == ["log", "webhook", "email"]
    webhook.send(SAID)
    assert chat.texts == [SAID.text]
    with pytest.raises(DeliveryFailed, match=r"^wix_app: set SMTP_URL: alerts go to the address in it$"):
        email.send(SAID)
    log, webhook, email = sinks_of(BOTH, {"HOOK_URL": "https://chat.example/\udc80", "SMTP_URL": "smtp://h\udc80:1"})
    log.send(SAID)
    with pytest.raises(DeliveryFailed, match="HOOK_URL is not a webhook URL"):
        webhook.send(SAID)
    with pytest.raises(DeliveryFailed, match="the mail server of SMTP_URL cannot be reached"):
        email.send(SAID)
    _, webhook, email = sinks_of(BOTH, {"SMTP_URL": "mail.example.com"})
    with pytest.raises(DeliveryFailed, match="set HOOK_URL"):
        webhook.send(SAID)
    with pytest.raises(DeliveryFailed, match="SMTP_URL is not a mail server URL: write it as smtp"):
        email.send(SAID)
