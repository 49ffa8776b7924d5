"""Row-scope guards that need no lock: which rows an apply holds whatever the plan as a whole may do (semantics §9).

Those that need the row under its lock (loss, key, stale) stand in the write path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from credit_pipeline.domain.corrections.correction import AdjustCredits, Correction, GrantCredits, Lane
from credit_pipeline.domain.grants.entitlement import allowance
from credit_pipeline.domain.guards.ceilings import Ceilings
from credit_pipeline.domain.guards.verdict import Failure
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.domain.plans.periods import Period
from credit_pipeline.domain.subjects.ids import AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFacts:
    """What the rows are judged by, besides themselves."""

    system: str
    catalogue: Catalogue
    flap_window: timedelta
    changes: Mapping[AccountId, int] = field(default_factory=dict)
    """Automatic corrections of an account within the window."""
    open_mismatches: Mapping[AccountId, Sequence[Mismatch]] = field(default_factory=dict)
    """What is still open about an account: a restore gives back what these recorded as lost."""


def judge_row(row: Correction, ceilings: Ceilings, facts: RowFacts) -> tuple[Failure, ...]:
    """All reasons to hold this row; none means go."""
    return tuple(failure for failure in (_flap(row, ceilings, facts), _credits(row, facts)) if failure)


def _flap(row: Correction, ceilings: Ceilings, facts: RowFacts) -> Failure | None:
    """An account that is corrected again and again has a second writer. A person's decision is not a part of that."""
    changes = facts.changes.get(row.account_id, 0)
    if row.lane is not Lane.AUTO or changes < ceilings.flap_changes:
        return None
    sentence = (
        f"had {changes} automatic corrections in {facts.flap_window.total_seconds() / 3600:g} h, and is held from "
        f"{ceilings.flap_changes} on: find what undoes them with credit-pipeline account {facts.system} ID"
    )
    return Failure(guard="flap", sentence=sentence)


def _credits(row: Correction, facts: RowFacts) -> Failure | None:
    limit = credits_due(row, facts.catalogue, facts.open_mismatches.get(row.account_id, ()))
    if row.delta <= limit:
        return None
    sentence = (
        f"would give {row.delta:,} credits, limit {limit:,}, the allowances of its grants and the losses it restores: "
        f"make a new plan with credit-pipeline fix {facts.system}"
    )
    return Failure(guard="max_credits_per_account", sentence=sentence)


def credits_due(row: Correction, catalogue: Catalogue, known: Sequence[Mismatch]) -> int:
    """The most this row may give: the allowances of its grants and the recorded losses that it restores."""
    due = 0
    for step in row.steps:
        if isinstance(step, GrantCredits):
            due += _allowance(step, catalogue)
        elif isinstance(step, AdjustCredits) and step.delta > 0:
            due += _restored(step, row, known)
    return due


def _allowance(step: GrantCredits, catalogue: Catalogue) -> int:
    plan = catalogue.named(step.grant_key.plan)
    if plan is None:
        return 0
    period = Period(start=step.grant_key.period_start, end=step.period_end)
    inside = step.sold_at is None or period.start <= step.sold_at < period.end
    return allowance(plan, period, step.sold_at) if inside else 0


def _restored(step: AdjustCredits, row: Correction, known: Sequence[Mismatch]) -> int:
    """What is recorded of the mismatches that the key names. Of others (a renewal, an undo) a person released the
    amount itself; one that lowers `used` gives back no more than was used."""
    names = step.correction_key.partition(":")[2].split(",")
    recorded = [mismatch.evidence for mismatch in known if mismatch.fingerprint in names]
    if recorded:
        losses = sum(int(evidence.get("loss", 0)) for evidence in recorded)
        return max(losses, *(int(e.get("allowance", e.get("delta", 0))) for e in recorded))
    if step.lower_used and row.seen.used is not None:
        return min(step.delta, max(0, row.seen.used))
    return step.delta
