"""Asks every guard whether a saved plan may be applied, and which of its rows are held."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.domain.guards.ceilings import Ceilings, ceilings_of, tightened
from credit_pipeline.domain.guards.plan_guards import judge_plan
from credit_pipeline.domain.guards.row_guards import judge_row
from credit_pipeline.domain.guards.verdict import Verdict
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.guard_facts import circumstances, lifts_limits, row_facts
from credit_pipeline.services.plans.ports import PlanRow, SavedPlan
from credit_pipeline.services.report.report import facts_from

APPLICABLE = frozenset({"proposed", "quarantined", "approved", "applying", "partly_applied"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A plan as the guards see it now. `go` is also false for a dry run, which writes nothing."""

    plan: SavedPlan
    """Its held rows are shown with the outcome they would have."""
    verdict: Verdict
    live: bool
    ceilings: Ceilings
    """The limits in force for this run, batch sizes included."""
    held: Mapping[int, str]
    """Row number -> why a guard holds it. Stored only where the plan is live and may go."""

    @property
    def go(self) -> bool:
        """Whether batches may be applied."""
        return self.live and self.verdict.go


def allowed(plan: SavedPlan) -> tuple[PlanRow, ...]:
    """The rows an apply may write or has written: in lane auto, or approved by name."""
    return tuple(row for row in plan.rows if row.correction.lane is Lane.AUTO or row.approved)


def released(plan: SavedPlan) -> tuple[PlanRow, ...]:
    """The rows an apply would write now: allowed, and without an outcome yet."""
    return tuple(row for row in allowed(plan) if row.outcome is None)


def guard(
    system: CreditSystem,
    gateways: Gateways,
    plan_id: str,
    *,
    live: bool,
    person: bool,
    now: datetime,
    limits: Mapping[str, float] | None = None,
) -> Guarded:
    """Ask every guard. A refused live plan is quarantined; a dry run changes no state and holds no row.

    `person`: somebody typed `--live`; a schedule or the UI needs automation.apply or an approval as well. `limits` are
    those of this run; where one is looser than the policy's, the run is refused and the plan stays as it is.
    """
    plan = gateways.plans.load(plan_id)
    if live and plan.state not in APPLICABLE:
        raise PlanError(
            f"{plan_id}: the plan is {plan.state} and cannot be applied: make a new one with fix {system.name}"
        )
    rows, facts = released(plan), facts_from(plan.facts)
    ceilings = ceilings_of(system.policy.limits, facts, lifted=lifts_limits(plan))
    ceilings, refused = tightened(ceilings, limits or {})
    past = row_facts(system, gateways, rows, now=now)
    held = {row.seq: failures for row in rows if (failures := judge_row(row.correction, ceilings, past))}
    flapping = sum(1 for failures in held.values() if any(failure.guard == "flap" for failure in failures))
    verdict = judge_plan(
        plan_id,
        [row.correction for row in rows if row.seq not in held],
        facts,
        ceilings,
        system.policy.limits,
        circumstances(system, gateways, plan, rows, live=live, person=person, flapping=flapping, now=now),
    )
    if live and not verdict.go and plan.state != "applying":
        gateways.plans.set_state(plan_id, "quarantined", [f.sentence for f in verdict.failures])
        plan = gateways.plans.load(plan_id)
    sentences = {seq: "; ".join(failure.sentence for failure in failures) for seq, failures in held.items()}
    verdict = Verdict(failures=(*refused, *verdict.failures))
    if live and verdict.go and held:
        gateways.plans.hold(plan_id, {seq: ("blocked_by_guard", sentence) for seq, sentence in sentences.items()})
    return Guarded(plan=with_held(plan, sentences), verdict=verdict, live=live, ceilings=ceilings, held=sentences)


def with_held(plan: SavedPlan, held: Mapping[int, str]) -> SavedPlan:
    """The plan with these rows shown as held, whether or not that is stored: row → why."""
    rows = (
        replace(row, outcome="blocked_by_guard", failures=(held[row.seq],))
        if row.seq in held and row.outcome is None
        else row
        for row in plan.rows
    )
    return replace(plan, rows=tuple(rows)) if held else plan
