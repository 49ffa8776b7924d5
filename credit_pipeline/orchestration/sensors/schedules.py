"""What starts at fixed times: the comparison of both sides every few hours, and the hourly health monitor.

A tick that was missed because no daemon ran is made up for once, with the newest one's run, however many were missed:
Dagster does so for schedules without partitions, and `dagster.yaml` has a tick tried again that failed. There is no
rarer, fuller pull beside them: each comparison asks billing about everything.
"""

from typing import Any

import dagster as dg

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.timetable import Timetable


def schedules_of(system: CreditSystem) -> list[dg.ScheduleDefinition]:
    """Both schedules of one system, running from the start; Dagster's own default is stopped."""
    return [
        _schedule(
            system,
            "reconcile",
            system.schedule.reconcile,
            {"dry_run": not system.policy.automation_apply, "settle": True},
            "A pull is the only way to learn of a lapsed plan: the provider sends no event. Dry run unless "
            "`automation.apply` is true.",
        ),
        _schedule(
            system,
            "health",
            system.schedule.health,
            {},
            "Says between two comparisons what is still untrue, and when the comparisons themselves have stopped. Asks "
            "the database and never billing; writes nothing.",
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
            f"{system.name}: schedule.{verb}.cron `{times.cron}` is no cron line: write one such as `0 */6 * * *`"
        ) from None
