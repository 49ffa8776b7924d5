"""The Outbox port on psycopg: alerts that wait for delivery, in our own schema.

Alerts about findings, plans and webhooks are inserted in the transaction that writes their subject.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from credit_pipeline.adapters.postgres.claims import STALE
from credit_pipeline.adapters.postgres.system_database import SystemDatabase, has_table
from credit_pipeline.adapters.postgres.transactions import Row
from credit_pipeline.domain.retry_schedule import ALERTS
from credit_pipeline.services.alerts.ports import BATCH, Alert, AlertKind, Unheard, WaitingAlert

LATE = "1 hour"
"""An undelivered alert of this age without an attempt means that nothing drains the outbox."""
LONGEST = 2000
QUIET = "10 min"
"""Minimum time between two messages of one kind, retries excepted."""

# Findings that are acknowledged, accepted or exempt have someone who looks after them. Those corrected since the last
# collection are left to the next one. Uses mismatch_to_age. Of two concurrent statements the second finds nothing left.
_AGE = """
WITH aged AS (
    UPDATE credit_pipeline.mismatch AS m SET aged_at = {now}
    WHERE m.system = %(system)s AND m.state = 'open' AND m.lane <> 'none' AND m.aged_at IS NULL
      AND m.opened_at <= {now} - %(after)s::interval
      AND NOT EXISTS (SELECT FROM credit_pipeline.exemption AS e WHERE e.system = m.system AND e.account = m.account
                      AND (e.until IS NULL OR e.until > {now}))
      AND NOT EXISTS (SELECT FROM credit_pipeline.correction AS c WHERE c.system = m.system AND c.account = m.account
                      AND c.outcome = 'changed' AND c.content -> 'codes' ? m.code
                      AND c.audit_seq > (SELECT coalesce(max(s.audit_seq), 0) FROM credit_pipeline.snapshot AS s
                                         WHERE s.system = %(system)s))
    RETURNING m.code, m.severity
), told AS (
    INSERT INTO credit_pipeline.outbox (system, kind, subject, content)
    SELECT %(system)s, 'aged', gen_random_uuid()::text, jsonb_build_object(
        'hours', extract(epoch FROM %(after)s::interval) / 3600,
        'codes', (SELECT jsonb_object_agg(code, n) FROM (SELECT code, count(*) AS n FROM aged GROUP BY code) AS c),
        'severities', (SELECT jsonb_object_agg(severity, n)
                       FROM (SELECT severity, count(*) AS n FROM aged GROUP BY severity) AS c))
    WHERE EXISTS (SELECT FROM aged)
)
SELECT count(*) AS aged FROM aged
""".replace("{now}", "coalesce(%(now)s::timestamptz, now())")
# Once per gap: the alert's subject is the time of the last comparison or, before the first one, of the installation.
_SILENT = """
INSERT INTO credit_pipeline.outbox (system, kind, subject, content)
SELECT %(system)s, 'not_compared', extract(epoch FROM last.at)::text,
       jsonb_build_object('hours', extract(epoch FROM %(after)s::interval) / 3600)
FROM (SELECT coalesce((SELECT max(s.as_of) FROM credit_pipeline.snapshot AS s WHERE s.system = c.system),
                      c.installed_at) AS at
      FROM credit_pipeline.control AS c WHERE c.system = %(system)s) AS last
WHERE last.at < {now} - %(after)s::interval
ON CONFLICT (system, kind, subject) DO NOTHING RETURNING id
""".replace("{now}", "coalesce(%(now)s::timestamptz, now())")
_NOTE = """
INSERT INTO credit_pipeline.outbox (system, kind, subject, content)
VALUES (%(system)s, %(kind)s, %(subject)s, %(content)s)
ON CONFLICT (system, kind, subject) DO NOTHING RETURNING id
"""
# An alert that was never tried is not due within QUIET of the last delivery or attempt of its kind: otherwise a hundred
# webhooks that die one by one would be a hundred messages, and a sink that is down would be called as often. Uses
# outbox_told and outbox_due.
_NOT_QUIET = """NOT EXISTS (SELECT FROM credit_pipeline.outbox AS q
    WHERE q.system = d.system AND q.kind = d.kind AND q.done_at > {now} - %(quiet)s::interval)
