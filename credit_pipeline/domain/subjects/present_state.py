"""What the present state of an account says, given the events already found (semantics §6). Unknowns come first."""

from datetime import datetime
from itertools import pairwise
from typing import Any

from credit_pipeline.domain.codes import Code, Severity
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding, finding, fingerprint
from credit_pipeline.domain.grants import events
from credit_pipeline.domain.grants.history import current, granted_in_this_term, observed, since_plan_change
from credit_pipeline.domain.grants.proof import Owed, Proof, Verdict, allowance_of, least_granted, owed, rises
from credit_pipeline.domain.plans.catalogue import Plan, Unmapped
from credit_pipeline.domain.policy import EndLabels, Trial
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus


def unknown_of(account: Account) -> Finding | None:
    """Why the account cannot be judged, if it cannot: unknown is neither zero, nor free, nor in sync."""
    billing, balance = account.billing, account.balance
    silent = unanswered(account)
    if silent is not None:
        return silent
    if isinstance(billing.resolution, Unmapped):
        return unmapped(account, "billing", billing.resolution)
    if balance.label is not None and isinstance(balance.resolution, Unmapped):
        return unmapped(account, "store", balance.resolution)
    if balance.total is None or balance.used is None:
        return finding(account, Code.BALANCE_MISSING)
    if balance.total < 0 or balance.used < 0:
        return finding(account, Code.BALANCE_NEGATIVE)
    return None


def unanswered(account: Account) -> Finding | None:
    """Why billing's answer says nothing about a plan, if it does not."""
    billing = account.billing
    if billing.lookup is Lookup.ERROR:
        return finding(account, Code.SOURCE_LOOKUP_ERROR, evidence={"detail": billing.detail})
    if billing.lookup is Lookup.GONE:
        return finding(account, Code.SOURCE_GONE, evidence={"detail": billing.detail})
    if billing.lookup is Lookup.MISSING:
        return finding(account, Code.SUBSCRIPTION_MISSING_AT_SOURCE, evidence={"detail": billing.detail})
    return None


def unmapped(account: Account, where: str, word: Unmapped) -> Finding:
    """A word for a plan, billing's or the store's, that no plan has."""
    evidence = {"where": where, "raw": word.raw, "reason": word.reason}
    return finding(account, Code.PLAN_UNMAPPED, where, evidence=evidence)


def state_of(account: Account, rules: Rules, found: list[Finding], *, granted: bool) -> list[Finding]:
    """What the present state alone says, given the events already found; `granted`: the product has just granted."""
    billing, balance, policy = account.billing, account.balance, rules.policy
    assert balance.total is not None
    assert balance.used is not None
    result: list[Finding] = []
    if balance.used > balance.total:
        result.append(finding(account, Code.BALANCE_NEGATIVE))
    plan = billing.plan
    if billing.status is BillingStatus.DUNNING:
        return [*result, finding(account, Code.DUNNING)]
    if plan is None or plan.free or billing.status in {BillingStatus.FREE, BillingStatus.ENDED}:
        return [*result, *_ended_or_free(account, rules)]
    if balance.plan != plan:
        free_limits = balance.plan is None or balance.plan.free
        result.append(finding(account, Code.PLAN_MISMATCH, evidence={"effect": "free_limits"} if free_limits else None))
    if policy.trial is Trial.NONE and billing.status is BillingStatus.TRIALING:
        return result
    losses = [f for f in found if f.code is Code.UNEXPLAINED_DECREASE]
    if not granted:
        verdict = owed(
            account,
            plan,
            rules.catalogue,
            policy,
            rules.now,
            losses_since=_since_change(account, plan, losses),
            was_missing=_was_missing(account, plan, rules.now),
        )
        short = _short_of_the_change(account, plan, rules)
        result += _grant(account, plan, verdict, found) if short is None else [short]
        result = [f for f in result if f.fingerprint not in {kept.fingerprint for kept in found}]
    if billing.period is not None:
        missed = events.renewal(account, plan, billing.period, policy, rules.now)
        if missed and not any(f.fingerprint == missed.fingerprint for f in found):
            result.append(missed)
    return result


def _short_of_the_change(account: Account, plan: Plan, rules: Rules) -> Finding | None:
    """The product granted at the change to this plan, and less than the change owes: its handler set the total, say.

    Where `used` did not fall the gain is exact; what came shortly before the change counts for it.
    """
    memory, period = account.memory, account.billing.period
    present = current(account.billing, account.balance, rules.now)
    if memory is None or period is None or present is None or account.balance.plan != plan:
        return None
    before, since = since_plan_change(memory, plan)
    former = rules.catalogue.named(before.billed_plan) if before and before.billed_plan else None
    if before is None or former is None or former.rank >= plan.rank or granted_in_this_term(memory, plan):
        return None
    chain = (before, *since, present)
    if any(later.used < earlier.used for earlier, later in pairwise(chain)):
        return None  # folded or reset: what came cannot be told
    early = sum(rise.amount for rise in rises(account, rules.catalogue, rules.now) if rise.until <= before.as_of)
    gain, due = present.total - before.total, allowance_of(account, plan)
    if present.total == before.available + due:
        return None  # folded, and `used` has risen past its old value since
    if gain <= 0 or gain + early >= due or present.total < least_granted(account, plan):
        return None
    where = (plan.name, period.start)
    facts = {"plan": plan.name, "allowance": due, "granted": gain + early, "period_start": period.start}
    facts |= {"period_end": period.end, "total": [before.total, present.total], "used": [before.used, present.used]}
    return finding(account, Code.GRANT_AMOUNT_MISMATCH, *where, is_event=True, delta=due - gain - early, evidence=facts)


