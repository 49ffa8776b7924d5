"""Approvals and rejections of saved plans, inside the caller's transaction.

An approval binds to row digests, so an identical row in a later plan keeps it for 24 hours; the latest decision about a
digest counts (SQL function `released`). The SQL function `decide` alone checks and records a decision; this module
turns a selection into row numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from credit_pipeline.adapters.plans.saved_plans import no_such_plan
from credit_pipeline.adapters.postgres.transactions import Cursor, Row
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.services.plans.ports import Selection

UNAPPROVED_TTL = timedelta(minutes=60)
APPROVED_TTL = timedelta(hours=24)

# Age by the database's clock.
_PLAN = """
SELECT p.plan_id, p.system, p.digest, p.state,
       now() - p.created_at AS age,
       now() - (SELECT max(a.decided_at) FROM credit_pipeline.approval AS a
                WHERE a.plan_id = p.plan_id AND a.decision = 'approve') AS approved_since
FROM credit_pipeline.correction_plan AS p WHERE p.plan_id = %s AND p.system = %s
"""
# Uses the primary key's prefix (plan_id). An empty list of codes or accounts selects all.
_SELECTED = """
SELECT c.seq FROM credit_pipeline.correction AS c
WHERE c.plan_id = %(plan)s AND c.lane = %(lane)s AND c.outcome IS NULL
  AND (cardinality(%(codes)s::text[]) = 0 OR c.content -> 'codes' ?| %(codes)s::text[])
  AND (cardinality(%(accounts)s::text[]) = 0 OR c.account = ANY (%(accounts)s::text[]))
"""
_DECIDE = "SELECT credit_pipeline.decide(%s, %s, %s::int[], %s, %s, %s) AS rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Who made a decision and why. Raises PlanError if either is blank."""

    who: str
    reason: str

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.reason.strip():
            raise PlanError("a decision needs a name and a reason: give both --as WHO and --reason TEXT")


def locked_plan(cursor: Cursor, system: str, plan_id: str) -> Row:
    """The plan's head row, locked. Raises PlanError if this system has no such plan."""
    return _plan(cursor, _PLAN + "FOR UPDATE OF p", system, plan_id)


def too_old(plan: Row) -> PlanError | None:
    """The error if a waiting plan is too old: 60 minutes if unapproved, else 24 hours since its approval."""
    if plan["state"] == "approved" and plan["approved_since"] is not None:
        limit, age = APPROVED_TTL, plan["approved_since"]
    elif plan["state"] in {"proposed", "quarantined", "approved"}:
        limit, age = UNAPPROVED_TTL, plan["age"]
    else:
        return None
    if age <= limit:
        return None
    minutes = int(age.total_seconds() // 60)
    return PlanError(
        f"{plan['plan_id']}: the plan is {minutes:,} min old, limit {int(limit.total_seconds() // 60):,}: "
        f"make a new one with `credit-pipeline fix {plan['system']} --save`"
    )


def approve(cursor: Cursor, system: str, plan_id: str, selection: Selection, decision: Decision) -> int | PlanError:
    """Approves lane auto (lifts the plan's limits) or rows of lane approve, and returns how many rows were released.

    A plan that is too old becomes expired: the caller commits, then raises the PlanError returned. Raises PlanError if
    this plan, lane or row may not be approved.
    """
    plan = _plan(cursor, _PLAN, system, plan_id)
    if selection.lane not in {"auto", "approve"}:
        raise PlanError(f"{plan_id}: `{selection.lane}` is not a lane one can approve: use auto or approve")
    if selection.lane == "auto" and (selection.codes or selection.accounts):
        raise PlanError(f"{plan_id}: lane auto is approved as a whole: leave out --code and --account")
    params = {
        "plan": plan_id,
        "lane": selection.lane,
        "codes": list(selection.codes),
        "accounts": list(selection.accounts),
    }
    selected = [row["seq"] for row in cursor.execute(_SELECTED, params)]
    rows = _decide(cursor, plan_id, selection.lane, selected, "approve", decision)
    if rows is None:
        return too_old(plan) or PlanError(f"{plan_id}: the plan is expired: make a new one")
    if rows == 0:
        names = ", ".join((*selection.codes, *selection.accounts))
        raise PlanError(
            f"{plan_id}: no waiting row of lane {selection.lane} is named{f' by {names}' if names else ''}: "
            f"`credit-pipeline plans {system}` shows what it holds"
        )
    return rows


def reject(cursor: Cursor, system: str, plan_id: str, decision: Decision) -> None:
    """Rejects the plan; this also ends earlier approvals of its rows."""
    _plan(cursor, _PLAN, system, plan_id)
    _decide(cursor, plan_id, None, None, "reject", decision)


def inherit(cursor: Cursor, plan_id: str) -> None:
    """Gives a new plan the earlier approvals of identical rows."""
    cursor.execute("SELECT credit_pipeline.inherit(%s)", (plan_id,))


def _plan(cursor: Cursor, query: str, system: str, plan_id: str) -> Row:
    row = cursor.execute(query.encode(), (plan_id, system)).fetchone()
    if row is None:
        raise no_such_plan(system, plan_id)
    return row


def _decide(
    cursor: Cursor, plan_id: str, lane: str | None, seqs: Sequence[int] | None, decision: str, by: Decision
) -> int | None:
    seqs = None if seqs is None else list(seqs)
    row = cursor.execute(_DECIDE, (plan_id, lane, seqs, decision, by.who, by.reason)).fetchone()
    assert row is not None
    rows: int | None = row["rows"]
    return rows
