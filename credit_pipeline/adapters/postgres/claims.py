"""Work queues in our tables: a record is claimed by one worker, and taken over if that worker dies.

Times are the database's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from credit_pipeline.adapters.postgres.transactions import Cursor, Row
from credit_pipeline.domain.retry_schedule import Retrying
from credit_pipeline.services.sync.ports import Claim

STALE = "10 minutes"
"""A claim this old belongs to a worker that died; workers renew their claims more often."""

# Uses index …_claimed. A record whose worker died in the last attempt is given up.
_TAKE_OVER = """
UPDATE credit_pipeline.{table} AS q SET state = CASE WHEN {counted} >= %(most)s THEN {ended} ELSE {waiting} END,
    finished_at = CASE WHEN {counted} >= %(most)s THEN clock_timestamp() END,
    next_attempt_at = now(), claimed_at = NULL, claimed_by = NULL,
    last_error = 'the worker stopped during the attempt'
FROM (SELECT w.id FROM credit_pipeline.{table} AS w
      WHERE w.system = %(system)s AND w.state = 'claimed' AND w.claimed_at < now() - %(stale)s::interval
      ORDER BY w.claimed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS stale
WHERE q.id = stale.id
"""
# Uses index …_due. SKIP LOCKED: workers never wait for each other and never get the same record.
_CLAIM = """
UPDATE credit_pipeline.{table} AS q SET state = 'claimed', attempts = q.attempts + 1, claimed_at = clock_timestamp(),
    claimed_by = %(by)s
FROM (SELECT w.id FROM credit_pipeline.{table} AS w
      WHERE w.system = %(system)s AND w.state = {waiting} AND w.next_attempt_at <= now()
      ORDER BY w.next_attempt_at, w.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS due
WHERE q.id = due.id RETURNING q.id, q.attempts
"""
_HOLD = """
UPDATE credit_pipeline.{table} AS q SET claimed_at = clock_timestamp()
FROM unnest(%(ids)s::bigint[], %(attempts)s::int[]) AS c (id, attempt)
WHERE q.id = c.id AND q.attempts = c.attempt AND q.system = %(system)s AND q.state = 'claimed'
RETURNING q.*
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue table: its state names for waiting and given up, and the SQL for the attempts that count."""

    table: str
    waiting: str
    ended: str
    retrying: Retrying
    counted: str = "q.attempts"

    def claim(self, cursor: Cursor, system: str, by: str, limit: int) -> list[Claim]:
        """Claims at most `limit` due records for worker `by`; longest due first."""
        params = {"system": system, "by": by[:200], "limit": limit, "most": self.retrying.most, "stale": STALE}
        cursor.execute(self._formatted(_TAKE_OVER), params)
        rows = cursor.execute(self._formatted(_CLAIM), params).fetchall()
        return sorted((Claim(record=row["id"], attempt=row["attempts"]) for row in rows), key=lambda one: one.record)

    def hold(self, cursor: Cursor, system: str, claims: Sequence[Claim]) -> list[Row]:
        """Renews these claims; returns the rows of those that are still valid, oldest first."""
        params = {
            "system": system,
            "ids": [claim.record for claim in claims],
            "attempts": [claim.attempt for claim in claims],
        }
        rows = cursor.execute(self._formatted(_HOLD), params).fetchall()
        return sorted(rows, key=lambda row: int(row["id"]))

    def _formatted(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(
            table=sql.Identifier(self.table),
            waiting=sql.Literal(self.waiting),
            ended=sql.Literal(self.ended),
            counted=sql.SQL(self.counted),
        )
