"""The sensors that tell people, one that delivers and one that notices failed runs; and the check that they do.

Neither starts a run. Dagster's own sensor for failed runs moves on where its function fails, and a run that failed
because the database was away would never be told of; this one keeps its place until the outbox has it.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from credit_pipeline.adapters.alerts.open_alerts import open_outbox, sinks_of
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.alerts.alerts import drain
from credit_pipeline.services.alerts.ports import AlertKind
from credit_pipeline.services.health.health import ALL_TOLD, DELIVERED

INTERVAL_S = 30
OVERLAP = timedelta(minutes=1)
"""Looked at again by each tick: a run's end may be stored later than it is dated. The outbox keeps each once."""
MOST_RUNS = 1000


def alert_sensors(system: CreditSystem, jobs: Sequence[str]) -> list[dg.SensorDefinition]:
    """Both sensors of one system, running from the start; `jobs` are the names of those whose failures are told."""
    return [_alerts(system), _failed_runs(system, frozenset(jobs))]


def _alerts(system: CreditSystem) -> dg.SensorDefinition:
    def tell(context: dg.SensorEvaluationContext) -> dg.SkipReason:  # noqa: ARG001 (Dagster hands it over)
        try:
            with open_outbox(system, os.environ) as outbox:
                if not outbox.installed():
                    return _not_installed(system)
                told = drain(system, outbox, sinks_of(system, os.environ), by=f"sensor of {system.name}")
                waiting = outbox.unheard().waiting
        except ConfigurationError as error:
            return dg.SkipReason(str(error))
        numbers = f"{told.claimed:,} alerts were due, {told.messages:,} messages sent, {waiting:,} alerts wait"
        if told.failures:  # a tick that failed is seen where a skipped one is not; what was sent is noted already
            raise dg.Failure(f"{system.name}: {numbers}; {'; '.join(told.failures.values())}")
        return dg.SkipReason(f"{system.name}: {numbers}")

    return dg.SensorDefinition(
        name=f"{system.name}_alerts_sensor",
        evaluation_fn=tell,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Tells people of findings that are new, changed or open for too long, of quarantined plans, dead webhooks "
            "and failed runs, each once. A sink that does not take a message is tried again for ever."
        ),
    )


def _failed_runs(system: CreditSystem, jobs: frozenset[str]) -> dg.SensorDefinition:
    def notice(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        since = _moment(context.cursor)
        if since is None:
            now = datetime.now(UTC).isoformat()
            return dg.SensorResult(cursor=now, skip_reason=dg.SkipReason(f"{system.name}: begins from now on"))
        records = context.instance.get_run_records(
            dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since - OVERLAP),
            limit=MOST_RUNS,
            order_by="update_timestamp",
            ascending=True,
        )
        failed = {r.dagster_run.run_id: r.dagster_run.job_name for r in records if r.dagster_run.job_name in jobs}
        try:
            with open_outbox(system, os.environ) as outbox:
                if not outbox.installed():
                    return _not_installed(system)
                new = sum(outbox.note(AlertKind.RUN_FAILED, run, {"job": job}) for run, job in failed.items())
        except ConfigurationError as error:
            return dg.SkipReason(str(error))
        newest = max([since, *(record.update_timestamp for record in records)])
        said = f"{system.name}: {new:,} runs failed since the last look"
        return dg.SensorResult(cursor=newest.isoformat(), skip_reason=dg.SkipReason(said))

    return dg.SensorDefinition(
        name=f"{system.name}_run_failure_sensor",
        evaluation_fn=notice,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Puts an alert into the outbox for each run of this system that failed.",
    )


def every_alert_is_delivered_of(system: CreditSystem) -> dg.AssetChecksDefinition:
    """The check of that name on the health report. Where no alerts are kept there is none to deliver."""

    @dg.asset_check(asset=[system.name, "health_report"], name=DELIVERED, description=ALL_TOLD)
    def every_alert_is_delivered(report: dict[str, Any]) -> dg.AssetCheckResult:
        found = next(check for check in report["checks"] if check["name"] == DELIVERED)
        if not found["count"]:
            return dg.AssetCheckResult(passed=True, description=ALL_TOLD)
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"Untrue for {found['count']:,} alerts: {ALL_TOLD}",
            metadata={
                "count": found["count"],
                "why": "; ".join(found["sample"]) or "nobody delivers",
                "recovery": found["recovery"],
            },
        )

    return every_alert_is_delivered


def _moment(cursor: str | None) -> datetime | None:
    """When the last look was; None on the first, and where somebody wrote something else into the cursor."""
    try:
        moment = datetime.fromisoformat(cursor or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _not_installed(system: CreditSystem) -> dg.SkipReason:
    return dg.SkipReason(f"{system.name}: no alerts are kept here: run credit-pipeline init {system.name}")
