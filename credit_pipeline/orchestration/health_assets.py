"""The health report as an asset: every true sentence about a system, judged together on one report."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from credit_pipeline.orchestration import metadata
from credit_pipeline.orchestration.asset_shape import credit_asset
from credit_pipeline.orchestration.failures import one_sentence
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.services.health import health, since
from credit_pipeline.services.ports import IdentityStore
from credit_pipeline.services.report import Report
from credit_pipeline.services.system import CreditSystem


def health_report_of(system: CreditSystem) -> dg.AssetsDefinition:
    """The asset `health_report`."""

    @credit_asset(
        system,
        "health_report",
        "The health monitor: paid accounts without their grant, accounts on free limits, unmapped users, deductions "
        "that failed within the last hour, balances no ledger explains, credits lost. What cannot be told is null.",
        kinds={"python"},
        of=("mismatch_report",),
    )
    def health_report(mismatch_report: Report, credit_gateways: CreditGateways) -> dg.MaterializeResult[dict[str, Any]]:
        with one_sentence(system.name):
            store = credit_gateways.of(system).store
            failed = store.failed_spends(since(datetime.now(UTC))) if isinstance(store, IdentityStore) else None
            told = health(system, mismatch_report, failed)
        return dg.MaterializeResult(
            value=told.as_json(),
            metadata=metadata.health_metadata(told),
            data_version=metadata.content_version(told.as_json()),
        )

    return health_report
