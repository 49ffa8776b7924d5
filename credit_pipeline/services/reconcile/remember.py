"""What a run remembers: observations of the judged accounts, and their findings."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from credit_pipeline.domain.grants.entitlement import allowance
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.account import Account, Lookup, Mark
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.reconcile.ports import CollectionRecord


def observations_of(judged: Sequence[Judgement], now: datetime, last: CollectionRecord | None) -> pa.Table:
    """Observations of the suspects; the memory stores only changes."""
    rows = [row for judgement in judged if (row := _observation(judgement, now, last))]
    return pa.Table.from_pylist(rows, schema=pa.schema([f.with_nullable(True) for f in OBSERVATIONS]))


def _observation(judgement: Judgement, now: datetime, last: CollectionRecord | None) -> dict[str, Any] | None:
    account = judgement.account
    billing, balance = account.billing, account.balance
    if account.store_id is None or balance.total is None or balance.used is None:
        return None
    unanswered = billing.lookup is Lookup.ERROR
    if unanswered and (last is None or not _remembered(account)):
        return None
    held = judgement.mark or _held_mark(account)
    row = {
        "account": account.account_id,
        "label": balance.label,
        "total": balance.total,
        "used": balance.used,
        "billed_plan": billing.plan.name if billing.plan else None,
        "billed_period_start": billing.period.start if billing.period and not _free(account) else None,
        "billed_status": billing.status.value if billing.status else billing.lookup.value,
        "mark": held.value if held else None,
        "as_of": now,
        "unanswered_since": last.as_of if unanswered and last else None,
        "gap": account.gap,
    }
    return row if unanswered or not _same(account, row) else None


def _remembered(account: Account) -> bool:
    return account.memory is not None and bool(account.memory.states)


def _free(account: Account) -> bool:
    return account.billing.plan is not None and account.billing.plan.free


def _held_mark(account: Account) -> Mark | None:
    """A mark once made for the present key stays, whatever else is wrong with the account."""
    plan, period = account.billing.plan, account.billing.period
    if account.memory is None or plan is None or period is None:
        return None
    key = (plan.name, period.start)
    marks = (s.mark for s in account.memory.states if (s.billed_plan, s.billed_period_start) == key and s.mark)
    return next(marks, None)


def _same(account: Account, row: Mapping[str, Any]) -> bool:
    """Whether the newest observation says the same and was not interrupted."""
    if account.memory is None or not account.memory.states:
        return False
    last = account.memory.states[-1]
    runs = account.memory.complete_runs
    remembered = {
        "label": last.label,
        "total": last.total,
        "used": last.used,
        "billed_plan": last.billed_plan,
        "billed_period_start": last.billed_period_start,
        "billed_status": last.billed_status,
        "mark": last.mark.value if last.mark else None,
        "gap": last.gap,
    }
    uninterrupted = not runs or last.seen_until >= runs[-1]
    return uninterrupted and all(row[name] == value for name, value in remembered.items())


def expected(judgement: Judgement) -> dict[str, Any]:
    """What billing says the account should have; the credits are those of one grant."""
    billing = judgement.account.billing
    plan, period = billing.plan, billing.period
    if plan is None:
        return {"plan": None, "credits": None}
    of_ledger = judgement.account.ledger is not None and period is not None
    return {"plan": plan.name, "credits": allowance(plan, period) if of_ledger and period else plan.credits}


def actual(judgement: Judgement) -> dict[str, Any]:
    """What the store holds."""
    account = judgement.account
    balance = account.balance
    held = {"plan": balance.label, "total": balance.total, "used": balance.used, "available": balance.available}
    if account.identity is None:
        return held
    return held | {"status": account.local.status if account.local else None, "gap": account.gap}


def findings_of(judgement: Judgement, now: datetime) -> list[Mismatch]:
    """One mismatch per finding, as seen now."""
    return [
        Mismatch(
            fingerprint=found.fingerprint,
            account_id=judgement.account.account_id,
            billing_id=judgement.account.billing.billing_id or None,
            code=found.code.value,
            severity=found.severity.value,
            lane="none" if judgement.pending else found.lane.value,
            is_event=found.is_event,
            expected=expected(judgement),
            actual=actual(judgement),
            evidence=found.evidence,
            delta=found.delta,
            first_seen=now,
            opened_at=now,
        )
        for found in judgement.findings
    ]
