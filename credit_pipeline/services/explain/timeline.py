"""One account's story as sentences in time order: what was seen, what billing said, what was granted and corrected.

Pure. Times are UTC.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from credit_pipeline.domain.codes import CODES, Code
from credit_pipeline.domain.grants.entitlement import allowance
from credit_pipeline.domain.grants.history import observed
from credit_pipeline.domain.grants.proof import least_granted
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.plans.catalogue import Unmapped
from credit_pipeline.domain.subjects.account import Billing, Lookup, Mark, Memory, ObservedState


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened or is so. `kind`: billing, observed, granted, ledger, event, corrected, now, expected."""

    at: str
    kind: str
    text: str


def timeline(
    judgement: Judgement, audit: Sequence[Mapping[str, Any]], *, in_store: bool, now: datetime
) -> Iterator[Entry]:
    """The past in order, then the present: what billing says, what the store holds, what is expected."""
    memory = judgement.account.memory
    past = [*_states(memory), *_events(memory), *_corrections(audit), *_grants(memory, audit)] if memory else []
    past += [*_transactions(judgement), *_billed_periods(judgement)]
    yield from sorted(past, key=lambda entry: datetime.fromisoformat(entry.at))
    if memory is None:
        yield _entry(now, "now", "nothing is remembered: credit-pipeline init has not been run")
    yield _entry(now, "billing", spoken(judgement.account.billing))
    if in_store:
        yield _entry(now, "now", _held(judgement))
        yield _entry(now, "expected", _expected(judgement))
    for found in judgement.findings:
        yield _entry(now, "event" if found.is_event else "now", f"{found.code}: {CODES[found.code].sentence}")
    for correction in judgement.corrections:
        reasons = "; ".join(correction.reasons)
        yield _entry(now, "expected", f"a correction in lane {correction.lane.value} would be made: {reasons}")


def _transactions(judgement: Judgement) -> Iterator[Entry]:
    """A ledger's own story; what was spent in all stands at the end, its steps are too many to tell."""
    ledger = judgement.account.ledger
    for entry in ledger.entries if ledger else ():
        named = f", reference {entry.reference}" if entry.reference else ""
        yield _entry(entry.at, "ledger", f"{entry.amount:+,} by a transaction of type {entry.type}{named}")


def _billed_periods(judgement: Judgement) -> Iterator[Entry]:
    subscriptions = judgement.account.subscriptions
    for billing in subscriptions:
        if billing.started_at is not None:
            plan = billing.plan.name if billing.plan else f"`{billing.raw_plan}`"
            yield _entry(billing.started_at, "billing", f"subscription {billing.subscription_id} to {plan} began")
    for line in (line for billing in subscriptions for line in billing.invoices):
        plan = line.plan.name if line.plan else f"`{line.raw_plan}`"
        why = "a change to " if line.change else ""
        period = f"{_day(line.period.start)} to {_day(line.period.end)}"
        at = line.paid_at or line.period.start
        yield _entry(
            at, "billing", f"invoice {line.invoice_id} for {why}{plan}, {period}: {line.returned or line.status.value}"
        )


def spoken(billing: Billing) -> str:
    """What billing says, as half a sentence: `billing says pro (active, monthly) since 2026-10-20`."""
    match billing.lookup:
        case Lookup.ERROR:
            return f"billing gave no answer{_because(billing)}"
        case Lookup.GONE:
            return f"billing says the app was uninstalled{_because(billing)}"
        case Lookup.MISSING:
            return f"billing does not know this id{_because(billing)}"
    if isinstance(billing.resolution, Unmapped):
        return f"billing names the plan `{billing.resolution.raw}`, which is in no catalogue"
    assert billing.plan is not None
    if billing.plan.free:
        return "billing says nothing is paid"
    facts = [billing.status.value if billing.status else "unknown", billing.cycle.value if billing.cycle else ""]
    period = f", period from {_day(billing.period.start)} to {_day(billing.period.end)}" if billing.period else ""
    renews = ", renews" if billing.auto_renews else ", does not renew" if billing.auto_renews is False else ""
    ends = f", ends {_day(billing.ends_at)}" if billing.ends_at and not billing.auto_renews else ""
    return f"billing says {billing.plan.name} ({', '.join(filter(None, facts))}{period}{renews}{ends})"


def _because(billing: Billing) -> str:
    return f" ({billing.detail})" if billing.detail else ""


