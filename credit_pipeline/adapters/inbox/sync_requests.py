"""The SyncRequests port on psycopg: the product's requests to sync an account now.

The product calls the SQL function `credit_pipeline.request_sync`, which has the rate limits.
"""

from collections.abc import Sequence

from credit_pipeline.adapters.postgres.claims import Queue
from credit_pipeline.adapters.postgres.system_database import SystemDatabase, has_table
from credit_pipeline.domain.retry_schedule import SYNCS
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.sync.ports import BATCH, Claim, SyncRequest

_QUEUE = Queue(table="sync_request", waiting="waiting", ended="failed", retrying=SYNCS)
_SETTLE = """
UPDATE credit_pipeline.sync_request AS r SET state = %(state)s, outcome = %(outcome)s, last_error = %(sentence)s,
    claimed_at = NULL, claimed_by = NULL,
    next_attempt_at = CASE WHEN %(state)s = 'waiting'
        THEN clock_timestamp() + make_interval(secs => %(wait)s * (1 + random() / 10)) ELSE r.next_attempt_at END,
    finished_at = CASE WHEN %(state)s <> 'waiting' THEN clock_timestamp() END
WHERE r.id = %(id)s AND r.system = %(system)s AND r.state = 'claimed' AND r.attempts = %(attempt)s RETURNING r.id
"""


class PostgresSyncRequests(SystemDatabase):
    """The SyncRequests of one system. Connects on first use."""

    def installed(self) -> bool:
        """Whether this installation keeps sync requests; false if its schema is older."""
        with self._transactions.begin() as cursor:
            return has_table(cursor, self._system, _QUEUE.table)

    def claim(self, by: str, limit: int = BATCH) -> Sequence[Claim]:
        """Claims at most `limit` due requests, longest due first."""
        with self._transactions.begin() as cursor:
            return _QUEUE.claim(cursor, self._system, by, limit)

    def hold(self, claims: Sequence[Claim]) -> Sequence[SyncRequest]:
        """Renews these claims for ten minutes and returns the requests whose claim is still valid."""
        with self._transactions.begin() as cursor:
            rows = _QUEUE.hold(cursor, self._system, claims)
        return [
            SyncRequest(
                claim=Claim(record=row["id"], attempt=row["attempts"]),
                account_id=AccountId(row["account"]),
                reason=row["reason"],
            )
            for row in rows
        ]

    def settle(self, claim: Claim, outcome: str, sentence: str, *, again: bool) -> bool:
        """Records the outcome; `again` retries while attempts are left. False if the claim is no longer valid."""
        wait = SYNCS.after(claim.attempt) if again else None
        params = {
            "id": claim.record,
            "attempt": claim.attempt,
            "system": self._system,
            "state": "waiting" if wait else "failed" if again else "done",
            "outcome": outcome,
            "sentence": sentence[:2000],
            "wait": wait.total_seconds() if wait else 0.0,
        }
        with self._transactions.begin() as cursor:
            return cursor.execute(_SETTLE, params).fetchone() is not None
