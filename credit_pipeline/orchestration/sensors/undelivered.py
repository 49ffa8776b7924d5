"""The sensor for events that Stripe could not deliver: it stores them as failed webhooks, to be repaired.

A tick reads from Stripe itself and starts no run, because nearly all of the ninety ticks a day find nothing. The cursor
is the time up to which all events were read; it only saves work, since a repeated event is stored once.
"""

import json
import os
from datetime import UTC, datetime, timedelta

import dagster as dg

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.config.billing import StripeConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError, SourceError
from credit_pipeline.orchestration.resources import working_folder
from credit_pipeline.services.sync.ports import EventSource
from credit_pipeline.services.sync.undelivered import pull

INTERVAL_S = 900
WITHIN = timedelta(seconds=40)
"""Time limit of a tick's read; Dagster ends a tick after a minute."""


def undelivered_sensors(system: CreditSystem) -> list[dg.SensorDefinition]:
    """The sensor of one system, running by default; none if billing is not Stripe."""
    if not isinstance(system.billing, StripeConfig):
        return []
    return [
        dg.SensorDefinition(
            name=f"{system.name}_undelivered_sensor",
            job_name=f"{system.name}_repair_webhooks",
            evaluation_fn=lambda context: _tick(system, context),
            minimum_interval_seconds=INTERVAL_S,
            default_status=dg.DefaultSensorStatus.RUNNING,
            description=(
                "Stores events that Stripe could not deliver and that are older than `policy.settle_time`. It starts "
                "no run: `failed_webhook_sensor` starts their repair, as a dry run unless `automation.apply` is "
                "true."
            ),
        )
    ]


def _tick(system: CreditSystem, context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """The numbers, as skip reason. Raises SourceError if events may be missing and the tick made no progress."""
    until = _until(context.cursor)
    try:
        with open_gateways(system, working_folder(), os.environ) as gateways:
            source, inbox = gateways.billing, gateways.inbox
            if inbox is None or not inbox.installed() or not isinstance(source, EventSource):
                return dg.SkipReason(f"{system.name}: not installed here: run credit-pipeline init {system.name}")
            now, settle = datetime.now(UTC), system.policy.settle_time
            pulled = pull(source, inbox, now=now, settle_time=settle, within=WITHIN, until=until)
    except ConfigurationError as error:
        return dg.SkipReason(str(error))
    summary = f"{system.name}: {pulled.sentence}"
    if pulled.doubts and pulled.until <= (until or pulled.oldest):
        raise SourceError(summary)
    read = max(pulled.until, min(until, pulled.newest)) if until else pulled.until
    return dg.SensorResult(skip_reason=dg.SkipReason(summary), cursor=json.dumps({"until": int(read.timestamp())}))


def _until(cursor: str | None) -> datetime | None:
    """The time in the cursor; None if it is empty or invalid."""
    try:
        return datetime.fromtimestamp(int(json.loads(cursor or "{}")["until"]), UTC)
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        return None
