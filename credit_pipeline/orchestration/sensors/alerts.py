"""The sensors that deliver alerts and detect failed runs, and the check that alerts are delivered.

Neither sensor starts a run. Dagster's own run failure sensor advances even if its function fails, so a run that failed
because the database was down would never be reported. This one advances only after the outbox has stored the alert.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from credit_pipeline.adapters.open_alerts import open_outbox, sinks_of
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.alerts.alerts import drain
from credit_pipeline.services.alerts.ports import AlertKind
from credit_pipeline.services.health.statement import ALERTS_DELIVERED, DELIVERED

INTERVAL_S = 30
OVERLAP = timedelta(minutes=1)
"""Re-read by each tick, because a run's end may be stored later than its timestamp. The outbox stores each run once."""
MOST_RUNS = 1000


def alert_sensors(system: CreditSystem, jobs: Sequence[str]) -> list[dg.SensorDefinition]:
    """Both sensors of one system, running by default. `jobs`: the jobs whose failures are reported."""
    return [_alerts(system), _failed_runs(system, frozenset(jobs))]


def _alerts(system: CreditSystem) -> dg.SensorDefinition:
    def deliver(context: dg.SensorEvaluationContext) -> dg.SkipReason:  # noqa: ARG001 (Dagster passes it)
        try:
            with open_outbox(system, os.environ) as outbox:
                if not outbox.installed():
                    return _not_installed(system)
                done = drain(system, outbox, sinks_of(system, os.environ), by=f"sensor of {system.name}")
                waiting = outbox.unheard().waiting
        except ConfigurationError as error:
            return dg.SkipReason(str(error))
        numbers = f"{done.claimed:,} alerts were due, {done.messages:,} messages sent, {waiting:,} alerts wait"
        if done.failures:  # a failed tick is visible in the UI; successful deliveries are already recorded
            raise dg.Failure(f"{system.name}: {numbers}; {'; '.join(done.failures.values())}")
        return dg.SkipReason(f"{system.name}: {numbers}")

    return dg.SensorDefinition(
        name=f"{system.name}_alerts_sensor",
        evaluation_fn=deliver,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Sends alerts about new, changed and long-open findings, quarantined plans, dead webhooks and failed runs, "
            "each once. A failed delivery is retried without limit."
        ),
    )


def _failed_runs(system: CreditSystem, jobs: frozenset[str]) -> dg.SensorDefinition:
    def notice(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        since = _moment(context.cursor)
        if since is None:
            now = datetime.now(UTC).isoformat()
            return dg.SensorResult(
                cursor=now, skip_reason=dg.SkipReason(f"{system.name}: starts with runs that fail from now on")
            )
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
        summary = f"{system.name}: {new:,} runs failed since the last tick"
        return dg.SensorResult(cursor=newest.isoformat(), skip_reason=dg.SkipReason(summary))

    return dg.SensorDefinition(
        name=f"{system.name}_run_failure_sensor",
        evaluation_fn=notice,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Adds an alert to the outbox for each failed run of this system.",
    )


def every_alert_is_delivered_of(system: CreditSystem) -> dg.AssetChecksDefinition:
    """The check `every_alert_is_delivered` on the health report. Without an outbox there is nothing to deliver."""

    @dg.asset_check(asset=[system.name, "health_report"], name=DELIVERED, description=ALERTS_DELIVERED)
    def every_alert_is_delivered(report: dict[str, Any]) -> dg.AssetCheckResult:
        found = next(check for check in report["checks"] if check["name"] == DELIVERED)
        if not found["count"]:
            return dg.AssetCheckResult(passed=True, description=ALERTS_DELIVERED)
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.ERROR,
            description=found["sentence"],
            metadata={
                "count": found["count"],
                "why": "; ".join(found["sample"]) or "no sensor delivers alerts",
                "recovery": found["recovery"],
            },
        )

    return every_alert_is_delivered


def _moment(cursor: str | None) -> datetime | None:
    """The time in the cursor; None if it is empty or invalid."""
    try:
        moment = datetime.fromisoformat(cursor or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _not_installed(system: CreditSystem) -> dg.SkipReason:
    return dg.SkipReason(f"{system.name}: not installed here: run credit-pipeline init {system.name}")
