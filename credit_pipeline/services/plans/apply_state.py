"""What the phases of an apply hand on, in memory or as a JSON record between two processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The rows that billing confirmed, by number, and when it was asked."""

    seqs: tuple[int, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyState:
    """What one phase of an apply hands to the next."""

    plan_id: str | None
    live: bool
    go: bool = False
    """Whether batches may be written, or may go on being written."""
    failures: tuple[str, ...] = ()
    held: Mapping[int, str] = field(default_factory=dict)
    """Row number -> why a guard holds it."""
    canary: int = 0
    batch: int = 0
    """The largest batch, in rows."""
    confirmed: Confirmed | None = None
    stopped_by: str | None = None
    """Why the apply stopped before its end, or counts as failed."""

    @property
    def began(self) -> bool:
        """Whether rows were or may have been written."""
        return self.go or self.stopped_by is not None

    def to_record(self) -> dict[str, Any]:
        """As JSON, for two ops in different processes."""
        confirmed = self.confirmed and {"seqs": list(self.confirmed.seqs), "at": self.confirmed.at.isoformat()}
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        held = {str(seq): why for seq, why in self.held.items()}
        return fields | {"failures": list(self.failures), "held": held, "confirmed": confirmed}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ApplyState":
        """The inverse of to_record."""
        asked = record["confirmed"]
        confirmed = asked and Confirmed(seqs=tuple(asked["seqs"]), at=datetime.fromisoformat(asked["at"]))
        held = {int(seq): why for seq, why in record["held"].items()}
        return cls(**{**record, "failures": tuple(record["failures"]), "held": held, "confirmed": confirmed})
