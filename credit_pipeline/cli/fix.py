"""`fix`: save a correction plan through the Dagster job and show it; with --live apply its automatic lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.apply import plan_status
from credit_pipeline.cli.exit_codes import COULD_NOT_TELL
from credit_pipeline.cli.options import Command, accounts_option
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.orchestration.jobs.runs import RunResult


@click.command(cls=Command)
@click.argument("system")
@click.option("--live", is_flag=True, help="Apply what is proven, under the guards. Without it nothing is written.")
@click.option("--save", is_flag=True, help="Write a review pack: summary, every row as CSV, 20 random samples.")
@accounts_option("Only this account; may be repeated. The plan then holds these alone.")
@click.pass_obj
def fix(session: Session, system: str, live: bool, save: bool, accounts: tuple[str, ...]) -> int:
    """Plan corrections; apply them with --live.

    Saves the plan and shows every row before and after; a dry run unless --live.

    Runs the Dagster job, so that the lineage is whole. With --live the exit status is 0 when every row is changed or
    was already; without it, when there is nothing to correct.
    """
    found = session.system(system)
    result = _run(session, found, live=live, accounts=accounts)
    pack = _saved(session, result.plan) if save else None
    session.show(dict(result.plan) | ({"review_pack": pack} if pack else {}), lambda: _text(result.plan, pack))
    refusals = result.report.refusals if result.report else ()
    for refusal in refusals:
        session.say(f"{found.name}: {refusal}")
    return COULD_NOT_TELL if refusals else plan_status(result.plan)


def _run(session: Session, system: CreditSystem, *, live: bool, accounts: Sequence[str]) -> RunResult:
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.cli.named_accounts import named_accounts
    from credit_pipeline.cli.saved_plan import missing_to_write, require_installed, require_writable

    with sandbox_for(session, system):
        with session.gateways(system) as gateways:  # what can be refused is refused before a run exists
            if gateways.at_home and not live:
                session.say(f"Only shown, and kept in the working folder: {missing_to_write(system)}")
            else:
                require_writable(system)
                require_installed(system, gateways)
            named = named_accounts(system, gateways, accounts) or ()
        with session.instance() as instance, session.progress("asking billing") as progress:
            from credit_pipeline.orchestration.jobs.runs import reconcile_run

            return reconcile_run(system, instance, dry_run=not live, accounts=named, attended=live, progress=progress)


def _saved(session: Session, plan: Mapping[str, Any]) -> str:
    from credit_pipeline.adapters.artifacts.review_pack import write_pack

    return str(write_pack(session.private_folder("reports"), plan))


def _text(plan: Mapping[str, Any], pack: str | None) -> list[RenderableType]:
    from credit_pipeline.cli.cells import unbroken
    from credit_pipeline.cli.render_plan import render_plan

    return [*render_plan(plan), *([unbroken(f"review pack: {pack}")] if pack else [])]
