"""The assets `correction_plan` and `audit_trail`."""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

import dagster as dg
from pydantic import Field

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import NotInstalled, StoreError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.orchestration import metadata
from credit_pipeline.orchestration.assets.asset_shape import credit_asset
from credit_pipeline.orchestration.checks.audit import note_head
from credit_pipeline.orchestration.failures import one_sentence
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.approvals import decisions_about
from credit_pipeline.services.plans.ports import SavedPlan
from credit_pipeline.services.plans.propose import propose
from credit_pipeline.services.plans.report import PlanReport
from credit_pipeline.services.plans.undo import propose_undo
from credit_pipeline.services.report.report import Report


class PlanningConfig(dg.Config):
    """The basis of the plan: the mismatch report, or an earlier plan to undo."""

    undo: str | None = Field(default=None, description="The id of an applied plan whose changes to undo.")
    accounts: list[str] = Field(
        default_factory=list, description="With undo: only these accounts; empty means all that the plan changed."
    )


def correction_plan_of(system: CreditSystem) -> dg.AssetsDefinition:
    """The asset `correction_plan`."""

    @credit_asset(
        system,
        "correction_plan",
        "The corrections that the mismatch report calls for or, with `undo`, those that undo an earlier plan. Saved in "
        "the product's database with a digest, to which approvals bind. Writes nothing to the product's tables.",
        kinds={"python", "postgres"},
        of=("mismatch_report",),
        or_none=True,
    )
    def correction_plan(
        context: dg.AssetExecutionContext,
        config: PlanningConfig,
        mismatch_report: Report | None,
        credit_gateways: CreditGateways,
    ) -> dg.MaterializeResult[dict[str, Any]]:
        with one_sentence(system.name):
            gateways = credit_gateways.of(system)
            if config.undo is not None:
                plan = _compensating(system, gateways, config.undo, config.accounts, context.run.run_id)
            else:
                plan = _proposed(system, gateways, mismatch_report)
        return dg.MaterializeResult(
            value=plan, metadata=metadata.plan_metadata(plan), data_version=metadata.content_version(plan)
        )

    return correction_plan


def audit_trail_of(system: CreditSystem) -> dg.AssetsDefinition:
    """The asset `audit_trail`."""

    @credit_asset(
        system,
        "audit_trail",
        "The audit rows of the applied plan, and the head of the hash chain. The head is also kept here and in the "
        "working folder, outside the database, to detect a chain that was truncated or rewritten.",
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
    """The JSON object of `fix` if there is no plan, with the reason."""
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
        "approvals": [],
    }


def _compensating(
    system: CreditSystem, gateways: Gateways, undone: str, accounts: list[str], run_id: str
) -> dict[str, Any]:
    only = [AccountId(account) for account in accounts]
    plan, notes = propose_undo(system, gateways, undone, only, now=datetime.now(UTC), run_id=run_id)
    if plan is None:
        return no_plan(system, "dry_run", "; ".join(notes))
    return _as_json(system, gateways, plan)


def _proposed(system: CreditSystem, gateways: Gateways, report: Report | None) -> dict[str, Any]:
    if report is None:
        raise StoreError(f"{system.name}: there is no mismatch report: materialize mismatch_report")
    try:
        plan = propose(system, gateways, report)
    except NotInstalled as error:  # report-only: there is nowhere to save a plan
        return no_plan(system, "dry_run", str(error))
    return _as_json(system, gateways, plan)


def _as_json(system: CreditSystem, gateways: Gateways, plan: SavedPlan) -> dict[str, Any]:
    shown = PlanReport(plan=plan, mode="dry_run", failures=plan.failures).as_json()
    return shown | {"approvals": decisions_about(system.name, gateways, plan.plan_id)}


def _trail(gateways: Gateways, plan_id: str | None) -> dict[str, Any]:
    if not gateways.memory.installed():
        return {"head_sequence": 0, "head_hash": "none", "plan_id": plan_id, "rows": 0, "newest": []}
    sequence, digest = gateways.plans.audit_head()
    rows = list(gateways.plans.audit(plan_id=plan_id, limit=10_000)) if plan_id else []
    newest = [{name: str(value) for name, value in row.items()} for row in islice(rows, metadata.PREVIEW)]
    return {"head_sequence": sequence, "head_hash": digest, "plan_id": plan_id, "rows": len(rows), "newest": newest}
