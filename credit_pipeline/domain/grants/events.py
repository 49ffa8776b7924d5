"""What happened between two observations: losses, gains and renewals that did not happen (semantics §6, §7).

loss = (t₀−u₀) − (t₁−u₁) − max(0, u₁−u₀): what is gone beyond what was spent. (1200,300)→(1000,300) lost 200;
→(1200,900) lost nothing; →(1000,0) is a reset and cannot be proven either way.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from credit_pipeline.domain.codes import Code, Severity
from credit_pipeline.domain.findings import Finding, finding
from credit_pipeline.domain.grants.history import KeyState, current, key_state, observed, recent_links
from credit_pipeline.domain.grants.proof import allowance_of
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, Resolved
from credit_pipeline.domain.plans.periods import Period
from credit_pipeline.domain.policy import OnDowngrade, OnEnd, Policy, Renewal
from credit_pipeline.domain.subjects.account import Account, ObservedState, StateKind


def movement(before: ObservedState, after: ObservedState) -> int:
    """Credits that came (positive) or went (negative) between two states, spending aside."""
    return after.available - before.available + max(0, after.used - before.used)


def movements(account: Account, catalogue: Catalogue, policy: Policy, now: datetime) -> Iterator[Finding]:
    """The losses and gains since the last observation that neither we, nor billing, nor a declared rule explain."""
    present = current(account.billing, account.balance, now)
    if account.memory is None or present is None:
        return
    for before, after in recent_links(account.memory, present):
        moved = movement(before, after)
        declared = _loss_is_declared(before, after, catalogue, policy)
        if moved < 0 and not declared and not _may_be_a_grant(account, before, after):
            yield _decrease(account, before, after, -moved)
        elif moved > 0:
            yield from _increase(account, before, after, moved, policy)


def allowance_came(account: Account, allowance: int, now: datetime) -> bool:
    """Whether a whole allowance arrived since the last observation; zeroing `used` moves no total and is none."""
    present = current(account.billing, account.balance, now)
    links = recent_links(account.memory, present) if account.memory and present else ()
    return any(after.total != before.total and movement(before, after) >= allowance for before, after in links)


def nothing_visibly_came(account: Account, now: datetime) -> bool:
    """Whether the total neither rose nor was folded since the last observation; a plain loss brings nothing."""
    present = current(account.billing, account.balance, now)
    links = recent_links(account.memory, present) if account.memory and present else ()
    return bool(links) and all(
        after.total == before.total or (after.total < before.total and after.used >= before.used)
        for before, after in links
    )


def _decrease(account: Account, before: ObservedState, after: ObservedState, loss: int) -> Finding:
    plan = account.balance.plan
    fell_to_allowance = plan is not None and after.total == plan.credits and after.total < before.total
    return finding(
        account,
        Code.UNEXPLAINED_DECREASE,
        before.as_of,
        after.as_of,
        delta=loss,
        evidence={
            "loss": loss,
            "signature": "reset_to_allowance" if fell_to_allowance else None,
            **_pair(before, after),
        },
    )


def _increase(
    account: Account, before: ObservedState, after: ObservedState, gain: int, policy: Policy
) -> Iterator[Finding]:
    if _gain_is_explained(account, before, after, gain, policy):
        return
    plan, period = account.billing.plan, account.billing.period
    again = plan is not None and not plan.free and period is not None and gain == allowance_of(account, plan)
    code = Code.GRANT_DUPLICATE if again else Code.UNEXPLAINED_INCREASE
    delta = -min(after.available, gain) if again else None
    yield finding(
        account, code, before.as_of, after.as_of, delta=delta, evidence={"gain": gain, **_pair(before, after)}
    )


def _gain_is_explained(
    account: Account, before: ObservedState, after: ObservedState, gain: int, policy: Policy
) -> bool:
    if after.total == before.total and after.used < before.used:
        return policy.renewal in {Renewal.RESET_USED, Renewal.SET_TO_ALLOWANCE}  # whenever it comes
    plan, period = account.billing.plan, account.billing.period
    if plan is None or plan.free or period is None:
        return False
    renewed = before.billed_plan == plan.name and before.billed_period_start not in {None, period.start}
    if renewed and policy.renewal in {Renewal.SET_TO_ALLOWANCE, Renewal.ADD_ALLOWANCE}:
        return gain <= allowance_of(account, plan)
    # The product granting what was billed: at most one allowance, while we hold the key to be free.
    return gain <= allowance_of(account, plan) and key_state(account.memory, plan, period) is not KeyState.TAKEN


def _loss_is_declared(before: ObservedState, after: ObservedState, catalogue: Catalogue, policy: Policy) -> bool:
    """A label change explains a loss only where the product's rule for it is declared."""
    old, new = catalogue.resolve_label(before.label), catalogue.resolve_label(after.label)
    if not (isinstance(old, Resolved) and isinstance(new, Resolved)):
        return False
    if new.plan.rank < old.plan.rank and after.total in _set_to(new.plan, after):
        return (
            (policy.on_end is OnEnd.FORFEIT) if new.plan.free else policy.on_downgrade is OnDowngrade.SET_TO_ALLOWANCE
        )
    renewed = before.billed_period_start != after.billed_period_start and before.billed_plan == after.billed_plan
    return renewed and policy.renewal is Renewal.SET_TO_ALLOWANCE and after.total == new.plan.credits


