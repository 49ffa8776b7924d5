"""One ledger subject → its findings, its corrections, its mark (semantics §5–§8). Pure: all facts are given, and `now`.

Who somebody is comes first, then what billing says, then the ledger: a later question is not asked while an earlier
one has no answer, and with a doubt about who somebody is nothing is corrected.
"""

from datetime import datetime

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections import decide_ledger
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants.adoption import ledger_mark
from credit_pipeline.domain.grants.balance_findings import balance_findings, gap_movements, spent_out
from credit_pipeline.domain.grants.entitlements import entitlements
from credit_pipeline.domain.grants.ledger_events import open_ledger_events
from credit_pipeline.domain.grants.ledger_findings import grant_findings
from credit_pipeline.domain.grants.matching import Matching, match
from credit_pipeline.domain.grants.suppressed_by_undo import answered_by_undo
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Lookup
from credit_pipeline.domain.subjects.identity_findings import blocked, identity_findings
from credit_pipeline.domain.subjects.settling import is_unsettled, known, while_settling
from credit_pipeline.domain.subjects.subscription_state import subscription_findings

_UNTOLD = frozenset(
    {
        Code.SOURCE_LOOKUP_ERROR,
        Code.SOURCE_GONE,
        Code.SUBSCRIPTION_MISSING_AT_SOURCE,
        Code.PLAN_UNMAPPED,
    }
)
"""While one of these stands it is not known what was billed: no grant is judged, and none is made."""


def classify_ledger(account: Account, rules: Rules) -> Judgement:
    """Judge one subject of a ledger system."""
    who, billed = identity_findings(account), subscription_findings(account, rules)
    untold = any(f.code in _UNTOLD for f in billed)
    matching = None if untold or account.ledger is None else match(account, entitlements(account, rules), rules)
    kept, closed = open_ledger_events(account, matching)
    found = [*who, *billed, *kept, *_of_ledger(account, matching, kept, rules)]
    accepted = account.memory.accepted if account.memory else frozenset()
    free = rules.catalogue.free
    open_now = (f for f in _first(found) if f.fingerprint not in accepted)
    findings = tuple(f for f in open_now if not answered_by_undo(account, f, free))
    names = {f.fingerprint for f in found}
    closed = tuple(end for end in closed if end[0] not in names)  # what is found again under its name goes on
    in_doubt = blocked(who) or any(f.code is Code.ORPHAN_BALANCE for f in who)
    if in_doubt:
        findings = tuple(f for f in findings if f.code is not Code.PENDING_SETTLEMENT)
    mark = None
    if matching is not None and all(f.lane is Lane.NONE and not f.is_event for f in findings):
        mark = ledger_mark(account, matching, rules)
    if rules.settle and not in_doubt and _unsettled(account, findings, matching, rules):
        settled = while_settling(account, findings)
        return Judgement(account=account, findings=settled, closed=closed, mark=mark, pending=True)
    corrections = () if in_doubt else decide_ledger.corrections(account, findings, rules)
    return Judgement(account=account, findings=findings, corrections=corrections, closed=closed, mark=mark)


def _of_ledger(account: Account, matching: Matching | None, kept: list[Finding], rules: Rules) -> list[Finding]:
    """What transactions and balance say. A look without billing's answer is not remembered, and sees no loss."""
    losses = [f for f in kept if f.code is Code.UNEXPLAINED_DECREASE]
    moved = [] if account.billing.lookup is Lookup.ERROR else list(gap_movements(account, losses, rules.now))
    losses += [f for f in moved if f.code is Code.UNEXPLAINED_DECREASE]
    found = [*moved, *balance_findings(account, losses)]
    if matching is None:
        return found
    return [*grant_findings(account, matching, rules), *found, *spent_out(account, matching)]


def _first(found: list[Finding]) -> list[Finding]:
    """One finding a name. An open event speaks before what would be found anew: a person's case stays one."""
    by_name: dict[str, Finding] = {}
    for one in found:
        by_name.setdefault(one.fingerprint, one)
    return list(by_name.values())


def _unsettled(account: Account, findings: tuple[Finding, ...], matching: Matching | None, rules: Rules) -> bool:
    """Whether a change that the product's webhook may still mend is younger than settle_time."""
    waiting = [f for f in findings if (f.lane is Lane.AUTO or f.code is Code.GRANT_MISSING) and not known(account, f)]
    return any(is_unsettled(f, account, rules, changed_at=_changed_at(account, f, matching)) for f in waiting)


def _changed_at(account: Account, found: Finding, matching: Matching | None) -> datetime | None:
    """When billing changed what the finding is about: the payment of its period, else what the provider sends."""
    if found.code is Code.GRANT_MISSING:
        return datetime.fromisoformat(found.evidence["instant"]) if found.evidence["billed_at"] else _sent(account)
    present = matching.current if matching else None
    if present is None or present.entitlement.billed_at is None:
        return _sent(account)
    return max(present.entitlement.instant, _sent(account) or present.entitlement.instant)


def _sent(account: Account) -> datetime | None:
    return account.billing.changed_at
