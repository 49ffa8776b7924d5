"""Decisions of people about saved plans: which may still be decided, which rows a decision names, what it releases.

Runs inside a transaction of `plan_store.py`. An approval binds to row digests, so an identical row that is planned
again keeps it for 24 hours; the newest decision about a digest counts (SQL function `released`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from credit_pipeline.adapters.saved_plans import no_such_plan
from credit_pipeline.adapters.transactions import Cursor, Row
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.services.ports import Selection

UNAPPROVED_TTL = timedelta(minutes=60)
APPROVED_TTL = timedelta(hours=24)

# Age by the database's clock; the row lock keeps the state still until the decision is written.
_PLAN = """
SELECT p.plan_id, p.system, p.digest, p.state,
       now() - p.created_at AS age,
       now() - (SELECT max(a.decided_at) FROM credit_pipeline.approval AS a
                WHERE a.plan_id = p.plan_id AND a.decision = 'approve') AS approved_since
FROM credit_pipeline.correction_plan AS p WHERE p.plan_id = %s AND p.system = %s FOR UPDATE OF p
"""
# Leans on the primary key's prefix (plan_id). An empty list of codes or accounts names them all.
_NAMED = """
SELECT c.seq, c.digest FROM credit_pipeline.correction AS c
WHERE c.plan_id = %(plan)s AND c.lane = %(lane)s AND c.outcome IS NULL
  AND (cardinality(%(codes)s::text[]) = 0 OR c.content -> 'codes' ?| %(codes)s::text[])
  AND (cardinality(%(accounts)s::text[]) = 0 OR c.account = ANY (%(accounts)s::text[]))
"""
_DECIDE = """
INSERT INTO credit_pipeline.approval (system, plan_id, plan_digest, lane, row_digests, decision, approver, reason)
VALUES (%(system)s, %(plan)s, %(plan_digest)s, %(lane)s, %(digests)s, %(decision)s, %(who)s, %(reason)s)
"""
_RELEASE = "UPDATE credit_pipeline.correction SET approved = true WHERE plan_id = %s AND seq = ANY (%s)"
_LIFT = "UPDATE credit_pipeline.correction_plan SET state = 'approved', limits_approved = true WHERE plan_id = %s"
# A plan held back by its limits stays held back: releasing a claw-back does not lift them for automatic rows.
# Where there are none, the rows just named are the whole plan; without this a first plan of such rows never starts.
_ADVANCE = """
UPDATE credit_pipeline.correction_plan AS p
SET state = CASE WHEN p.state = 'proposed' OR named.whole THEN 'approved' ELSE p.state END,
    limits_approved = p.limits_approved OR named.whole
FROM (SELECT NOT EXISTS (
    SELECT FROM credit_pipeline.correction AS c
    WHERE c.plan_id = %(plan)s AND c.lane = 'auto' AND c.outcome IS NULL) AS whole) AS named
