"""Failed webhooks in our own schema (port Inbox), on psycopg, and those of the product's own table beside them.

The product's table is read and told by generated functions alone (`webhook_functions.py`). What a body says is read by
`webhook_hints.py`; what is done about a record is decided by `services/repair.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import psycopg
from psycopg import sql

from credit_pipeline.adapters.inbox.webhook_hints import hint_of
from credit_pipeline.adapters.install.webhook_functions import LONGEST, take_function, tell_function
from credit_pipeline.adapters.postgres.claims import STALE, Queue
from credit_pipeline.adapters.postgres.connections import libpq_url
from credit_pipeline.adapters.postgres.transactions import Cursor, Row, Transactions
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
# A wait is lengthened by up to a tenth, so that what failed together does not come back together.
_SETTLE = """
UPDATE credit_pipeline.webhook_event AS e SET state = %(state)s, last_error = %(sentence)s,
    account = coalesce(e.account, %(account)s), type = coalesce(e.type, %(type)s), claimed_at = NULL, claimed_by = NULL,
    next_attempt_at = CASE WHEN %(state)s = 'failed'
        THEN clock_timestamp() + make_interval(secs => %(wait)s * (1 + random() / 10)) ELSE e.next_attempt_at END,
    finished_at = CASE WHEN %(state)s <> 'failed' THEN clock_timestamp() END
WHERE e.id = %(id)s
"""
# The row itself is locked, so that what became of it is noted once.
_CLAIMED = """
SELECT e.own_id, e.attempts, e.attempts - e.forgiven AS counted FROM credit_pipeline.webhook_event AS e
WHERE e.id = %(id)s AND e.system = %(system)s AND e.state = 'claimed' AND e.attempts = %(attempt)s FOR NO KEY UPDATE
"""
# Each part leans on a partial index of its own.
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
# The state is written into the query, because a partial index is found by it.
_RECORDS = """
SELECT e.id AS record, e.provider, e.event_id, e.type, e.account, e.state, e.attempts,
       e.verified_at IS NOT NULL AS verified, e.received_at,
       CASE WHEN e.state = 'failed' THEN e.next_attempt_at END AS next_attempt_at, e.finished_at, e.last_error AS said
FROM credit_pipeline.webhook_event AS e
WHERE e.system = %(system)s AND e.state = {state} ORDER BY e.id DESC LIMIT %(limit)s
"""
# By the product's own door, so that an event is one record whoever hands it over, and in the order of their creation.
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


class PostgresInbox:
    """The Inbox of one system. Opens its connection when first asked."""

    def __init__(self, url: str, system: CreditSystem) -> None:
        self._system = system
        self._name = system.name
        env = system.store.url_env
        self._transactions = Transactions(libpq_url(url, system.name, env), system.name, env)

    def close(self) -> None:
        """Ends the connection; a later call opens another."""
        self._transactions.close()

    def installed(self) -> bool:
        """Whether this installation keeps failed webhooks; false before its schema has a place for them."""
        with self._transactions.begin() as cursor:
            return _QUEUE.there(cursor, self._name)

    def keep(self, events: Sequence[UndeliveredEvent], pulled_at: datetime) -> int:
        """Keeps events that the product never had, each once. Returns how many were new.

        We asked the provider ourselves, so they count as verified at that moment.
        """
        words = {
            "system": self._name,
            "provider": self._system.billing.provider,
            "at": pulled_at,
            "ids": [event.event_id for event in events],
            "bodies": [event.body for event in events],
            "errors": [f"{_UNDELIVERED} {event.created:%Y-%m-%d %H:%M} UTC" for event in events],
        }
        with self._transactions.begin() as cursor:
            row = cursor.execute(_KEEP, words).fetchone()
        assert row is not None
        return int(row["new"])

    def claim(self, by: str, limit: int = BATCH) -> Sequence[Claim]:
        """At most `limit` records that are due, the product's own among them, longest due first."""
        with self._transactions.begin() as cursor:
            if self._system.webhooks is not None:
                query = sql.SQL("SELECT {}(%s)").format(take_function(self._system))
                cursor.execute(query, (limit,))
        with self._transactions.begin() as cursor:
            return _QUEUE.claim(cursor, self._name, by, limit)

    def hold(self, claims: Sequence[Claim]) -> Sequence[WebhookRecord]:
        """Those of the claims that are still good, for ten minutes from now, with what they say."""
        with self._transactions.begin() as cursor:
            rows = _QUEUE.hold(cursor, self._name, claims)
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
        """Notes what came of it and returns where the record stands; None where the claim is no longer good."""
        with self._transactions.begin() as cursor:
            words = {"id": claim.record, "attempt": claim.attempt, "system": self._name}
            row = cursor.execute(_CLAIMED, words).fetchone()
            if row is None:
                return None
            state, wait = settlement.state, None
            if state is RecordState.FAILED:
                wait = WEBHOOKS.after(row["counted"])
                state = RecordState.FAILED if wait else RecordState.DEAD
            sentence = settlement.sentence[:LONGEST]
            told = self._tell(cursor, row, state, sentence)
            words |= {"state": state.value, "sentence": told, "account": settlement.account, "type": settlement.type}
            cursor.execute(_SETTLE, words | {"wait": wait.total_seconds() if wait else 0.0})
            return state

    def counts(self) -> Mapping[str, int]:
        """How many wait for a repair, how many nobody repairs, how many are dead."""
        with self._transactions.begin() as cursor:
            row = cursor.execute(_COUNTS, {"system": self._name, "stale": STALE}).fetchone()
        assert row is not None
        return dict(row)

    def records(self, states: Sequence[RecordState], limit: int) -> Sequence[KnownWebhook]:
        """The newest records in these states."""
        found: list[Row] = []
        with self._transactions.begin() as cursor:
            for state in dict.fromkeys(states):
                query = sql.SQL(_RECORDS).format(state=sql.Literal(state.value))
                found += cursor.execute(query, {"system": self._name, "limit": limit}).fetchall()
        newest = sorted(found, key=lambda row: int(row["record"]), reverse=True)[:limit]
        return [KnownWebhook(**{**row, "state": RecordState(row["state"])}) for row in newest]

    def replay(self, records: Sequence[int], by: str) -> Sequence[Claim]:
        """Claims these with all their attempts before them again, but not one that is claimed."""
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_REPLAY, {"system": self._name, "ids": list(records), "by": by[:200]}).fetchall()
        return sorted((Claim(record=row["id"], attempt=row["attempts"]) for row in rows), key=lambda one: one.record)

    def discard(self, records: Sequence[int], who: str, reason: str) -> Sequence[int]:
        """Ends these without a repair, on record with who and why. Returns which."""
        words = {"system": self._name, "ids": list(records), "who": who, "reason": reason}
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_DISCARD, words).fetchall()
        return sorted(row["id"] for row in rows)

    def _tell(self, cursor: Cursor, row: Row, state: RecordState, sentence: str) -> str:
        """Tells the product's own table, and returns the sentence to keep. Its refusal undoes nothing of ours."""
        own = self._system.webhooks
        if own is None or not own.told or row["own_id"] is None:
            return sentence
        query = sql.SQL("SELECT {}(%s, %s, %s, %s)").format(tell_function(self._system))
        try:
            with cursor.connection.transaction():
                cursor.execute(query, (row["own_id"], state.value, row["attempts"], sentence))
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise  # the connection or a lock, not the product's no
        except psycopg.Error as error:
            return f"{sentence} (`{own.table}` could not be told: SQLSTATE {error.sqlstate})"
        return sentence
