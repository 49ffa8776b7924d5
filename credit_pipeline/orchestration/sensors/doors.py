"""The sensors for failed webhooks and sync requests.

A tick claims up to fifty due records in the database and requests one run for them. So no record gets into two runs,
and one that a run or a daemon drops is claimed again ten minutes later with another attempt number. The run key is the
first claim including its attempt: Dagster never starts a second run for a key, so a key without it would end all
retries.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg

from credit_pipeline.adapters.open_inbox import open_inbox, open_sync_requests
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.sync.ports import Claim, Inbox, SyncRequests

INTERVAL_S = 20
"""Seconds between ticks; with the start of a run, a sync request is handled within a minute."""


def sensors_of(system: CreditSystem) -> list[dg.SensorDefinition]:
    """Both sensors of one system, running by default."""
    return [_failed_webhooks(system), _sync_requests(system)]


def _failed_webhooks(system: CreditSystem) -> dg.SensorDefinition:
    def claim(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        def due(inbox: Inbox) -> tuple[Sequence[Claim], str]:
            claims, counts = inbox.claim(_by(system)), inbox.counts()
            states = ", ".join(f"{count:,} {code.removeprefix('webhook_')}" for code, count in counts.items())
            return claims, f"{system.name}: no failed webhook is due: {states}"

        return _run_request(system, context, open_inbox, due, "records")

    return dg.SensorDefinition(
        name=f"{system.name}_failed_webhook_sensor",
        job_name=f"{system.name}_repair_webhooks",
        evaluation_fn=claim,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Starts repairs of webhooks that the product failed to handle. Retried with growing waits, given up after "
            "eight attempts. Dry run unless `automation.apply` is true."
        ),
    )


def _sync_requests(system: CreditSystem) -> dg.SensorDefinition:
    def claim(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        def due(requests: SyncRequests) -> tuple[Sequence[Claim], str]:
            return requests.claim(_by(system)), f"{system.name}: 0 requests for a sync are due"

        return _run_request(system, context, open_sync_requests, due, "requests")

    return dg.SensorDefinition(
        name=f"{system.name}_sync_request_sensor",
        job_name=f"{system.name}_sync_accounts",
        evaluation_fn=claim,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Starts a sync of the accounts for which the product called `credit_pipeline.request_sync`: when an "
            "account is provisioned or opened, or its Sync button is pressed. Dry run unless `automation.apply` is "
            "true."
        ),
    )


def _run_request(
    system: CreditSystem,
    context: dg.SensorEvaluationContext,
    opened: Callable[..., AbstractContextManager[Any]],
    due: Callable[[Any], tuple[Sequence[Claim], str]],
    config_key: str,
) -> dg.SensorResult | dg.SkipReason:
    """A run request for the due claims; if there are none, the numbers as skip reason."""
    try:
        with opened(system, os.environ) as queue:
            if not queue.installed():
                return dg.SkipReason(f"{system.name}: not installed here: run credit-pipeline init {system.name}")
            claims, nothing = due(queue)
    except ConfigurationError as error:
        return dg.SkipReason(str(error))
    if not claims:
        return dg.SkipReason(nothing)
    request = dg.RunRequest(
        run_key=claims[0].key,
        run_config={"dry_run": not system.policy.automation_apply, config_key: [claim.key for claim in claims]},
    )
    # For people who look at the sensor in the UI; nothing reads it but the tick counter.
    last = max(claims, key=lambda claim: claim.record)
    cursor = json.dumps({"claimed": len(claims), "newest": last.key, "tick": _ticks(context.cursor) + 1})
    return dg.SensorResult(run_requests=[request], cursor=cursor)


def _ticks(cursor: str | None) -> int:
    """How many ticks requested a run so far; 0 if the cursor is empty or invalid."""
    try:
        ticks = json.loads(cursor or "{}").get("tick", 0)
    except (ValueError, AttributeError):
        return 0
    return ticks if isinstance(ticks, int) else 0


def _by(system: CreditSystem) -> str:
    return f"sensor of {system.name}"
