"""`fix`, `apply` and `undo`: save a correction plan through a Dagster job, show it, and carry it out with --live."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import balance, bold, by_count, counted, grid, plain, signed, unbroken
from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command, accounts_option
from credit_pipeline.cli.plans import saved_plan
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.orchestration.runs.system_runs import RunResult

Plan = Mapping[str, Any]

SHOWN = 30
WAITING = frozenset({"proposed", "quarantined", "approved"})


@click.command(cls=Command)
@click.argument("system")
@click.option("--live", is_flag=True, help="Apply what is proven, under the guards. Without it nothing is written.")
@click.option("--save", is_flag=True, help="Write a review pack: summary, every row as CSV, 20 random samples.")
@accounts_option("Only this account; may be repeated. The plan then holds only the named accounts.")
@click.pass_obj
def fix(session: Session, system: str, live: bool, save: bool, accounts: tuple[str, ...]) -> int:
    """Plan corrections; apply them with --live.

    Saves the plan and shows every row before and after; a dry run unless --live.

    Runs the Dagster job, so that the lineage is complete. With --live the exit status is 0 if every row is changed or
    was changed before; without it, if there is nothing to correct.
    """
    found = session.system(system)
    result = _run(session, found, live=live, accounts=accounts)
    pack = _review_pack(session, result.plan) if save else None
    shown = dict(result.plan) | ({"review_pack": pack} if pack else {})
    session.show(shown, lambda: [*_text(result.plan), *([unbroken(f"review pack: {pack}")] if pack else [])])
    refusals = result.report.refusals if result.report else ()
    for refusal in refusals:
        session.say(f"{found.name}: {refusal}")
    return COULD_NOT_TELL if refusals else _status(result.plan)


@click.command(cls=Command)
@click.argument("plan")
@click.option("--live", is_flag=True, help="Write. Without it the plan is shown and nothing is written.")
@click.pass_obj
def apply(session: Session, plan: str, live: bool) -> int:
    """Carry out a saved plan under its guards.

    Run it again after an interruption: it continues where it stopped. Exit status 0 if every row is changed or was
    changed before, 1 if a row is held or the plan is refused.
    """
    shown = _apply(session, plan) if live else _preview(session, plan)
    session.show(shown, lambda: _text(shown))
    if not live and shown["state"] in WAITING:
        session.say(f"Nothing was written: credit-pipeline apply {plan} --live applies it.")
    return _status(shown)


@click.command(cls=Command)
@click.argument("plan")
@click.option("--live", is_flag=True, help="Write what was approved. Without it nothing is written.")
@accounts_option("Only this account; may be repeated. Without it, every account that the plan changed.")
@click.pass_obj
def undo(session: Session, plan: str, live: bool, accounts: tuple[str, ...]) -> int:
    """Take back what a plan changed.

    Saves a new plan and shows it; each row waits for a person's `approve`. With --live the approved rows are applied.

    Credits that were spent meanwhile stay spent and are shown as a shortfall. Exit status 0 if every row is changed or
    was undone before.
    """
    shown = _undo(session, plan, accounts, live=live)
    session.show(shown, lambda: _undo_text(shown))
    return _status(shown)


def _run(session: Session, system: CreditSystem, *, live: bool, accounts: Sequence[str]) -> RunResult:
    from credit_pipeline.adapters.database_only import missing_to_write, require_installed, require_writable
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.services.explain.named_accounts import named_accounts

    with sandbox_for(session, system):
        with session.gateways(system) as gateways:  # refuse what can be refused before there is a run
            if gateways.at_home and not live:
                session.say(f"Only shown, and kept in the working folder: {missing_to_write(system, os.environ)}")
            else:
                require_writable(system, os.environ)
                require_installed(system, gateways.memory)
            named = named_accounts(system, gateways, accounts) or ()
        with session.instance() as instance, session.progress("asking billing") as progress:
            from credit_pipeline.orchestration.runs.system_runs import reconcile_run

            return reconcile_run(system, instance, dry_run=not live, accounts=named, attended=live, progress=progress)


def _review_pack(session: Session, plan: Plan) -> str:
    from credit_pipeline.adapters.artifacts.review_pack import write_pack

    return str(write_pack(session.private_folder("reports"), plan))


def _apply(session: Session, plan_id: str) -> Plan:
    from credit_pipeline.adapters.database_only import require_writable
    from credit_pipeline.cli.managed_servers import sandbox_for

    with saved_plan(session, plan_id) as (system, _, _):  # an unknown id is one sentence and no run
        require_writable(system, os.environ)
    with sandbox_for(session, system), session.instance() as instance, session.waiting("applying"):
        from credit_pipeline.orchestration.runs.system_runs import apply_run

        return apply_run(system, instance, plan_id, dry_run=False, attended=True).plan


def _preview(session: Session, plan_id: str) -> Plan:
    from datetime import UTC, datetime

    from credit_pipeline.services.plans.guard import guard
    from credit_pipeline.services.plans.report import PlanReport

    with saved_plan(session, plan_id) as (system, gateways, plan):
        if plan.state not in WAITING:
            return PlanReport(plan=plan, mode="dry_run", failures=plan.failures).as_json()
        guarded = guard(system, gateways, plan_id, live=False, person=True, now=datetime.now(UTC))
        failures = tuple(failure.sentence for failure in guarded.verdict.failures)
        return PlanReport(plan=guarded.plan, mode="dry_run", failures=failures).as_json()


def _undo(session: Session, plan_id: str, accounts: tuple[str, ...], *, live: bool) -> Plan:
    from credit_pipeline.adapters.database_only import require_writable
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.services.explain.named_accounts import named_accounts
    from credit_pipeline.services.plans.report import nothing_to_undo
    from credit_pipeline.services.plans.undo import compensations

    with saved_plan(session, plan_id) as (system, gateways, _):  # refuse what can be refused before there is a run
        named = named_accounts(system, gateways, accounts) or ()
        found = compensations(system, gateways, plan_id, named)
        if found.rows:
            require_writable(system, os.environ)
    if not found.rows:
        return nothing_to_undo(system.name, plan_id, found.notes, mode="live" if live else "dry_run")
    with sandbox_for(session, system), session.instance() as instance, session.waiting("undoing"):
        from credit_pipeline.orchestration.runs.system_runs import undo_run

        return undo_run(system, instance, plan_id, accounts=named, dry_run=not live, attended=live).plan


def _status(plan: Plan) -> int:
    done = set(plan["outcomes"]) <= {"changed", "noop_already_applied"}
    return NOTHING if done and not plan["failures"] else ACT


def _text(plan: Plan) -> list[RenderableType]:
    """The plan's heading, its rows (the first thirty), what refused it, and the next command."""
    parts: list[RenderableType] = [bold(_heading(plan))]
    if plan["rows"]:
        parts += ["", _rows(plan["rows"][:SHOWN])]
        hidden = len(plan["rows"]) - SHOWN
        if hidden > 0:
            more = counted(hidden, "more row", "more rows")
            parts.append(f"{more}: --save writes them all to a file, --format json prints them")
    parts += [unbroken(f"refused: {plain(failure)}") for failure in plan["failures"]]
    if plan["rows"] and plan["state"] in WAITING:
        eyes = "another database user approves" if plan.get("four_eyes") else "one person approves (four_eyes: false)"
        parts.append(unbroken(f"digest {plan['digest'][:12]}, {eyes}"))
    following = [unbroken(line) for line in _next_steps(plan)]
    return [*parts, "", *following] if following else parts


