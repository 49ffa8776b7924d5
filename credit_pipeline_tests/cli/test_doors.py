"""The doors at the command line of a planted sandbox: a call as the product makes it, what Stripe could not deliver."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from credit_pipeline.sandbox import lifecycle
from credit_pipeline_tests.cli.conftest import Run, Sandbox

_FORGET = "DELETE FROM credit_pipeline.sync_request; DELETE FROM credit_pipeline.webhook_event"


@pytest.fixture
def doors(sandbox: Sandbox) -> Iterator[Sandbox]:
    """What comes in by the doors is forgotten afterwards: the sandbox is that of other tests too."""
    yield sandbox
    for name in ("WIX_DATABASE_URL", "BESTAUTH_DATABASE_URL"):
        with psycopg.connect(sandbox.environment[name]) as connection:
            connection.execute(_FORGET)


def test_a_call_says_what_the_door_answered_and_what_goes_on(run: Run, doors: Sandbox) -> None:
    account = doors.healthy[0]
    ended = run("sandbox", "call", "wix_app", "opened", account, "--format", "json")
    assert (ended.status, ended.json["door"], ended.json["said"]) == (0, "request_sync", "accepted")
    ended = run("sandbox", "call", "wix_app", "button", account)
    assert ended.out.startswith("wix_app: request_sync returned waiting")
    assert f"credit-pipeline sync wix_app {account}" in ended.out
    assert run("sandbox", "call", "bestauth", "webhook", "cus_nobody", "--format", "json").json["said"] == "recorded"
    record, *_ = run("webhooks", "bestauth", "list", "--format", "json").json["records"]
    assert (record["state"], record["verified"]) == ("failed", True)


def test_a_repaired_webhook_is_listed_with_the_account_it_was_about(run: Run, doors: Sandbox) -> None:
    account = doors.healthy[1]
    assert run("sandbox", "call", "wix_app", "webhook", account).status == 0
    record, *_ = run("webhooks", "wix_app", "list", "--format", "json").json["records"]
    assert run("webhooks", "wix_app", "replay", str(record["record"])).status == 0
    assert account in run("webhooks", "wix_app", "list", "--state", "repaired").out


def test_a_call_that_cannot_be_made_is_one_sentence(run: Run, doors: Sandbox) -> None:
    assert "shop" in run("sandbox", "call", "shop", "opened", "x").sentence
    assert "was refused" in run("sandbox", "call", "wix_app", "provisioned", "no id").sentence
    assert run("sandbox", "call", "wix_app", "sung", "x").status == 2


def test_a_call_without_a_sandbox_says_how_to_get_one(run: Run) -> None:
    assert "sandbox up" in run("sandbox", "call", "wix_app", "opened", "x").sentence


def test_purchases_that_the_product_never_heard_of_are_at_stripe_undelivered(run: Run, doors: Sandbox) -> None:
    ended = run("webhooks", "bestauth", "pull", "--format", "json")
    assert (ended.status, ended.json["complete"]) == (0, True)
    kinds = [str(found["kind"]) for found in lifecycle.truth(doors.home, "bestauth")["accounts"]]
    assert ended.json["new"] >= kinds.count("purchase_missed") > 0
    again: dict[str, Any] = run("webhooks", "bestauth", "pull", "--format", "json").json
    assert (again["found"], again["new"]) == (ended.json["found"], 0)
    text = run("webhooks", "bestauth", "pull").out
    assert "0 of them new" in " ".join(text.split())
