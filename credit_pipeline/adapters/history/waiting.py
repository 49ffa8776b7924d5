"""Reads open findings of the last complete collection, without those that later corrections addressed."""

from datetime import datetime

from credit_pipeline.adapters.postgres.transactions import Cursor
from credit_pipeline.domain.mismatch import Mismatch

# Uses mismatch_open and correction_account. Findings that we corrected since the last collection are left out; the
# audit chain's sequence, not a clock, tells which corrections that collection has not seen. A finding whose acceptance
# expired counts again when it is seen again.
_WAITING = """
SELECT m.fingerprint, m.account AS account_id, m.billing_id, m.code, m.severity, m.lane, m.state, m.opened_at,
       m.first_seen, jsonb_build_object('plan', m.expected -> 'plan') AS expected,
       jsonb_build_object('plan', m.actual -> 'plan') AS actual
FROM credit_pipeline.mismatch AS m
WHERE m.system = %(system)s AND m.state IN ('open', 'acknowledged')
  AND NOT EXISTS (
      SELECT FROM credit_pipeline.exemption AS e
      WHERE e.system = m.system AND e.account = m.account AND (e.until IS NULL OR e.until > %(now)s))
  AND NOT EXISTS (
      SELECT FROM credit_pipeline.correction AS c
      WHERE c.system = m.system AND c.account = m.account AND c.outcome = 'changed'
        AND c.audit_seq > %(seen)s AND c.content -> 'codes' ? m.code)
ORDER BY m.opened_at, m.fingerprint
"""


def waiting(cursor: Cursor, system: str, now: datetime, seen: int) -> list[Mismatch]:
    """Open and acknowledged findings, longest open first; of `expected` and `actual` only the plans.

    `seen`: the audit sequence number at the last collection.
    """
    return [Mismatch(**row) for row in cursor.execute(_WAITING, {"system": system, "now": now, "seen": seen})]