def _since_change(account: Account, plan: Plan, losses: list[Finding]) -> bool:
    """Whether credits vanished since billing last changed to this plan (always, where no change was seen)."""
    if account.memory is None or not losses:
        return False
    seen = [s for s in observed(account.memory) if s.billed_plan not in {None, plan.name}]
    return not seen or any(f.evidence["to"] > seen[-1].as_of.isoformat() for f in losses)


def _was_missing(account: Account, plan: Plan, now: datetime) -> bool:
    """Whether the last run found this plan's grant missing and nothing was seen to come since."""
    missing = Code.GRANT_MISSING.value, plan.name
    before = account.memory.open_mismatches if account.memory else ()
    named = [m for m in before if (m.code, m.evidence.get("plan")) == missing]
    return any(m.evidence.get("verdict") != Verdict.RAISE.value for m in named) and events.nothing_visibly_came(
        account, now
    )


def _stands(account: Account, plan: Plan, found: list[Finding]) -> bool:
    """Whether the grant of this term of the plan is an open event already, under whatever period it was opened."""
    before = since_plan_change(account.memory, plan)[0] if account.memory else None
    opened = {m.fingerprint: m.opened_at for m in account.memory.open_mismatches} if account.memory else {}
    return any(
        f.code is Code.GRANT_MISSING
        and f.evidence["plan"] == plan.name
        and (before is None or f.fingerprint not in opened or opened[f.fingerprint] > before.seen_until)
        for f in found
    )


def _grant(account: Account, plan: Plan, verdict: Owed, found: list[Finding]) -> list[Finding]:
    period, balance = account.billing.period, account.balance
    assert balance.total is not None
    least = least_granted(account, plan)
    facts: dict[str, Any] = {
        "plan": plan.name,
        "allowance": least if verdict.verdict in {Verdict.RAISE, Verdict.LOST} else allowance_of(account, plan),
        "period_start": period.start if period else None,
        "period_end": period.end if period else None,
        "proof": verdict.proof.value,
    }
    if verdict.movements:
        facts |= {"movements": [moved.facts() for moved in verdict.movements]}
    where = (plan.name, period.start if period else None)
    same = fingerprint(account, Code.GRANT_MISSING, *where)
    if _stands(account, plan, found) or any(f.fingerprint == same for f in found):
        return []  # the open event stands until a person closes it
    if verdict.verdict is Verdict.LOST:
        if any(f.code is Code.GRANT_LOST and f.evidence["plan"] == plan.name for f in found):
            return []
        restored = "|".join(account.memory.applied_keys) if account.memory else ""
        again: tuple[object, ...] = where
        while fingerprint(account, Code.GRANT_LOST, *again) in restored:
            again = (*again, "again")  # lost anew after its restore: another event, with another key
        return [finding(account, Code.GRANT_LOST, *again, delta=least - balance.total, evidence=facts)]
    if verdict.verdict is Verdict.NOTHING:
        return []
    raised = verdict.verdict is Verdict.RAISE
    delta = least - balance.total if raised else allowance_of(account, plan)
    person = verdict.verdict is Verdict.UNPROVEN or bool(verdict.holds)
    lane = Lane.AUTO if not person else Lane.APPROVE if period else Lane.REVIEW
    facts |= {"verdict": verdict.verdict.value, "holds": list(verdict.holds)}
    return [
        finding(
            account,
            Code.GRANT_MISSING,
            *where,
            lane=lane,
            severity=Severity.WARNING if person else None,
            is_event=person,
            delta=delta,
            evidence=facts,
        )
    ]


def _ended_or_free(account: Account, rules: Rules) -> list[Finding]:
    """Billing says free: a paid label is an ended subscription, a low total a free shortfall (a person's case)."""
    balance, free = account.balance, rules.catalogue.free
    assert balance.total is not None
    if balance.plan is not None and not balance.plan.free:
        return [ended_subscription(account, rules)]
    if balance.plan is None:
        return [finding(account, Code.PLAN_MISMATCH, evidence={"to_plan": free.name})]
    if balance.total < free.credits:
        return [
            finding(
                account,
                Code.GRANT_MISSING,
                "free",
                lane=Lane.APPROVE,
                severity=Severity.WARNING,
                delta=free.credits - balance.total,
                evidence={"plan": free.name, "proof": Proof.FLOOR.value, "verdict": Verdict.RAISE.value},
            )
        ]
    return []


def ended_subscription(account: Account, rules: Rules) -> Finding:
    """A paid label that billing calls ended or free: a person's once two complete runs, `end_wait` apart, agree."""
    policy, since = rules.policy, _ended_since(account, rules)
    waited = since is not None and rules.now - since >= policy.end_wait
    lane = Lane.NONE
    if waited:
        lane = Lane.AUTO if policy.end_labels is EndLabels.AUTO else Lane.APPROVE
    evidence = {"since": since, "confirmed": "2 of 2" if waited else "1 of 2"}
    return finding(account, Code.SUBSCRIPTION_ENDED, lane=lane, evidence=evidence)


def _ended_since(account: Account, rules: Rules) -> datetime | None:
    """When billing first said so without saying otherwise since: every complete run between must agree."""
    memory, now_free = account.memory, rules.catalogue.free.name
    if memory is None:
        return None
    since = None
    for seen in reversed(observed(memory)):
        label = rules.catalogue.resolve_label(seen.label)
        ended = seen.billed_plan == now_free or seen.billed_status == BillingStatus.ENDED.value
        if not ended or isinstance(label, Unmapped) or label.plan.free:
            break
        since = seen.as_of
    return since