AND NOT EXISTS (SELECT FROM credit_pipeline.outbox AS q
    WHERE q.system = d.system AND q.kind = d.kind AND q.done_at IS NULL AND q.attempts > 0 AND q.claimed_at IS NULL
      AND q.next_attempt_at - (%(waits)s::interval[])[least(q.attempts, cardinality(%(waits)s::interval[]))]
          > {now} - %(quiet)s::interval)"""
# Uses outbox_due. SKIP LOCKED: workers never wait for each other and never get the same alert. If one alert is due, all
# waiting ones are claimed with it, so that what an outage held back arrives as one message.
_CLAIM = """
UPDATE credit_pipeline.outbox AS o SET attempts = o.attempts + 1, claimed_by = %(by)s, claimed_at = {now}
FROM (SELECT w.id FROM credit_pipeline.outbox AS w
      WHERE w.system = %(system)s AND w.done_at IS NULL
        AND (%(everything)s OR EXISTS (SELECT FROM credit_pipeline.outbox AS d
                                       WHERE d.system = %(system)s AND d.done_at IS NULL AND d.next_attempt_at <= {now}
                                         AND (d.claimed_at IS NULL OR d.claimed_at < {now} - %(stale)s::interval)
                                         AND (d.attempts > 0 OR {not_quiet})))
        AND (w.claimed_at IS NULL OR w.claimed_at < {now} - %(stale)s::interval)
      ORDER BY w.next_attempt_at, w.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS due
WHERE o.id = due.id
RETURNING o.id, o.kind, o.subject, o.content, o.created_at, o.delivered, o.attempts
""".replace("{not_quiet}", _NOT_QUIET).replace("{now}", "coalesce(%(now)s::timestamptz, clock_timestamp())")
_DELIVERED = """
UPDATE credit_pipeline.outbox AS o SET delivered = o.delivered || %(sink)s::text
WHERE o.id = ANY (%(ids)s::bigint[]) AND o.system = %(system)s AND NOT %(sink)s = ANY (o.delivered)
"""
# A claim is valid only with its attempt number, so a late worker cannot release what another one holds. All alerts of a
# message continue with the highest attempt count; otherwise the short first wait of a new alert would retry all of
# them.
_SETTLE = """
UPDATE credit_pipeline.outbox AS o SET claimed_at = NULL, claimed_by = NULL,
    done_at = CASE WHEN o.delivered @> %(sinks)s::text[] THEN {now} END,
    last_error = CASE WHEN o.delivered @> %(sinks)s::text[] THEN o.last_error
        ELSE (SELECT string_agg(f.reason, '; ' ORDER BY f.sink)
              FROM unnest(%(failed)s::text[], %(reasons)s::text[]) AS f (sink, reason)
              WHERE NOT f.sink = ANY (o.delivered)) END,
    attempts = c.most,
    next_attempt_at = CASE WHEN o.delivered @> %(sinks)s::text[] THEN o.next_attempt_at
        ELSE {now} + (%(waits)s::interval[])[least(c.most, cardinality(%(waits)s::interval[]))] END
FROM (SELECT u.id, u.attempt, max(u.attempt) OVER () AS most
      FROM unnest(%(ids)s::bigint[], %(attempts)s::int[]) AS u (id, attempt)) AS c
WHERE o.id = c.id AND o.attempts = c.attempt AND o.system = %(system)s AND o.done_at IS NULL
""".replace("{now}", "coalesce(%(now)s::timestamptz, clock_timestamp())")
_WAITING = """
SELECT o.id, o.kind, o.subject, o.content, o.created_at, o.delivered, o.attempts, o.next_attempt_at, o.last_error
FROM credit_pipeline.outbox AS o WHERE o.system = %s AND o.done_at IS NULL ORDER BY o.id LIMIT %s
"""
_UNHEARD = """
SELECT count(*) AS waiting, min(o.created_at) AS oldest,
       count(*) FILTER (WHERE o.last_error IS NOT NULL OR o.created_at < {now} - %(late)s::interval) AS late,
       (array_agg(o.last_error ORDER BY o.id DESC) FILTER (WHERE o.last_error IS NOT NULL))[1] AS last_error
FROM credit_pipeline.outbox AS o WHERE o.system = %(system)s AND o.done_at IS NULL
""".replace("{now}", "coalesce(%(now)s::timestamptz, now())")


class PostgresOutbox(SystemDatabase):
    """The Outbox of one system. Connects on first use."""

    def installed(self) -> bool:
        """Whether this installation has an outbox; false if its schema is older."""
        with self._transactions.begin() as cursor:
            return has_table(cursor, self._system, "outbox")

    def age(self, after: timedelta, now: datetime | None = None) -> int:
        """Adds an alert about findings open for longer than `after`. Returns their number."""
        with self._transactions.begin() as cursor:
            row = cursor.execute(_AGE, {"system": self._system, "after": after, "now": now}).fetchone()
        assert row is not None
        return int(row["aged"])

    def silent(self, after: timedelta, now: datetime | None = None) -> bool:
        """Adds an alert if there was no complete comparison for `after`. False if there was one or the alert exists."""
        with self._transactions.begin() as cursor:
            return cursor.execute(_SILENT, {"system": self._system, "after": after, "now": now}).fetchone() is not None

    def note(self, kind: AlertKind, subject: str, content: Mapping[str, object]) -> bool:
        """Adds an alert. False if it exists already."""
        params = {"system": self._system, "kind": kind.value, "subject": subject[:200], "content": Jsonb(dict(content))}
        with self._transactions.begin() as cursor:
            return cursor.execute(_NOTE, params).fetchone() is not None

    def claim(
        self, by: str, *, everything: bool = False, limit: int = BATCH, now: datetime | None = None
    ) -> Sequence[Alert]:
        """Claims at most `limit` waiting alerts if one of them is due; oldest first."""
        params = {"system": self._system, "by": by[:200], "everything": everything, "limit": limit, "now": now}
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_CLAIM, params | {"stale": STALE, "quiet": QUIET, "waits": list(ALERTS)}).fetchall()
        return sorted((_alert(row) for row in rows), key=lambda one: one.id)

    def delivered(self, alerts: Sequence[Alert], sink: str) -> None:
        """Records that the sink delivered these alerts."""
        params = {"system": self._system, "ids": [one.id for one in alerts], "sink": sink}
        with self._transactions.begin() as cursor:
            cursor.execute(_DELIVERED, params)

    def settle(
        self, alerts: Sequence[Alert], sinks: Sequence[str], failures: Mapping[str, str], now: datetime | None = None
    ) -> None:
        """Releases claimed alerts: done, or due again later. `failures`: sink → reason."""
        params = {
            "system": self._system,
            "ids": [one.id for one in alerts],
            "attempts": [one.attempts for one in alerts],
            "sinks": list(sinks),
            "failed": list(failures),
            "reasons": [reason[:LONGEST] for reason in failures.values()],
            "waits": list(ALERTS),
            "now": now,
        }
        with self._transactions.begin() as cursor:
            cursor.execute(_SETTLE, params)

    def waiting(self, limit: int) -> Sequence[WaitingAlert]:
        """The oldest alerts that some sink has not delivered."""
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_WAITING, (self._system, limit)).fetchall()
        return [
            WaitingAlert(alert=_alert(row), next_attempt_at=row["next_attempt_at"], last_error=row["last_error"])
            for row in rows
        ]

    def unheard(self, now: datetime | None = None) -> Unheard:
        """How many alerts wait, and how many of them failed or are late."""
        with self._transactions.begin() as cursor:
            row = cursor.execute(_UNHEARD, {"system": self._system, "late": LATE, "now": now}).fetchone()
        assert row is not None
        return Unheard(**row)


def _alert(row: Row) -> Alert:
    return Alert(
        id=row["id"],
        kind=AlertKind(row["kind"]),
        subject=row["subject"],
        content=row["content"],
        created_at=row["created_at"],
        delivered=frozenset(row["delivered"]),
        attempts=row["attempts"],
    )
