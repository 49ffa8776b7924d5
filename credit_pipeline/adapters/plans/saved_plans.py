"""Stores and reads saved plans, inside the caller's transaction: head, rows (by COPY) and digest."""

import hashlib
import json
import secrets
from collections.abc import Sequence

from credit_pipeline.adapters.plans.correction_rows import Columns, stored_correction
from credit_pipeline.adapters.postgres.transactions import Cursor, Row
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.services.plans.ports import PlanRow, SavedPlan

_NEW_PLAN = """
INSERT INTO credit_pipeline.correction_plan
    (plan_id, system, digest, state, as_of, run_id, population, entitlements, facts, failures, undoes)
VALUES (%(plan_id)s, %(system)s, %(digest)s, %(state)s, %(as_of)s, %(run_id)s, %(population)s, %(entitlements)s,
        %(facts)s::jsonb, %(failures)s::jsonb, %(undoes)s)
"""
# Undo plans and correction plans do not supersede each other. A plan for one account (`scope`) supersedes earlier plans
# for that account, never the plan for all.
_SUPERSEDE = """
UPDATE credit_pipeline.correction_plan SET state = 'superseded', finished_at = now()
WHERE system = %(system)s AND plan_id <> %(plan_id)s AND undoes IS NOT DISTINCT FROM %(undoes)s
  AND (%(scope)s::text IS NULL OR facts ->> 'scope' = %(scope)s)
  AND state IN ('proposed', 'quarantined', 'approved')
"""
_PLAN = """
SELECT plan_id, system, digest, state, as_of, created_at, run_id, population, entitlements, facts, failures,
       limits_approved, undoes,
       (SELECT k.four_eyes FROM credit_pipeline.control AS k WHERE k.system = correction_plan.system) AS four_eyes
FROM credit_pipeline.correction_plan WHERE system = %s
"""
# One alert per plan, however often it is refused. It names amounts and no accounts.
_QUARANTINED = """
INSERT INTO credit_pipeline.outbox (system, kind, subject, content)
SELECT p.system, 'plan_quarantined', p.plan_id, jsonb_build_object('rows', c.n, 'credits', c.moved,
                                                                   'failures', p.failures)
FROM credit_pipeline.correction_plan AS p
CROSS JOIN LATERAL (
    SELECT count(*) AS n,
           coalesce(sum(abs(coalesce(w.grant_credits, 0) + w.total_delta - w.used_delta)), 0) AS moved
    FROM credit_pipeline.correction AS w WHERE w.plan_id = p.plan_id) AS c
WHERE p.plan_id = %s ON CONFLICT (system, kind, subject) DO NOTHING
"""
# `before` and `after` come from the audit: what was written, not what was planned.
_ROWS = """
SELECT c.*, a.payload::jsonb -> 'before' AS before, a.payload::jsonb -> 'after' AS after
FROM credit_pipeline.correction AS c
LEFT JOIN credit_pipeline.audit AS a ON a.system = c.system AND a.seq = c.audit_seq
WHERE c.plan_id = %s ORDER BY c.seq
"""


def insert(cursor: Cursor, system: str, plan: SavedPlan, rows: Sequence[tuple[int, Columns]]) -> str:
    """Stores the plan, supersedes older waiting plans of the system, and returns the new plan's id."""
    plan_id = f"{system}-{secrets.token_hex(4)}"
    params = {
        "plan_id": plan_id,
        "system": system,
        "digest": plan_digest(system, [row["digest"] for _, row in rows]),
        "state": plan.state,
        "as_of": plan.as_of,
        "run_id": plan.run_id,
        "population": plan.population,
        "entitlements": plan.entitlements,
        "facts": json.dumps(dict(plan.facts)),
        "failures": json.dumps(plan.failures),
        "undoes": plan.undoes,
    }
    cursor.execute(_NEW_PLAN, params)
    cursor.execute(_SUPERSEDE, params | {"scope": plan.facts.get("scope")})
    if rows:
        names = ", ".join(rows[0][1])
        target = f"COPY credit_pipeline.correction (plan_id, system, seq, {names}) FROM STDIN"
        with cursor.copy(target.encode()) as copy:
            for seq, row in rows:
                copy.write_row((plan_id, system, seq, *row.values()))
    return plan_id


def head(cursor: Cursor, system: str, plan_id: str) -> Row:
    """The plan's row without its corrections. Raises PlanError if this system has no such plan."""
    plan = cursor.execute(_PLAN.encode() + b" AND plan_id = %s", (system, plan_id)).fetchone()
    if plan is None:
        raise no_such_plan(system, plan_id)
    return plan


def read(cursor: Cursor, system: str, plan_id: str) -> SavedPlan:
    """The plan with its rows. Raises PlanError if it does not exist or was edited after it was saved."""
    plan = head(cursor, system, plan_id)
    rows = tuple(_plan_row(row) for row in cursor.execute(_ROWS, (plan_id,)))
    if plan_digest(system, [row.correction.digest for row in rows]) != plan["digest"]:
        raise PlanError(
            f"{plan_id}: rows were added or removed after it was saved: "
            f"make a new one with `credit-pipeline fix {system} --save`"
        )
    return _saved(plan, rows)


def newest(cursor: Cursor, system: str, limit: int) -> list[SavedPlan]:
    """The newest plans, without rows."""
    query = _PLAN + " ORDER BY created_at DESC, plan_id LIMIT %s"
    return [_saved(row, ()) for row in cursor.execute(query.encode(), (system, limit))]


def plan_digest(system: str, row_digests: Sequence[str]) -> str:
    """Order-independent SHA-256 of the plan's rows; approvers type its prefix."""
    return hashlib.sha256(json.dumps([system, sorted(row_digests)]).encode()).hexdigest()


def no_such_plan(system: str, plan_id: str) -> PlanError:
    """The error for a plan id that this system does not know."""
    return PlanError(f"{plan_id}: there is no such plan: `credit-pipeline plans {system}` lists them")


def _plan_row(row: Row) -> PlanRow:
    return PlanRow(
        seq=row["seq"],
        correction=stored_correction(row),
        approved=row["approved"],
        outcome=row["outcome"],
        failures=(row["failure"],) if row["failure"] else (),
        before=row["before"],
        after=row["after"],
    )


def _saved(plan: Row, rows: tuple[PlanRow, ...]) -> SavedPlan:
    return SavedPlan(**{**plan, "failures": tuple(plan["failures"])}, rows=rows)


def alert_quarantined(cursor: Cursor, plan_id: str) -> None:
    """Adds an alert that the plan was quarantined, in the transaction that quarantines it."""
    cursor.execute(_QUARANTINED, (plan_id,))
