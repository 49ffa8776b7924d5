"""What the guards judge an apply by, read from database and billing when they are asked. Rules are in domain/."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.guards.plan_guards import BillingPin, Circumstances, judge_alone
from credit_pipeline.domain.guards.row_guards import RowFacts
from credit_pipeline.domain.guards.verdict import Failure
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.ports import PlanRow, SavedPlan
from credit_pipeline.services.reconcile.in_force import in_force

DAY = timedelta(hours=24)


def row_facts(system: CreditSystem, gateways: Gateways, rows: Sequence[PlanRow], *, now: datetime) -> RowFacts:
    """The past of the rows' accounts: automatic corrections, and the losses that a restore may give back."""
    window = system.policy.limits.flap_window
    corrections = [row.correction for row in rows]
    automatic = sorted({c.account_id for c in corrections if c.lane is Lane.AUTO})
    restored = sorted({c.account_id for c in corrections if any(step.delta > 0 for step in c.adjustments)})
    remembered = gateways.memory.remembered(restored, now) if restored else {}
    return RowFacts(
        system=system.name,
        catalogue=in_force(system, gateways).catalogue,
        flap_window=window,
        changes=gateways.plans.automatic_changes(automatic, window) if automatic else {},
        open_mismatches={account: memory.open_mismatches for account, memory in remembered.items()},
    )


def circumstances(
    system: CreditSystem,
    gateways: Gateways,
    plan: SavedPlan,
    rows: Sequence[PlanRow],
    *,
    live: bool,
    person: bool,
    flapping: int,
    now: datetime,
) -> Circumstances:
    """What is true now besides the plan. Only a live run asks billing whose account it is.

    Raises SourceError where billing does not say.
    """
    lifted = lifts_limits(plan)
    released = person or system.policy.automation_apply or lifted or any(row.approved for row in rows)
    return Circumstances(
        system=system.name,
        now=now,
        clock=gateways.plans.clock(),
        first_plan=not gateways.plans.ever_applied(),
        approved=lifted,
        unattended=live and not released,
        flapping=flapping,
        pin=_billing_pin(system, gateways) if live else None,
    )


def alone_refused(system: CreditSystem, gateways: Gateways) -> Failure | None:
    """Why no other account may be corrected by itself for now, as of the last complete collection's population."""
    if not gateways.memory.installed():
        return None  # whoever saves the plan says so
    last = gateways.memory.last_collection()
    changed = gateways.plans.changed_alone(DAY)
    return judge_alone(system.name, changed, last.population if last else 0, system.policy.limits, DAY)


def lifts_limits(plan: SavedPlan) -> bool:
    """Whether a person approved the automatic lane, or the guards let the plan pass when it was begun."""
    return plan.limits_approved or plan.state == "applying"


def _billing_pin(system: CreditSystem, gateways: Gateways) -> BillingPin:
    """The provider's account and the YAML's environment. Database and server are compared by the database itself."""
    pins = gateways.plans.pins()
    pinned = dict(pins.get("billing") or {})
    if not pinned:
        return BillingPin(pinned={}, found={})
    found = dict(gateways.billing.identity())
    if "environment" in pins:
        pinned["environment"], found["environment"] = str(pins["environment"]), system.environment
    return BillingPin(pinned=pinned, found=found)
