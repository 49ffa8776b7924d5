"""`apply`: carry out a saved plan through the Dagster job, or show what it would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.exit_codes import ACT, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType


_WAITING = frozenset({"proposed", "quarantined", "approved"})


@click.command(cls=Command)
@click.argument("plan")
@click.option("--live", is_flag=True, help="Write. Without it the plan is shown and nothing is written.")
@click.pass_obj
def apply(session: Session, plan: str, live: bool) -> int:
    """Carry out a saved plan under its guards.

    One that was interrupted goes on where it stopped when it is run again. Exit status 0 when every row is changed or
    was already, 1 when a row is held or the plan is refused.
    """
    shown = _applied(session, plan) if live else _previewed(session, plan)
    session.show(shown, lambda: _text(shown))
    if not live and shown["state"] in _WAITING:
        session.say(f"Nothing was written: credit-pipeline apply {plan} --live applies it.")
    return plan_status(shown)


def plan_status(plan: Mapping[str, Any]) -> int:
    """0 where every row was changed or is a no-op, else 1."""
    ended = set(plan["outcomes"]) <= {"changed", "noop_already_applied"}
    return NOTHING if ended and not plan["failures"] else ACT


def _applied(session: Session, plan_id: str) -> Mapping[str, Any]:
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.cli.saved_plan import require_writable, saved_plan

    with saved_plan(session, plan_id) as (system, _, _):  # it exists: an unknown id is one sentence and no run
        require_writable(system)
    with sandbox_for(session, system), session.instance() as instance, session.waiting("applying"):
        from credit_pipeline.orchestration.jobs.runs import apply_run

        return apply_run(system, instance, plan_id, dry_run=False, attended=True).plan


def _previewed(session: Session, plan_id: str) -> Mapping[str, Any]:
    from datetime import UTC, datetime

    from credit_pipeline.cli.saved_plan import saved_plan
    from credit_pipeline.services.plans.guard import guard
    from credit_pipeline.services.plans.report import PlanReport

    with saved_plan(session, plan_id) as (system, gateways, plan):
        if plan.state not in _WAITING:
            return PlanReport(plan=plan, mode="dry_run", failures=plan.failures).as_json()
        guarded = guard(system, gateways, plan_id, live=False, person=True, now=datetime.now(UTC))
        failures = tuple(failure.sentence for failure in guarded.verdict.failures)
        return PlanReport(plan=guarded.plan, mode="dry_run", failures=failures).as_json()


def _text(plan: Mapping[str, Any]) -> list[RenderableType]:
    from credit_pipeline.cli.render_plan import render_plan

    return render_plan(plan)
