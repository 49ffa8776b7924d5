"""`plans`, `approve` and `reject`: the saved correction plans of a system, and what people decide about them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from credit_pipeline.cli.cells import bold, by_count, counted, grid, moment, plain, unbroken
from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import Command, accounts_option, decision_options
from credit_pipeline.cli.session import Session
from credit_pipeline.domain.errors import CreditPipelineError, PlanError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.services.gateways import Gateways
    from credit_pipeline.services.plans.ports import PlanStore, SavedPlan

Opened = TypeVar("Opened")

SHORTEST_DIGEST = 8
UNFINISHED = frozenset({"proposed", "quarantined", "approved", "applying", "partly_applied"})


@click.command(cls=Command)
@click.argument("system")
@click.pass_obj
def plans(session: Session, system: str) -> int:
    """List saved plans, newest first, and who decided about them."""
    from credit_pipeline.adapters.database_only import require_installed

    found = session.system(system)
    with session.gateways(found) as gateways:
        require_installed(found, gateways.memory)
        newest = gateways.plans.plans()
        with gateways.plans.audit_snapshot() as audit:
            approvals = audit.approvals([plan.plan_id for plan in newest])
        saved = [_as_json(_with_rows(gateways, plan), approvals) for plan in newest]
    session.show({"system": found.name, "plans": saved}, lambda: _text(found.name, saved))
    return NOTHING


@click.command(cls=Command)
@click.argument("plan")
@click.option(
    "--lane",
    type=click.Choice(["auto", "approve"]),
    help="auto lifts the limits for the plan's automatic rows; approve releases rows that wait for a person "
    "[default: approve with --code or --account, else auto].",
)
@click.option("--code", "codes", multiple=True, metavar="CODE", help="Only rows with this code; may be repeated.")
@accounts_option("Only this account's rows; may be repeated.")
@click.option("--digest", metavar="PREFIX", help="Approve only if the plan's digest begins with this.")
@decision_options()
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

    Nothing is written to the product until `apply --live`. If four eyes are required, the maker of the plan cannot
    approve it.

    Lifting the limits never releases a row that takes credits away; name such rows by --lane approve, --code or
    --account.
    """
    from credit_pipeline.services.plans.ports import Selection

    chosen = lane or ("approve" if codes or accounts else "auto")
    with plan_to_decide(session, plan) as (system, plans, found):
        _check_digest(found, digest)
        selection = Selection(lane=chosen, codes=codes, accounts=accounts)
        released = plans.approve(plan, selection, who, reason)
        state = plans.load(plan).state
    decided = {"system": system.name, "plan_id": plan, "decision": "approve", "lane": chosen, "released": released}
    session.show(decided | {"state": state, "four_eyes": found.four_eyes}, lambda: _decision_text(decided))
    return NOTHING


@click.command(cls=Command)
@click.argument("plan")
@decision_options()
@click.pass_obj
def reject(session: Session, plan: str, who: str, reason: str) -> int:
    """End a saved plan without applying it.

    Earlier approvals of its rows no longer count.
    """
    with plan_to_decide(session, plan) as (system, plans, found):
        plans.reject(plan, who, reason)
        state = plans.load(plan).state
    decided = {"system": system.name, "plan_id": plan, "decision": "reject", "lane": None, "released": 0}
    session.show(decided | {"state": state, "four_eyes": found.four_eyes}, lambda: _decision_text(decided))
    return NOTHING


def _check_digest(plan: SavedPlan, prefix: str | None) -> None:
    """Approves only the plan that was read: its digest covers all rows."""
    if prefix is None:
        return
    typed = prefix.strip().lower()
    if len(typed) < SHORTEST_DIGEST or not plan.digest.startswith(typed):
        raise PlanError(
            f"{plan.plan_id}: --digest is not the beginning of its digest, or shorter than {SHORTEST_DIGEST} letters: "
            f"read the plan with `credit-pipeline apply {plan.plan_id}` and type what it shows"
        )


@contextlib.contextmanager
def saved_plan(session: Session, plan_id: str) -> Iterator[tuple[CreditSystem, Gateways, SavedPlan]]:
    """The plan, its system and the system's gateways. Raises PlanError if no system has the plan."""
    with _system_of(session, plan_id, session.gateways, lambda gateways: gateways.plans) as (system, gateways):
        yield system, gateways, gateways.plans.load(plan_id)


@contextlib.contextmanager
def plan_to_decide(session: Session, plan_id: str) -> Iterator[tuple[CreditSystem, PlanStore, SavedPlan]]:
    """The plan, its system and the system's plans, opened with the approver's login. Needs no billing keys."""
    with _system_of(session, plan_id, session.decisions, lambda plans: plans) as (system, plans):
        yield system, plans, plans.load(plan_id)


