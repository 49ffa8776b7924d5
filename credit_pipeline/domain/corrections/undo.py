"""What takes back changes of ours: one compensating correction an account, made from the audit (semantics §8). Pure.

All amounts are relative and bounded by what is left: what was spent meanwhile stays spent and is told as a shortfall.
Which later findings an undo has answered is in `undone.py`; reading the audit is the service's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    CreateBalance,
    Lane,
    LinkIdentity,
    Seen,
    SetPlan,
    SetResolvedId,
    SetSubscription,
    Step,
)
from credit_pipeline.domain.plans.catalogue import Catalogue, Resolved
from credit_pipeline.domain.subjects.ids import AccountId, BillingId

PREFIX = "undo:"

_KEPT = {
    LinkIdentity: "the user's link to the account stays: others may lean on it by now",
    SetResolvedId: "the account's id in the metadata of the user's subscription stays",
    CreateBalance: "the balance row that was made stays",
}
"""Steps that no step of the closed set takes back, and how a reason says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of ours: an audit row, and the steps that its plan meant by it. Credits, `delta` of `available`."""

    seq: int
    account_id: AccountId
    billing_id: BillingId
    plan_id: str
    codes: tuple[str, ...]
    steps: tuple[Step, ...]
    billed_plan: str | None
    delta: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def relabelled(self) -> bool:
        """Whether it moved the account's label."""
        return bool(self.before["plan"] != self.after["plan"])

    @property
    def folded(self) -> bool:
        """Whether a grant folded what was used into the total."""
        return any(getattr(step, "reset_used", False) for step in self.steps)


class Later(NamedTuple):
    """A later change of ours about the same account, which is not taken back with it."""

    seq: int
    plan_id: str
    relabelled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The account as it stands now; `status` is the product's word about the subscription, where there is a row."""

    seen: Seen
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoing:
    """The compensating correction, and the credits that can no longer be taken back."""

    correction: Correction
    shortfall: int


def undo_key(seq: int) -> str:
    """What makes taking back audit row `seq` happen once."""
    return f"{PREFIX}{seq}"


def undone_by(keys: Iterable[str]) -> Iterator[int]:
    """The audit rows that a change with these keys took back."""
    for key in keys:
        number = key.removeprefix(PREFIX).partition(":")[0]
        if key.startswith(PREFIX) and number.isdecimal():
            yield int(number)


def in_effect(changes: Iterable[tuple[int, Iterable[str]]]) -> set[int]:
    """Of (audit row, its keys), the rows that still count: an undo takes its row away, an undo of the undo brings it
    back."""
    standing: set[int] = set()
    taken: set[int] = set()
    for seq, keys in sorted(changes, key=lambda change: change[0], reverse=True):
        if seq not in taken:
            standing.add(seq)
            taken.update(undone_by(keys))
    return standing


def undo(changes: Sequence[Change], standing: Standing, later: Sequence[Later], catalogue: Catalogue) -> Undoing:
    """Take back one account's changes, given newest first, as far as it can still be done.

    `later`: changes of ours that stand. They are left alone, which relative amounts allow, and a label of theirs is not
    touched.
    """
    credits = _Credits(standing.seen)
    adjustments = [step for change in changes for step in credits.take_back(change)]
    label, label_reasons = _label(changes, standing, later, catalogue)
    status, status_reasons = _status(changes, standing)
    reasons = [*credits.reasons, *label_reasons, *status_reasons, *_kept(changes)]
    reasons += [f"a later correction (audit row {one.seq}, plan {one.plan_id}) stays as it is" for one in later[:3]]
    newest = changes[0]
    correction = Correction(
        account_id=newest.account_id,
        billing_id=newest.billing_id,
        lane=Lane.APPROVE,  # a decrease needs a person, and so does giving back what a person had taken
        codes=tuple(dict.fromkeys(code for change in changes for code in change.codes)),
        steps=(*label, *status, *adjustments),
        reasons=tuple(reasons),
        seen=standing.seen,
        billed_plan=newest.billed_plan,
    )
    return Undoing(correction=correction, shortfall=credits.shortfall)


