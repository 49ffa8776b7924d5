"""Run-level guards: may this plan be applied at all? All are asked, all failures are collected (semantics §9).

They count only the rows this apply would write. Row-level guards (loss, key, stale) stand in the write path, under its
locks. A refusal says n/N, %, the limit and what to type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from credit_pipeline.domain.corrections import Correction
from credit_pipeline.domain.policy import Limits

MAX_SNAPSHOT_AGE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFacts:
    """What the guards judge a plan by, all of it stored with the plan."""

    population: int
    entitlements: int
    """Sum of the allowances billed for a month, in credits."""
    largest_allowance: int
    unknown: int
    asked: int
    unanswered: int
    enumerated: bool
    store_rows: int
    answered: int
    last_answered: int | None
    """Answers of the last complete collection; None on the first."""
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One guard's refusal, as the sentence shown."""

    guard: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All refusals; none means go."""

    failures: tuple[Failure, ...] = ()

    @property
    def go(self) -> bool:
        """Whether nothing refused."""
        return not self.failures

    @property
    def liftable(self) -> bool:
        """Whether an approval could release the plan: only amounts and the first run, never a doubtful source."""
        return all(failure.guard in LIFTABLE for failure in self.failures)


LIFTABLE = frozenset({"rows", "credits", "first_plan"})


def judge_collection(facts: PlanFacts, limits: Limits) -> Verdict:
    """Whether source and store were read completely enough to correct anything by them."""
    failures = []
    if facts.store_rows == 0:
        failures.append(
            Failure(
                guard="store_complete",
                sentence="the store returned no accounts: check the table and its rights",
            )
        )
    if not facts.enumerated:
        failures.append(
            Failure(
                guard="source_complete",
                sentence="billing's answer did not end by itself: run again when it is healthy",
            )
        )
    allowed = max(limits.unanswered_floor, int(limits.unanswered_share * facts.asked))
    if facts.unanswered > allowed:
        sentence = (
            f"billing left {_share(facts.unanswered, facts.asked)} accounts unanswered, limit {allowed}: "
            "run again when it is healthy"
        )
        failures.append(Failure(guard="source_complete", sentence=sentence))
    if facts.last_answered is not None and facts.answered < limits.answers_ratio * facts.last_answered:
        sentence = (
            f"billing answered for {_share(facts.answered, facts.last_answered)} of the accounts of the last good run, "
            f"limit {limits.answers_ratio:.0%}: check key, app and environment"
        )
        failures.append(Failure(guard="source_complete", sentence=sentence))
    return Verdict(failures=tuple(failures))


def judge_plan(
    plan_id: str,
    rows: Sequence[Correction],
    facts: PlanFacts,
    limits: Limits,
    *,
    now: datetime,
    limits_approved: bool,
    first_plan: bool,
) -> Verdict:
    """Whether these rows may be written; `limits_approved` lifts the amounts and the first run, nothing else."""
    failures = list(judge_collection(facts, limits).failures)
    allowed = max(limits.unknown_floor, int(limits.unknown_share * facts.population))
    if facts.unknown > allowed:
        failures.append(
            Failure(
                guard="unknown",
                sentence=f"{_share(facts.unknown, facts.population)} accounts could not be judged, limit {allowed}: "
                "map the plans or repair the source first",
            )
        )
    if now - facts.finished_at > MAX_SNAPSHOT_AGE and not limits_approved:
        age = int((now - facts.finished_at).total_seconds() // 60)
        failures.append(
            Failure(
                guard="max_snapshot_age",
                sentence=f"the snapshot is {age} min old, limit 30 min: make a new plan with fix",
            )
        )
    if rows and not limits_approved:
        failures += _amounts(plan_id, rows, facts, limits, first_plan=first_plan)
    return Verdict(failures=tuple(failures))


def _amounts(
    plan_id: str, rows: Sequence[Correction], facts: PlanFacts, limits: Limits, *, first_plan: bool
) -> list[Failure]:
    failures = []
    release = f"credit-pipeline approve {plan_id} --lane auto --as YOU --reason WHY"
    allowed = min(limits.rows_ceiling, max(limits.rows_floor, int(limits.rows_share * facts.population)))
    if len(rows) > allowed:
        sentence = (
            f"would change {_share(len(rows), facts.population)} accounts, limit {allowed}: review, then {release}"
        )
        failures.append(Failure(guard="rows", sentence=sentence))
    moved = sum(abs(row.delta) for row in rows)
    budget = max(limits.credits_allowances * facts.largest_allowance, int(limits.credits_share * facts.entitlements))
    if moved > budget:
        share = _share(moved, facts.entitlements)
        sentence = f"would move {share} credits of a month, limit {budget:,}: review, then {release}"
        failures.append(Failure(guard="credits", sentence=sentence))
    if first_plan:
        failures.append(
            Failure(guard="first_plan", sentence=f"the first applied plan of a system needs approval: {release}")
        )
    return failures


def _share(part: int, whole: int) -> str:
    return f"{part:,}/{whole:,}" + (f" ({part / whole:.1%})" if whole else "")
