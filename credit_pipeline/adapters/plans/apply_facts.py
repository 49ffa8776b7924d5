"""What an apply asks the database besides its plan: changes of late, rows that wait, and whether all is in order.

Runs inside a transaction of `plan_store.py`; nothing here writes. What is asked of a whole plan leans on an index, so
that it may be asked between two batches of a plan of thousands.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from credit_pipeline.adapters.postgres.transactions import Cursor
from credit_pipeline.domain.plans.catalogue import Amount
from credit_pipeline.domain.subjects.ids import AccountId

# Leans on correction_waiting; a row of lane approve counts where its own digest is released.
_WAITING = """
SELECT count(*) AS rows FROM credit_pipeline.correction AS c
WHERE c.plan_id = %(plan)s AND c.system = %(system)s AND c.outcome IS NULL
  AND (c.lane = 'auto' OR c.digest IN (SELECT r.digest FROM credit_pipeline.released(%(system)s, 'approve') AS r))
"""
# The order of the SQL function next_rows, by the same index.
_UPCOMING = """
SELECT c.seq FROM credit_pipeline.correction AS c
WHERE c.plan_id = %(plan)s AND c.system = %(system)s AND c.outcome IS NULL ORDER BY c.account, c.seq
"""
# UTC text whose order is that of time.
_LATELY = """a.at COLLATE "C" >=
          to_char((now() - %(within)s::interval) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
# Leans on audit_account, once an account.
_AUTOMATIC = """
SELECT n.account, made.changes FROM unnest(%(accounts)s::text[]) AS n (account)
CROSS JOIN LATERAL (
    SELECT count(*) AS changes FROM credit_pipeline.audit AS a
    WHERE a.system = %(system)s AND a.account = n.account AND a.payload::jsonb ->> 'lane' = 'auto'
      AND {lately}
) AS made WHERE made.changes > 0
""".replace("{lately}", _LATELY)
# Leans on correction_plan_newest and audit_plan. A plan is applied within 24 hours of its making.
_ALONE = """
SELECT count(DISTINCT a.account) AS accounts
FROM credit_pipeline.correction_plan AS p JOIN credit_pipeline.audit AS a ON a.plan_id = p.plan_id
WHERE p.system = %(system)s AND p.facts ? 'scope' AND p.created_at > now() - %(within)s::interval - interval '24 hours'
  AND a.payload::jsonb ->> 'lane' = 'auto' AND {lately}
""".replace("{lately}", _LATELY)
# The history of credit_pipeline.allowance_of. Leans on act_subject.
_FORMER = """
SELECT p.key AS plan, a.at, (p.value ->> 'was')::bigint AS credits
FROM credit_pipeline.act AS a CROSS JOIN LATERAL jsonb_each(a.detail -> 'plans') AS p
WHERE a.system = %s AND a.subject IS NULL AND a.what = 'accept_catalogue' AND p.value ->> 'was' IS NOT NULL
ORDER BY a.id
"""
_INVARIANTS = "SELECT name, broken FROM credit_pipeline.invariants(%s, %s)"


def clock(cursor: Cursor) -> datetime:
    """The database's clock, now."""
    row = cursor.execute("SELECT clock_timestamp() AS now").fetchone()
    assert row is not None
    now: datetime = row["now"]
    return now


def waiting(cursor: Cursor, system: str, plan_id: str) -> int:
    """How many released rows of the plan have no outcome yet."""
    row = cursor.execute(_WAITING, {"plan": plan_id, "system": system}).fetchone()
    assert row is not None
    return int(row["rows"])


def upcoming(cursor: Cursor, system: str, plan_id: str) -> list[int]:
    """The waiting rows' numbers, released or not, in the order in which batches take them."""
    return [row["seq"] for row in cursor.execute(_UPCOMING, {"plan": plan_id, "system": system})]


def automatic_changes(
    cursor: Cursor, system: str, accounts: Sequence[AccountId], within: timedelta
) -> dict[AccountId, int]:
    """Account → automatic corrections of it in the last `within`, by the audit and the database's clock."""
    words = {"system": system, "accounts": sorted(set(accounts)), "within": within}
    return {AccountId(row["account"]): row["changes"] for row in cursor.execute(_AUTOMATIC, words)}


def changed_alone(cursor: Cursor, system: str, within: timedelta) -> int:
    """How many accounts were corrected automatically in the last `within`, each by a plan for it alone."""
    row = cursor.execute(_ALONE, {"system": system, "within": within}).fetchone()
    assert row is not None
    return int(row["accounts"])


def former_amounts(cursor: Cursor, system: str) -> dict[str, list[Amount]]:
    """Plan → the amounts it had until a person accepted another one, oldest first."""
    found: defaultdict[str, list[Amount]] = defaultdict(list)
    for row in cursor.execute(_FORMER, (system,)):
        found[row["plan"]].append(Amount(until=row["at"], credits=row["credits"]))
    return dict(found)


def invariants(cursor: Cursor, plan_id: str, since: int) -> Mapping[str, int]:
    """A true sentence's name → in how many rows changed after audit row `since` it is untrue, 0 included."""
    return {row["name"]: row["broken"] for row in cursor.execute(_INVARIANTS, (plan_id, since))}
