"""`undo`: take an applied plan back by a plan of its own, through the Dagster job; shown, approved, then applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.apply import plan_status
from credit_pipeline.cli.options import Command, accounts_option
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command(cls=Command)
@click.argument("plan")
@click.option("--live", is_flag=True, help="Write what was approved. Without it nothing is written.")
@accounts_option("Only this account; may be repeated. Without it, all that the plan changed.")
@click.pass_obj
def undo(session: Session, plan: str, live: bool, accounts: tuple[str, ...]) -> int:
    """Take back what a plan changed.

    Saves a plan of its own and shows it; each of its rows waits for a person (`approve`). With --live the approved rows
    are applied.

    Credits that were spent meanwhile stay spent and are shown as a shortfall. Exit status 0 when every row is changed
    or was undone already.
    """
    shown = _undone(session, plan, accounts, live=live)
    session.show(shown, lambda: _text(shown))
    return plan_status(shown)


def _undone(session: Session, plan_id: str, accounts: tuple[str, ...], *, live: bool) -> Mapping[str, Any]:
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.cli.named_accounts import named_accounts
    from credit_pipeline.cli.saved_plan import require_writable, saved_plan
    from credit_pipeline.services.plans.report import nothing_to_undo
    from credit_pipeline.services.plans.undo import compensations

    with saved_plan(session, plan_id) as (system, gateways, _):  # what can be refused is refused before a run exists
        named = named_accounts(system, gateways, accounts) or ()
        found = compensations(system, gateways, plan_id, named)
        if found.rows:
            require_writable(system)
    if not found.rows:
        return nothing_to_undo(system.name, plan_id, found.notes, mode="live" if live else "dry_run")
    with sandbox_for(session, system), session.instance() as instance, session.waiting("undoing"):
        from credit_pipeline.orchestration.jobs.runs import undo_run

        return undo_run(system, instance, plan_id, accounts=named, dry_run=not live, attended=live).plan


def _text(plan: Mapping[str, Any]) -> list[RenderableType]:
    from credit_pipeline.cli.render_undo import render_undo

    return render_undo(plan)
