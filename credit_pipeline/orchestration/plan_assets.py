"""What is done about a report: the saved correction plan, and the audit trail of what was applied.

The applying itself, between the two, is a graph of guarded steps in `correction_ops.py`.
"""

from itertools import islice
from typing import Any

import dagster as dg

from credit_pipeline.domain.errors import NotInstalled
from credit_pipeline.orchestration import metadata
from credit_pipeline.orchestration.asset_shape import credit_asset
from credit_pipeline.orchestration.audit_checks import note_head
from credit_pipeline.orchestration.failures import one_sentence
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.services.correct import propose
from credit_pipeline.services.plan_report import PlanReport
from credit_pipeline.services.ports import Gateways
from credit_pipeline.services.report import Report
from credit_pipeline.services.system import CreditSystem


def correction_plan_of(system: CreditSystem) -> dg.AssetsDefinition:
    """The asset `correction_plan`."""

    @credit_asset(
        system,
        "correction_plan",
        "The corrections the report calls for, saved in the product's database with a digest: what an approval binds "
        "to and an apply carries out. Writes nothing to the product's tables.",
        kinds={"python", "postgres"},
        of=("mismatch_report",),
    )
    def correction_plan(
        mismatch_report: Report, credit_gateways: CreditGateways
    ) -> dg.MaterializeResult[dict[str, Any]]:
        with one_sentence(system.name):
            plan = _proposed(system, credit_gateways.of(system), mismatch_report)
        return dg.MaterializeResult(
            value=plan, metadata=metadata.plan_metadata(plan), data_version=metadata.content_version(plan)
        )

    return correction_plan


def audit_trail_of(system: CreditSystem) -> dg.AssetsDefinition:
    """The asset `audit_trail`."""

    @credit_asset(
        system,
        "audit_trail",
        "The audit rows of the applied plan, and the head of the hash chain: kept here and in the working folder, "
        "outside the database, it shows when the chain's end was cut off or rewritten.",
        kinds={"postgres"},
        of=("applied_corrections",),
    )
    def audit_trail(
        context: dg.AssetExecutionContext, applied_corrections: dict[str, Any], credit_gateways: CreditGateways
    ) -> dg.MaterializeResult[dict[str, Any]]:
        with one_sentence(system.name):
            trail = _trail(credit_gateways.of(system), applied_corrections["plan_id"])
            note_head(system, trail, context.run.run_id)
        return dg.MaterializeResult(
            value=trail, metadata=metadata.audit_metadata(trail), data_version=dg.DataVersion(trail["head_hash"])
        )

    return audit_trail


def no_plan(system: CreditSystem, mode: str, why: str) -> dict[str, Any]:
    """The contract's object where there is no plan to speak of, and why."""
    return {
        "system": system.name,
        "plan_id": None,
        "digest": None,
        "mode": mode,
        "state": None,
        "failures": [why],
        "rows": [],
        "outcomes": {},
        "totals": {"rows": 0, "credits": 0},
    }


def _proposed(system: CreditSystem, gateways: Gateways, report: Report) -> dict[str, Any]:
    try:
        plan = propose(system, gateways, report)
    except NotInstalled as error:  # report-only: the report stands, there is nowhere to keep a plan
        return no_plan(system, "dry_run", str(error))
    return PlanReport(plan=plan, mode="dry_run", failures=plan.failures).as_json()


def _trail(gateways: Gateways, plan_id: str | None) -> dict[str, Any]:
    if not gateways.memory.installed():
        return {"head_sequence": 0, "head_hash": "none", "plan_id": plan_id, "rows": 0, "newest": []}
    sequence, digest = gateways.plans.audit_head()
    rows = list(gateways.plans.audit(plan_id=plan_id, limit=10_000)) if plan_id else []
    newest = [{name: str(value) for name, value in row.items()} for row in islice(rows, metadata.PREVIEW)]
    return {"head_sequence": sequence, "head_hash": digest, "plan_id": plan_id, "rows": len(rows), "newest": newest}
