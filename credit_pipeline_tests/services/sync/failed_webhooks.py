"""The world of the incidents with its handlers failing: records come in, and runs of the repair work them off.

A run uses the world's clock for the pipeline; when a record is due is told by the database's own. No assertions.
"""

import json
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from credit_pipeline.adapters.inbox.sync_requests import PostgresSyncRequests
from credit_pipeline.services.sync.ports import Claim, Inbox
from credit_pipeline.services.sync.repair import Repaired, drain, repair
from credit_pipeline.services.sync.sync import Sync
from credit_pipeline_tests.incidents.world import SYSTEM, World

_RECORD = "SELECT credit_pipeline.record_webhook('wix', %s, %s, now(), 'boom') AS said"
_DUE = (
    "UPDATE credit_pipeline.{table} SET next_attempt_at = now() - interval '1 s' WHERE state IN ('failed', 'waiting')"
)


class Doors:
    """What the product asks of us, and the runs that answer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._runs = 0

    def run(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.world.url, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def failed(self, account: str, event: str, *, type: str = "PaidPlanPurchased", plan: str = "pro") -> None:
        """A webhook about this account that the handler could not handle."""
        inner = json.dumps({"vendorProductId": plan, "operationTimeStamp": "2020-01-01T00:00:00.000Z"})
        self.failed_raw(event, json.dumps({"eventType": type, "instanceId": account, "data": inner}).encode())

    def failed_raw(self, event: str, body: bytes) -> None:
        self.run(_RECORD, event, body)

    @property
    def inbox(self) -> Inbox:
        inbox = self.world.gateways.inbox
        assert inbox is not None
        return inbox

    def sync(self, *, live: bool = True, person: bool = False, apply: bool = True) -> Sync:
        """A run's way of looking; `apply` is the YAML's automation.apply."""
        self._runs += 1
        self.world.now += timedelta(minutes=1)
        system = replace(SYSTEM, policy=replace(SYSTEM.policy, automation_apply=apply))
        return Sync(
            system=system,
            gateways=self.world.gateways,
            live=live,
            person=person,
            run_id=f"repair-{self._runs}",
            clock=lambda: self.world.now,
        )

    def claim(self) -> list[Claim]:
        """What is due, or would be if enough time had passed."""
        self.run(_DUE.format(table="webhook_event"))
        return list(self.inbox.claim("test"))

    def repair(self, **words: Any) -> Repaired:
        """One run of the repair over all that waits."""
        return repair(self.sync(**words), self.inbox, self.claim())

    def drain(self, **words: Any) -> Repaired:
        """One run over all requests for a sync."""
        self.run(_DUE.format(table="sync_request"))
        with closing(PostgresSyncRequests(self.world.url, SYSTEM)) as requests:
            return drain(self.sync(**words), requests, requests.claim("test"))

    def states(self) -> dict[str, int]:
        """Records by state."""
        rows = self.run("SELECT state FROM credit_pipeline.webhook_event")
        return dict(sorted(Counter(row["state"] for row in rows).items()))

    def record(self, event: str) -> tuple[str, int, str | None]:
        """(state, attempts, what was said last) of a record."""
        [row] = self.run(
            "SELECT state, attempts, last_error FROM credit_pipeline.webhook_event WHERE event_id = %s", event
        )
        return row["state"], row["attempts"], row["last_error"]
