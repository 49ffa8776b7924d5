"""Judges the accounts that a plan changed again, right after it was applied."""

from collections.abc import Container
from datetime import datetime

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.collect import collect_balances, collect_identities, collect_subscriptions
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.reconcile import reconcile


def still_broken(
    system: CreditSystem, gateways: Gateways, plan_id: str, *, now: datetime, run_id: str
) -> tuple[AccountId, ...]:
    """Judge the changed accounts again and return those that would still be corrected automatically.

    A plan makes one grant per account; a further grant, of another period, is left to the next plan and is no fault.
    """
    plan = gateways.plans.load(plan_id)
    changed = [row.correction for row in plan.rows if row.outcome == "changed"]
    touched = sorted({correction.account_id for correction in changed})
    if not touched:
        return ()
    run_id = f"{run_id}-verify"
    balances = collect_balances(gateways, run_id=run_id, now=now, accounts=touched)
    identities = collect_identities(gateways, run_id=run_id, now=now)
    subscriptions = collect_subscriptions(
        gateways, balances, identities, run_id=run_id, now=now, accounts=touched if identities else None
    )
    report = reconcile(system, gateways, balances, subscriptions, identities=identities, now=now, accounts=touched)
    granted = {correction.account_id for correction in changed if correction.grant}
    keys = {str(correction.grant.grant_key) for correction in changed if correction.grant}
    return tuple(
        one.account_id
        for one in report.corrections
        if one.lane is Lane.AUTO and not (one.account_id in granted and _another_grant(one, keys))
    )


def _another_grant(correction: Correction, keys: Container[str]) -> bool:
    """Whether the correction only grants, and under a key that is not among these."""
    return len(correction.steps) == 1 and correction.grant is not None and str(correction.grant.grant_key) not in keys
