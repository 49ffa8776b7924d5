"""The thresholds as they bind one apply: numbers of this plan instead of shares, and no looser than the policy's.

A run may tighten them. What it asks for beyond a limit is a refusal and never ignored: whoever asked would believe it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from credit_pipeline.domain.guards.verdict import Failure, PlanFacts
from credit_pipeline.domain.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What one apply may do at most. None: an approval lifted it."""

    rows: int | None
    credits: int | None
    unknown: int
    unanswered: int
    answers_ratio: float
    """Answers needed, as a share of the last good run's: the one number that is tighter where it is greater."""
    max_snapshot_age: timedelta | None
    max_clock_skew: timedelta
    flap_changes: int
    canary: int
    batch: int


_UNITS = {"max_snapshot_age": timedelta(minutes=1), "max_clock_skew": timedelta(seconds=1)}
_AT_LEAST = {"canary": 1, "batch": 1, "flap_changes": 1}


def ceilings_of(limits: Limits, facts: PlanFacts, *, lifted: bool = False) -> Ceilings:
    """The policy's limits for a plan of these facts; `lifted` by an approval of its automatic lane."""
    rows = most_rows(limits, facts.population)
    budget = max(limits.credits_allowances * facts.largest_allowance, int(limits.credits_share * facts.entitlements))
    return Ceilings(
        rows=None if lifted else rows,
        credits=None if lifted else budget,
        unknown=max(limits.unknown_floor, int(limits.unknown_share * facts.population)),
        unanswered=max(limits.unanswered_floor, int(limits.unanswered_share * facts.asked)),
        answers_ratio=limits.answers_ratio,
        max_snapshot_age=None if lifted else limits.max_snapshot_age,
        max_clock_skew=limits.max_clock_skew,
        flap_changes=limits.flap_changes,
        canary=min(limits.canary, limits.batch),
        batch=limits.batch,
    )


def most_rows(limits: Limits, population: int) -> int:
    """Accounts of so many that may be changed without a person's approval."""
    return min(limits.rows_ceiling, max(limits.rows_floor, int(limits.rows_share * population)))


def tightened(ceilings: Ceilings, asked: Mapping[str, float]) -> tuple[Ceilings, tuple[Failure, ...]]:
    """The ceilings with what a run asks for, and a refusal for each word that is looser or makes no sense.

    `max_snapshot_age` is asked for in minutes, `max_clock_skew` in seconds; all other words are plain numbers.
    """
    failures = []
    tighter: dict[str, Any] = {}
    for word, value in asked.items():
        refusal = _refusal(ceilings, word, value)
        if refusal:
            failures.append(Failure(guard="run_config", sentence=f"limits.{word} of this run {refusal}"))
        else:
            tighter[word] = value * _UNITS[word] if word in _UNITS else value
    ceilings = replace(ceilings, **tighter)
    return replace(ceilings, canary=min(ceilings.canary, ceilings.batch)), tuple(failures)


def _refusal(ceilings: Ceilings, word: str, value: float) -> str | None:
    if word not in Ceilings.__dataclass_fields__:
        return f"is no limit: write one of {', '.join(Ceilings.__dataclass_fields__)}"
    least = _AT_LEAST.get(word, 0)
    if value < least:
        return f"is {_number(value)}: give at least {least}"
    limit = getattr(ceilings, word)
    if limit is None:
        return None
    limit = limit / _UNITS[word] if word in _UNITS else limit
    if word == "answers_ratio":
        looser, give = not limit <= value <= 1, f"from {_number(limit)} to 1"
    else:
        looser, give = value > limit, f"at most {_number(limit)}"
    told = f"is {_number(value)}, limit {_number(limit)}"
    return f"{told}: a run may only tighten it, so give {give} or leave it out" if looser else None


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"
