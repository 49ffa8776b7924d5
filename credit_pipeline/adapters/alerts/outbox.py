"""Alerts that wait to be delivered, in our own schema (port Outbox), on psycopg.

Those about findings, plans and webhooks are put in where these are written (`memory_record.py`, `saved_plans.py`, a
trigger of migration 0006). What they say and where they go is decided in `services/alerts.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from credit_pipeline.adapters.postgres.claims import STALE
from credit_pipeline.adapters.postgres.connections import libpq_url
from credit_pipeline.adapters.postgres.transactions import Row, Transactions
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.retry_schedule import ALERTS
from credit_pipeline.services.alerts.ports import BATCH, Alert, AlertKind, Unheard, WaitingAlert

LATE = "1 hour"
"""An alert this old that nobody tried to deliver: nothing drains the outbox."""
LONGEST = 2000
QUIET = "10 min"
"""Between two messages of one kind, where the second is not a delivery tried again."""

# What is acknowledged, accepted or exempt is somebody's already. What was corrected since the last collection waits for
# nobody: the next one will say whether it was (as in `memory_waiting.py`). Leans on mismatch_to_age; two that age at
# once wait for each other, and the second finds nothing left.
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
# Once a silence: it is named for what was last heard. Before the first comparison it counts from the installation.
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
# One that was never tried is not due so soon after its kind was told of, or tried: a hundred that die one by one would
# be a hundred messages, and a sink that is away would be asked as often. Leans on outbox_told and outbox_due.
_LOUD = """NOT EXISTS (SELECT FROM credit_pipeline.outbox AS q
    WHERE q.system = d.system AND q.kind = d.kind AND q.done_at > {now} - %(quiet)s::interval)
