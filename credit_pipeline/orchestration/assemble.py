"""Builds the Dagster definitions of one configured system."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.orchestration.assets.applied_corrections import applied_corrections
from credit_pipeline.orchestration.assets.health import health_checks_of, health_report_of
from credit_pipeline.orchestration.assets.identities import identity_assets
from credit_pipeline.orchestration.assets.plan import audit_trail_of, correction_plan_of
from credit_pipeline.orchestration.assets.sources import sources_and_report
from credit_pipeline.orchestration.checks.audit import audit_chain_verifies_of
from credit_pipeline.orchestration.checks.statements import checks_of
from credit_pipeline.orchestration.io_manager import CreditRecords
from credit_pipeline.orchestration.jobs.account_jobs import account_jobs
from credit_pipeline.orchestration.jobs.jobs import jobs_of
from credit_pipeline.orchestration.jobs.terminal import SILENT, Terminal
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.orchestration.sensors.alerts import alert_sensors, every_alert_is_delivered_of
from credit_pipeline.orchestration.sensors.doors import sensors_of
from credit_pipeline.orchestration.sensors.schedules import schedules_of
from credit_pipeline.orchestration.sensors.undelivered import undelivered_sensors

RESOURCES: Mapping[str, Any] = {"credit_gateways": CreditGateways(), "credit_records": CreditRecords()}
"""Shared by all systems, because Dagster merges definitions only if equally named resources are the same object."""


def reconciliation_defs(
    system: CreditSystem,
    *,
    terminal: Terminal | None = None,
    resources: Mapping[str, Any] = RESOURCES,
) -> dg.Definitions:
    """Assets, checks, jobs, schedules and sensors of one system. `terminal`: of the command that runs them."""
    at = terminal or Terminal()
    silent = terminal is not None
    jobs = [*jobs_of(system, silent=silent), *account_jobs(system, attended=at.attended, silent=silent)]
    return dg.Definitions(
        assets=[
            *sources_and_report(system, at.progress),
            *identity_assets(system),
            health_report_of(system),
            correction_plan_of(system),
            applied_corrections(system, attended=at.attended),
            audit_trail_of(system),
        ],
        asset_checks=[
            *checks_of(system),
            audit_chain_verifies_of(system),
            *health_checks_of(system),
            every_alert_is_delivered_of(system),
        ],
        jobs=jobs,
        schedules=schedules_of(system),
        sensors=[
            *sensors_of(system),
            *undelivered_sensors(system),
            *alert_sensors(system, [job.name for job in jobs]),
        ],
        resources=resources,
        loggers={"silent": SILENT} if terminal else None,
    )
