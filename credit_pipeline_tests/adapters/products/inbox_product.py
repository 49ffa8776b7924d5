"""A product whose webhooks fail, with our schema installed: what its handlers record, and how time passes for a record.

No assertions.
"""

import json
from contextlib import closing
from dataclasses import replace
from typing import Any

from credit_pipeline.adapters.inbox.sync_requests import PostgresSyncRequests
from credit_pipeline.adapters.inbox.webhooks import PostgresInbox
from credit_pipeline.adapters.install.install import install
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.config.webhooks import WebhookStatuses, WebhookTable
from credit_pipeline.services.sync.ports import Claim, RecordState, Settlement
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC, Product
from credit_pipeline_tests.conftest import Databases

OWN = WebhookTable(
    table="failed_webhooks",
    statuses=WebhookStatuses(failed=("failed", "error"), repaired="processed", dead="given_up"),
    type="kind",
    account="instance",
    body="payload",
    attempts="tries",
    error="why",
)
MAPPED = replace(PUBLIC, webhooks=OWN)
OWN_TABLE = """
CREATE TYPE {schema}.webhook_status AS ENUM ('new', 'failed', 'error', 'processed', 'given_up');
CREATE TABLE {schema}.failed_webhooks (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), kind text, instance text, payload jsonb,
    status {schema}.webhook_status NOT NULL DEFAULT 'failed', tries int NOT NULL DEFAULT 0, why text,
    received_at timestamptz NOT NULL DEFAULT now())
"""


class WithDoors(Product):
    """The product's calls of the two functions, and a look into our tables."""

    def record(self, event: str | None, body: object = b"{}", **words: Any) -> str:
        """record_webhook, as the product's handler calls it when it failed."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"provider": "wix", "verified": None, "error": "boom", "account": None, "system": None} | words
        [row] = self.run(
            "SELECT credit_pipeline.record_webhook(%s, %s, %s, %s, %s, %s, %s) AS said",
            given["provider"], event, raw, given["verified"], given["error"], given["account"], given["system"],
        )  # fmt: skip
        return str(row["said"])

    def ask(self, account: str, reason: str = "opened", system: str | None = None) -> str:
        """request_sync, as the product's button calls it."""
        [row] = self.run("SELECT credit_pipeline.request_sync(%s, %s, %s) AS said", account, reason, system)
        return str(row["said"])

    def event(self, event: str) -> dict[str, Any]:
        """The record of that event."""
        [row] = self.run("SELECT * FROM credit_pipeline.webhook_event WHERE event_id = %s", event)
        return row

    def wait(self, time: str, table: str = "webhook_event") -> None:
        """Everything in our table happened earlier by so much."""
        more = ", requested_at = requested_at - %(t)s::interval" if table == "sync_request" else ""
        self.run(
            f"UPDATE credit_pipeline.{table} SET next_attempt_at = next_attempt_at - '{time}'::interval,"
            f" claimed_at = claimed_at - '{time}'::interval" + more.replace("%(t)s", f"'{time}'")
        )

    def inbox(self) -> "closing[PostgresInbox]":
        """An inbox of its own connection."""
        return closing(PostgresInbox(self.url, self.system))

    def requests(self) -> "closing[PostgresSyncRequests]":
        """Requests on a connection of their own."""
        return closing(PostgresSyncRequests(self.url, self.system))


def with_doors(databases: Databases, system: CreditSystem = PUBLIC) -> WithDoors:
    """An installed product in a database of its own."""

    def fill(url: str) -> None:
        product = WithDoors(url, system).build()
        if system.webhooks is not None:
            product.run(OWN_TABLE)
        install(url, system)

    template = databases.template(f"doors_{system.webhooks is not None}", fill)
    return WithDoors(databases.new(template), system)


def repaired(sentence: str = "in order") -> Settlement:
    return Settlement(state=RecordState.REPAIRED, sentence=sentence)


def failed(sentence: str = "billing did not answer") -> Settlement:
    return Settlement(state=RecordState.FAILED, sentence=sentence)


def fail_until(product: WithDoors, inbox: PostgresInbox, attempts: int) -> list[Claim]:
    """Claims the only record and fails it, so many times."""
    claims = []
    for _ in range(attempts):
        product.wait("25 hours")
        [claim] = inbox.claim("worker")
        inbox.settle(claim, failed())
        claims.append(claim)
    return claims
