"""A ledger's balance held against its own transactions: missing, below zero, not their sum, moved past them.

`gap` = balance − Σ of all transactions. A fall of it between two observations is a loss, however much was spent and
however late a transaction was committed (semantics §7).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding, finding
from credit_pipeline.domain.grants.matching import Matching
from credit_pipeline.domain.grants.movements import closed_by_us
from credit_pipeline.domain.subjects.account import Account, ObservedState, StateKind


def balance_findings(account: Account, losses: Sequence[Finding]) -> list[Finding]:
    """What the present balance says; `losses` are the open events that explain why the ledger does not."""
    ledger, balance = account.ledger, account.balance
    if ledger is None or account.store_id is None:
        return []
    found = []
    if ledger.unknown_types:
        types = sorted(ledger.unknown_types)
        evidence = {"reason": "unknown_type", "types": types}
        found.append(finding(account, Code.BALANCE_LEDGER_MISMATCH, "unknown_type", *types, evidence=evidence))
    if balance.used is None:
        lane = Lane.AUTO if ledger.rows == 0 else Lane.REVIEW
        return [*found, finding(account, Code.BALANCE_MISSING, lane=lane, evidence={"transactions": ledger.rows})]
    if balance.available is not None and balance.available < 0:
        found.append(finding(account, Code.BALANCE_NEGATIVE, evidence={"available": balance.available}))
    gap = account.gap
    assert gap is not None
    rest = gap + restorable(account, losses)
    if rest != 0:
        found.append(finding(account, Code.BALANCE_LEDGER_MISMATCH, rest, evidence={"gap": gap}))
    return found


def spent_out(account: Account, matching: Matching) -> list[Finding]:
    """A paying user with nothing left, whose credits did come: no fault, and worth telling from one."""
    present, billing = matching.current, account.billing
    live = billing.status is not None and billing.status.live
    if not live or account.balance.available != 0 or present is None or present.entry is None:
        return []
    evidence = {"plan": present.entitlement.plan.name, "granted": present.entry.amount, "at": present.entry.at}
    return [finding(account, Code.SPENT_OUT, *present.entitlement.key, evidence=evidence)]


def gap_movements(account: Account, losses: Sequence[Finding], now: datetime) -> Iterator[Finding]:
    """A loss or a gain past the ledger since the last observation; `losses` are those of earlier runs, still open."""
    last, gap = _last(account), account.gap
    if last is None or last.gap is None or gap is None or account.balance.total is None:
        return
    expected = last.gap + closed_by_us(last, _states_since(account, last))
    evidence = {
        "from": last.seen_until,
        "to": now,
        "gap": [expected, gap],
        "total": [last.total, account.balance.total],
        "used": [last.used, account.balance.used],
    }
    if gap < expected:
        loss = expected - gap
        plan = account.balance.plan
        fell_to_allowance = plan is not None and account.balance.available == plan.credits
        signature = "reset_to_allowance" if fell_to_allowance else None
        facts = {"loss": loss, "signature": signature} | evidence
        yield finding(account, Code.UNEXPLAINED_DECREASE, last.as_of, now, delta=loss, evidence=facts)
    else:
        gain = gap - expected - max(0, _before(losses) - expected if losses else 0)
        if gain > 0:
            yield finding(account, Code.UNEXPLAINED_INCREASE, last.as_of, now, evidence={"gain": gain} | evidence)


def restorable(account: Account, losses: Sequence[Finding]) -> int:
    """Credits of the open losses that have not come back since, ours or not; computed anew at each planning."""
    if not losses or account.gap is None:
        return 0
    return max(0, min(sum(int(f.evidence["loss"]) for f in losses), _before(losses) - account.gap))


def _before(losses: Sequence[Finding]) -> int:
    """The gap before the first of them."""
    first = min(losses, key=lambda found: str(found.evidence["to"]))
    return int(first.evidence["gap"][0])


def _last(account: Account) -> ObservedState | None:
    seen = account.memory.states if account.memory else ()
    return next((s for s in reversed(seen) if s.kind is StateKind.OBSERVED), None)


def _states_since(account: Account, last: ObservedState) -> tuple[ObservedState, ...]:
    seen = account.memory.states if account.memory else ()
    return seen[seen.index(last) + 1 :]