@contextlib.contextmanager
def _system_of(
    session: Session,
    plan_id: str,
    open_: Callable[[CreditSystem], contextlib.AbstractContextManager[Opened]],
    plans_of: Callable[[Opened], PlanStore],
) -> Iterator[tuple[CreditSystem, Opened]]:
    """The system that has the plan, and what `open_` opens for it: by the id's first part, else by asking each."""
    from credit_pipeline.config.loader import load_systems

    names = [found.name for found in load_systems(session.folder)]
    named = plan_id.rpartition("-")[0]
    if named in names or len(names) == 1:
        system = session.system(named if named in names else names[0])
        with open_(system) as opened:
            yield system, opened
        return
    for name in names:
        with contextlib.ExitStack() as stack:
            system = session.system(name)
            try:
                opened = stack.enter_context(open_(system))
                plans_of(opened).load(plan_id)
            except CreditPipelineError:
                continue  # not set up, or without this plan
            yield system, opened
            return
    raise PlanError(f"{plan_id}: no configured system has such a plan: credit-pipeline plans SYSTEM lists them")


def _with_rows(gateways: Gateways, plan: SavedPlan) -> SavedPlan:
    """Loads the rows of an unfinished plan only: there is at most one, and finished ones may be large."""
    return gateways.plans.load(plan.plan_id) if plan.state in UNFINISHED else plan


def _as_json(plan: SavedPlan, approvals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    unfinished = plan.state in UNFINISHED
    lanes = Counter(row.correction.lane.value for row in plan.rows)
    return {
        "plan_id": plan.plan_id,
        "digest": plan.digest,
        "state": plan.state,
        "as_of": plan.as_of.isoformat(),
        "created_at": plan.created_at.isoformat(),
        "run_id": plan.run_id,
        "rows": len(plan.rows) if unfinished else None,
        "lanes": dict(sorted(lanes.items())) if unfinished else None,
        "approved_rows": sum(1 for row in plan.rows if row.approved),
        "limits_approved": plan.limits_approved,
        "decisions": [_decision(one) for one in approvals if one["plan_id"] == plan.plan_id],
        "failures": list(plan.failures),
        "undoes": plan.undoes,
    }


def _decision(one: Mapping[str, Any]) -> dict[str, Any]:
    """`by` is the name given with `--as`, `login` the database user that decided."""
    words = ("decision", "lane", "rows", "login", "four_eyes", "reason")
    return {word: one[word] for word in words} | {"by": one["approver"], "at": one["decided_at"].isoformat()}


def _text(system: str, plans: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """The saved plans, newest first."""
    if not plans:
        return [unbroken(f"{system}: no plan is saved; credit-pipeline fix {system} makes one")]
    table = grid("plan", "state", "made (UTC)", "corrections", "decided", numbers=("corrections",))
    for plan in plans:
        state = f"{plan['state']}, undo of {plan['undoes']}" if plan["undoes"] else plan["state"]
        decided = "\n".join(_decided(plan))
        table.add_row(plan["plan_id"], state, moment(plan["created_at"]), by_count(plan["lanes"] or {}), decided)
    return [table, "", unbroken(f"to look at one: credit-pipeline apply {plans[0]['plan_id']}")]


def _decided(plan: Mapping[str, Any]) -> Iterator[str]:
    """Who approved or rejected what. An approval taken over from an earlier plan has no name here."""
    lanes = {one["lane"] for one in plan["decisions"]}
    if plan["limits_approved"] and "auto" not in lanes:
        yield "approved before: limits lifted"
    if plan["approved_rows"] and "approve" not in lanes:
        yield f"approved before: {counted(plan['approved_rows'], 'row')}"
    for one in plan["decisions"]:
        what = "limits lifted" if one["lane"] == "auto" else counted(one["rows"], "row")
        yield f"{plain(one['by'])}: {what if one['decision'] == 'approve' else 'rejected'}"


def _decision_text(decided: Mapping[str, Any]) -> list[RenderableType]:
    """What an approval or a rejection did."""
    if decided["decision"] == "reject":
        return [unbroken(f"{decided['plan_id']}: rejected; credit-pipeline fix {decided['system']} makes a new plan")]
    lifted = "; the limits are lifted for them" if decided["lane"] == "auto" else ""
    released = counted(decided["released"], f"row of lane {decided['lane']}", f"rows of lane {decided['lane']}")
    return [
        bold(f"{decided['plan_id']}: {released} released{lifted}"),
        unbroken(f"next: credit-pipeline apply {decided['plan_id']} --live"),
    ]
