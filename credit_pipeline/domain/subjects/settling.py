"""Whether a change is so recent that the product's own webhook may still settle it (semantics §7)."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account

_YOUNG = frozenset({Code.GRANT_MISSING, Code.GRANT_AMOUNT_MISMATCH})
"""What the product may still complete."""


def is_unsettled(found: Finding, account: Account, rules: Rules, *, changed_at: datetime | None) -> bool:
    """Whether a finding is newer than the policy's settle time.

    Age counts from the provider's own change time, else from the current opening of the mismatch.
    """
    opened = account.memory.open_mismatches if account.memory else ()
    opened_at = next((m.opened_at for m in opened if m.fingerprint == found.fingerprint), rules.now)
    since = opened_at if changed_at is None else changed_at
    return rules.now - since < rules.policy.settle_time


def known(account: Account, found: Finding) -> bool:
    """Whether this finding is an event of an earlier run, which has nothing left to settle."""
    if account.memory is None or not found.is_event:
        return False
    return any(m.fingerprint == found.fingerprint and m.is_event for m in account.memory.open_mismatches)


def while_settling(account: Account, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings of a subject that settles: a grant is remembered for its age, but no event yet and nobody's."""
    return tuple(replace(f, is_event=False) if f.code in _YOUNG and not known(account, f) else f for f in findings)
