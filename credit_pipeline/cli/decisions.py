"""`approve` and `reject`: a person's decision about a saved plan, with a name and a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.endings import NOTHING
from credit_pipeline.cli.options import Command, accounts_option
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

Decorated = Callable[[Any], Any]


def _by(command: Any) -> Any:
    who = click.option("--as", "who", required=True, metavar="WHO", help="Who decides; kept with the decision.")
    why = click.option("--reason", required=True, metavar="TEXT", help="Why; kept with the decision.")
    return who(why(command))


@click.command(cls=Command)
@click.argument("plan")
@click.option(
    "--lane",
    type=click.Choice(["auto", "approve"]),
    help="auto lifts the limits for the plan's automatic rows; approve releases rows that wait for a person "
    "[default: approve where --code or --account is given, else auto].",
)
@click.option("--code", "codes", multiple=True, metavar="CODE", help="Only rows with this code; may be repeated.")
@accounts_option("Only this account's rows; may be repeated.")
@_by
@click.pass_obj
def approve(
    session: Session,
    plan: str,
    lane: str | None,
    codes: tuple[str, ...],
    accounts: tuple[str, ...],
    who: str,
    reason: str,
) -> int:
    """Release rows of a saved plan.

    Nothing is written to the product until `apply --live`.

    Lifting the limits never releases a row that takes credits away: those are named by --lane approve, --code or
    --account.
    """
    from credit_pipeline.cli.saved_plan import saved_plan
    from credit_pipeline.services.ports import Selection

    chosen = lane or ("approve" if codes or accounts else "auto")
    with saved_plan(session, plan) as (system, gateways, _):
        selection = Selection(lane=chosen, codes=codes, accounts=accounts)
        released = gateways.plans.approve(plan, selection, who, reason)
        state = gateways.plans.load(plan).state
    decided = {"system": system.name, "plan_id": plan, "decision": "approve", "lane": chosen, "released": released}
    session.show(decided | {"state": state}, lambda: _text(decided))
    return NOTHING


@click.command(cls=Command)
@click.argument("plan")
@_by
@click.pass_obj
def reject(session: Session, plan: str, who: str, reason: str) -> int:
    """End a saved plan unapplied.

    Earlier approvals of its rows count no more.
    """
    from credit_pipeline.cli.saved_plan import saved_plan

    with saved_plan(session, plan) as (system, gateways, _):
        gateways.plans.reject(plan, who, reason)
        state = gateways.plans.load(plan).state
    decided = {"system": system.name, "plan_id": plan, "decision": "reject", "lane": None, "released": 0}
    session.show(decided | {"state": state}, lambda: _text(decided))
    return NOTHING


def _text(decided: dict[str, Any]) -> list[RenderableType]:
    from credit_pipeline.cli.render_plan import render_decision

    return render_decision(decided)
