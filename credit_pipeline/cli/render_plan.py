"""A correction plan as text: before, after, reasons, what to type next.

Pure, from the JSON object of `fix` and `apply`: mappings in, rich renderables out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from credit_pipeline.cli.cells import balance, counted, grid, moment, plain, signed, unbroken

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 30
_OPEN = frozenset({"proposed", "quarantined", "approved"})
Plan = Mapping[str, Any]


def render_plan(plan: Plan) -> list[RenderableType]:
    """The plan's head, its rows (the first thirty), what refused it, and the next command."""
    parts: list[RenderableType] = [Text(heading(plan), style="bold")]
    if plan["rows"]:
        parts += ["", _rows(plan["rows"][:SHOWN])]
        hidden = len(plan["rows"]) - SHOWN
        if hidden > 0:
            more = counted(hidden, "more row", "more rows")
            parts.append(Text(f"{more}: --save writes them all to a file, --format json prints them"))
    parts += [unbroken(f"refused: {plain(failure)}") for failure in plan["failures"]]
    if plan["rows"] and plan["state"] in _OPEN:
        eyes = "another database user approves" if plan.get("four_eyes") else "one person approves (four_eyes: false)"
        parts.append(unbroken(f"digest {plan['digest'][:12]}, {eyes}"))
    following = [unbroken(line) for line in next_steps(plan)]
    return [*parts, "", *following] if following else parts


def heading(plan: Plan) -> str:
    """What the plan is and what came of it, in a line or two."""
    rows, credits = plan["totals"]["rows"], plan["totals"]["credits"]
    if not rows:
        return f"{plan['system']}: nothing to correct (plan {plan['plan_id']})"
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in plan["outcomes"].items())
    tense = "moved" if plan["mode"] == "live" else "would move"
    mode = "live" if plan["mode"] == "live" else "dry run, nothing written"
    return (
        f"{plan['system']}: plan {plan['plan_id']} ({plan['state']}; {mode}): {counted(rows, 'correction')}, "
        f"{tense} {signed(credits) or '0'} credits\n{outcomes}"
    )


def next_steps(plan: Plan) -> Iterator[str]:
    """What to type next; refusals name their own command."""
    plan_id, waiting = plan["plan_id"], _waiting(plan["rows"])
    if plan["state"] in _OPEN and plan["outcomes"].get("would_change") and not plan["failures"]:
        yield f"next: credit-pipeline apply {plan_id} --live"
    if waiting and plan["state"] in _OPEN:
        codes = " ".join(f"--code {code}" for code in sorted({code for row in waiting for code in row["codes"]}))
        count = counted(len(waiting), "row waits", "rows wait")
        yield f"{count} for a person: credit-pipeline approve {plan_id} {codes} --as YOU --reason WHY"


def render_plans(system: str, plans: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """The saved plans, newest first."""
    if not plans:
        return [unbroken(f"{system}: no plan is saved; credit-pipeline fix {system} makes one")]
    table = grid("plan", "state", "made (UTC)", "corrections", "decided", numbers=("corrections",))
    for plan in plans:
        lanes = ", ".join(f"{count:,} {lane}" for lane, count in (plan["lanes"] or {}).items())
        state = f"{plan['state']}, undo of {plan['undoes']}" if plan["undoes"] else plan["state"]
        table.add_row(plan["plan_id"], state, moment(plan["created_at"]), lanes, "\n".join(_decided(plan)))
    return [table, "", unbroken(f"to look at one: credit-pipeline apply {plans[0]['plan_id']}")]


def _decided(plan: Mapping[str, Any]) -> Iterator[str]:
    """Who allowed what. What an earlier plan's approval allows of this one is said without a name."""
    lanes = {one["lane"] for one in plan["decisions"]}
    if plan["limits_approved"] and "auto" not in lanes:
        yield "approved before: limits lifted"
    if plan["approved_rows"] and "approve" not in lanes:
        yield f"approved before: {counted(plan['approved_rows'], 'row')}"
    for one in plan["decisions"]:
        what = "limits lifted" if one["lane"] == "auto" else counted(one["rows"], "row")
        yield f"{plain(one['by'])}: {what if one['decision'] == 'approve' else 'rejected'}"


def render_decision(decided: Mapping[str, Any]) -> list[RenderableType]:
    """What an approval or a rejection did."""
    if decided["decision"] == "reject":
        return [unbroken(f"{decided['plan_id']}: rejected; credit-pipeline fix {decided['system']} makes a new plan")]
    lifted = "; the limits are lifted for them" if decided["lane"] == "auto" else ""
    released = counted(decided["released"], f"row of lane {decided['lane']}", f"rows of lane {decided['lane']}")
    return [
        Text(f"{decided['plan_id']}: {released} released{lifted}", style="bold"),
        unbroken(f"next: credit-pipeline apply {decided['plan_id']} --live"),
    ]


def _waiting(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["outcome"] == "needs_approval"]


def _rows(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = grid("account", "why", "credits", numbers=("credits",), whole=("account",))
    for row in rows:
        account = f"{plain(row['account_id'])}\n  {balance(row['before'])}\n  -> {balance(row['after'])}"
        why = [f"{row['lane']}: {row['outcome']}", *row["reasons"], *row["failures"]]
        table.add_row(account, _lines(why), signed(row["delta"]))
    return table


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(plain(line) for line in lines)