WHERE p.plan_id = %(plan)s
"""
_ROWS_INHERIT = """
UPDATE credit_pipeline.correction AS c SET approved = true
FROM credit_pipeline.released(%(system)s, 'approve') AS r
WHERE c.plan_id = %(plan)s AND c.lane = 'approve' AND c.digest = r.digest
"""
# One approval must cover the whole auto lane: two small ones never add up to a large one nobody saw.
_LIMITS_INHERIT = """
WITH own AS (SELECT c.digest FROM credit_pipeline.correction AS c WHERE c.plan_id = %(plan)s AND c.lane = 'auto')
UPDATE credit_pipeline.correction_plan AS p SET limits_approved = true
WHERE p.plan_id = %(plan)s AND EXISTS (SELECT FROM own)
  AND NOT EXISTS (SELECT digest FROM own EXCEPT SELECT r.digest FROM credit_pipeline.released(%(system)s, 'auto') AS r)
  AND EXISTS (
    SELECT FROM credit_pipeline.approval AS a
    WHERE a.system = %(system)s AND a.lane = 'auto' AND a.decision = 'approve'
      AND a.decided_at > now() - interval '24 hours'
      AND NOT EXISTS (SELECT digest FROM own EXCEPT SELECT unnest(a.row_digests)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Who decided what about a plan, and why."""

    who: str
    reason: str

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.reason.strip():
            raise PlanError("a decision needs a name and a reason: give both --as WHO and --reason TEXT")


def locked_plan(cursor: Cursor, system: str, plan_id: str) -> Row:
    """The plan's head row under a lock. Raises PlanError where this system has no such plan."""
    row = cursor.execute(_PLAN, (plan_id, system)).fetchone()
    if row is None:
        raise no_such_plan(system, plan_id)
    return row


def too_old(plan: Row) -> PlanError | None:
    """Why a plan that waits may not be used any more: 60 minutes unapproved, 24 hours after its approval."""
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


def approve(cursor: Cursor, plan: Row, selection: Selection, decision: Decision) -> int:
    """Lane auto lifts the limits and releases no row of lane approve; lane approve releases the rows named, only."""
    plan_id = plan["plan_id"]
    if plan["state"] not in {"proposed", "quarantined", "approved"}:
        raise PlanError(
            f"{plan_id}: the plan is {plan['state']} and cannot be approved: "
            f"make a new one with `credit-pipeline fix {plan['system']} --save`"
        )
    if selection.lane not in {"auto", "approve"}:
        raise PlanError(f"{plan_id}: `{selection.lane}` is not a lane one can approve: use auto or approve")
    if selection.lane == "auto" and (selection.codes or selection.accounts):
        raise PlanError(f"{plan_id}: lane auto is approved as a whole: leave out --code and --account")
    named = _named(cursor, plan_id, selection)
    if not named:
        asked = ", ".join((*selection.codes, *selection.accounts))
        raise PlanError(
            f"{plan_id}: no waiting row of lane {selection.lane} is named{f' by {asked}' if asked else ''}: "
            f"`credit-pipeline plans {plan['system']}` shows what it holds"
        )
    _decide(cursor, plan, selection.lane, [row["digest"] for row in named], "approve", decision)
    if selection.lane == "auto":
        cursor.execute(_LIFT, (plan_id,))
    else:
        cursor.execute(_RELEASE, (plan_id, [row["seq"] for row in named]))
        cursor.execute(_ADVANCE, {"plan": plan_id})
    return len(named)


def reject(cursor: Cursor, plan: Row, decision: Decision) -> None:
    """Ends the plan, and earlier approvals of its rows with it."""
    plan_id = plan["plan_id"]
    if plan["state"] not in {"proposed", "quarantined", "approved"}:
        raise PlanError(f"{plan_id}: the plan is {plan['state']}: only a waiting plan can be rejected")
    for lane in ("auto", "approve"):
        named = _named(cursor, plan_id, Selection(lane=lane))
        _decide(cursor, plan, lane, [row["digest"] for row in named], "reject", decision)
    cursor.execute(
        "UPDATE credit_pipeline.correction_plan SET state = 'rejected', finished_at = now() WHERE plan_id = %s",
        (plan_id,),
    )


def inherit(cursor: Cursor, system: str, plan_id: str) -> None:
    """Gives a new plan what earlier approvals of identical rows allow."""
    cursor.execute(_ROWS_INHERIT, {"system": system, "plan": plan_id})
    cursor.execute(_LIMITS_INHERIT, {"system": system, "plan": plan_id})


def _named(cursor: Cursor, plan_id: str, selection: Selection) -> list[Row]:
    words = {
        "plan": plan_id,
        "lane": selection.lane,
        "codes": list(selection.codes),
        "accounts": list(selection.accounts),
    }
    return cursor.execute(_NAMED, words).fetchall()


def _decide(cursor: Cursor, plan: Row, lane: str, digests: Sequence[str], decision: str, made: Decision) -> None:
    words = {
        "system": plan["system"],
        "plan": plan["plan_id"],
        "plan_digest": plan["digest"],
        "lane": lane,
        "digests": list(digests),
        "decision": decision,
        "who": made.who,
        "reason": made.reason,
    }
    cursor.execute(_DECIDE, words)
