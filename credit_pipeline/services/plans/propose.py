"""Turns a report into a saved correction plan. Applies nothing."""

from datetime import datetime

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.errors import NotInstalled
from credit_pipeline.domain.policy import version_of
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.ports import PlanRow, SavedPlan
from credit_pipeline.services.report.report import Report

UNREMEMBERED = (
    "left to the next complete run: a part of it is a person's, and only a complete run remembers what was not proven"
)
"""Why a counter's label is not written alone by a partial run. With `free, total 5,000, used 3,000` and Pro billed,
writing the label and remembering nothing would let the next complete run find Pro with 5,000 in order: nobody would ask
again whether the credits are owed. A ledger's transactions answer that whenever they are read."""


def propose(system: CreditSystem, gateways: Gateways, report: Report) -> SavedPlan:
    """Save the report's corrections as a plan. Raises NotInstalled where there is nowhere to keep it."""
    if not gateways.memory.installed():
        raise NotInstalled(
            f"{system.name}: the database has no schema credit_pipeline: run credit-pipeline init {system.name}"
        )
    ordered = sorted(report.corrections, key=lambda c: (c.account_id, list(Lane).index(c.lane)))
    plan = SavedPlan(
        plan_id="",
        system=system.name,
        digest="",
        state="proposed",
        as_of=datetime.fromisoformat(report.as_of),
        created_at=datetime.fromisoformat(report.as_of),
        run_id=report.run_id,
        population=report.population,
        entitlements=report.facts["entitlements"],
        facts={**report.facts, "policy": version_of(system.policy)},
        failures=report.refusals,
        rows=tuple(PlanRow(seq=seq, correction=correction) for seq, correction in enumerate(ordered, 1)),
    )
    plan = gateways.plans.save(plan)
    held = {} if system.ledger or not report.facts.get("partial") else _unremembered_labels(gateways, plan)
    if not held:
        return plan
    gateways.plans.hold(plan.plan_id, held)
    return gateways.plans.load(plan.plan_id)


def _unremembered_labels(gateways: Gateways, plan: SavedPlan) -> dict[int, tuple[str, str]]:
    """Label corrections of accounts whose credits await approval, where no complete run has recorded that yet."""
    waiting = {row.correction.account_id for row in plan.rows if row.correction.lane is Lane.APPROVE}
    labels = [
        row
        for row in plan.rows
        if row.correction.account_id in waiting and row.correction.lane is Lane.AUTO and row.correction.grant is None
    ]
    accounts = sorted({row.correction.account_id for row in labels})
    remembered = gateways.memory.remembered(accounts, plan.as_of) if accounts else {}
    known = {account for account, memory in remembered.items() if any(m.is_event for m in memory.open_mismatches)}
    return {row.seq: ("blocked_by_guard", UNREMEMBERED) for row in labels if row.correction.account_id not in known}
