"""The AuditSnapshot port on psycopg: streams the whole audit of a system, to verify or export it.

Server-side cursors in one database snapshot, because the chain may not fit into memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg.rows import tuple_row

from credit_pipeline.adapters.postgres.system_database import not_installed
from credit_pipeline.adapters.postgres.transactions import Cursor, Transactions
from credit_pipeline.domain.corrections.audit import COLUMNS, AuditedCorrection, AuditedGrant, AuditRow, TakenKey

PAGE = 2000
"""Rows per fetch."""

# By default a cursor is planned for its first rows only; these are read to the end.
_LIMITS = """
SET LOCAL transaction_read_only = on;
SET LOCAL row_security = off;
SET LOCAL cursor_tuple_fraction = 1;
SET LOCAL statement_timeout = '10min'
"""
_HEAD = "SELECT audit_seq, audit_hash FROM credit_pipeline.control WHERE system = %s"
# Uses the primary key.
_ROWS = f"""
SELECT a.seq, a.payload, a.prev_hash, a.hash, {", ".join(f"a.{name}" for name, _ in COLUMNS)}
FROM credit_pipeline.audit AS a WHERE a.system = %s ORDER BY a.seq
"""  # noqa: S608 (names of our own columns)
_KEYS = """
SELECT t.audit_seq, t.key FROM credit_pipeline.taken_key AS t WHERE t.system = %s ORDER BY t.audit_seq, t.key
"""
# Builds the key as `GrantKey` does.
_CORRECTIONS = """
SELECT coalesce(c.audit_seq, 0), c.plan_id, c.seq, c.account, c.outcome,
       coalesce(c.grant_credits, 0) + c.total_delta - c.used_delta,
       c.account || '/' || c.grant_plan || '/' || trunc(extract(epoch FROM c.grant_start))::bigint, c.grant_credits
FROM credit_pipeline.correction AS c
WHERE c.system = %s AND (c.outcome = 'changed' OR c.audit_seq IS NOT NULL) ORDER BY 1, 2, 3
"""
_GRANTS = """
SELECT coalesce(t.audit_seq, 0), g.key, g.account, g.plan_id, g.credits, g.reversed
FROM (SELECT system, account, plan_id, credits, reversed_at IS NOT NULL AS reversed,
             account || '/' || plan || '/' || trunc(extract(epoch FROM period_start))::bigint AS key
      FROM credit_pipeline."grant" WHERE system = %s) AS g
LEFT JOIN credit_pipeline.taken_key AS t ON t.system = g.system AND t.key = g.key ORDER BY 1, 2
"""
_PLANS = """
SELECT plan_id, digest, state, as_of, created_at, created_by, run_id, population, entitlements, limits_approved,
       failures, finished_at
FROM credit_pipeline.correction_plan WHERE system = %s AND plan_id = ANY (%s) ORDER BY created_at, plan_id
"""
# An approval binds to row digests, so one of an earlier plan may have released a row of these plans.
_APPROVALS = """
WITH changed AS (
    SELECT DISTINCT c.digest FROM credit_pipeline.correction AS c
    WHERE c.system = %(system)s AND c.plan_id = ANY (%(plans)s) AND c.outcome = 'changed')
SELECT a.id, a.plan_id, a.plan_digest, a.lane, cardinality(a.row_digests) AS rows, a.decision, a.approver, a.login,
       a.reason, a.four_eyes, a.decided_at
FROM credit_pipeline.approval AS a
WHERE a.system = %(system)s AND (a.plan_id = ANY (%(plans)s) OR EXISTS (
    SELECT FROM unnest(a.row_digests) AS d (digest) JOIN changed USING (digest)))
ORDER BY a.id
"""


@contextmanager
def audit_snapshot(transactions: Transactions, system: str) -> Iterator["PostgresAudit"]:
    """The audit as of now, in a read-only transaction."""
    with transactions.begin(snapshot=True) as cursor:
        cursor.execute(_LIMITS)
        yield PostgresAudit(cursor, system)


class PostgresAudit:
    """The AuditSnapshot of one open transaction."""

    def __init__(self, cursor: Cursor, system: str) -> None:
        self._cursor = cursor
        self._system = system

    def head(self) -> tuple[int, str]:
        """The chain's head: (sequence number, hash). Raises NotInstalled if there is none."""
        row = self._cursor.execute(_HEAD, (self._system,)).fetchone()
        if row is None:
            raise not_installed(self._system)
        return row["audit_seq"], row["audit_hash"]

    def rows(self) -> Iterator[AuditRow]:
        """The whole chain, oldest first."""
        for seq, payload, prev_hash, row_hash, *columns in self._stream("rows", _ROWS):
            yield AuditRow(seq, payload, prev_hash, row_hash, tuple(columns))

    def keys(self) -> Iterator[TakenKey]:
        """Every taken key, by audit row."""
        return (TakenKey(*row) for row in self._stream("keys", _KEYS))

    def corrections(self) -> Iterator[AuditedCorrection]:
        """Every correction with outcome `changed` or an audit row, by audit row."""
        return (AuditedCorrection(*row) for row in self._stream("corrections", _CORRECTIONS))

    def grants(self) -> Iterator[AuditedGrant]:
        """Every grant that we made, by the audit row of its key."""
        return (AuditedGrant(*row) for row in self._stream("grants", _GRANTS))

    def plans(self, plan_ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """These saved plans without their rows, oldest first."""
        return self._cursor.execute(_PLANS, (self._system, list(plan_ids))).fetchall()

    def approvals(self, plan_ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """The decisions about these plans, and earlier ones that released rows changed in them, oldest first."""
        return self._cursor.execute(_APPROVALS, {"system": self._system, "plans": list(plan_ids)}).fetchall()

    def _stream(self, name: str, query: str) -> Iterator[tuple[Any, ...]]:
        with self._cursor.connection.cursor(f"credit_pipeline_{name}", row_factory=tuple_row) as cursor:
            cursor.itersize = PAGE
            cursor.execute(query.encode(), (self._system,))
            yield from cursor
