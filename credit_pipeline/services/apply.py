"""One apply of a saved plan, from its guards to its end. Nothing else in the package has corrections written.

The phases run in order: guard, confirm, canary, rest, finish. Each takes the state that the phase before returned, so
that each may be an op of its own, and a killed run can be repeated. One SQL function writes the product's tables and
repeats, under its locks, every guard that protects a row.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import CreditPipelineError, SourceError, StoreError
from credit_pipeline.domain.guards.verdict import share
from credit_pipeline.services.decision_log import DecisionLog
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.apply_state import ApplyState, Confirmed
from credit_pipeline.services.plans.confirm import hold_unconfirmed
from credit_pipeline.services.plans.guard import allowed, guard, released, with_held
from credit_pipeline.services.plans.ports import PlanRow, RowOutcome, SavedPlan

CONFIRMED_FOR = timedelta(minutes=5)
CONFIRMED_AT_ONCE = 1000
"""Rows that billing is asked about together: few enough to be written before the answers are too old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How an apply ended: the plan with every outcome, and why it or some of its rows were refused."""

    plan: SavedPlan
    state: ApplyState


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """The phases of an apply. `clock` says when billing was asked."""

    system: CreditSystem
    gateways: Gateways
    clock: Callable[[], datetime]

    def guard(
        self, plan_id: str, *, live: bool, person: bool = False, limits: Mapping[str, float] | None = None
    ) -> ApplyState:
        """Ask every guard; a refused live plan is quarantined. Raises PlanError for a plan that ended before.

        An empty plan is not applied: it would pass for the first approved one.
        """
        guarded = guard(self.system, self.gateways, plan_id, live=live, person=person, now=self.clock(), limits=limits)
        waiting = bool(released(guarded.plan)) or guarded.plan.state == "applying"
        return ApplyState(
            plan_id=plan_id,
            live=live,
            go=guarded.go and waiting,
            failures=tuple(failure.sentence for failure in guarded.verdict.failures),
            held=guarded.held,
            canary=guarded.ceilings.canary,
            batch=guarded.ceilings.batch,
        )

    def confirm(self, state: ApplyState) -> ApplyState:
        """Ask billing about the next rows, hold those it does not confirm, and move the plan to `applying`."""
        if not state.go:
            return state
        batches = self._batches(state)
        confirmed = batches.confirm()
        if batches.plan.state != "applying":
            self.gateways.plans.set_state(batches.plan.plan_id, "applying")
        return replace(state, confirmed=confirmed)

    def canary(self, state: ApplyState) -> ApplyState:
        """Write the first rows; where one fails, nothing else is written."""
        return self._written(state, lambda batches: batches.canary(state.canary))

    def rest(self, state: ApplyState) -> ApplyState:
        """Write all other rows, in batches that double up to the largest."""
        return self._written(state, lambda batches: batches.rest(state.canary, state.batch))

    def finish(self, state: ApplyState) -> Applied:
        """Count how the apply ended and close the plan: `applied` where every released row came to a good end."""
        assert state.plan_id is not None
        plan = self.gateways.plans.load(state.plan_id)
        if state.began:
            changed = any(row.outcome == "changed" for row in plan.rows)
            if (changed or state.stopped_by or not _is_alone(plan)) and (stop := self._count(plan, state.stopped_by)):
                state = replace(state, failures=(*state.failures, stop))
            good = all(row.outcome in {"changed", "noop_already_applied"} for row in allowed(plan))
            closed = "applied" if good else "partly_applied"
            self.gateways.plans.set_state(plan.plan_id, closed)
            plan = replace(plan, state=closed)
        return Applied(plan=with_held(plan, state.held), state=state)

    def _batches(self, state: ApplyState) -> "_Batches":
        assert state.plan_id is not None
        return _Batches(self, self.gateways.plans.load(state.plan_id), state.confirmed)

    def _written(self, state: ApplyState, write: Callable[["_Batches"], str | None]) -> ApplyState:
        if not state.go:
            return state
        batches = self._batches(state)
        with self._counting_errors(batches.plan):
            failure = write(batches)
        if failure is None:
            return replace(state, confirmed=batches.confirmed)
        return replace(state, go=False, stopped_by=failure, failures=(*state.failures, failure))

    @contextmanager
    def _counting_errors(self, plan: SavedPlan) -> Iterator[None]:
        """An error of the database ends the apply, and counts as a failed one where that can still be written."""
        try:
            yield
        except StoreError as error:
            try:
                stop = self._count(plan, str(error))
            except CreditPipelineError:
                stop = None
                DecisionLog(self.system.name).failed(f"{plan.plan_id}: cannot note its failure, the database is away")
            if stop:
                raise type(error)(f"{error}; {stop}") from None
            raise

    def _count(self, plan: SavedPlan, failure: str | None) -> str | None:
        """Count how an apply ended; the sentence where this failure, the last allowed in a row, stopped the system."""
        if not self.gateways.plans.note_apply(plan.plan_id, failure):
            return None
        return (
            f"{self.system.policy.limits.breaker} applies in a row failed, so {self.system.name} is stopped: mend the "
            f"cause, then credit-pipeline resume {self.system.name} --as YOU --reason WHY"
        )


def apply_plan(
    system: CreditSystem,
    gateways: Gateways,
    plan_id: str,
    *,
    live: bool,
    person: bool = False,
    clock: Callable[[], datetime],
    limits: Mapping[str, float] | None = None,
) -> Applied:
    """All phases in order, in this process. A plan that may not be written passes through them untouched.

    Raises PlanError for a plan that cannot be applied, SourceError where billing does not answer, StoreError where the
    database does not.
    """
    apply = Apply(system=system, gateways=gateways, clock=clock)
    state = apply.guard(plan_id, live=live, person=person, limits=limits)
    for phase in (apply.confirm, apply.canary, apply.rest):
        state = phase(state)
    return apply.finish(state)


def _is_alone(plan: SavedPlan) -> bool:
    """Whether the plan is for a single account, whose failing row must not stop the system for everybody."""
    return "scope" in plan.facts


class _Batches:
    """The rows still to be written, in the order in which the database takes them."""

    def __init__(self, apply: Apply, plan: SavedPlan, confirmed: Confirmed | None) -> None:
        self._system, self._gateways, self._clock = apply.system, apply.gateways, apply.clock
        self._read(plan)
        self._rows_of_plan = len(allowed(plan))
        self.confirmed = confirmed or Confirmed(seqs=(), at=plan.as_of)
        self._at_once = CONFIRMED_AT_ONCE

    def confirm(self) -> Confirmed:
        """Confirm the next rows with billing; empty only if no row is left. Rows that it does not confirm are held."""
        while self._rows and not (self._next() and self._fresh()):
            now = self._clock()
            asked = list(self._rows.values())[: self._at_once]
            held = hold_unconfirmed(self._system, self._gateways, self.plan, asked, now=now)
            for seq in held:
                del self._rows[seq]
            self.confirmed = Confirmed(seqs=tuple(row.seq for row in asked if row.seq not in held), at=now)
            if not self._fresh():
                self._ask_fewer(len(asked))
        return self.confirmed

    def canary(self, size: int) -> str | None:
        """Write the first rows. Returns why nothing else may be written, or None."""
        outcomes = self._batch(size)
        if not outcomes:
            return None
        failed = _failed(outcomes)
        if failed and not _is_alone(self.plan):
            return (
                f"{share(failed, len(outcomes))} rows of the canary failed, limit 0, so nothing else was applied: "
                f"see their failures, then credit-pipeline fix {self._system.name}"
            )
        return self._broken_invariant()

    def rest(self, canary: int, largest: int) -> str | None:
        """Write all other rows. Returns why it stopped, or counts as failed, or None."""
        size, batches, written, failed, failing_batches = canary, 0, 0, 0, 0
        while outcomes := self._batch(size := min(size * 2, largest)):
            batches += 1
            written += len(outcomes)
            failed += _failed(outcomes)
            failing_batches += _failed(outcomes) > 0
            if broken := self._broken_invariant():
                return broken
        if failing_batches and failing_batches == batches and not _is_alone(self.plan):
            return (
                f"{share(failed, written)} rows failed, some in every batch: "
                f"see their failures, then credit-pipeline fix {self._system.name}"
            )
        return None

    def _batch(self, size: int) -> Sequence[RowOutcome]:
        """One transaction over at most `size` confirmed rows; empty where no row is left."""
        plans, plan_id = self._gateways.plans, self.plan.plan_id
        if plans.waiting(plan_id) != len(self._rows):  # another apply of this plan is under way
            self._read(plans.load(plan_id))
        self.confirm()
        size = min(size, len(self._next()))
        outcomes = plans.apply_batch(plan_id, size) if size else ()
        log = DecisionLog(self._system.name)
        for outcome in outcomes:
            self._rows.pop(outcome.seq, None)
            log.applied(outcome)
        if outcomes:
            counts = sorted(Counter(outcome.outcome for outcome in outcomes).items())
            summary = ", ".join(f"{count:,} {outcome}" for outcome, count in counts)
            log.progress(self._rows_of_plan - len(self._rows), self._rows_of_plan, summary)
        return outcomes

    def _broken_invariant(self) -> str | None:
        """Which invariants the last batch broke, as a sentence, or None."""
        plan_id = self.plan.plan_id
        broken = {name: count for name, count in self._gateways.plans.invariants(plan_id).items() if count}
        if not broken:
            return None
        names = ", ".join(f"{name} in {count:,} rows" for name, count in sorted(broken.items()))
        return (
            f"after a batch of {plan_id} this does not hold: {names}, limit 0, so nothing else was applied: "
            f"run credit-pipeline audit {self._system.name} verify and look at them before the next apply"
        )

    def _fresh(self) -> bool:
        return self._clock() - self.confirmed.at < CONFIRMED_FOR

    def _ask_fewer(self, asked: int) -> None:
        """Answers that came too slowly are too old to write by."""
        if asked == 1:
            raise SourceError(
                f"{self._system.name}: billing took {CONFIRMED_FOR.total_seconds() / 60:g} min or more to confirm one "
                f"account: run credit-pipeline apply {self.plan.plan_id} --live again when it is healthy"
            )
        self._at_once = asked // 2

    def _read(self, plan: SavedPlan) -> None:
        self.plan = plan
        rows = {row.seq: row for row in released(plan)}
        upcoming = self._gateways.plans.upcoming(plan.plan_id)
        self._rows: dict[int, PlanRow] = {seq: rows[seq] for seq in upcoming if seq in rows}

    def _next(self) -> list[int]:
        """The confirmed rows that are still to be written."""
        return [seq for seq in self.confirmed.seqs if seq in self._rows]


def _failed(outcomes: Sequence[RowOutcome]) -> int:
    return sum(1 for outcome in outcomes if outcome.outcome == "failed")
