"""What starts runs by itself beside the schedule: the sensors of failed webhooks and of requests for a sync.

A tick claims what is due, in the database and at most fifty, and asks for one run about it. So no record gets into two
runs, and what a run or a daemon drops is claimed again ten minutes later under another attempt. The run key is that of
the first claim: a failed run uses its key up for ever, so one without the attempt would end all retries.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg

from credit_pipeline.adapters.inbox.open_inbox import open_inbox, open_sync_requests
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.sync.ports import Claim, Inbox, SyncRequests

INTERVAL_S = 20
"""Between two ticks: an account that asks is right within a minute, the run's start included."""


def sensors_of(system: CreditSystem) -> list[dg.SensorDefinition]:
    """Both sensors of one system, running from the start; Dagster's own default is stopped."""
    return [_failed_webhooks(system), _sync_requests(system)]


def _failed_webhooks(system: CreditSystem) -> dg.SensorDefinition:
    def claim(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        def due(inbox: Inbox) -> tuple[Sequence[Claim], str]:
            claims, counts = inbox.claim(_by(system)), inbox.counts()
            told = ", ".join(f"{count:,} {code.removeprefix('webhook_')}" for code, count in counts.items())
            return claims, f"{system.name}: no failed webhook is due: {told}"

        return _asked(system, context, open_inbox, due, "records")

    return dg.SensorDefinition(
        name=f"{system.name}_failed_webhook_sensor",
        job_name=f"{system.name}_repair_webhooks",
        evaluation_fn=claim,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Has webhooks repaired that the product could not handle: tried again with growing waits, given up after "
            "eight attempts. Dry run unless `automation.apply` is true."
        ),
    )


def _sync_requests(system: CreditSystem) -> dg.SensorDefinition:
    def claim(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        def due(requests: SyncRequests) -> tuple[Sequence[Claim], str]:
            return requests.claim(_by(system)), f"{system.name}: 0 requests for a sync are due"

        return _asked(system, context, open_sync_requests, due, "requests")

    return dg.SensorDefinition(
        name=f"{system.name}_sync_request_sensor",
        job_name=f"{system.name}_sync_accounts",
        evaluation_fn=claim,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Has accounts looked at for which the product called `credit_pipeline.request_sync`: when one is "
            "provisioned or opened, or its Sync button is pressed. Dry run unless `automation.apply` is true."
        ),
    )


def _asked(
    system: CreditSystem,
    context: dg.SensorEvaluationContext,
    opened: Callable[..., AbstractContextManager[Any]],
    due: Callable[[Any], tuple[Sequence[Claim], str]],
    word: str,
) -> dg.SensorResult | dg.SkipReason:
    """The run about what is due, or the numbers for which there is none."""
    try:
        with opened(system, os.environ) as queue:
            if not queue.installed():
                return dg.SkipReason(f"{system.name}: nothing is kept here: run credit-pipeline init {system.name}")
            claims, nothing = due(queue)
    except ConfigurationError as error:
        return dg.SkipReason(str(error))
    if not claims:
        return dg.SkipReason(nothing)
    request = dg.RunRequest(
        run_key=claims[0].key,
        run_config={"dry_run": not system.policy.automation_apply, word: [claim.key for claim in claims]},
    )
    # For whoever looks at the sensor; the truth is in the database.
    last = max(claims, key=lambda claim: claim.record)
    cursor = json.dumps({"claimed": len(claims), "newest": last.key, "tick": _ticks(context.cursor) + 1})
    return dg.SensorResult(run_requests=[request], cursor=cursor)


def _ticks(cursor: str | None) -> int:
    """How many ticks asked for a run so far; 0 where somebody reset the cursor or wrote something else into it."""
    try:
        ticks = json.loads(cursor or "{}").get("tick", 0)
    except (ValueError, AttributeError):
        return 0
    return ticks if isinstance(ticks, int) else 0


def _by(system: CreditSystem) -> str:
    return f"sensor of {system.name}"
