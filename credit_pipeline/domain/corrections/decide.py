"""Findings → corrections: at most one per lane, the proven part never waits for the rest (semantics §6, §8).

The incident this exists for: 200 free + 1,000 Starter = 1,200 became 1,000 because a repair set a balance to a number.
Here an upgrade is `available + new allowance`, a shortfall is raised to the allowance with `used` kept, and nothing
else moves without a person.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    GrantCredits,
    GrantKey,
    Lane,
    Seen,
    SetPlan,
    Step,
)
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants.history import given_back
from credit_pipeline.domain.grants.proof import Verdict
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.domain.plans.periods import months_of
from credit_pipeline.domain.policy import OnEnd, Policy, Renewal, Shortfall
from credit_pipeline.domain.subjects.account import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One finding's share of a correction."""

    lane: Lane
    code: Code
    step: Step
    reason: str


def corrections(
    account: Account, findings: Sequence[Finding], catalogue: Catalogue, policy: Policy
) -> tuple[Correction, ...]:
    """What may be done about one account: none, or one correction per lane (auto first).

    A system whose renewal rule is undeclared is report-only.
    """
    if policy.renewal is None:
        return ()
    parts = list(_parts(account, findings, catalogue, policy))
    lanes = (Lane.AUTO, Lane.APPROVE)
    made = (_correction(account, lane, _one_grant(account, [p for p in parts if p.lane is lane])) for lane in lanes)
    return tuple(correction for correction in made if correction is not None)


def _correction(account: Account, lane: Lane, parts: list[Part]) -> Correction | None:
    if not parts:
        return None
    balance = account.balance
    assert balance.total is not None
    assert balance.used is not None
    return Correction(
        account_id=account.account_id,
        billing_id=account.billing.billing_id,
        lane=lane,
        codes=tuple(dict.fromkeys(part.code.value for part in parts)),
        steps=tuple(part.step for part in parts),
        reasons=tuple(part.reason for part in parts),
        seen=Seen(label=balance.label, total=balance.total, used=balance.used),
        billed_plan=account.billing.plan.name if account.billing.plan else None,
    )


def _one_grant(account: Account, parts: list[Part]) -> list[Part]:
    """One transaction makes one grant: the billed plan's first, the others wait for the next plan."""
    billed = account.billing.plan.name if account.billing.plan else None
    grants = [(part, part.step.grant_key.plan) for part in parts if isinstance(part.step, GrantCredits)]
    waiting = [part for part, _ in sorted(grants, key=lambda grant: grant[1] != billed)[1:]]
    return [part for part in parts if part not in waiting]


def _parts(account: Account, findings: Sequence[Finding], catalogue: Catalogue, policy: Policy) -> Iterable[Part]:
    restores = list(_restore(account, findings, catalogue))
    restored = sum(part.step.delta for part in restores if isinstance(part.step, AdjustCredits))
    for found in findings:
        if found.code is Code.PLAN_MISMATCH and account.billing.plan is not None:
            yield _label(account, account.billing.plan, found, Lane.AUTO)
        elif found.code is Code.SUBSCRIPTION_ENDED and found.lane is not Lane.NONE:
            yield _label(account, catalogue.free, found, found.lane)
            if policy.on_end is OnEnd.FORFEIT:
                yield from _forfeit(account, catalogue.free, found)
        elif found.code is Code.GRANT_MISSING:
            yield from _grant(account, found, catalogue, policy, restored)
        elif found.code is Code.RENEWAL_MISSING:
            yield _renew(account, found)
        elif found.code is Code.GRANT_AMOUNT_MISMATCH:
            yield _difference(found)
        elif found.code is Code.GRANT_DUPLICATE:
            yield from _claw_back(account, found)
    yield from restores


def _label(account: Account, plan: Plan, found: Finding, lane: Lane) -> Part:
    reason = f"billing says {plan.name}, store says {account.balance.label}"
    return Part(lane=lane, code=found.code, step=SetPlan(plan=plan.name, label=plan.label), reason=reason)


