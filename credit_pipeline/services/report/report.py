"""The mismatch report as one frozen object: text in the CLI, metadata in Dagster, JSON here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from credit_pipeline.domain.corrections.correction import Correction, correction_fields, correction_from
from credit_pipeline.domain.guards.verdict import PlanFacts
from credit_pipeline.domain.mismatch import Mismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Completeness of the provider's answer."""

    provider: str
    complete: bool
    level: str
    records: int
    unanswered: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One reconciliation's result. `in_sync + exempt + Σ classes = population`."""

    system: str
    run_id: str
    as_of: str
    source: Source
    population: int
    in_sync: int
    exempt: int
    classes: Mapping[str, int]
    direction: str
    mismatches: tuple[Mismatch, ...]
    identities: Mapping[str, Any]
    history: str
    """`evaluated`, `first_run`, or `not_evaluated` where nothing is installed: never to be read as in order."""
    facts: Mapping[str, Any]
    """What the run-level guards judge (PlanFacts)."""
    refusals: tuple[str, ...] = ()
    """Why nothing may be corrected by this report: an incomplete source or store."""
    notices: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()
    snapshots: Mapping[str, str] = field(default_factory=dict)
    accounts: tuple[Mapping[str, Any], ...] = ()
    webhooks: Mapping[str, int] = field(default_factory=dict)
    ages: Mapping[str, int] = field(default_factory=dict)
    """How long the findings to act on have waited (services/aging.py); empty where nothing is remembered."""

    def __post_init__(self) -> None:
        counted = self.in_sync + self.exempt + sum(self.classes.values())
        assert counted == self.population, f"{self.system}: {counted} subjects counted, {self.population} read"

    @property
    def actionable(self) -> int:
        """Findings in lane auto, approve or review: what makes `check` exit with 1."""
        return sum(1 for mismatch in self.mismatches if mismatch.lane != "none")

    def as_json(self) -> dict[str, Any]:
        """The JSON object of `check`."""
        fields = {name: value for name, value in asdict_shallow(self).items() if name != "corrections"}
        fields["source"] = asdict(self.source)
        fields["mismatches"] = [_mismatch_json(one, self.history) for one in self.mismatches]
        return fields

    def to_record(self) -> dict[str, Any]:
        """The whole report as JSON, corrections included: stored between two assets."""
        return self.as_json() | {"corrections": [correction_fields(c) for c in self.corrections]}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Report":
        """The inverse of to_record."""
        fields = dict(record)
        fields["source"] = Source(**{**fields["source"], "problems": tuple(fields["source"]["problems"])})
        fields["mismatches"] = tuple(map(_mismatch_from, fields["mismatches"]))
        fields["corrections"] = tuple(correction_from(c) for c in fields["corrections"])
        for name in ("refusals", "notices", "accounts"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


_MISMATCH = (
    *("fingerprint", "account_id", "billing_id", "code", "secondary", "severity", "lane"),
    *("expected", "actual", "delta", "evidence"),
)


def _mismatch_json(mismatch: Mismatch, history: str) -> dict[str, Any]:
    """A mismatch in the JSON of `check`. Without a memory, it is unknown since when it has been open."""
    return {name: getattr(mismatch, name) for name in _MISMATCH} | {
        "first_seen": mismatch.first_seen.isoformat(),
        "aged": mismatch.aged,
        "opened_at": None if history == "not_evaluated" else mismatch.opened_at.isoformat(),
    }


def _mismatch_from(record: Mapping[str, Any]) -> Mismatch:
    times = {name: datetime.fromisoformat(record[name] or record["first_seen"]) for name in ("first_seen", "opened_at")}
    return Mismatch(**{**record, "secondary": tuple(record["secondary"]), **times})


def asdict_shallow(report: Report) -> dict[str, Any]:
    """Field by field without descending (a report may hold a million accounts)."""
    return {name: getattr(report, name) for name in Report.__dataclass_fields__}


def facts_record(facts: PlanFacts) -> dict[str, Any]:
    """PlanFacts as JSON."""
    return asdict(facts) | {"finished_at": facts.finished_at.isoformat()}


def facts_from(record: Mapping[str, Any]) -> PlanFacts:
    """The inverse of facts_record; ignores what else is stored with a plan."""
    known = {name: record[name] for name in PlanFacts.__dataclass_fields__ if name in record}
    return PlanFacts(**{**known, "finished_at": datetime.fromisoformat(record["finished_at"])})