class _Credits:
    """The credits of one account while its changes are taken back one by one."""

    def __init__(self, seen: Seen) -> None:
        self._left = max(0, seen.available or 0)
        self._used = max(0, seen.used or 0)
        self.shortfall = 0
        self.reasons: list[str] = []

    def take_back(self, change: Change) -> Iterator[AdjustCredits]:
        """A step for what moved the total, and one for what moved `used` where a step did. At least one, of 0 credits
        where nothing can be moved: it takes the key, so that the change is taken back once."""
        used = 0 if change.folded else sum(_lowered(step) for step in change.steps)
        parts = [(part, lower_used) for part, lower_used in ((change.delta - used, False), (used, True)) if part]
        key, cause = undo_key(change.seq), f"undo of {change.plan_id}"
        if not parts:
            yield AdjustCredits(delta=0, correction_key=key, cause=cause)
        moved = {part: self._moved(*part) for part in sorted(parts)}  # what is given back first may be taken after it
        for number, part in enumerate(parts):
            name = f"{key}:used" if number else key
            yield AdjustCredits(delta=moved[part], correction_key=name, cause=cause, lower_used=part[1])
        self._tell(change, sum(moved.values()))

    def _moved(self, part: int, lower_used: bool) -> int:
        if part < 0:
            given = min(-part, self._used) if lower_used else -part  # `used` that the product zeroed is back already
            self._used -= given if lower_used else 0
            self._left += given
            return given
        taken = min(part, self._left)
        self._left -= taken
        self._used += taken if lower_used else 0
        self.shortfall += part - taken
        return -taken

    def _tell(self, change: Change, moved: int) -> None:
        told = f"takes back audit row {change.seq}"
        if change.delta > 0 and -moved < change.delta:
            spent = change.delta + moved
            told += f": {-moved:,} of {change.delta:,} credits are left, {spent:,} were spent meanwhile and stay spent"
        elif change.delta:
            told += f": {moved:+,} credits"
        self.reasons.append(told)
        if change.folded and change.before["used"]:
            self.reasons.append(
                f"used stays as it is: the grant folded {change.before['used']:,} used credits into the total, "
                "which moved none"
            )


def _lowered(step: Step) -> int:
    return step.delta if isinstance(step, AdjustCredits) and step.lower_used else 0


def _label(
    changes: Sequence[Change], standing: Standing, later: Sequence[Later], catalogue: Catalogue
) -> tuple[list[SetPlan], list[str]]:
    """The label goes back only where it still says what we wrote: another hand's word is not ours to take back."""
    moved = [change for change in changes if change.relabelled]
    if not moved:
        return [], []
    now, ours, before = standing.seen.label, moved[0].after["plan"], moved[-1].before["plan"]
    if now == before:
        return [], []
    if now != ours or any(one.relabelled for one in later):
        return [], [f"the label stays {now or 'empty'}: it was set again since"]
    if before is None:
        return [], [f"the label stays {now}: there was none before"]
    resolution = catalogue.resolve_label(before)
    plan = resolution.plan.name if isinstance(resolution, Resolved) else before
    return [SetPlan(plan=plan, label=before)], [f"label {now} -> {before}, as it was before"]


def _status(changes: Sequence[Change], standing: Standing) -> tuple[list[SetSubscription], list[str]]:
    """The product's word for the status, and the period where it had one, by the same rule as the label."""
    moved = [change for change in changes if "status" in change.after]
    if not moved:
        return [], []
    ours, before = moved[0].after, moved[-1].before
    if standing.status != ours["status"]:
        return [], [f"the subscription's status stays {standing.status or 'empty'}: it was set again since"]
    if before["status"] is None:
        return [], ["the row about the subscription stays: there was none before"]
    step = SetSubscription(
        status=before["status"],
        period_start=_instant(before.get("period_start")),
        period_end=_instant(before.get("period_end")),
    )
    return [step], [f"subscription {ours['status']} -> {before['status']}, as it was before"]


def _kept(changes: Sequence[Change]) -> list[str]:
    kinds = {type(step) for change in changes for step in change.steps}
    return [reason for kind, reason in _KEPT.items() if kind in kinds]


def _instant(text: object) -> datetime | None:
    """A period as the audit has it, in whatever precision the product's column keeps; UTC where it names no zone."""
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