def _grant(account: Account, found: Finding, catalogue: Catalogue, policy: Policy, restored: int) -> Iterable[Part]:
    """The event's own period is granted, also when a later one has begun: an approval gives it once.

    A raise waiting for the same person as a restore is computed after it, or the loss would be paid twice.
    """
    facts, balance = found.evidence, account.balance
    plan = catalogue.named(facts["plan"])
    if plan is None or found.lane not in {Lane.AUTO, Lane.APPROVE}:
        return
    assert balance.total is not None
    assert balance.available is not None
    raised = facts["verdict"] == Verdict.RAISE.value
    given = restored if found.lane is Lane.APPROVE else 0
    raising = raised and policy.shortfall is Shortfall.RAISE
    start = datetime.fromisoformat(facts["period_start"]) if facts.get("period_start") else None
    due = plan.credits_from(start) * (1 if plan.free else months_of(plan, account.billing.cycle))
    allowance = min(due, int(facts.get("allowance", due)))
    delta = allowance - balance.total - given if raising else allowance
    if delta <= 0:
        return
    if plan.free:
        key = f"raise:{found.fingerprint}"
        step: Step = AdjustCredits(delta=delta, correction_key=key, cause="free allowance")
        yield Part(
            lane=found.lane,
            code=found.code,
            step=step,
            reason=f"free allowance: raise total to {allowance}",
        )
        return
    assert start is not None
    grant = GrantCredits(
        delta=delta,
        grant_key=GrantKey(
            account_id=account.account_id,
            plan=plan.name,
            period_start=start,
        ),
        period_end=datetime.fromisoformat(facts["period_end"]),
        reset_used=not raised,
    )
    if raised:
        reason = f"{plan.name}: total {balance.total} is below {allowance}: raise by {delta}, used kept"
    else:
        reason = (
            f"upgrade {balance.label} -> {plan.name}: available {balance.available} + new {delta} = "
            f"{balance.available + delta}"
        )
    yield Part(lane=found.lane, code=found.code, step=grant, reason=reason)


def _renew(account: Account, found: Finding) -> Part:
    """What the renewal should have brought, as of then: what was spent since stays spent."""
    facts = found.evidence
    key = f"renewal:{account.account_id}/{facts['plan']}/{facts['period_start']}"
    resets = facts.get("renewal", Renewal.RESET_USED.value) == Renewal.RESET_USED.value
    amount = int(facts.get("expected", facts["used"][0]))
    step = AdjustCredits(delta=amount, correction_key=key, cause="renewal", lower_used=resets)
    if resets:
        reason = f"used was {amount} before the renewal and was not reset"
    else:
        reason = f"{facts['plan']}: the renewal brought nothing: give {amount}"
    return Part(lane=Lane.APPROVE, code=found.code, step=step, reason=reason)


def _difference(found: Finding) -> Part:
    """What the product's own grant at a change lacked."""
    facts = found.evidence
    amount = int(facts["allowance"]) - int(facts["granted"])
    step = AdjustCredits(delta=amount, correction_key=f"amount:{found.fingerprint}", cause="wrong amount")
    reason = f"{facts['plan']}: {facts['granted']} came at the change, {facts['allowance']} were due"
    return Part(lane=Lane.APPROVE, code=found.code, step=step, reason=reason)


def _claw_back(account: Account, found: Finding) -> Iterable[Part]:
    """min(remaining, amount): what was spent of a second grant is not taken back."""
    amount = min(account.balance.available or 0, int(found.evidence["gain"]))
    if amount > 0:
        step = AdjustCredits(delta=-amount, correction_key=f"clawback:{found.fingerprint}", cause="duplicate grant")
        reason = f"granted twice: {amount} of {found.evidence['gain']} are left to take back"
        yield Part(lane=Lane.APPROVE, code=found.code, step=step, reason=reason)


def _forfeit(account: Account, free: Plan, found: Finding) -> Iterable[Part]:
    amount = (account.balance.available or 0) - max(free.amounts)  # who became free when is not known
    if amount > 0:
        step = AdjustCredits(delta=-amount, correction_key=f"forfeit:{found.fingerprint}", cause="subscription ended")
        yield Part(
            lane=Lane.APPROVE,
            code=found.code,
            step=step,
            reason=f"ended: {amount} credits above the free allowance",
        )


def _restore(account: Account, findings: Sequence[Finding], catalogue: Catalogue) -> Iterable[Part]:
    """One restore for all losses: what was lost less what was given back since, at least the shortfall of the floor."""
    losses = [f for f in findings if f.code is Code.UNEXPLAINED_DECREASE]
    lost = [f for f in findings if f.code is Code.GRANT_LOST]
    assert account.balance.total is not None
    remaining = 0
    if losses and account.memory is not None:
        since = min(datetime.fromisoformat(f.evidence["to"]) for f in losses)
        remaining = sum(int(f.evidence["loss"]) for f in losses) - given_back(account.memory, since, catalogue)
    shortfall = max((int(f.evidence["allowance"]) - account.balance.total for f in lost), default=0)
    amount = max(remaining, shortfall)
    if amount <= 0:
        return
    names = sorted(f.fingerprint for f in (*lost, *losses))
    step = AdjustCredits(delta=amount, correction_key="restore:" + ",".join(names), cause="restore")
    reason = f"credits vanished without being spent: give {amount} back"
    if amount > remaining > 0:
        reason += f": {remaining} were lost, the rest brings the total back to the allowance"
    yield Part(lane=Lane.APPROVE, code=(lost or losses)[0].code, step=step, reason=reason)
