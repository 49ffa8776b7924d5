"""`approve` and `reject`: a person's decision about a saved plan, with a name and a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import Command, accounts_option
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.services.plans.ports import SavedPlan

SHORTEST_DIGEST = 8

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
@click.option("--digest", metavar="PREFIX", help="The plan's digest begins so, or nothing is approved.")
@_by
@click.pass_obj
def approve(
    session: Session,
    plan: str,
    lane: str | None,
    codes: tuple[str, ...],
    accounts: tuple[str, ...],
    digest: str | None,
    who: str,
    reason: str,
) -> int:
    """Release rows of a saved plan.

    Nothing is written to the product until `apply --live`. Where four eyes are asked for, who made the plan cannot.

    Lifting the limits never releases a row that takes credits away: those are named by --lane approve, --code or
    --account.
    """
    from credit_pipeline.cli.saved_plan import plan_to_decide
    from credit_pipeline.services.plans.ports import Selection

    chosen = lane or ("approve" if codes or accounts else "auto")
    with plan_to_decide(session, plan) as (system, plans, found):
        _check_digest(found, digest)
        selection = Selection(lane=chosen, codes=codes, accounts=accounts)
        released = plans.approve(plan, selection, who, reason)
        state = plans.load(plan).state
    decided = {"system": system.name, "plan_id": plan, "decision": "approve", "lane": chosen, "released": released}
    session.show(decided | {"state": state, "four_eyes": found.four_eyes}, lambda: _text(decided))
    return NOTHING


@click.command(cls=Command)
@click.argument("plan")
@_by
@click.pass_obj
def reject(session: Session, plan: str, who: str, reason: str) -> int:
    """End a saved plan unapplied.

    Earlier approvals of its rows count no more.
    """
    from credit_pipeline.cli.saved_plan import plan_to_decide

    with plan_to_decide(session, plan) as (system, plans, found):
        plans.reject(plan, who, reason)
        state = plans.load(plan).state
    decided = {"system": system.name, "plan_id": plan, "decision": "reject", "lane": None, "released": 0}
    session.show(decided | {"state": state, "four_eyes": found.four_eyes}, lambda: _text(decided))
    return NOTHING


def _check_digest(plan: SavedPlan, prefix: str | None) -> None:
    """What was read is what is approved: the digest of a plan is of all its rows."""
    if prefix is None:
        return
    from credit_pipeline.domain.errors import PlanError

    typed = prefix.strip().lower()
    if len(typed) < SHORTEST_DIGEST or not plan.digest.startswith(typed):
        raise PlanError(
            f"{plan.plan_id}: its digest does not begin so, or these are fewer than {SHORTEST_DIGEST} letters of it: "
            f"read the plan with `credit-pipeline apply {plan.plan_id}` and type what it shows"
        )


def _text(decided: dict[str, Any]) -> list[RenderableType]:
    from credit_pipeline.cli.render_plan import render_decision

    return render_decision(decided)
