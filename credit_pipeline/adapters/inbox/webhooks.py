"""The Inbox port on psycopg: failed webhooks in our own schema, and those in the product's own table.

The product's table is read and updated only through generated SQL functions.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import psycopg
from psycopg import sql

from credit_pipeline.adapters.inbox.webhook_hints import hint_of
from credit_pipeline.adapters.install.webhook_functions import LONGEST, take_function, tell_function
from credit_pipeline.adapters.postgres.claims import STALE, Queue
from credit_pipeline.adapters.postgres.system_database import SystemDatabase, has_table
from credit_pipeline.adapters.postgres.transactions import Cursor, Row
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.retry_schedule import WEBHOOKS
from credit_pipeline.services.sync.ports import (
    BATCH,
    Claim,
    KnownWebhook,
    RecordState,
    Settlement,
    UndeliveredEvent,
    WebhookRecord,
)

_QUEUE = Queue(
    table="webhook_event", waiting="failed", ended="dead", retrying=WEBHOOKS, counted="q.attempts - q.forgiven"
)
_UNDELIVERED = "never delivered by the provider, for which it happened at"
# Waits get up to 10 % of jitter, so that records that failed together are not retried together.
_SETTLE = """
UPDATE credit_pipeline.webhook_event AS e SET state = %(state)s, last_error = %(sentence)s,
    account = coalesce(e.account, %(account)s), type = coalesce(e.type, %(type)s), claimed_at = NULL, claimed_by = NULL,
    next_attempt_at = CASE WHEN %(state)s = 'failed'
        THEN clock_timestamp() + make_interval(secs => %(wait)s * (1 + random() / 10)) ELSE e.next_attempt_at END,
    finished_at = CASE WHEN %(state)s <> 'failed' THEN clock_timestamp() END
WHERE e.id = %(id)s
"""
# Locks the row, so that its outcome is recorded once.
_CLAIMED = """
SELECT e.own_id, e.attempts, e.attempts - e.forgiven AS counted FROM credit_pipeline.webhook_event AS e
WHERE e.id = %(id)s AND e.system = %(system)s AND e.state = 'claimed' AND e.attempts = %(attempt)s FOR NO KEY UPDATE
"""
# Each part uses its own partial index.
_COUNTS = """
SELECT waiting.n + working.n AS webhook_failed, waiting.late + working.late AS webhook_stuck, dead.n AS webhook_dead
FROM (SELECT count(*) FILTER (WHERE NOT late) AS n, count(*) FILTER (WHERE late) AS late FROM (
          SELECT w.next_attempt_at < now() - interval '1 hour' AS late FROM credit_pipeline.webhook_event AS w
          WHERE w.system = %(system)s AND w.state = 'failed') AS w) AS waiting,
     (SELECT count(*) FILTER (WHERE NOT late) AS n, count(*) FILTER (WHERE late) AS late FROM (
          SELECT w.claimed_at < now() - %(stale)s::interval AS late FROM credit_pipeline.webhook_event AS w
          WHERE w.system = %(system)s AND w.state = 'claimed') AS w) AS working,
     (SELECT count(*) AS n FROM credit_pipeline.webhook_event AS w
      WHERE w.system = %(system)s AND w.state = 'dead') AS dead
"""
# The state is a literal, so that its partial index can be used.
_RECORDS = """
SELECT e.id AS record, e.provider, e.event_id, e.type, e.account, e.state, e.attempts,
       e.verified_at IS NOT NULL AS verified, e.received_at,
       CASE WHEN e.state = 'failed' THEN e.next_attempt_at END AS next_attempt_at, e.finished_at, e.last_error AS said
FROM credit_pipeline.webhook_event AS e
WHERE e.system = %(system)s AND e.state = {state} ORDER BY e.id DESC LIMIT %(limit)s
"""
# Through the function that the product calls, so that an event is one record whoever records it, in creation order.
_KEEP = """
SELECT count(*) FILTER (WHERE k.said = 'recorded') AS new
FROM (SELECT credit_pipeline.record_webhook(%(provider)s, u.id, u.body, %(at)s, u.error, NULL, %(system)s) AS said
      FROM unnest(%(ids)s::text[], %(bodies)s::bytea[], %(errors)s::text[]) AS u (id, body, error)) AS k
"""
_REPLAY = """
UPDATE credit_pipeline.webhook_event AS e SET state = 'claimed', forgiven = e.attempts, attempts = e.attempts + 1,
    claimed_at = clock_timestamp(), claimed_by = %(by)s, finished_at = NULL
WHERE e.system = %(system)s AND e.id = ANY (%(ids)s::bigint[]) AND e.state <> 'claimed' RETURNING e.id, e.attempts
"""
_DISCARD = """
WITH ended AS (
    UPDATE credit_pipeline.webhook_event AS e SET state = 'discarded', finished_at = clock_timestamp(),
        last_error = 'discarded by a person'
    WHERE e.system = %(system)s AND e.id = ANY (%(ids)s::bigint[]) AND e.state IN ('failed', 'dead')
    RETURNING e.id, e.provider, e.event_id, e.attempts
)
INSERT INTO credit_pipeline.act (system, what, subject, who, reason, detail)
SELECT %(system)s, 'webhook_discard', 'webhook:' || ended.id, %(who)s, %(reason)s,
       jsonb_build_object('provider', ended.provider, 'event_id', ended.event_id, 'attempts', ended.attempts)
