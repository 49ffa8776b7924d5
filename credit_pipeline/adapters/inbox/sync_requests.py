"""Requests of the product that an account be looked at now, in our own schema (port SyncRequests), on psycopg.

They come in by the function `credit_pipeline.request_sync`, which has the rate limits.
"""

from collections.abc import Sequence

from credit_pipeline.adapters.postgres.claims import Queue
from credit_pipeline.adapters.postgres.connections import libpq_url
from credit_pipeline.adapters.postgres.transactions import Transactions
from credit_pipeline.config.system import CreditSystem
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


class PostgresSyncRequests:
    """The SyncRequests of one system. Opens its connection when first asked."""

    def __init__(self, url: str, system: CreditSystem) -> None:
        self._name = system.name
        env = system.store.url_env
        self._transactions = Transactions(libpq_url(url, system.name, env), system.name, env)

    def close(self) -> None:
        """Ends the connection; a later call opens another."""
        self._transactions.close()

    def installed(self) -> bool:
        """Whether this installation keeps requests; false before its schema has a place for them."""
        with self._transactions.begin() as cursor:
            return _QUEUE.there(cursor, self._name)

    def claim(self, by: str, limit: int = BATCH) -> Sequence[Claim]:
        """At most `limit` requests that are due, longest due first."""
        with self._transactions.begin() as cursor:
            return _QUEUE.claim(cursor, self._name, by, limit)

    def hold(self, claims: Sequence[Claim]) -> Sequence[SyncRequest]:
        """Those of the claims that are still good, for ten minutes from now."""
        with self._transactions.begin() as cursor:
            rows = _QUEUE.hold(cursor, self._name, claims)
        return [
            SyncRequest(
                claim=Claim(record=row["id"], attempt=row["attempts"]),
                account_id=AccountId(row["account"]),
                reason=row["reason"],
            )
            for row in rows
        ]

    def settle(self, claim: Claim, outcome: str, sentence: str, *, again: bool) -> bool:
        """Notes what came of it; `again` has it tried again while attempts are left."""
        wait = SYNCS.after(claim.attempt) if again else None
        words = {
            "id": claim.record,
            "attempt": claim.attempt,
            "system": self._name,
            "state": "waiting" if wait else "failed" if again else "done",
            "outcome": outcome,
            "sentence": sentence[:2000],
            "wait": wait.total_seconds() if wait else 0.0,
        }
        with self._transactions.begin() as cursor:
            return cursor.execute(_SETTLE, words).fetchone() is not None
