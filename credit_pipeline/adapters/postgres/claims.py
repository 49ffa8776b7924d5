"""Records that wait in a table of ours and are worked on by one worker each: claimed, held, taken over when it died.

Times are the database's. What the records are, and what becomes of them, is `inbox.py`'s and `sync_requests.py`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from credit_pipeline.adapters.postgres.transactions import Cursor, Row
from credit_pipeline.domain.retry_schedule import Retrying
from credit_pipeline.services.sync.ports import Claim

STALE = "10 minutes"
"""A claim this old is of a worker that died. Workers renew theirs more often."""

# Leans on …_claimed. One that died in its last attempt has had its chances.
_TAKE_OVER = """
UPDATE credit_pipeline.{table} AS q SET state = CASE WHEN {counted} >= %(most)s THEN {ended} ELSE {waiting} END,
    finished_at = CASE WHEN {counted} >= %(most)s THEN clock_timestamp() END,
    next_attempt_at = now(), claimed_at = NULL, claimed_by = NULL,
    last_error = 'the attempt ended without a word'
FROM (SELECT w.id FROM credit_pipeline.{table} AS w
      WHERE w.system = %(system)s AND w.state = 'claimed' AND w.claimed_at < now() - %(stale)s::interval
      ORDER BY w.claimed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS stale
WHERE q.id = stale.id
"""
# Leans on …_due. SKIP LOCKED: two workers never wait for each other and never get the same record.
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
_THERE = """
SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'credit_pipeline' AND c.relname = %s
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
"""
_INSTALLED = "SELECT FROM credit_pipeline.control WHERE system = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One table of records: its words for waiting and given up, and which attempts count."""

    table: str
    waiting: str
    ended: str
    retrying: Retrying
    counted: str = "q.attempts"

    def there(self, cursor: Cursor, system: str) -> bool:
        """Whether the table is there, may be read, and the system is installed."""
        if cursor.execute(_THERE, (self.table,)).fetchone() is None:
            return False
        return cursor.execute(_INSTALLED, (system,)).fetchone() is not None

    def claim(self, cursor: Cursor, system: str, by: str, limit: int) -> list[Claim]:
        """At most `limit` records that are due, longest due first."""
        words = {"system": system, "by": by[:200], "limit": limit, "most": self.retrying.most, "stale": STALE}
        cursor.execute(self._filled(_TAKE_OVER), words)
        rows = cursor.execute(self._filled(_CLAIM), words).fetchall()
        return sorted((Claim(record=row["id"], attempt=row["attempts"]) for row in rows), key=lambda one: one.record)

    def hold(self, cursor: Cursor, system: str, claims: Sequence[Claim]) -> list[Row]:
        """The rows whose claim is still good, oldest first."""
        words = {
            "system": system,
            "ids": [claim.record for claim in claims],
            "attempts": [claim.attempt for claim in claims],
        }
        rows = cursor.execute(self._filled(_HOLD), words).fetchall()
        return sorted(rows, key=lambda row: int(row["id"]))

    def _filled(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(
            table=sql.Identifier(self.table),
            waiting=sql.Literal(self.waiting),
            ended=sql.Literal(self.ended),
            counted=sql.SQL(self.counted),
        )