def _held(judgement: Judgement) -> str:
    balance = judgement.account.balance
    if balance.total is None or balance.used is None:
        return f"the store holds label {balance.label or '(none)'} and no credit numbers"
    received = "granted" if judgement.account.ledger is None else "received"
    return (
        f"the store holds label {balance.label or '(none)'}: {balance.total:,} {received}, {balance.used:,} used, "
        f"{balance.available:,} available"
    )


def _expected(judgement: Judgement) -> str:
    plan = judgement.account.billing.plan
    if plan is None:
        return "what is expected is unknown: billing named no plan we know"
    billing = judgement.account.billing
    least = f"expected: label {plan.label}, at least {least_granted(judgement.account, plan):,} granted"
    if judgement.account.ledger is not None:
        period = billing.period
        owed = period is not None and not plan.free and billing.status is not None and billing.status.live
        since = ""
        if period and owed:
            since = f" and a grant of {allowance(plan, period):,} for the period from {_day(period.start)}"
        least = f"expected: label {plan.label}{since}"
    return f"{least}; actual: {_held(judgement).removeprefix('the store holds ')}"


def _states(memory: Memory) -> Iterator[Entry]:
    """The states that complete collections saw, each as its difference from the one before."""
    before: ObservedState | None = None
    for seen in observed(memory):
        text = _first(seen) if before is None else _changes(before, seen)
        if text:
            yield _entry(seen.as_of, "observed", text)
        if before is None or (seen.billed_plan, seen.billed_status) != (before.billed_plan, before.billed_status):
            yield _entry(seen.as_of, "billing", f"billing said {_billed(seen)}")
        if seen.mark and (before is None or before.mark is not seen.mark):
            yield _entry(seen.as_of, "granted", _marked(seen))
        before = seen


def _first(seen: ObservedState) -> str:
    return f"first seen: label {seen.label or '(none)'}, {seen.total:,} granted, {seen.used:,} used"


def _changes(before: ObservedState, seen: ObservedState) -> str:
    parts = []
    if seen.label != before.label:
        parts.append(f"label {before.label or '(none)'} -> {seen.label or '(none)'}")
    if seen.total != before.total:
        parts.append(f"granted {before.total:,} -> {seen.total:,} ({seen.total - before.total:+,})")
    if seen.used > before.used:
        parts.append(f"{seen.used - before.used:,} spent")
    elif seen.used < before.used:
        parts.append(f"used {before.used:,} -> {seen.used:,}")
    return f"{', '.join(parts)}; {seen.available:,} available" if parts else ""


def _billed(seen: ObservedState) -> str:
    period = f", period from {_day(seen.billed_period_start)}" if seen.billed_period_start else ""
    return f"{seen.billed_plan or 'nothing we know'} ({seen.billed_status or 'no status'}{period})"


def _marked(seen: ObservedState) -> str:
    how = "seen in order" if seen.mark is Mark.ADOPTED else "assumed on the first run"
    return f"the product's own grant of {seen.billed_plan} for {_day(seen.billed_period_start)} counts as made ({how})"


def _events(memory: Memory) -> Iterator[Entry]:
    for found in memory.open_mismatches:
        yield _entry(found.opened_at, "event", f"{found.code} opened: {CODES[Code(found.code)].sentence}")


def _corrections(audit: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
    for row in audit:
        moved = f"{_stood(row['before'])} -> {_stood(row['after'])}"
        by = f", approved by {row['approver']}" if row.get("approver") else ""
        why = "; ".join(row["reasons"])
        yield Entry(at=row["at"], kind="corrected", text=f"{moved}: {why} (plan {row['plan_id']}{by})")


def _stood(state: Mapping[str, Any]) -> str:
    available = "no balance" if state["available"] is None else f"{state['available']:,} available"
    return f"{state['plan'] or '(none)'}, {available}"


def _grants(memory: Memory, audit: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
    told = {key for row in audit for key in row.get("keys") or ()}
    for grant in memory.grants:
        if not any(f"/{grant.plan}/{int(grant.period_start.timestamp())}" in key for key in told):
            state = ", reversed since" if grant.reversed else ""
            text = f"{grant.credits:,} credits of {grant.plan} were granted by a correction for this period{state}"
            yield _entry(grant.period_start, "granted", text)


def _day(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d}" if instant else "an unknown day"


def _entry(at: datetime, kind: str, text: str) -> Entry:
    return Entry(at=at.isoformat(), kind=kind, text=text)
