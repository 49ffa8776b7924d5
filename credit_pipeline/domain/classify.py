"""One counter account → its findings, its corrections, its mark (semantics §5–§8). Pure: `now` and all facts are given.

The whole judgement of a subject is here and in the modules it calls; the screen (services) only drops accounts
for which this would find nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from credit_pipeline.domain import decide, events
from credit_pipeline.domain.account import Account, BillingStatus, Lookup, Mark, OpenMismatch
from credit_pipeline.domain.codes import CODES, Code, Severity, by_precedence
from credit_pipeline.domain.corrections import Correction, Lane
from credit_pipeline.domain.findings import Finding, finding, fingerprint
from credit_pipeline.domain.history import observed, since_plan_change
from credit_pipeline.domain.plans import Catalogue, Plan, Unmapped
from credit_pipeline.domain.policy import EndLabels, Policy, Trial
from credit_pipeline.domain.proof import Owed, Proof, Verdict, owed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a judgement rests on besides the account: plans, policy, the time, and how this run was started."""

    catalogue: Catalogue
    policy: Policy
    now: datetime
    settle: bool = False
    """Scheduled runs let the product's webhook win; check, fix, demo and single-account syncs do not wait."""
    first_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one account came to. No finding means in sync."""

    account: Account
    findings: tuple[Finding, ...] = ()
    corrections: tuple[Correction, ...] = ()
    closed: tuple[tuple[str, str], ...] = ()
    """Events that ended with this look: (fingerprint, why)."""
    mark: Mark | None = None
    """The current grant key is to be held as granted by the product."""
    pending: bool = False

    @property
    def primary(self) -> Code | None:
        """The subject's one class, or None for in sync."""
        if self.pending:
            return Code.PENDING_SETTLEMENT
        codes = by_precedence(f.code for f in self.findings)
        return codes[0] if codes else None

    @property
    def secondary(self) -> tuple[Code, ...]:
        """The other codes, most telling first."""
        return tuple(code for code in by_precedence(f.code for f in self.findings) if code is not self.primary)

    @property
    def lane(self) -> Lane:
        """The most demanding lane among the findings."""
        if self.pending:
            return Lane.NONE
        lanes = list(Lane)
        return max((f.lane for f in self.findings), key=lanes.index, default=Lane.NONE)


def classify(account: Account, rules: Rules) -> Judgement:
    """Judge one account. Unknown answers are findings of their own and never move credits."""
    kept, closed = _open_events(account, rules)
    fresh = tuple(events.movements(account, rules.catalogue, rules.policy, rules.now))
    found = [*kept, *(f for f in fresh if f.fingerprint not in {k.fingerprint for k in kept})]
    accepted = account.memory.accepted if account.memory else frozenset()
    unknown = _unknown(account)
    if unknown is not None:
        seen = _despite_unknown(account, found)
        return Judgement(
            account=account, findings=(unknown, *(f for f in seen if f.fingerprint not in accepted)), closed=closed
        )
    granted = any(why == GRANTED_SINCE for _, why in closed)
    found += _state(account, rules, found, granted=granted)
    findings = tuple(f for f in found if f.fingerprint not in accepted)
    names = {f.fingerprint for f in found}
    closed = tuple(end for end in closed if end[0] not in names)  # what is found again under its name goes on
    mark = Mark.ADOPTED if granted else None if findings else _mark(account, rules)
    if rules.settle and _unsettled(account, findings, rules):
        settled = tuple(f if _known(account, f) else _as_pending(f) for f in findings)
        return Judgement(account=account, findings=settled, closed=closed, mark=mark, pending=True)
    corrections = decide.corrections(account, findings, rules.catalogue, rules.policy)
    return Judgement(account=account, findings=findings, corrections=corrections, closed=closed, mark=mark)


GRANTED_SINCE = "the product granted it since"


def _despite_unknown(account: Account, found: list[Finding]) -> list[Finding]:
    """Open events, a grant found missing (unknown resolves nothing), and a loss seen.

    A look without billing's answer is not remembered, so the next one finds that loss.
    """
    known = [f for f in found if _known(account, f)]
    if account.billing.lookup is not Lookup.ERROR:
        known += [f for f in found if f.code is Code.UNEXPLAINED_DECREASE and f not in known]
    waiting = account.memory.open_mismatches if account.memory else ()
    missing = [m for m in waiting if m.code == Code.GRANT_MISSING.value and not m.is_event and "verdict" in m.evidence]
    return known + [replace(_again(m, Code.GRANT_MISSING), is_event=False, lane=Lane.NONE) for m in missing]


def _unknown(account: Account) -> Finding | None:
    billing, balance = account.billing, account.balance
    if billing.lookup is Lookup.ERROR:
        return finding(account, Code.SOURCE_LOOKUP_ERROR, evidence={"detail": billing.detail})
    if billing.lookup is Lookup.GONE:
        return finding(account, Code.SOURCE_GONE, evidence={"detail": billing.detail})
    if billing.lookup is Lookup.MISSING:
        return finding(account, Code.SUBSCRIPTION_MISSING_AT_SOURCE, evidence={"detail": billing.detail})
    if isinstance(billing.resolution, Unmapped):
        return _unmapped(account, "billing", billing.resolution)
    if balance.label is not None and isinstance(balance.resolution, Unmapped):
        return _unmapped(account, "store", balance.resolution)
    if balance.total is None or balance.used is None:
        return finding(account, Code.BALANCE_MISSING)
    if balance.total < 0 or balance.used < 0:
        return finding(account, Code.BALANCE_NEGATIVE)
    return None


