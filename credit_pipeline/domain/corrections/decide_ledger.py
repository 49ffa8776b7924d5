"""A ledger's findings → corrections: at most one per lane, the proven part never waits for the rest (semantics §6, §8).

All amounts are relative. A grant carries the reference that the product's own handler reads; a restore of a balance
that fell past its ledger writes the balance alone, since its transactions already say what it should be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    CreateBalance,
    GrantCredits,
    GrantKey,
    Lane,
    LinkIdentity,
    Seen,
    SetPlan,
    SetResolvedId,
    SetSubscription,
    Step,
)
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants.balance_findings import restorable
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline.domain.subjects.identity_findings import identity_steps
from credit_pipeline.domain.subjects.subscription_state import subscription_steps

_ORDER = (LinkIdentity, SetResolvedId, CreateBalance, SetPlan, SetSubscription, GrantCredits, AdjustCredits)
"""A step leans only on those before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One finding's share of a correction."""

    lane: Lane
    code: Code
    step: Step
    reason: str


def corrections(account: Account, findings: Sequence[Finding], rules: Rules) -> tuple[Correction, ...]:
    """What may be done about a subject whose identity is in no doubt: none, or one correction per lane (auto first)."""
    if account.store_id is None or account.balance.total is None:
        return ()
    parts = list(_parts(account, findings, rules))
    made = (_correction(account, lane, [p for p in parts if p.lane is lane]) for lane in (Lane.AUTO, Lane.APPROVE))
    return tuple(correction for correction in made if correction is not None)


def _correction(account: Account, lane: Lane, parts: list[Part]) -> Correction | None:
    parts = _one_grant(account, parts)
    if not parts:
        return None
    assert account.balance.total is not None
    ordered = sorted(parts, key=lambda part: _ORDER.index(type(part.step)))
    return Correction(
        account_id=account.account_id,
        billing_id=account.billing.billing_id,
        lane=lane,
        codes=tuple(dict.fromkeys(part.code.value for part in parts)),
        steps=tuple(dict.fromkeys(part.step for part in ordered)),
        reasons=tuple(dict.fromkeys(part.reason for part in ordered)),
        seen=Seen(
            label=account.local.label if account.local else account.balance.label,
            total=account.balance.total,
            used=account.balance.used,
        ),
        billed_plan=account.billing.plan.name if account.billing.plan else None,
    )


def _one_grant(account: Account, parts: list[Part]) -> list[Part]:
    """One transaction makes one grant: the billed plan's newest first, the others wait for the next plan."""
    billed = account.billing.plan.name if account.billing.plan else None
    grants = [(part, part.step.grant_key) for part in parts if isinstance(part.step, GrantCredits)]
    waiting = sorted(grants, key=lambda grant: (grant[1].plan == billed, grant[1].period_start))[:-1]
    return [part for part in parts if part not in [one for one, _ in waiting]]


def _parts(account: Account, findings: Sequence[Finding], rules: Rules) -> Iterator[Part]:
    for found, step, reason in (*identity_steps(account, findings), *subscription_steps(account, findings, rules)):
        yield Part(lane=found.lane, code=found.code, step=step, reason=reason)
    no_row = account.balance.used is None
    for found in findings:
        if found.code is Code.BALANCE_MISSING and found.lane is Lane.AUTO:
            yield Part(
                lane=Lane.AUTO,
                code=found.code,
                step=CreateBalance(),
                reason="no balance row and no transactions: make one",
            )
    if no_row and not any(f.code is Code.BALANCE_MISSING and f.lane is Lane.AUTO for f in findings):
        return  # the product's function would make a balance that its transactions do not explain
    yield from _credits(account, findings)


def _credits(account: Account, findings: Sequence[Finding]) -> Iterator[Part]:
    left = max(0, account.balance.available or 0)
    for found in findings:
        if found.code is Code.GRANT_MISSING and found.lane in {Lane.AUTO, Lane.APPROVE}:
            yield _grant(account, found)
        elif found.code is Code.GRANT_LOST:
            yield from _give_again(account, found)
        elif found.code in {Code.GRANT_DUPLICATE, Code.GRANT_AMOUNT_MISMATCH}:
            delta = max(-left, found.delta or 0)
            left += min(0, delta)
            yield from _adjust(found, delta)
    losses = [f for f in findings if f.code is Code.UNEXPLAINED_DECREASE]
    amount = restorable(account, losses)
    if amount > 0:
        names = ",".join(sorted(f.fingerprint for f in losses))
        step = AdjustCredits(delta=amount, correction_key=f"restore:{names}", cause="restore", lower_used=True)
        reason = f"the balance fell past its transactions: give {amount} back"
        yield Part(lane=Lane.APPROVE, code=Code.UNEXPLAINED_DECREASE, step=step, reason=reason)


def _grant(account: Account, found: Finding) -> Part:
    facts = found.evidence
    start, end = (datetime.fromisoformat(facts[name]) for name in ("period_start", "period_end"))
    step = GrantCredits(
        delta=int(facts["allowance"]),
        grant_key=GrantKey(account_id=account.account_id, plan=facts["plan"], period_start=start),
        period_end=end,
        reference=facts["reference"],
        sold_at=datetime.fromisoformat(facts["sold_at"]) if facts.get("sold_at") else None,
    )
    reason = f"{facts['plan']}: the period from {start:%Y-%m-%d} is paid, and no transaction grants it"
    return Part(lane=found.lane, code=found.code, step=step, reason="; ".join((reason, *facts["holds"])))


def _give_again(account: Account, found: Finding) -> Iterator[Part]:
    """Less what the balance still holds of it: a transaction that was deleted alone took nothing from the user."""
    amount = int(found.evidence["allowance"]) - max(0, account.gap or 0)
    if amount > 0:
        step = AdjustCredits(delta=amount, correction_key=f"restore:{found.fingerprint}", cause="restore")
        reason = f"{found.evidence['plan']}: the grant is gone from the ledger: give {amount} again"
        yield Part(lane=Lane.APPROVE, code=found.code, step=step, reason=reason)


def _adjust(found: Finding, delta: int) -> Iterator[Part]:
    """A second grant, or one of another amount. What was spent of it is not taken back."""
    twice = found.code is Code.GRANT_DUPLICATE
    if delta == 0:
        return
    key = f"{'clawback' if twice else 'amount'}:{found.fingerprint}"
    step = AdjustCredits(delta=delta, correction_key=key, cause="duplicate grant" if twice else "wrong amount")
    granted = found.evidence["granted"]
    if twice:
        reason = f"granted twice: {-delta} of {granted} are left to take back"
    else:
        reason = f"{found.evidence['plan']}: {granted} were granted, {found.evidence['allowance']} were due"
    yield Part(lane=Lane.APPROVE, code=found.code, step=step, reason=reason)
