"""Adoption: when the product itself is held to have made the current period's grant (semantics §5)."""

from credit_pipeline.domain.grants import events
from credit_pipeline.domain.grants.history import observed, since_plan_change
from credit_pipeline.domain.grants.matching import Matching
from credit_pipeline.domain.policy import Trial
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Mark
from credit_pipeline.domain.subjects.billing_status import BillingStatus


def mark_of(account: Account, rules: Rules) -> Mark | None:
    """Adoption: a subject in order holds its current grant key, once its change has settled (semantics §5)."""
    plan, period = account.billing.plan, account.billing.period
    if plan is None or plan.free or period is None or account.memory is None or account.billing.status is None:
        return None
    seen = observed(account.memory)
    if not account.billing.status.live:
        return None
    if rules.policy.trial is Trial.NONE and account.billing.status is BillingStatus.TRIALING:
        return None
    if not seen:
        return Mark.ASSUMED if rules.first_run else None
    same = [s for s in seen if (s.billed_plan, s.billed_period_start) == (plan.name, period.start)]
    held = next((s.mark for s in reversed(same) if s.mark), None)
    if held:
        return held
    if events.awaits_renewal(account, period, rules.policy, rules.now):
        return None
    before, since = since_plan_change(account.memory, plan)
    looks = [s.as_of for s in since if s in seen] or [rules.now]
    began = period.start if before is None else max(period.start, looks[0])
    return Mark.ADOPTED if rules.now - began >= rules.policy.settle_time else None


def ledger_mark(account: Account, matching: Matching, rules: Rules) -> Mark | None:
    """Adoption by evidence: the current grant stands in the ledger, and is not one of ours (semantics §5)."""
    present = matching.current
    if present is None or present.entry is None or account.memory is None:
        return None
    key = present.entitlement.key
    if any((grant.plan, grant.period_start) == key for grant in account.memory.grants):
        return None
    seen = observed(account.memory)
    held = next((s.mark for s in reversed(seen) if s.mark and (s.billed_plan, s.billed_period_start) == key), None)
    return held or (Mark.ASSUMED if rules.first_run and not seen else Mark.ADOPTED)
