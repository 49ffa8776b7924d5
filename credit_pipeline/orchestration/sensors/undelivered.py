"""The sensor of events that Stripe could not deliver: it brings them over, and the failed webhooks' sensor goes on.

A tick asks billing itself and starts no run: there are ninety a day, and nearly all find nothing. The cursor says up to
when all events were read; it only saves work, since an event that comes twice is kept once.
"""

import json
import os
from datetime import UTC, datetime, timedelta

import dagster as dg

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.config.system import CreditSystem, StripeConfig
from credit_pipeline.domain.errors import ConfigurationError, SourceError
from credit_pipeline.orchestration.resources import working_folder
from credit_pipeline.services.sync.ports import EventSource
from credit_pipeline.services.sync.undelivered import pull

INTERVAL_S = 900
WITHIN = timedelta(seconds=40)
"""A tick that takes a minute is ended by Dagster."""


def undelivered_sensors(system: CreditSystem) -> list[dg.SensorDefinition]:
    """The sensor of one system, running from the start; none where billing keeps no such list."""
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
                "Brings events over that Stripe could not deliver, once they are older than `policy.settle_time`. It "
                "starts no run: `failed_webhook_sensor` has them repaired, as a dry run unless `automation.apply` is "
                "true."
            ),
        )
    ]


def _tick(system: CreditSystem, context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """What was found, or why nothing was asked. Raises where some events may be missing and no look went further."""
    until = _until(context.cursor)
    try:
        with open_gateways(system, working_folder(), os.environ) as gateways:
            source, inbox = gateways.billing, gateways.inbox
            if inbox is None or not inbox.installed() or not isinstance(source, EventSource):
                return dg.SkipReason(f"{system.name}: nothing is kept here: run credit-pipeline init {system.name}")
            now, settle = datetime.now(UTC), system.policy.settle_time
            pulled = pull(source, inbox, now=now, settle_time=settle, within=WITHIN, until=until)
    except ConfigurationError as error:
        return dg.SkipReason(str(error))
    told = f"{system.name}: {pulled.sentence}"
    if pulled.doubts and pulled.until <= (until or pulled.oldest):
        raise SourceError(told)
    read = max(pulled.until, min(until, pulled.newest)) if until else pulled.until
    return dg.SensorResult(skip_reason=dg.SkipReason(told), cursor=json.dumps({"until": int(read.timestamp())}))


def _until(cursor: str | None) -> datetime | None:
    """Up to when all was read; None where nothing was, or somebody wrote something else into the cursor."""
    try:
        return datetime.fromtimestamp(int(json.loads(cursor or "{}")["until"]), UTC)
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        return None
