"""The results of health checks as values: one check, all checks of a system, and the sentences of those that pass."""

from dataclasses import asdict, dataclass
from typing import Any

from credit_pipeline.domain.codes import Severity

DELIVERED = "every_alert_is_delivered"
PAID_WITHOUT_GRANT = "Every account that billing calls paid was granted the credits of its period."
ON_FREE_LIMITS = "Every account that billing calls paid has the label of a paid plan."
EVERY_USER = "Every user has one store account, and every layer agrees on it."
NO_FAILED_DEDUCTION = "No deduction of credits failed within the last hour."
LEDGER_EXPLAINS = "Every balance is the sum of its transactions and not below zero."
LOST_CREDITS = "All credits that left a balance between two runs were spent."
ALERTS_DELIVERED = "Every alert reached every sink at the first attempt and within an hour."
FAILED_DEDUCTIONS = "no_recent_failed_deductions"
OF_NOW = frozenset({FAILED_DEDUCTIONS})
"""Checks that need no comparison of both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The result of one check. A `count` of None means that this layout or this run cannot tell; it is never a 0."""

    name: str
    healthy: str
    """The sentence if the check passes."""
    failure: str
    """The sentence if it fails: what is wrong, with the count."""
    severity: str
    count: int | None
    sample: tuple[str, ...] = ()
    recovery: str = ""

    @property
    def sentence(self) -> str:
        """The sentence to show."""
        return self.failure if self.count else self.healthy

    @property
    def truncated(self) -> bool:
        """Whether the sample is incomplete."""
        return (self.count or 0) > len(self.sample)

    def as_json(self) -> dict[str, Any]:
        """The JSON object of one check."""
        fields = {name: value for name, value in asdict(self).items() if name not in {"healthy", "failure"}}
        return {"name": fields.pop("name"), "sentence": self.sentence, **fields, "truncated": self.truncated}


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The results of all checks of one system."""

    system: str
    statements: tuple[Statement, ...]

    @property
    def failing(self) -> tuple[Statement, ...]:
        """The checks that fail."""
        return tuple(statement for statement in self.statements if statement.count)

    @property
    def healthy(self) -> bool:
        """Whether every check that could be judged passes."""
        return not self.failing

    def line(self) -> str:
        """The overall line."""
        judged = sum(1 for statement in self.statements if statement.count is not None)
        if self.healthy:
            return f"{self.system}: healthy, {judged} of {len(self.statements)} checks answered and passed"
        loudest = min((s.severity for s in self.failing), key=[s.value for s in Severity].index)
        return f"{self.system}: NOT healthy ({loudest}): {len(self.failing)} of {judged} checks fail"

    def as_json(self) -> dict[str, Any]:
        """The JSON object of `health`."""
        checks = [statement.as_json() for statement in self.statements]
        return {"system": self.system, "healthy": self.healthy, "summary": self.line(), "checks": checks}
