"""The result of a plan, as the JSON object of `fix`, `apply` and `undo`. Outcomes add up to the rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from credit_pipeline.domain.corrections.correction import Correction, Lane, Seen, step_fields
from credit_pipeline.services.plans.ports import PlanRow, SavedPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """A plan with its rows' outcomes, in dry run or live."""

    plan: SavedPlan
    mode: str
    failures: tuple[str, ...]

    @property
    def outcomes(self) -> dict[str, int]:
        """Rows by outcome; the sum is the number of rows."""
        counted = Counter(self.outcome(row) for row in self.plan.rows)
        assert counted.total() == len(self.plan.rows)
        return dict(sorted(counted.items()))

    def outcome(self, row: PlanRow) -> str:
        """The row's outcome so far: what apply recorded, else what would happen to it."""
        if row.outcome is not None:
            return row.outcome
        if row.correction.lane is Lane.APPROVE and not row.approved:
            return "needs_approval"
        return "would_change" if self.mode == "dry_run" else "blocked_by_guard"

    @property
    def credits(self) -> int:
        """Credits given (positive) less taken by the rows that changed, or would."""
        moving = {"changed", "would_change"}
        return sum(row.correction.delta for row in self.plan.rows if self.outcome(row) in moving)

    def as_json(self) -> dict[str, Any]:
        """The JSON object of the command."""
        return {
            "system": self.plan.system,
            "plan_id": self.plan.plan_id,
            "digest": self.plan.digest,
            "mode": self.mode,
            "state": self.plan.state,
            "four_eyes": self.plan.four_eyes,
            "as_of": self.plan.as_of.isoformat(),
            "failures": list(self.failures),
            "rows": [self._row(row) for row in self.plan.rows],
            "outcomes": self.outcomes,
            "totals": {"rows": len(self.plan.rows), "credits": self.credits, **self._shortfall(self.plan.rows)},
            **self._undo(),
        }

    def _undo(self) -> dict[str, Any]:
        """Keys that only an undo has: the plan it takes back, and notes."""
        told: Mapping[str, Any] = self.plan.facts.get("undo", {})
        return {"undoes": self.plan.undoes, "notes": told.get("notes", [])} if self.plan.undoes else {}

    def _row(self, row: PlanRow) -> dict[str, Any]:
        correction = row.correction
        failures: Sequence[str] = row.failures
        return {
            "seq": row.seq,
            "account_id": correction.account_id,
            "codes": list(correction.codes),
            "steps": [step_fields(step) for step in correction.steps],
            "set_plan": correction.set_plan.plan if correction.set_plan else None,
            "reset_used": bool(correction.grant and correction.grant.reset_used),
            "delta": correction.delta,
            "grant_key": str(correction.grant.grant_key) if correction.grant else None,
            "lane": correction.lane.value,
            "approved": row.approved,
            "reasons": list(correction.reasons),
            "before": row.before or _state(correction.seen),
            "after": row.after or _after(correction),
            "outcome": self.outcome(row),
            "failures": list(failures),
            **self._shortfall([row]),
        }

    def _shortfall(self, rows: Sequence[PlanRow]) -> dict[str, int]:
        """Credits that these rows of an undo cannot take back, because they were spent."""
        known: Mapping[str, int] = self.plan.facts.get("undo", {}).get("shortfall", {})
        return {"shortfall": sum(known.get(str(row.seq), 0) for row in rows)} if self.plan.undoes else {}


def _state(seen: Seen) -> Mapping[str, Any]:
    return {"plan": seen.label, "total": seen.total, "used": seen.used, "available": seen.available}


def _after(correction: Correction) -> Mapping[str, Any]:
    return _state(correction.after)


def nothing_to_undo(system: str, undoes: str, notes: Sequence[str], *, mode: str) -> dict[str, Any]:
    """The JSON object where an undo has nothing left to take back: no plan, no row, and why."""
    return {
        "system": system,
        "plan_id": None,
        "digest": None,
        "mode": mode,
        "state": None,
        "undoes": undoes,
        "notes": list(notes),
        "failures": [],
        "rows": [],
        "outcomes": {},
        "totals": {"rows": 0, "credits": 0, "shortfall": 0},
        "approvals": [],
    }
