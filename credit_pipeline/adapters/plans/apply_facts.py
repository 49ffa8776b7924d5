"""Facts that an apply reads besides its plan: waiting rows, recent changes, former amounts, invariants.

Read-only, inside the caller's transaction. Queries about a whole plan use an index, so that they are fast enough to run
between the batches of a plan of thousands of rows.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from credit_pipeline.adapters.postgres.transactions import Cursor
from credit_pipeline.domain.plans.catalogue import Amount
from credit_pipeline.domain.subjects.ids import AccountId

# Uses index correction_waiting. A row of lane approve counts if its own digest is released.
_WAITING = """
SELECT count(*) AS rows FROM credit_pipeline.correction AS c
WHERE c.plan_id = %(plan)s AND c.system = %(system)s AND c.outcome IS NULL
  AND (c.lane = 'auto' OR c.digest IN (SELECT r.digest FROM credit_pipeline.released(%(system)s, 'approve') AS r))
"""
# The same order and index as SQL function next_rows.
_UPCOMING = """
SELECT c.seq FROM credit_pipeline.correction AS c
WHERE c.plan_id = %(plan)s AND c.system = %(system)s AND c.outcome IS NULL ORDER BY c.account, c.seq
"""
# UTC as text, which sorts by time.
_RECENT = """a.at COLLATE "C" >=
          to_char((now() - %(within)s::interval) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
# Uses index audit_account, once per account.
_AUTOMATIC = """
SELECT n.account, made.changes FROM unnest(%(accounts)s::text[]) AS n (account)
CROSS JOIN LATERAL (
    SELECT count(*) AS changes FROM credit_pipeline.audit AS a
    WHERE a.system = %(system)s AND a.account = n.account AND a.payload::jsonb ->> 'lane' = 'auto'
      AND {recent}
) AS made WHERE made.changes > 0
""".replace("{recent}", _RECENT)
# Uses indexes correction_plan_newest and audit_plan. A plan is applied within 24 hours of its creation.
_SINGLE_ACCOUNT_PLANS = """
SELECT count(DISTINCT a.account) AS accounts
FROM credit_pipeline.correction_plan AS p JOIN credit_pipeline.audit AS a ON a.plan_id = p.plan_id
WHERE p.system = %(system)s AND p.facts ? 'scope' AND p.created_at > now() - %(within)s::interval - interval '24 hours'
  AND a.payload::jsonb ->> 'lane' = 'auto' AND {recent}
""".replace("{recent}", _RECENT)
# The history behind credit_pipeline.allowance_of. Uses index act_subject.
_FORMER = """
SELECT p.key AS plan, a.at, (p.value ->> 'was')::bigint AS credits
FROM credit_pipeline.act AS a CROSS JOIN LATERAL jsonb_each(a.detail -> 'plans') AS p
WHERE a.system = %s AND a.subject IS NULL AND a.what = 'accept_catalogue' AND p.value ->> 'was' IS NOT NULL
ORDER BY a.id
"""
_INVARIANTS = "SELECT name, broken FROM credit_pipeline.invariants(%s, %s)"


def clock(cursor: Cursor) -> datetime:
    """The current time by the database's clock (UTC)."""
    row = cursor.execute("SELECT clock_timestamp() AS now").fetchone()
    assert row is not None
    now: datetime = row["now"]
    return now


def waiting(cursor: Cursor, system: str, plan_id: str) -> int:
    """Released rows of the plan that have no outcome yet."""
    row = cursor.execute(_WAITING, {"plan": plan_id, "system": system}).fetchone()
    assert row is not None
    return int(row["rows"])


def upcoming(cursor: Cursor, system: str, plan_id: str) -> list[int]:
    """Numbers of the rows without an outcome, released or not, in the order in which batches take them."""
    return [row["seq"] for row in cursor.execute(_UPCOMING, {"plan": plan_id, "system": system})]


def automatic_changes(
    cursor: Cursor, system: str, accounts: Sequence[AccountId], within: timedelta
) -> dict[AccountId, int]:
    """Account → its automatic corrections in the last `within`, by the audit and the database's clock."""
    params = {"system": system, "accounts": sorted(set(accounts)), "within": within}
    return {AccountId(row["account"]): row["changes"] for row in cursor.execute(_AUTOMATIC, params)}


def changed_alone(cursor: Cursor, system: str, within: timedelta) -> int:
    """Accounts corrected automatically in the last `within` by plans for a single account."""
    row = cursor.execute(_SINGLE_ACCOUNT_PLANS, {"system": system, "within": within}).fetchone()
    assert row is not None
    return int(row["accounts"])


def former_amounts(cursor: Cursor, system: str) -> dict[str, list[Amount]]:
    """Plan → its former amounts (credits, until when), oldest first; a person accepted each change."""
    found: defaultdict[str, list[Amount]] = defaultdict(list)
    for row in cursor.execute(_FORMER, (system,)):
        found[row["plan"]].append(Amount(until=row["at"], credits=row["credits"]))
    return dict(found)


def invariants(cursor: Cursor, plan_id: str, since: int) -> Mapping[str, int]:
    """Invariant → rows changed after audit row `since` that violate it, 0 included."""
    return {row["name"]: row["broken"] for row in cursor.execute(_INVARIANTS, (plan_id, since))}
