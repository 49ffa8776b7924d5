"""`plans`: the saved correction plans of a system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from credit_pipeline.services.gateways import Gateways
    from credit_pipeline.services.plans.ports import SavedPlan

WAITING = frozenset({"proposed", "quarantined", "approved", "applying", "partly_applied"})


@click.command(cls=Command)
@click.argument("system")
@click.pass_obj
def plans(session: Session, system: str) -> int:
    """List saved plans, newest first, and who decided about them."""
    from credit_pipeline.cli.saved_plan import require_installed

    found = session.system(system)
    with session.gateways(found) as gateways:
        require_installed(found, gateways)
        newest = gateways.plans.plans()
        with gateways.plans.audit_snapshot() as audit:
            decided = audit.approvals([plan.plan_id for plan in newest])
        saved = [_line(_with_rows(gateways, plan), decided) for plan in newest]

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_plan import render_plans

        return render_plans(found.name, saved)

    session.show({"system": found.name, "plans": saved}, text)
    return NOTHING


def _with_rows(gateways: Gateways, plan: SavedPlan) -> SavedPlan:
    """Only a plan that waits is read whole: there is one at most, and finished ones may be large."""
    return gateways.plans.load(plan.plan_id) if plan.state in WAITING else plan


def _line(plan: SavedPlan, decided: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from collections import Counter

    waiting = plan.state in WAITING
    lanes = Counter(row.correction.lane.value for row in plan.rows)
    return {
        "plan_id": plan.plan_id,
        "digest": plan.digest,
        "state": plan.state,
        "as_of": plan.as_of.isoformat(),
        "created_at": plan.created_at.isoformat(),
        "run_id": plan.run_id,
        "rows": len(plan.rows) if waiting else None,
        "lanes": dict(sorted(lanes.items())) if waiting else None,
        "approved_rows": sum(1 for row in plan.rows if row.approved),
        "limits_approved": plan.limits_approved,
        "decisions": [_decision(one) for one in decided if one["plan_id"] == plan.plan_id],
        "failures": list(plan.failures),
        "undoes": plan.undoes,
    }


def _decision(one: Mapping[str, Any]) -> dict[str, Any]:
    """`by` is what the person typed after `--as`, `login` the database user it was decided as."""
    words = ("decision", "lane", "rows", "login", "four_eyes", "reason")
    return {word: one[word] for word in words} | {"by": one["approver"], "at": one["decided_at"].isoformat()}
