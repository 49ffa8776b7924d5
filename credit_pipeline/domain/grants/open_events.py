"""Events of earlier runs: still open, or ended and why. Silence ends nothing (semantics §7)."""

from datetime import datetime

from credit_pipeline.domain.codes import CODES, Code, Severity
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants import events
from credit_pipeline.domain.grants.proof import Verdict
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account

GRANTED_SINCE = "the product granted it since"
INFORMATION = "it was information"
"""Why a gain ends that an earlier release kept open."""


def open_events(account: Account, rules: Rules) -> tuple[list[Finding], tuple[tuple[str, str], ...]]:
    """Events of earlier runs: still open, or closed now with the reason. Silence closes nothing."""
    kept: list[Finding] = []
    closed: list[tuple[str, str]] = []
    for event in account.memory.open_mismatches if account.memory else ():
        if not event.is_event:
            continue
        code = Code(event.code)
        why = INFORMATION if code is Code.UNEXPLAINED_INCREASE else _ended(account, event, code, rules.now)
        if why:
            closed.append((event.fingerprint, why))
        else:
            kept.append(reopen(event, code))
    return kept, tuple(closed)


def _ended(account: Account, event: Mismatch, code: Code, now: datetime) -> str | None:
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
    if code is Code.RENEWAL_MISSING and f"renewal:{account.account_id}/{_renewed(event)}" in memory.applied_keys:
        return "restored by a correction"
    if code is Code.RENEWAL_MISSING and 2 * events.came_lately(account, now) >= _expected(event):
        return "the product renewed it since"
    return None


def _renewed(event: Mismatch) -> str:
    return f"{event.evidence['plan']}/{event.evidence['period_start']}"


def _expected(event: Mismatch) -> int:
    """What the renewal should have brought; events of before 0.3 are of products that zero `used`."""
    return int(event.evidence.get("expected", event.evidence["used"][0]))


def _event_key(event: Mismatch) -> str:
    return f"{event.evidence['plan']}@{event.evidence['period_start']}"


def reopen(event: Mismatch, code: Code) -> Finding:
    """An open event as a finding of this run, under its own name and with its own evidence."""
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