FROM ended RETURNING substr(subject, 9)::bigint AS id
"""


class PostgresInbox(SystemDatabase):
    """The Inbox of one system. Connects on first use."""

    def __init__(self, url: str, system: CreditSystem) -> None:
        super().__init__(url, system)
        self._configured = system

    def installed(self) -> bool:
        """Whether this installation keeps failed webhooks; false if its schema is older."""
        with self._transactions.begin() as cursor:
            return has_table(cursor, self._system, _QUEUE.table)

    def keep(self, events: Sequence[UndeliveredEvent], pulled_at: datetime) -> int:
        """Stores events that the product never received, each once. Returns the number of new ones.

        They count as verified at `pulled_at`, because we read them from the provider ourselves.
        """
        params = {
            "system": self._system,
            "provider": self._configured.billing.provider,
            "at": pulled_at,
            "ids": [event.event_id for event in events],
            "bodies": [event.body for event in events],
            "errors": [f"{_UNDELIVERED} {event.created:%Y-%m-%d %H:%M} UTC" for event in events],
        }
        with self._transactions.begin() as cursor:
            row = cursor.execute(_KEEP, params).fetchone()
        assert row is not None
        return int(row["new"])

    def claim(self, by: str, limit: int = BATCH) -> Sequence[Claim]:
        """Claims at most `limit` due records, longest due first, after taking over those of the product's table."""
        with self._transactions.begin() as cursor:
            if self._configured.webhooks is not None:
                query = sql.SQL("SELECT {}(%s)").format(take_function(self._configured))
                cursor.execute(query, (limit,))
        with self._transactions.begin() as cursor:
            return _QUEUE.claim(cursor, self._system, by, limit)

    def hold(self, claims: Sequence[Claim]) -> Sequence[WebhookRecord]:
        """Renews these claims for ten minutes and returns the records whose claim is still valid."""
        with self._transactions.begin() as cursor:
            rows = _QUEUE.hold(cursor, self._system, claims)
        return [
            WebhookRecord(
                claim=Claim(record=row["id"], attempt=row["attempts"]),
                event_id=row["event_id"],
                hint=hint_of(row["provider"], row["raw"], type_=row["type"], account=row["account"]),
                received_at=row["received_at"],
            )
            for row in rows
        ]

    def settle(self, claim: Claim, settlement: Settlement) -> RecordState | None:
        """Records the outcome and returns the record's state; None if the claim is no longer valid."""
        with self._transactions.begin() as cursor:
            params = {"id": claim.record, "attempt": claim.attempt, "system": self._system}
            row = cursor.execute(_CLAIMED, params).fetchone()
            if row is None:
                return None
            state, wait = settlement.state, None
            if state is RecordState.FAILED:
                wait = WEBHOOKS.after(row["counted"])
                state = RecordState.FAILED if wait else RecordState.DEAD
            sentence = settlement.sentence[:LONGEST]
            kept_sentence = self._update_products_table(cursor, row, state, sentence)
            params |= {
                "state": state.value,
                "sentence": kept_sentence,
                "account": settlement.account,
                "type": settlement.type,
            }
            cursor.execute(_SETTLE, params | {"wait": wait.total_seconds() if wait else 0.0})
            return state

    def counts(self) -> Mapping[str, int]:
        """Numbers of records that wait for repair, that are overdue, and that are dead."""
        with self._transactions.begin() as cursor:
            row = cursor.execute(_COUNTS, {"system": self._system, "stale": STALE}).fetchone()
        assert row is not None
        return dict(row)

    def records(self, states: Sequence[RecordState], limit: int) -> Sequence[KnownWebhook]:
        """The newest records in these states."""
        found: list[Row] = []
        with self._transactions.begin() as cursor:
            for state in dict.fromkeys(states):
                query = sql.SQL(_RECORDS).format(state=sql.Literal(state.value))
                found += cursor.execute(query, {"system": self._system, "limit": limit}).fetchall()
        newest = sorted(found, key=lambda row: int(row["record"]), reverse=True)[:limit]
        return [KnownWebhook(**{**row, "state": RecordState(row["state"])}) for row in newest]

    def replay(self, records: Sequence[int], by: str) -> Sequence[Claim]:
        """Claims these records, unless claimed, and gives them all their attempts again."""
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_REPLAY, {"system": self._system, "ids": list(records), "by": by[:200]}).fetchall()
        return sorted((Claim(record=row["id"], attempt=row["attempts"]) for row in rows), key=lambda one: one.record)

    def discard(self, records: Sequence[int], who: str, reason: str) -> Sequence[int]:
        """Ends these records without repair and records who and why. Returns their numbers."""
        params = {"system": self._system, "ids": list(records), "who": who, "reason": reason}
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_DISCARD, params).fetchall()
        return sorted(row["id"] for row in rows)

    def _update_products_table(self, cursor: Cursor, row: Row, state: RecordState, sentence: str) -> str:
        """Updates the product's own table and returns the sentence to keep. Its refusal does not undo our change."""
        own = self._configured.webhooks
        if own is None or not own.written_back or row["own_id"] is None:
            return sentence
        query = sql.SQL("SELECT {}(%s, %s, %s, %s)").format(tell_function(self._configured))
        try:
            with cursor.connection.transaction():
                cursor.execute(query, (row["own_id"], state.value, row["attempts"], sentence))
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise  # connection or lock trouble, not a refusal
        except psycopg.Error as error:
            return f"{sentence} (`{own.table}` could not be updated: SQLSTATE {error.sqlstate})"
        return sentence
