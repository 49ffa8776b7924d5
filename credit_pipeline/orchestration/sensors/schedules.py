"""The schedules: the reconciliation every few hours, and the hourly health job.

After ticks that were missed because no daemon ran, Dagster starts one run, for the latest tick. `dagster.yaml` sets
that a failed tick is retried. Every reconciliation reads all of billing; there is no separate full pull.
"""

from typing import Any

import dagster as dg

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.timetable import Timetable


def schedules_of(system: CreditSystem) -> list[dg.ScheduleDefinition]:
    """Both schedules of one system, running by default."""
    return [
        _schedule(
            system,
            "reconcile",
            system.schedule.reconcile,
            {"dry_run": not system.policy.automation_apply, "settle": True},
            "Compares store and billing. The provider sends no event when a plan lapses, so only a pull finds it. "
            "Dry run unless `automation.apply` is true.",
        ),
        _schedule(
            system,
            "health",
            system.schedule.health,
            {},
            "Reports between two comparisons what is still not in order, and whether comparisons have stopped. Reads "
            "the database only, never billing; writes nothing.",
        ),
    ]


def _schedule(
    system: CreditSystem, verb: str, times: Timetable, run_config: dict[str, Any], description: str
) -> dg.ScheduleDefinition:
    job = f"{system.name}_{verb}"
    try:
        return dg.ScheduleDefinition(
            name=f"{job}_schedule",
            job_name=job,
            cron_schedule=times.line_for(job),
            execution_timezone=times.timezone,
            run_config=run_config,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=description,
        )
    except (dg.DagsterInvalidDefinitionError, dg.DagsterInvariantViolationError):
        raise ConfigurationError(
            f"{system.name}: schedule.{verb}.cron `{times.cron}` is not a cron expression: "
            "write one such as `0 */6 * * *`"
        ) from None
