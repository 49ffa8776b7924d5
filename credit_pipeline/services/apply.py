"""One apply under way: batches grow from the canary, their rows are confirmed with billing shortly before, and after
each of them the invariants must hold. What may be applied at all was judged before, in `correct.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import CreditPipelineError, SourceError, StoreError
from credit_pipeline.domain.guards.verdict import share
from credit_pipeline.services.decision_log import DecisionLog
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.correct import allowed, apply_batch, hold_doubtful, released
from credit_pipeline.services.plans.ports import PlanRow, RowOutcome, SavedPlan

CONFIRMED_FOR = timedelta(minutes=5)
CONFIRMED_AT_ONCE = 1000
"""Rows asked about together: few enough to be written before the answers are too old."""


def batch_sizes(canary: int, largest: int) -> Iterator[int]:
    """After the canary: doubling up to the largest, for ever."""
    size = canary * 2
    while True:
        yield min(size, largest)
        size *= 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """Rows about which billing said the same as the plan, and when it was asked."""

    seqs: tuple[int, ...]
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """What is handed from one op to the next."""
        return {"seqs": list(self.seqs), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Confirmed":
        """The inverse of as_json."""
        return cls(seqs=tuple(record["seqs"]), at=datetime.fromisoformat(record["at"]))


class Applying:
    """The rows of a plan that are still to be written, in the order in which the database takes them."""

    def __init__(
        self,
        system: CreditSystem,
        gateways: Gateways,
        plan: SavedPlan,
        clock: Callable[[], datetime],
        confirmed: Confirmed | None = None,
    ) -> None:
        self._system, self._gateways, self._clock = system, gateways, clock
        self._read(plan)
        self._rows_of_plan = len(allowed(plan))
        self._confirmed = confirmed or Confirmed(seqs=(), at=plan.as_of)
        self._at_once = CONFIRMED_AT_ONCE

    @property
    def left(self) -> int:
        """How many rows are still to be written."""
        return len(self._rows)

    def confirm(self) -> Confirmed:
        """The next rows that billing confirms: none only where no row is left. Those it does not confirm are held."""
        while self._rows and not (self._sure() and self._fresh()):
            now = self._clock()
            asked = list(self._rows.values())[: self._at_once]
            held = hold_doubtful(self._system, self._gateways, self._plan, asked, now=now)
            for seq in held:
                del self._rows[seq]
            self._confirmed = Confirmed(seqs=tuple(row.seq for row in asked if row.seq not in held), at=now)
            if not self._fresh():
                self._ask_fewer(len(asked))
        return self._confirmed

    def batch(self, size: int) -> Sequence[RowOutcome]:
        """One transaction over at most `size` confirmed rows; empty where no row is left."""
        if self._gateways.plans.waiting(self._plan.plan_id) != self.left:  # another apply of this plan is under way
            self._read(self._gateways.plans.load(self._plan.plan_id))
        self.confirm()
        size = min(size, len(self._sure()))
        outcomes = apply_batch(self._system, self._gateways, self._plan.plan_id, size) if size else ()
        for outcome in outcomes:
            self._rows.pop(outcome.seq, None)
        return outcomes

    def canary(self, size: int) -> str | None:
        """The first rows. The sentence for which nothing else may be applied, or None."""
        outcomes = self.batch(size)
        if not outcomes:
            return None
        self._tell(outcomes)
        failed = _failed(outcomes)
        if failed:
            return (
                f"{share(failed, len(outcomes))} rows of the canary failed, limit 0, so nothing else was applied: "
                f"see their failures, then credit-pipeline fix {self._system.name}"
            )
        return self._broken()

    def rest(self, canary: int, largest: int) -> str | None:
        """All other rows, in batches that double. The sentence for which it stopped or counts as failed, or None."""
        batches, written, failed, spoilt = 0, 0, 0, 0
        for size in batch_sizes(canary, largest):
            outcomes = self.batch(size)
            if not outcomes:
                break
            self._tell(outcomes)
            batches += 1
            written += len(outcomes)
            failed += _failed(outcomes)
            spoilt += _failed(outcomes) > 0
            if broken := self._broken():
                return broken
        if spoilt and spoilt == batches:
            return (
                f"{share(failed, written)} rows failed, some in every batch: "
                f"see their failures, then credit-pipeline fix {self._system.name}"
            )
        return None

    def _broken(self) -> str | None:
        return broken_invariant(self._system, self._gateways, self._plan.plan_id)

    def _tell(self, outcomes: Sequence[RowOutcome]) -> None:
        counted = Counter(outcome.outcome for outcome in outcomes)
        came_to = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(counted.items()))
        DecisionLog(self._system.name).progress(self._rows_of_plan - self.left, self._rows_of_plan, came_to)

    def _fresh(self) -> bool:
        return self._clock() - self._confirmed.at < CONFIRMED_FOR

    def _ask_fewer(self, asked: int) -> None:
        """Answers that came too slowly are too old to write by."""
        if asked == 1:
            raise SourceError(
                f"{self._system.name}: billing took {CONFIRMED_FOR.total_seconds() / 60:g} min or more to confirm one "
                f"account: run credit-pipeline apply {self._plan.plan_id} --live again when it is healthy"
            )
        self._at_once = asked // 2

    def _read(self, plan: SavedPlan) -> None:
        self._plan = plan
        rows = {row.seq: row for row in released(plan)}
        upcoming = self._gateways.plans.upcoming(plan.plan_id)
        self._rows: dict[int, PlanRow] = {seq: rows[seq] for seq in upcoming if seq in rows}

    def _sure(self) -> list[int]:
        return [seq for seq in self._confirmed.seqs if seq in self._rows]


def _failed(outcomes: Sequence[RowOutcome]) -> int:
    return sum(1 for outcome in outcomes if outcome.outcome == "failed")


def broken_invariant(system: CreditSystem, gateways: Gateways, plan_id: str) -> str | None:
    """The sentence for what does not hold after a batch, or None."""
    broken = {name: count for name, count in gateways.plans.invariants(plan_id).items() if count}
    if not broken:
        return None
    told = ", ".join(f"{name} in {count:,} rows" for name, count in sorted(broken.items()))
    return (
        f"after a batch of {plan_id} this does not hold: {told}, limit 0, so nothing else was applied: "
        f"run credit-pipeline audit {system.name} verify and look at them before the next apply"
    )


def note_end(system: CreditSystem, gateways: Gateways, plan_id: str, failure: str | None) -> str | None:
    """Counts how an apply ended. The sentence where its failure was the last in a row and stopped the system."""
    if not gateways.plans.note_apply(plan_id, failure):
        return None
    return (
        f"{system.policy.limits.breaker} applies in a row failed, so {system.name} is stopped: mend the cause, then "
        f"credit-pipeline resume {system.name} --as YOU --reason WHY"
    )


@contextmanager
def breaking(system: CreditSystem, gateways: Gateways, plan_id: str) -> Iterator[None]:
    """An error of the database ends the apply, and counts as a failed one where that can still be written."""
    try:
        yield
    except StoreError as error:
        try:
            stopped = note_end(system, gateways, plan_id, str(error))
        except CreditPipelineError:
            stopped = None
            DecisionLog(system.name).failed(f"{plan_id}: its failure could not be noted, the database is away")
        if stopped:
            raise type(error)(f"{error}; {stopped}") from None
        raise
