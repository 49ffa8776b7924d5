"""Which findings a person has answered by an undo: found anew they are not reported, let alone corrected again.

An undo puts the product's row back into the state that was found wrong. It holds for as long as that state and the
plan at billing stay as they are: another plan there, or another word in the row, is a new matter.
"""

from datetime import datetime

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants.history import observed
from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.domain.subjects.account import Account, Memory


def answered_by_undo(account: Account, found: Finding, free: Plan) -> bool:
    """Whether this finding is of a state that an undo of ours put back."""
    undone, billed = account.memory.undone if account.memory else None, account.billing.plan
    if undone is None or account.memory is None:
        return False
    if found.code is Code.STATUS_MISMATCH:
        status = account.local.status if account.local else None
        return undone.status is not None and undone.status[1] == status and _same_plan(account.memory, billed)
    if found.code not in {Code.PLAN_MISMATCH, Code.SUBSCRIPTION_ENDED} or undone.label is None:
        return False
    ends = found.code is Code.SUBSCRIPTION_ENDED or found.evidence.get("to_plan") == free.name
    meant, (taken, left) = free if ends else billed, undone.label
    if meant is None or (taken, left) != (meant.label, account.balance.label):
        return False
    return _same_plan(account.memory, billed)


def taken_back(memory: Memory | None, plan: Plan, start: datetime | None = None) -> bool:
    """Whether our grant of this plan was taken back, that of the period or else the newest: that its credits are gone
    is no loss then."""
    ours = [grant for grant in memory.grants if grant.plan == plan.name] if memory else []
    ours = [grant for grant in ours if start in {None, grant.period_start}]
    return bool(ours) and max(ours, key=lambda grant: grant.period_start).reversed


def _same_plan(memory: Memory, billed: Plan | None) -> bool:
    """Whether billing named no other plan since the undo."""
    assert memory.undone is not None
    name, at = billed.name if billed else None, memory.undone.at
    return all(seen.billed_plan == name for seen in observed(memory) if seen.as_of > at)
