"""One account → its findings, its corrections, its mark (semantics §5–§8). Pure: `now` and all facts are given.

The screen only drops accounts for which this would find nothing.
"""

from dataclasses import replace

from credit_pipeline.domain.classify_ledger import classify_ledger
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections import decide
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants import events
from credit_pipeline.domain.grants.adoption import mark_of
from credit_pipeline.domain.grants.open_events import GRANTED_SINCE, open_events, reopen
from credit_pipeline.domain.grants.suppressed_by_undo import answered_by_undo
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Lookup, Mark
from credit_pipeline.domain.subjects.present_state import state_of, unknown_of
from credit_pipeline.domain.subjects.settling import is_unsettled, known, while_settling


def classify(account: Account, rules: Rules) -> Judgement:
    """Judge one account. Unknown answers are findings of their own and never move credits."""
    if account.ledger is not None or account.identity is not None:
        return classify_ledger(account, rules)
    period = account.billing.period
    rules = replace(rules, catalogue=rules.catalogue.as_of(period.start if period else None))
    kept, closed = open_events(account, rules)
    fresh = tuple(events.movements(account, rules.catalogue, rules.policy, rules.now))
    found = [*kept, *(f for f in fresh if f.fingerprint not in {k.fingerprint for k in kept})]
    accepted = account.memory.accepted if account.memory else frozenset()
    unknown = unknown_of(account)
    if unknown is not None:
        seen = (unknown, *_despite_unknown(account, found))
        return Judgement(
            account=account, findings=tuple(f for f in seen if f.fingerprint not in accepted), closed=closed
        )
    granted = any(why == GRANTED_SINCE for _, why in closed)
    found += state_of(account, rules, found, granted=granted)
    free = rules.catalogue.free
    findings = tuple(f for f in found if f.fingerprint not in accepted and not answered_by_undo(account, f, free))
    names = {f.fingerprint for f in found}
    closed = tuple(end for end in closed if end[0] not in names)  # what is found again under its name goes on
    told_only = all(f.lane is Lane.NONE and not f.is_event for f in findings)
    mark = Mark.ADOPTED if granted else mark_of(account, rules) if told_only else None
    if rules.settle and _unsettled(account, findings, rules):
        settled = while_settling(account, findings)
        return Judgement(account=account, findings=settled, closed=closed, mark=mark, pending=True)
    corrections = decide.corrections(account, findings, rules.catalogue, rules.policy)
    return Judgement(account=account, findings=findings, corrections=corrections, closed=closed, mark=mark)


def _despite_unknown(account: Account, found: list[Finding]) -> list[Finding]:
    """Open events, a grant found missing (unknown resolves nothing), and a loss seen.

    A look without billing's answer is not remembered, so the next one finds that loss.
    """
    seen = [f for f in found if known(account, f)]
    if account.billing.lookup is not Lookup.ERROR:
        seen += [f for f in found if f.code is Code.UNEXPLAINED_DECREASE and f not in seen]
    waiting = account.memory.open_mismatches if account.memory else ()
    missing = [m for m in waiting if m.code == Code.GRANT_MISSING.value and not m.is_event and "verdict" in m.evidence]
    return seen + [replace(reopen(m, Code.GRANT_MISSING), is_event=False, lane=Lane.NONE) for m in missing]


def _unsettled(account: Account, findings: tuple[Finding, ...], rules: Rules) -> bool:
    """Whether a change that the product's webhook may still mend is younger than settle_time."""
    young = {Code.PLAN_MISMATCH, Code.GRANT_MISSING, Code.GRANT_AMOUNT_MISMATCH}
    waiting = [f for f in findings if f.code in young and not known(account, f)]
    return any(is_unsettled(f, account, rules, changed_at=account.billing.changed_at) for f in waiting)
