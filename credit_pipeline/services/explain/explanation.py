"""What `account` tells about one account, as values: the eight checks, the story, the sentence that sums them up."""

from dataclasses import asdict, dataclass
from typing import Any

from credit_pipeline.services.explain.timeline import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One of the eight questions; `ok` is None where this layout, or billing's silence, leaves it open."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known of one account."""

    system: str
    account_id: str | None
    billing_id: str | None
    summary: str
    checks: tuple[Check, ...]
    timeline: tuple[Entry, ...]
    unanswered: bool

    @property
    def passed(self) -> int:
        """Checks in order."""
        return sum(1 for check in self.checks if check.ok is True)

    @property
    def failed(self) -> int:
        """Checks that are not."""
        return sum(1 for check in self.checks if check.ok is False)

    def as_json(self) -> dict[str, Any]:
        """The JSON object of `account`."""
        return {
            "system": self.system,
            "account_id": self.account_id,
            "billing_id": self.billing_id,
            "passed": self.passed,
            "failed": self.failed,
            "summary": self.summary,
            "checks": [asdict(check) for check in self.checks],
            "timeline": [asdict(entry) for entry in self.timeline],
        }
