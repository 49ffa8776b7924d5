"""What the ledger's grants say, held against what billing was paid for: missing, lost, twice, wrong, unexplained."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from credit_pipeline.domain.codes import Code, Severity
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding, finding, fingerprint
from credit_pipeline.domain.grants.entitlement import BEFORE, Entitlement, Settlement
from credit_pipeline.domain.grants.grant_proof import holds, may_stand_for
from credit_pipeline.domain.grants.history import KeyState, key_state
from credit_pipeline.domain.grants.invoices import InvoiceStatus
from credit_pipeline.domain.grants.ledger import Entry, EntryKind
from credit_pipeline.domain.grants.matching import Matched, Matching
from credit_pipeline.domain.grants.proof import Proof
from credit_pipeline.domain.grants.suppressed_by_undo import taken_back
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Billing


def grant_findings(account: Account, matching: Matching, rules: Rules) -> list[Finding]:
    """Every finding about grants. Ask only where billing answered and its plans are known."""
    found = [found for one in matching.matched for found in _of_period(account, one, matching, rules)]
    named = {gain.get("entry") for one in found for gain in one.evidence.get("movements", ())}
    strange = [one for entry in matching.left for one in _of_entry(account, entry, matching, rules)]
    once = (one for one in strange if one.code is not Code.GRANT_UNEXPECTED or one.evidence["entry"] not in named)
    return [*found, *once]


def _of_period(account: Account, one: Matched, matching: Matching, rules: Rules) -> Iterator[Finding]:
    due, entry = one.entitlement, one.entry
    told = due.current or (entry is not None and due.invoice_id is not None)  # once for one invoice
    if due.settlement is Settlement.REFUNDED and due.visible and told:
        amount = entry.amount if entry else 0
        facts = _facts(due) | {"granted": amount, "payment": due.returned}
        yield finding(account, Code.REFUNDED, *due.key, evidence=facts)
    if entry is not None:
        if due.visible and due.settlement is Settlement.PAID and not one.exact:
            yield from _wrong_amount(account, due, entry)
    elif due.owed:
        yield from _missing(account, due, matching, rules)
    elif due.current and due.visible and due.settlement is Settlement.PENDING:
        yield _unpaid(account, due)


def _facts(due: Entitlement) -> dict[str, Any]:
    return {
        "plan": due.plan.name,
        "allowance": due.allowance,
        "period_start": due.period.start,
        "period_end": due.period.end,
        "invoice": due.invoice_id,
    }


def _missing(account: Account, due: Entitlement, matching: Matching, rules: Rules) -> Iterator[Finding]:
    """A paid period without its grant: lost if its key is taken, in doubt if other credits may stand for it, or absent.

    One in the approve lane is an event: that a later run finds the period too old to be judged resolves nothing.
    """
    gains = may_stand_for(account, due, matching, rules)
    facts = _facts(due) | {"reference": due.reference, "instant": due.instant}
    facts |= {"proof": (Proof.NONE if gains else Proof.LEDGER).value}
    if gains:
        facts |= {"movements": [gain.facts() for gain in gains]}
    if due.sold_at is not None:
        facts |= {"sold_at": due.sold_at}
    if key_state(account.memory, due.plan, due.period) is KeyState.TAKEN:
        undone = taken_back(account.memory, due.plan, due.period.start)
        if not undone and not _adjusted(account, Code.GRANT_LOST, *due.key):
            yield finding(account, Code.GRANT_LOST, *due.key, delta=due.allowance, evidence=facts)
        return
    reasons = list(holds(account, due, matching, rules))
    if gains:
        reasons.insert(0, "other credits may stand for it: " + ", ".join(gain.words for gain in gains))
    person = bool(reasons)
    yield finding(
        account,
        Code.GRANT_MISSING,
        *due.key,
        lane=Lane.APPROVE if person else Lane.AUTO,
        severity=Severity.WARNING if person else None,
        is_event=person,
        delta=due.allowance,
        evidence=facts | {"holds": reasons, "change": due.change, "billed_at": due.billed_at},
    )


def _unpaid(account: Account, due: Entitlement) -> Finding:
    """The renewal is active about an hour before it is paid; a line of a price we do not know is no proof either."""
    for line in account.billing.invoices:
        covers = line.period.start <= due.period.start < line.period.end
        if covers and line.plan is None and not line.change and line.status is InvoiceStatus.PAID:
            evidence = {"where": "invoice", "raw": line.raw_plan, "reason": "no plan has this id or alias"}
            return finding(account, Code.PLAN_UNMAPPED, "invoice", evidence=evidence)
    facts = _facts(due) | {"reason": "the period's invoice is not paid"}
    return finding(account, Code.PENDING_SETTLEMENT, *due.key, evidence=facts)


def _wrong_amount(account: Account, due: Entitlement, entry: Entry) -> Iterator[Finding]:
    parts = (*due.key, entry.entry_id)
    if _adjusted(account, Code.GRANT_AMOUNT_MISMATCH, *parts):
        return
    delta = due.allowance - entry.amount
    facts = _facts(due) | {"entry": entry.entry_id, "granted": entry.amount, "at": entry.at}
    yield finding(account, Code.GRANT_AMOUNT_MISMATCH, *parts, delta=delta, evidence=facts)


def _of_entry(account: Account, entry: Entry, matching: Matching, rules: Rules) -> Iterator[Finding]:
    """A grant that is nobody's: the second one of a period, or one that no billed period explains."""
    if entry.kind is not EntryKind.GRANT or entry.amount in rules.catalogue.free.amounts:
        return  # the free plan's own credits come when the product likes
    twin = _twin(entry, matching)
    if twin is not None:
        parts = (*twin.entitlement.key, entry.entry_id)
        if not _adjusted(account, Code.GRANT_DUPLICATE, *parts):
            assert twin.entry is not None
            facts = _facts(twin.entitlement) | {"entry": entry.entry_id, "granted": entry.amount, "at": entry.at}
            facts |= {"beside": twin.entry.entry_id}
            # Not an event: the ledger shows it in every run.
            yield finding(account, Code.GRANT_DUPLICATE, *parts, is_event=False, delta=-entry.amount, evidence=facts)
    elif not (_before_the_first_invoice(account, entry.at) or _of_a_period_begun_before(account, entry)):
        facts = {"entry": entry.entry_id, "granted": entry.amount, "at": entry.at, "type": entry.type}
        yield finding(account, Code.GRANT_UNEXPECTED, entry.entry_id, delta=-entry.amount, evidence=facts)


