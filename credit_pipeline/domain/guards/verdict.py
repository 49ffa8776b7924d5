"""What guards judge by and how they answer: facts of a plan, one refusal, all of them. Nothing here judges."""

from dataclasses import dataclass
from datetime import datetime


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


def share(part: int, whole: int) -> str:
    """`101/2,000 (5.1%)`: what a refusal says of a number."""
    return f"{part:,}/{whole:,}" + (f" ({part / whole:.1%})" if whole else "")