def _unmapped(account: Account, where: str, unmapped: Unmapped) -> Finding:
    evidence = {"where": where, "raw": unmapped.raw, "reason": unmapped.reason}
    return finding(account, Code.PLAN_UNMAPPED, where, evidence=evidence)


def _open_events(account: Account, rules: Rules) -> tuple[list[Finding], tuple[tuple[str, str], ...]]:
    """Events of earlier runs: still open, or closed now with the reason. Silence closes nothing."""
    kept: list[Finding] = []
    closed: list[tuple[str, str]] = []
    for event in account.memory.open_mismatches if account.memory else ():
        if not event.is_event:
            continue
        code = Code(event.code)
        why = _ended(account, event, code, rules.now)
        if why:
            closed.append((event.fingerprint, why))
        else:
            kept.append(_again(event, code))
    return kept, tuple(closed)


def _ended(account: Account, event: OpenMismatch, code: Code, now: datetime) -> str | None:
    memory, balance = account.memory, account.balance
    assert memory is not None
    billed_still = account.billing.plan is not None and account.billing.plan.name == event.evidence.get("plan")
    if any(event.fingerprint in key for key in memory.applied_keys):
        return "restored by a correction"
    if code is Code.GRANT_MISSING:
        if any(f"{g.plan}@{g.period_start.isoformat()}" == _event_key(event) for g in memory.grants):
            return "granted by a correction"
        if not billed_still:
            return None  # credits that come now are another plan's
        if event.evidence["verdict"] == Verdict.RAISE.value:
            if balance.total is not None and balance.total >= event.evidence["allowance"]:
                return "the total is back at the allowance"
        elif (
            account.billing.plan is not None
            and account.billing.plan.name == event.evidence["plan"]  # another plan's grant is not this one
            and events.allowance_came(account, event.evidence["allowance"], now)
        ):
            return GRANTED_SINCE
    if (
        code is Code.GRANT_LOST
        and billed_still
        and balance.total is not None
        and balance.total >= event.evidence["allowance"]
    ):
        return "the total is back at the allowance"
    if code is Code.RENEWAL_MISSING and balance.used is not None and balance.used < event.evidence["used"][0]:
        return "the product zeroed used since"
    return None


def _event_key(event: OpenMismatch) -> str:
    return f"{event.evidence['plan']}@{event.evidence['period_start']}"


def _again(event: OpenMismatch, code: Code) -> Finding:
    facts, unproven = CODES[code], code is Code.GRANT_MISSING
    keyed = Lane.APPROVE if event.evidence.get("period_start") else Lane.REVIEW
    return Finding(
        code=code,
        fingerprint=event.fingerprint,
        lane=keyed if unproven else facts.lane,
        severity=Severity.WARNING if unproven else facts.severity,
        is_event=True,
        delta=event.evidence.get("delta"),
        evidence=event.evidence,
    )


def _state(account: Account, rules: Rules, found: list[Finding], *, granted: bool) -> list[Finding]:
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
        result += _grant(account, plan, verdict, found)
    if billing.period is not None:
        missed = events.renewal(account, plan, billing.period, policy, rules.now)
        if missed and not any(f.fingerprint == missed.fingerprint for f in found):
            result.append(missed)
    return result


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
    facts: dict[str, Any] = {
        "plan": plan.name,
        "allowance": plan.credits,
        "period_start": period.start if period else None,
        "period_end": period.end if period else None,
        "proof": verdict.proof.value,
    }
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
        return [finding(account, Code.GRANT_LOST, *again, delta=plan.credits - balance.total, evidence=facts)]
    if verdict.verdict is Verdict.NOTHING:
        return []
    raised = verdict.verdict is Verdict.RAISE
    delta = plan.credits - balance.total if raised else plan.credits
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
    balance, policy, free = account.balance, rules.policy, rules.catalogue.free
    assert balance.total is not None
    if balance.plan is not None and not balance.plan.free:
        since = _ended_since(account, rules)
        waited = since is not None and rules.now - since >= policy.end_wait
        lane = Lane.NONE
        if waited:
            lane = Lane.AUTO if policy.end_labels is EndLabels.AUTO else Lane.APPROVE
        evidence = {"since": since, "confirmed": "2 of 2" if waited else "1 of 2"}
        return [finding(account, Code.SUBSCRIPTION_ENDED, lane=lane, evidence=evidence)]
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


def _unsettled(account: Account, findings: tuple[Finding, ...], rules: Rules) -> bool:
    """Whether a change that the product's webhook may still mend is younger than settle_time.

    Age counts from the provider's own change time, else from the current opening of the mismatch.
    """
    waiting = [f for f in findings if f.code in {Code.PLAN_MISMATCH, Code.GRANT_MISSING} and not _known(account, f)]
    if not waiting:
        return False
    if account.billing.changed_at is not None:
        return rules.now - account.billing.changed_at < rules.policy.settle_time
    opened = {m.fingerprint: m.opened_at for m in account.memory.open_mismatches} if account.memory else {}
    return any(rules.now - opened.get(f.fingerprint, rules.now) < rules.policy.settle_time for f in waiting)


def _known(account: Account, found: Finding) -> bool:
    """Whether this finding is an event of an earlier run, which has nothing left to settle."""
    if account.memory is None or not found.is_event:
        return False
    return any(m.fingerprint == found.fingerprint and m.is_event for m in account.memory.open_mismatches)


def _as_pending(found: Finding) -> Finding:
    """The same finding while it settles: remembered for its age, but no event yet and nobody's to act on."""
    return replace(found, is_event=False) if found.code is Code.GRANT_MISSING else found


def _mark(account: Account, rules: Rules) -> Mark | None:
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
