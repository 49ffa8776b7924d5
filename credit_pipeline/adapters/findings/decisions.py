"""Lists, acknowledges and accepts findings, inside the caller's transaction; each decision records who and why."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from credit_pipeline.adapters.postgres.transactions import Cursor
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.services.findings.ports import Chosen, Decided

# An expired acceptance counts as open even before the next run.
_LIFE = """
FROM credit_pipeline.mismatch AS m
CROSS JOIN LATERAL (SELECT m.state = 'accepted' AND coalesce(m.accepted_until <= %(now)s, false) AS over) AS life
CROSS JOIN LATERAL (SELECT CASE WHEN life.over THEN 'open' ELSE m.state END AS state,
                           CASE WHEN life.over THEN m.accepted_until ELSE m.opened_at END AS opened_at) AS present
"""
_CHOSEN = """
WHERE m.system = %(system)s
  AND (cardinality(%(fingerprints)s::text[]) = 0 OR m.fingerprint = ANY (%(fingerprints)s::text[]))
  AND (cardinality(%(codes)s::text[]) = 0 OR m.code = ANY (%(codes)s::text[]))
  AND (cardinality(%(accounts)s::text[]) = 0 OR m.account = ANY (%(accounts)s::text[]))
"""
_COUNTS = "SELECT present.state, count(*) AS findings" + _LIFE + _CHOSEN + "GROUP BY present.state"
_NAMED = (
    """
SELECT m.fingerprint, m.account AS account_id, m.code, m.severity, m.lane, m.first_seen, present.opened_at,
       present.state
"""
    + _LIFE
    + _CHOSEN
    + "ORDER BY m.fingerprint"
)
# Uses act_subject to find the latest decision.
_KNOWN = (
    """
SELECT m.fingerprint, m.account AS account_id, m.billing_id, m.code, m.severity, m.lane, m.is_event, m.delta,
       m.expected, m.actual, m.evidence, present.state, present.opened_at, m.first_seen, m.last_seen, m.seen_count,
       m.closed_why,
       CASE WHEN NOT life.over THEN m.accepted_until END AS accepted_until,
       act.who AS decided_by, act.at AS decided_at, act.reason
"""  # noqa: S608 (constants of this file)
    + _LIFE
    + """
LEFT JOIN LATERAL (
    SELECT a.who, a.at, a.reason FROM credit_pipeline.act AS a
    WHERE a.system = m.system AND a.subject = m.fingerprint AND a.what IN ('ack', 'accept')
    ORDER BY a.id DESC LIMIT 1) AS act ON present.state IN ('acknowledged', 'accepted')
"""
    + _CHOSEN
    + "AND present.state = ANY (%(states)s) ORDER BY present.opened_at, m.fingerprint"
)
# Locks in a fixed order, so that two people who decide about many findings at once do not deadlock.
_LOCK = """
SELECT FROM credit_pipeline.mismatch
WHERE system = %(system)s AND fingerprint = ANY (%(fingerprints)s) ORDER BY fingerprint FOR NO KEY UPDATE
"""
_ACKNOWLEDGE = """
WITH changed AS (
    UPDATE credit_pipeline.mismatch AS m
    SET state = 'acknowledged', opened_at = CASE WHEN was.state = 'open' THEN m.opened_at ELSE was.accepted_until END,
        accepted_until = NULL, closed_at = NULL, closed_why = NULL
    FROM credit_pipeline.mismatch AS was
    WHERE was.system = m.system AND was.fingerprint = m.fingerprint
      AND m.system = %(system)s AND m.fingerprint = ANY (%(fingerprints)s)
      AND (m.state = 'open' OR (m.state = 'accepted' AND m.accepted_until <= %(now)s))
    RETURNING m.fingerprint, m.account, m.code, was.state
)
INSERT INTO credit_pipeline.act (system, what, subject, who, reason, detail)
SELECT %(system)s, 'ack', fingerprint, %(who)s, %(reason)s,
       jsonb_build_object('account', account, 'code', code, 'was', state)
FROM changed RETURNING subject
"""
_ACCEPT = """
WITH changed AS (
    UPDATE credit_pipeline.mismatch AS m
    SET state = 'accepted', accepted_until = %(until)s, closed_at = %(now)s, closed_why = %(reason)s
    FROM credit_pipeline.mismatch AS was
    WHERE was.system = m.system AND was.fingerprint = m.fingerprint
      AND m.system = %(system)s AND m.fingerprint = ANY (%(fingerprints)s)
      AND m.state IN ('open', 'acknowledged', 'accepted')
    RETURNING m.fingerprint, m.account, m.code, was.state
)
INSERT INTO credit_pipeline.act (system, what, subject, who, reason, detail)
SELECT %(system)s, 'accept', fingerprint, %(who)s, %(reason)s,
       jsonb_build_object('account', account, 'code', code, 'was', state, 'until', %(until)s::timestamptz)
FROM changed RETURNING subject
"""


def known(cursor: Cursor, system: str, states: Sequence[str], chosen: Chosen, now: datetime) -> list[Mismatch]:
    """Findings in these states, longest open first."""
    return [Mismatch(**row) for row in cursor.execute(_KNOWN, {**_params(system, chosen, now), "states": list(states)})]


def named(cursor: Cursor, system: str, chosen: Chosen, now: datetime) -> list[Mismatch]:
    """Findings in any state, without evidence, expected and actual."""
    return [Mismatch(**row) for row in cursor.execute(_NAMED, _params(system, chosen, now))]


def counts(cursor: Cursor, system: str, chosen: Chosen, now: datetime) -> dict[str, int]:
    """State → number of findings."""
    return {row["state"]: row["findings"] for row in cursor.execute(_COUNTS, _params(system, chosen, now))}


def acknowledge(cursor: Cursor, system: str, fingerprints: Sequence[str], decided: Decided, now: datetime) -> list[str]:
    """Acknowledges the open ones among these and returns their fingerprints."""
    return _decide(cursor, _ACKNOWLEDGE, system, fingerprints, decided, now, None)


def accept(
    cursor: Cursor,
    system: str,
    fingerprints: Sequence[str],
    decided: Decided,
    now: datetime,
    until: datetime | None,
) -> list[str]:
    """Accepts the unresolved ones among these and returns their fingerprints. `until` None: for good."""
    return _decide(cursor, _ACCEPT, system, fingerprints, decided, now, until)


def _decide(
    cursor: Cursor,
    statement: str,
    system: str,
    fingerprints: Sequence[str],
    decided: Decided,
    now: datetime,
    until: datetime | None,
) -> list[str]:
    params = {"system": system, "fingerprints": list(fingerprints), "now": now, "until": until}
    params |= {"who": decided.who, "reason": decided.reason}
    cursor.execute(_LOCK, params)
    return sorted(row["subject"] for row in cursor.execute(statement.encode(), params))


def _params(system: str, chosen: Chosen, now: datetime) -> dict[str, Any]:
    return {
        "system": system,
        "now": now,
        "fingerprints": list(chosen.fingerprints),
        "codes": list(chosen.codes),
        "accounts": list(chosen.accounts),
    }