AND NOT EXISTS (SELECT FROM credit_pipeline.outbox AS q
    WHERE q.system = d.system AND q.kind = d.kind AND q.done_at IS NULL AND q.attempts > 0 AND q.claimed_at IS NULL
      AND q.next_attempt_at - (%(waits)s::interval[])[least(q.attempts, cardinality(%(waits)s::interval[]))]
          > {now} - %(quiet)s::interval)"""
# Leans on outbox_due. SKIP LOCKED: two workers never wait for each other and never get the same alert. Where one is due
# the sinks are asked anyway, so that all that wait come along: what an outage held back arrives as one message.
_CLAIM = """
UPDATE credit_pipeline.outbox AS o SET attempts = o.attempts + 1, claimed_by = %(by)s, claimed_at = {now}
FROM (SELECT w.id FROM credit_pipeline.outbox AS w
      WHERE w.system = %(system)s AND w.done_at IS NULL
        AND (%(everything)s OR EXISTS (SELECT FROM credit_pipeline.outbox AS d
                                       WHERE d.system = %(system)s AND d.done_at IS NULL AND d.next_attempt_at <= {now}
                                         AND (d.claimed_at IS NULL OR d.claimed_at < {now} - %(stale)s::interval)
                                         AND (d.attempts > 0 OR {loud})))
        AND (w.claimed_at IS NULL OR w.claimed_at < {now} - %(stale)s::interval)
      ORDER BY w.next_attempt_at, w.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS due
WHERE o.id = due.id
RETURNING o.id, o.kind, o.subject, o.content, o.created_at, o.delivered, o.attempts
""".replace("{loud}", _LOUD).replace("{now}", "coalesce(%(now)s::timestamptz, clock_timestamp())")
_DELIVERED = """
UPDATE credit_pipeline.outbox AS o SET delivered = o.delivered || %(sink)s::text
WHERE o.id = ANY (%(ids)s::bigint[]) AND o.system = %(system)s AND NOT %(sink)s = ANY (o.delivered)
"""
# A claim is only good together with its attempt: whoever comes back late lets nothing go that another holds. What came
# along counts on as the one that was tried most: each newcomer's short first wait would have all of them tried with it.
_SETTLE = """
UPDATE credit_pipeline.outbox AS o SET claimed_at = NULL, claimed_by = NULL,
    done_at = CASE WHEN o.delivered @> %(sinks)s::text[] THEN {now} END,
    last_error = CASE WHEN o.delivered @> %(sinks)s::text[] THEN o.last_error
        ELSE (SELECT string_agg(f.said, '; ' ORDER BY f.sink)
              FROM unnest(%(failed)s::text[], %(said)s::text[]) AS f (sink, said)
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
_THERE = """
SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'credit_pipeline' AND c.relname = 'outbox'
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
"""
_INSTALLED = "SELECT FROM credit_pipeline.control WHERE system = %s"


class PostgresOutbox:
    """The Outbox of one system. Opens its connection when first asked."""

    def __init__(self, url: str, system: CreditSystem) -> None:
        self._name = system.name
        env = system.store.url_env
        self._transactions = Transactions(libpq_url(url, system.name, env), system.name, env)

    def close(self) -> None:
        """Ends the connection; a later call opens another."""
        self._transactions.close()

    def installed(self) -> bool:
        """Whether this installation keeps alerts; false before its schema has a place for them."""
        with self._transactions.begin() as cursor:
            if cursor.execute(_THERE).fetchone() is None:
                return False
            return cursor.execute(_INSTALLED, (self._name,)).fetchone() is not None

    def age(self, after: timedelta, now: datetime | None = None) -> int:
        """Has people told of what has been open for longer than `after`. Returns how many findings."""
        with self._transactions.begin() as cursor:
            row = cursor.execute(_AGE, {"system": self._name, "after": after, "now": now}).fetchone()
        assert row is not None
        return int(row["aged"])

    def silent(self, after: timedelta, now: datetime | None = None) -> bool:
        """Has people told where no complete comparison came for longer than `after`. False: they were, or one came."""
        with self._transactions.begin() as cursor:
            return cursor.execute(_SILENT, {"system": self._name, "after": after, "now": now}).fetchone() is not None

    def note(self, kind: AlertKind, subject: str, content: Mapping[str, object]) -> bool:
        """Puts an alert in. False: it was there."""
        words = {"system": self._name, "kind": kind.value, "subject": subject[:200], "content": Jsonb(dict(content))}
        with self._transactions.begin() as cursor:
            return cursor.execute(_NOTE, words).fetchone() is not None

    def claim(
        self, by: str, *, everything: bool = False, limit: int = BATCH, now: datetime | None = None
    ) -> Sequence[Alert]:
        """At most `limit` alerts that wait, where one of them is due; longest due first."""
        words = {"system": self._name, "by": by[:200], "everything": everything, "limit": limit, "now": now}
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_CLAIM, words | {"stale": STALE, "quiet": QUIET, "waits": list(ALERTS)}).fetchall()
        return sorted((_alert(row) for row in rows), key=lambda one: one.id)

    def delivered(self, alerts: Sequence[Alert], sink: str) -> None:
        """Notes that the sink has them."""
        words = {"system": self._name, "ids": [one.id for one in alerts], "sink": sink}
        with self._transactions.begin() as cursor:
            cursor.execute(_DELIVERED, words)

    def settle(
        self, alerts: Sequence[Alert], sinks: Sequence[str], failures: Mapping[str, str], now: datetime | None = None
    ) -> None:
        """Lets go of claimed alerts: done, or due again after a wait."""
        words = {
            "system": self._name,
            "ids": [one.id for one in alerts],
            "attempts": [one.attempts for one in alerts],
            "sinks": list(sinks),
            "failed": list(failures),
            "said": [said[:LONGEST] for said in failures.values()],
            "waits": list(ALERTS),
            "now": now,
        }
        with self._transactions.begin() as cursor:
            cursor.execute(_SETTLE, words)

    def waiting(self, limit: int) -> Sequence[WaitingAlert]:
        """The oldest alerts that not every sink has."""
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_WAITING, (self._name, limit)).fetchall()
        return [
            WaitingAlert(alert=_alert(row), next_attempt_at=row["next_attempt_at"], last_error=row["last_error"])
            for row in rows
        ]

    def unheard(self, now: datetime | None = None) -> Unheard:
        """How many wait, and how many of them should not."""
        with self._transactions.begin() as cursor:
            row = cursor.execute(_UNHEARD, {"system": self._name, "late": LATE, "now": now}).fetchone()
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