def _set_to(plan: Plan, after: ObservedState) -> frozenset[int]:
    """What a product may set the total to at a change to that plan in mid-period: the period's amount, or today's."""
    return plan.amounts if plan.free else frozenset({plan.credits, plan.credits_from(after.as_of)})


def _may_be_a_grant(account: Account, before: ObservedState, after: ObservedState) -> bool:
    """Whether the product's own grant, folding or zeroing `used`, and a burst of spending after it look like this.

    (6000, 5833) folds into (1167, 0), of which 1,050 may be spent until we look: nothing vanished.
    """
    plan, period = account.billing.plan, account.billing.period
    if plan is None or plan.free or period is None or after.used >= before.used:
        return False
    allowance = allowance_of(account, plan)
    folded = allowance <= after.total <= before.available + allowance
    return folded and key_state(account.memory, plan, period) is not KeyState.TAKEN


def _pair(before: ObservedState, after: ObservedState) -> dict[str, object]:
    return {
        "from": before.seen_until,
        "to": after.as_of,
        "total": [before.total, after.total],
        "used": [before.used, after.used],
    }


def renewal(account: Account, plan: Plan, period: Period, policy: Policy, now: datetime) -> Finding | None:
    """`renewal_missing`: what the product declares to do at a renewal was not seen to come (semantics §6).

    Asked once per period: at the first complete observation after the grace and `settle_time`. Spending since then
    may hide it, so anything that came, however little, is no event.
    """
    chain = _around_renewal(account, plan, period, policy, now)
    if chain is None:
        return None
    before, after = chain[0], chain[-1]
    allowance = allowance_of(account, plan)
    expected = expected_at_renewal(before, allowance, policy)
    if expected * 10 < allowance or any(movement(a, b) for a, b in pairwise(chain) if not _ours(a, b)):
        return None  # something came, or was lost, which is a finding of its own
    return finding(
        account,
        Code.RENEWAL_MISSING,
        plan.name,
        period.start,
        severity=Severity.WARNING,
        delta=expected,
        evidence={
            "plan": plan.name,
            "period_start": period.start,
            "period_end": period.end,
            "renewal": policy.renewal.value if policy.renewal else None,
            "expected": expected,
            **_pair(before, after),
        },
    )


def expected_at_renewal(before: ObservedState, allowance: int, policy: Policy) -> int:
    """The credits that a renewal gives back or adds, as `renewal` declares."""
    if policy.renewal is Renewal.RESET_USED:
        return before.used
    if policy.renewal is Renewal.ADD_ALLOWANCE:
        return allowance
    return max(0, allowance - before.available) if policy.renewal is Renewal.SET_TO_ALLOWANCE else 0


def _ours(before: ObservedState, after: ObservedState) -> bool:
    return (before.kind, after.kind) == (StateKind.BEFORE, StateKind.AFTER)


def came_lately(account: Account, now: datetime) -> int:
    """Credits that came since the last observation."""
    present = current(account.billing, account.balance, now)
    links = recent_links(account.memory, present) if account.memory and present else ()
    return sum(max(0, movement(before, after)) for before, after in links)


def _around_renewal(
    account: Account, plan: Plan, period: Period, policy: Policy, now: datetime
) -> tuple[ObservedState, ...] | None:
    """All states from the last observation before the period to now, if now is the first look that may judge it."""
    memory, present = account.memory, current(account.billing, account.balance, now)
    if memory is None or present is None or not _renews(policy) or now < judged_from(period, policy):
        return None
    if any(s.seen_until >= judged_from(period, policy) for s in observed(memory)):
        return None  # this account was looked at since; a run without its answer does not count
    looks = observed(memory)
    before = [s for s in looks if s.as_of < period.start and s.billed_period_start != period.start]
    if not before or before[-1].billed_plan != plan.name:
        return None
    return (*memory.states[memory.states.index(before[-1]) :], present)


def _renews(policy: Policy) -> bool:
    return policy.renewal not in {None, Renewal.NONE}


def renewal_wait(policy: Policy) -> timedelta:
    """How long after a period's start the product may take to do what it declares."""
    return max(policy.settle_time, policy.renewal_grace) if _renews(policy) else policy.settle_time


def judged_from(period: Period, policy: Policy) -> datetime:
    """When the product must have renewed."""
    return period.start + renewal_wait(policy)


def awaits_renewal(account: Account, period: Period, policy: Policy, now: datetime) -> bool:
    """Whether the period began so recently that its renewal has not been judged: adoption waits for that."""
    memory = account.memory
    if memory is None or not _renews(policy) or now >= judged_from(period, policy):
        return False
    return any(s.as_of < period.start for s in observed(memory))
