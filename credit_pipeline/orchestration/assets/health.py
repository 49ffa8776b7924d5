"""The asset `health_report` and its checks.

A reconciliation judges by its own mismatch report, the hourly job by what the last complete comparison recorded.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import CreditPipelineError
from credit_pipeline.orchestration import metadata, plots
from credit_pipeline.orchestration.assets.asset_shape import credit_asset
from credit_pipeline.orchestration.failures import one_sentence
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.services.collect.ports import FailedSpend, IdentityStore
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.health.balance_history import system_history
from credit_pipeline.services.health.between_comparisons import COMPARED, between_comparisons, compared_lately
from credit_pipeline.services.health.health import health, of_incomplete, since, undelivered_alerts
from credit_pipeline.services.health.statement import Health
from credit_pipeline.services.report.report import Report

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


class HealthConfig(dg.Config):
    """The basis of the report."""

    remembered: bool = Field(
        default=False,
        description="Judge by what the last complete comparison recorded and the corrections since, as the hourly job "
        "does; otherwise by the mismatch report.",
    )


def health_report_of(system: CreditSystem) -> dg.AssetsDefinition:
    """The asset `health_report`."""

    @credit_asset(
        system,
        "health_report",
        "The health monitor: paid accounts without their grant, paid accounts on free limits, unmapped users, failed "
        "deductions of the last hour, balances that the ledger does not explain, lost credits; with a plot of the last "
        "month's balances. Unknown counts are null.",
        kinds={"python"},
        of=("mismatch_report",),
        or_none=True,
    )
    def health_report(
        config: HealthConfig, mismatch_report: Report | None, credit_gateways: CreditGateways
    ) -> dg.MaterializeResult[dict[str, Any]]:
        now = datetime.now(UTC)
        with one_sentence(system.name):
            gateways = credit_gateways.of(system)
            # Without an installation there is only the last report.
            from_memory = config.remembered and gateways.memory.installed()
            found = _judged(system, gateways, None if from_memory else mismatch_report, now)
        return dg.MaterializeResult(
            value=found.as_json(),
            metadata=metadata.health_metadata(found) | _plot(system, gateways, now),
            data_version=metadata.content_version(found.as_json()),
        )

    return health_report


def health_checks_of(system: CreditSystem) -> list[dg.AssetChecksDefinition]:
    """The checks of the health report itself: the overall result, and that a comparison took place recently."""
    return [_healthy(system), _compared(system)]


def _judged(system: CreditSystem, gateways: Gateways, report: Report | None, now: datetime) -> Health:
    memory = gateways.memory
    failed = _failed(gateways, now)
    if report and (not report.refusals or not memory.installed()):
        found = health(system, report, failed)
        found = of_incomplete(found) if report.refusals else found
    else:  # a partial report cannot show health: judge by the last complete comparison
        found = between_comparisons(system, memory, failed, now)
    last = memory.last_collection() if memory.installed() else None
    seen = last.as_of if last else datetime.fromisoformat(report.as_of) if report and not report.refusals else None
    current = (undelivered_alerts(system, gateways.outbox), compared_lately(system, seen, now))
    return replace(found, statements=(*found.statements, *current))


def _failed(gateways: Gateways, now: datetime) -> Sequence[FailedSpend] | None:
    store = gateways.store
    return store.failed_spends(since(now)) if isinstance(store, IdentityStore) else None


def _plot(system: CreditSystem, gateways: Gateways, now: datetime) -> metadata.Metadata:
    """The plot of balances over time; a failure to read them does not fail the run."""
    try:
        drawn = plots.system_plot(system.name, system_history(gateways.memory, now))
    except CreditPipelineError as error:
        return {"balances over time": f"not drawn: {error}"}
    return {"balances over time": dg.MetadataValue.md(plots.as_markdown(drawn))} if drawn else {}


def _healthy(system: CreditSystem) -> dg.AssetChecksDefinition:
    sentence = "Every check of the health report that could be judged passes."

    @dg.asset_check(asset=[system.name, "health_report"], name="system_is_healthy", description=sentence)
    def system_is_healthy(report: dict[str, Any]) -> dg.AssetCheckResult:
        failing = [check for check in report["checks"] if check["count"]]
        if not failing:
            return dg.AssetCheckResult(passed=True, description=report["summary"])
        loud = any(check["severity"] in {"critical", "error"} for check in failing)
        rows = [{name: check[name] for name in ("name", "count", "severity", "recovery")} for check in failing]
        return dg.AssetCheckResult(
            passed=False,
            severity=ERROR if loud else WARN,
            description=report["summary"],
            metadata={"count": len(failing), "failing": metadata.table(rows), "recovery": failing[0]["recovery"]},
        )

    return system_is_healthy


def _compared(system: CreditSystem) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=[system.name, "health_report"],
        name=COMPARED,
        description="A complete comparison of billing and store took place recently.",
    )
    def compared(report: dict[str, Any]) -> dg.AssetCheckResult:
        found = next(check for check in report["checks"] if check["name"] == COMPARED)
        if not found["count"]:
            return dg.AssetCheckResult(passed=True, description=found["sentence"])
        return dg.AssetCheckResult(
            passed=False,
            severity=ERROR,
            description=found["sentence"],
            metadata={"last comparison": found["sample"][0], "recovery": found["recovery"]},
        )

    return compared
