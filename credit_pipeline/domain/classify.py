"""One counter account → its findings, its corrections, its mark (semantics §5–§8). Pure: `now` and all facts are given.

The screen (services) only drops accounts for which this would find nothing.
"""

from dataclasses import dataclass, replace

from credit_pipeline.domain import decide, events
from credit_pipeline.domain.account import Account, Lookup, Mark
from credit_pipeline.domain.adoption import mark_of
from credit_pipeline.domain.codes import Code, by_precedence
from credit_pipeline.domain.corrections import Correction, Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.open_events import GRANTED_SINCE, again, open_events
from credit_pipeline.domain.present_state import state_of, unknown_of
from credit_pipeline.domain.rules import Rules


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
    kept, closed = open_events(account, rules)
    fresh = tuple(events.movements(account, rules.catalogue, rules.policy, rules.now))
    found = [*kept, *(f for f in fresh if f.fingerprint not in {k.fingerprint for k in kept})]
    accepted = account.memory.accepted if account.memory else frozenset()
    unknown = unknown_of(account)
    if unknown is not None:
        seen = _despite_unknown(account, found)
        return Judgement(
            account=account, findings=(unknown, *(f for f in seen if f.fingerprint not in accepted)), closed=closed
        )
    granted = any(why == GRANTED_SINCE for _, why in closed)
    found += state_of(account, rules, found, granted=granted)
    findings = tuple(f for f in found if f.fingerprint not in accepted)
    names = {f.fingerprint for f in found}
    closed = tuple(end for end in closed if end[0] not in names)  # what is found again under its name goes on
    mark = Mark.ADOPTED if granted else None if findings else mark_of(account, rules)
    if rules.settle and _unsettled(account, findings, rules):
        settled = tuple(f if _known(account, f) else _as_pending(f) for f in findings)
        return Judgement(account=account, findings=settled, closed=closed, mark=mark, pending=True)
    corrections = decide.corrections(account, findings, rules.catalogue, rules.policy)
    return Judgement(account=account, findings=findings, corrections=corrections, closed=closed, mark=mark)


def _despite_unknown(account: Account, found: list[Finding]) -> list[Finding]:
    """Open events, a grant found missing (unknown resolves nothing), and a loss seen.

    A look without billing's answer is not remembered, so the next one finds that loss.
    """
    known = [f for f in found if _known(account, f)]
    if account.billing.lookup is not Lookup.ERROR:
        known += [f for f in found if f.code is Code.UNEXPLAINED_DECREASE and f not in known]
    waiting = account.memory.open_mismatches if account.memory else ()
    missing = [m for m in waiting if m.code == Code.GRANT_MISSING.value and not m.is_event and "verdict" in m.evidence]
    return known + [replace(again(m, Code.GRANT_MISSING), is_event=False, lane=Lane.NONE) for m in missing]


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