def _undo_text(plan: Plan) -> list[RenderableType]:
    """The plan that takes another one back, and the credits that cannot be taken back."""
    notes = [unbroken(plain(note)) for note in plan["notes"]]
    if not plan["rows"]:
        return [*notes, *(unbroken(f"refused: {plain(failure)}") for failure in plan["failures"])]
    parts = [unbroken(f"takes back plan {plan['undoes']}"), *notes]
    short = sum(1 for row in plan["rows"] if row["shortfall"])
    if short:
        total = plan["totals"]["shortfall"]
        parts.append(unbroken(f"{total:,} credits of {counted(short, 'account')} were spent and stay spent"))
    accepted = f"credit-pipeline mismatches {plan['system']} list --state accepted"
    after = f"once applied, the findings of these accounts count as accepted, and no run corrects them: {accepted}"
    return [*parts, *_text(plan), unbroken(after)]


def _heading(plan: Plan) -> str:
    """What the plan is, and the outcomes of its rows."""
    rows, credits = plan["totals"]["rows"], plan["totals"]["credits"]
    if not rows:
        return f"{plan['system']}: nothing to correct (plan {plan['plan_id']})"
    live = plan["mode"] == "live"
    mode, verb = ("live", "moved") if live else ("dry run, nothing written", "would move")
    return (
        f"{plan['system']}: plan {plan['plan_id']} ({plan['state']}; {mode}): {counted(rows, 'correction')}, "
        f"{verb} {signed(credits) or '0'} credits\n{by_count(plan['outcomes'])}"
    )


def _next_steps(plan: Plan) -> Iterator[str]:
    """What to type next; refusals name their own command."""
    plan_id = plan["plan_id"]
    waiting = [row for row in plan["rows"] if row["outcome"] == "needs_approval"]
    if plan["state"] in WAITING and plan["outcomes"].get("would_change") and not plan["failures"]:
        yield f"next: credit-pipeline apply {plan_id} --live"
    if waiting and plan["state"] in WAITING:
        codes = " ".join(f"--code {code}" for code in sorted({code for row in waiting for code in row["codes"]}))
        count = counted(len(waiting), "row waits", "rows wait")
        yield f"{count} for a person: credit-pipeline approve {plan_id} {codes} --as YOU --reason WHY"


def _rows(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = grid("account", "why", "credits", numbers=("credits",), whole=("account",))
    for row in rows:
        account = f"{plain(row['account_id'])}\n  {balance(row['before'])}\n  -> {balance(row['after'])}"
        why = [f"{row['lane']}: {row['outcome']}", *row["reasons"], *row["failures"]]
        table.add_row(account, "\n".join(map(plain, why)), signed(row["delta"]))
    return table
