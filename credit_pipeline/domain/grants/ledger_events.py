"""Events of earlier runs about a ledger: still open, or ended and why. Silence ends nothing (semantics §7)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants.entitlement import Settlement
from credit_pipeline.domain.grants.ledger_findings import corrected
from credit_pipeline.domain.grants.matching import Matched, Matching
from credit_pipeline.domain.grants.open_events import GRANTED_SINCE, INFORMATION, reopen
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.account import Account


def open_ledger_events(
    account: Account, matching: Matching | None
) -> tuple[list[Finding], tuple[tuple[str, str], ...]]:
    """Events of earlier runs that stand, and those that end now with the reason.

    Without a matching (billing did not answer, or its plan is unknown) nothing about grants ends.
    """
    kept: list[Finding] = []
    closed: list[tuple[str, str]] = []
    for event in account.memory.open_mismatches if account.memory else ():
        if not event.is_event:
            continue
        why = _ended(account, event, matching)
        if why:
            closed.append((event.fingerprint, why))
        else:
            kept.append(reopen(event, Code(event.code)))
    return kept, tuple(closed)


def _ended(account: Account, event: Mismatch, matching: Matching | None) -> str | None:
    code, evidence = Code(event.code), event.evidence
    if code is Code.UNEXPLAINED_INCREASE:
        return INFORMATION
    if corrected(account, event.fingerprint):
        return "restored by a correction"
    if code is Code.UNEXPLAINED_DECREASE and account.gap is not None and account.gap >= evidence["gap"][0]:
        return "the balance has come back since"
    if code not in {Code.GRANT_MISSING, Code.GRANT_LOST} or not evidence.get("period_start"):
        return None
    if code is Code.GRANT_MISSING and _granted_by_us(account, evidence):
        return "granted by a correction"
    one = matching.of(evidence["plan"], datetime.fromisoformat(evidence["period_start"])) if matching else None
    return _come_since(one) if one is not None else None


def _come_since(one: Matched) -> str | None:
    if one.entry is not None:
        return GRANTED_SINCE
    if one.entitlement.settlement is Settlement.REFUNDED:
        return "its payment was refunded or is disputed"
    return None


def _granted_by_us(account: Account, evidence: Mapping[str, Any]) -> bool:
    start = datetime.fromisoformat(evidence["period_start"])
    grants = account.memory.grants if account.memory else ()
    return any((grant.plan, grant.period_start) == (evidence["plan"], start) for grant in grants)