def _twin(entry: Entry, matching: Matching) -> Matched | None:
    """The matched grant that this one repeats: of the same reference, or of the same amount in the same period."""
    granted = [one for one in matching.matched if one.entry is not None]
    named = [one for one in granted if entry.reference in one.entitlement.known_by]
    same = [
        one
        for one in granted
        if one.entry is not None
        and one.entry.amount == entry.amount
        and one.entitlement.period.start - BEFORE <= entry.at < one.entitlement.period.end
    ]
    return min(named or same, key=lambda one: abs(entry.at - one.entitlement.instant), default=None)


def _before_the_first_invoice(account: Account, at: datetime) -> bool:
    """Whether a subscription ran then whose invoices we have only of later periods, or one of a price unknown to us."""

    def untold(one: Billing) -> bool:
        lines = [line for line in one.invoices if line.subscription_id == one.subscription_id]
        if any(line.plan is None and line.period.start - BEFORE <= at < line.period.end for line in lines):
            return True
        first = min((line.period.start for line in lines), default=None)
        return one.started_at is not None and one.started_at <= at and first is not None and at < first - BEFORE

    return any(untold(one) for one in (account.billing, *account.subscriptions))


def _of_a_period_begun_before(account: Account, entry: Entry) -> bool:
    """Whether it names a period of which we have the end alone: the invoice of an upgrade in it, not of its start."""
    named = re.fullmatch(re.escape(account.account_id) + r"/[^/]+/(\d{1,11})", entry.reference or "")
    if named is None:
        return False
    start = datetime.fromtimestamp(int(named[1]), UTC)

    def begun(one: Billing) -> bool:
        lines = [line for line in one.invoices if line.subscription_id == one.subscription_id]
        first = min(lines, key=lambda line: line.period.start, default=None)
        told = one.started_at is not None and one.started_at <= start and first is not None and first.change
        return (
            told and first is not None and start < first.period.start <= entry.at + BEFORE < first.period.end + BEFORE
        )

    return any(begun(one) for one in (account.billing, *account.subscriptions))


def _adjusted(account: Account, code: Code, *parts: object) -> bool:
    return corrected(account, fingerprint(account, code, *parts))


def corrected(account: Account, name: str) -> bool:
    """Whether a correction of ours for the finding of that name was applied: the audit or the ledger itself says so."""
    keys = account.memory.applied_keys if account.memory else frozenset()
    entries = account.ledger.entries if account.ledger else ()
    return any(name in key for key in keys) or any(
        entry.reference is not None and name in entry.reference
        for entry in entries
        if entry.kind is EntryKind.ADJUSTMENT
    )
