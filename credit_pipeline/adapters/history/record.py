"""Records a complete collection in our schema: observations, findings and their alert, in one idempotent transaction.

The alert is written with the findings, so that neither exists without the other.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from credit_pipeline.adapters.postgres.connections import ArrowCursor
from credit_pipeline.domain.errors import NotInstalled, StoreError
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.reconcile.ports import CollectionRecord

MANY = 10_000
"""With this many changed rows, if they are a tenth of all, ANALYZE runs at once: autovacuum is too late after the first
run."""

# Serialises recorders of one system. A transaction-level lock, so that a connection pooler cannot keep it.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('credit_pipeline.record ' || $1, 0)) IS NULL AS locked"
_BEFORE = """
SELECT (SELECT max(s.as_of) FROM credit_pipeline.snapshot AS s WHERE s.system = c.system) AS previous,
       (SELECT s.run_id FROM credit_pipeline.snapshot AS s WHERE s.system = c.system AND s.as_of = $2) AS run_id,
       pg_catalog.to_regclass('credit_pipeline.outbox') IS NOT NULL AS of_this_version
FROM credit_pipeline.control AS c WHERE c.system = $1
"""
_COLLECTION = """
INSERT INTO credit_pipeline.snapshot (system, run_id, as_of, answered, population, audit_seq, files)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb)
"""
_STAGES = (
    """
CREATE TEMPORARY TABLE credit_pipeline_seen (
    account text NOT NULL, label text, total bigint NOT NULL, used bigint NOT NULL, billed_plan text,
    billed_period_start timestamptz, billed_status text, mark text, as_of timestamptz NOT NULL,
    unanswered_since timestamptz, gap bigint) ON COMMIT DROP
""",
    """
CREATE TEMPORARY TABLE credit_pipeline_found (
    fingerprint text NOT NULL, account text NOT NULL, billing_id text, code text NOT NULL, severity text NOT NULL,
    lane text NOT NULL, is_event boolean NOT NULL, expected text NOT NULL, actual text NOT NULL,
    evidence text NOT NULL, delta bigint) ON COMMIT DROP
""",
    "CREATE TEMPORARY TABLE credit_pipeline_closed (fingerprint text NOT NULL, why text NOT NULL) ON COMMIT DROP",
)
_FOUND = pa.schema(
    [(name, pa.string()) for name in ("fingerprint", "account", "billing_id", "code", "severity", "lane")]
    + [("is_event", pa.bool_())]
    + [(name, pa.string()) for name in ("expected", "actual", "evidence")]
    + [("delta", pa.int64())]
)

# Changed rows are few and found through observation_pkey; the default cost of a random page would cause a full scan
# (measured: twice the time for 20,000 of 1,000,000 rows).
_BY_INDEX = "SET LOCAL random_page_cost = 1.1"

# Moves old versions to the log and writes new ones. All parts see the table as it was before the statement, and no two
# touch the same row. No ON CONFLICT: recorders are serialised, and it costs a third more (measured, 1,000,000 new
# rows). The table is joined once; within the statement ctid finds a row again at no cost. A row is a new version if
# anything differs or if it ends a time without answers. New rows are inserted in the order of observation_pkey, which
# then only grows at its end.
_OBSERVATIONS = """
WITH version AS MATERIALIZED (
    SELECT s.*, o.account IS NOT NULL AS known, o.ctid AS place, o.label AS old_label, o.total AS old_total,
           o.used AS old_used, o.billed_plan AS old_plan, o.billed_period_start AS old_start,
           o.billed_status AS old_status, o.mark AS old_mark, o.as_of AS old_as_of,
           o.unanswered_since AS old_unanswered, o.gap AS old_gap
    FROM pg_temp.credit_pipeline_seen AS s
    LEFT JOIN credit_pipeline.observation AS o ON o.system = $1 AND o.account = s.account
    WHERE s.unanswered_since IS NULL
      AND (o.account IS NULL OR o.unanswered_since IS NOT NULL
           OR (o.label, o.total, o.used, o.billed_plan, o.billed_period_start, o.billed_status, o.mark, o.gap)
              IS DISTINCT FROM
              (s.label, s.total, s.used, s.billed_plan, s.billed_period_start, s.billed_status, s.mark, s.gap))
), unanswered AS (
    UPDATE credit_pipeline.observation AS o SET unanswered_since = s.unanswered_since
    FROM pg_temp.credit_pipeline_seen AS s
    WHERE o.system = $1 AND o.account = s.account AND s.unanswered_since IS NOT NULL AND o.unanswered_since IS NULL
), logged AS (
    INSERT INTO credit_pipeline.observation_log
        (system, account, label, total, used, billed_plan, billed_period_start, billed_status, mark, as_of, seen_until,
         gap)
    SELECT $1, v.account, v.old_label, v.old_total, v.old_used, v.old_plan, v.old_start, v.old_status, v.old_mark,
           v.old_as_of, greatest(v.old_as_of, coalesce(v.old_unanswered, $2::timestamptz)), v.old_gap
    FROM version AS v WHERE v.known
), renewed AS (
    UPDATE credit_pipeline.observation AS o
    SET label = v.label, total = v.total, used = v.used, billed_plan = v.billed_plan,
        billed_period_start = v.billed_period_start, billed_status = v.billed_status, mark = v.mark, as_of = v.as_of,
        unanswered_since = NULL, gap = v.gap
    FROM version AS v WHERE o.ctid = v.place
)
INSERT INTO credit_pipeline.observation
    (system, account, label, total, used, billed_plan, billed_period_start, billed_status, mark, as_of, gap)
SELECT $1, v.account, v.label, v.total, v.used, v.billed_plan, v.billed_period_start, v.billed_status, v.mark, v.as_of,
       v.gap
FROM version AS v WHERE NOT v.known ORDER BY v.account
"""

# Uses mismatch_pkey. A finding that is resolved, or whose acceptance expired, opens again when it is seen again, and
# its age counts from then. A finding that once became an event stays one while it is open. A state that an undo
# restored is found only if it has changed since. A finding is news if it is open, someone should act on it, and it
# differs from the last alert about this opening. If billing gave no answer about the account, the billed state counts
# as unchanged.
_FINDINGS = """
WITH seen AS (
    INSERT INTO credit_pipeline.mismatch AS m
        (system, fingerprint, account, billing_id, code, severity, lane, is_event, expected, actual, evidence, delta,
         opened_at, first_seen, last_seen, told, told_at)
    SELECT $1, f.fingerprint, f.account, f.billing_id, f.code, f.severity, f.lane, f.is_event, f.expected::jsonb,
           f.actual::jsonb, f.evidence::jsonb, f.delta, $2::timestamptz, $2, $2,
           CASE WHEN f.lane <> 'none' THEN jsonb_build_array(f.severity, f.lane, f.expected::jsonb, f.delta) END,
           CASE WHEN f.lane <> 'none' THEN $2 END
    FROM pg_temp.credit_pipeline_found AS f
    ON CONFLICT (system, fingerprint) DO UPDATE SET
        account = EXCLUDED.account, billing_id = EXCLUDED.billing_id, severity = EXCLUDED.severity,
        lane = EXCLUDED.lane, expected = EXCLUDED.expected, actual = EXCLUDED.actual, evidence = EXCLUDED.evidence,
        delta = EXCLUDED.delta, last_seen = EXCLUDED.last_seen, seen_count = m.seen_count + 1,
        is_event = EXCLUDED.is_event OR (m.is_event AND m.state <> 'resolved'),
        (state, opened_at, closed_at, closed_why, accepted_until, aged_at, told, told_at) = (
            SELECT CASE WHEN again THEN 'open' ELSE m.state END,
                   CASE WHEN again THEN EXCLUDED.opened_at ELSE m.opened_at END,
                   CASE WHEN NOT again THEN m.closed_at END, CASE WHEN NOT again THEN m.closed_why END,
                   CASE WHEN NOT again THEN m.accepted_until END, CASE WHEN NOT again THEN m.aged_at END,
                   CASE WHEN again OR news THEN telling ELSE m.told END,
                   CASE WHEN again OR news THEN EXCLUDED.told_at ELSE m.told_at END
            FROM (SELECT telling, m.state = 'open' AND telling <> coalesce(m.told, '[]') AS news,
                      m.state = 'resolved' OR (m.state = 'accepted' AND (
                      coalesce(m.accepted_until <= EXCLUDED.last_seen, false) OR (m.closed_why = 'undone'
                      AND m.code IN ('plan_mismatch', 'status_mismatch', 'subscription_ended')))) AS again
                  FROM (SELECT CASE WHEN EXCLUDED.expected -> 'plan' = 'null' AND m.told IS NOT NULL
                                    THEN jsonb_set(EXCLUDED.told, '{2}', m.told -> 2) ELSE EXCLUDED.told END AS telling
                       ) AS words) AS life)
    RETURNING m.code, m.severity, m.delta, m.first_seen, m.opened_at, m.told_at
), news AS (
    SELECT s.code, s.severity, s.delta,
           CASE $2 WHEN s.first_seen THEN 'new' WHEN s.opened_at THEN 'reopened' ELSE 'changed' END AS how
    FROM seen AS s WHERE s.told_at = $2
)
INSERT INTO credit_pipeline.outbox (system, kind, subject, content)
SELECT $1, 'findings', $3, jsonb_build_object(
    'how', (SELECT jsonb_object_agg(how, n) FROM (SELECT how, count(*) AS n FROM news GROUP BY how) AS c),
    'codes', (SELECT jsonb_object_agg(code, n) FROM (SELECT code, count(*) AS n FROM news GROUP BY code) AS c),
    'severities', (SELECT jsonb_object_agg(severity, n)
                   FROM (SELECT severity, count(*) AS n FROM news GROUP BY severity) AS c),
    'lost', (SELECT coalesce(sum(delta), 0) FROM news WHERE code = 'unexplained_decrease'))
WHERE EXISTS (SELECT FROM news)
ON CONFLICT (system, kind, subject) DO NOTHING
"""
_CLOSED = """
UPDATE credit_pipeline.mismatch AS m SET state = 'resolved', closed_at = $2, closed_why = c.why
FROM pg_temp.credit_pipeline_closed AS c
WHERE m.system = $1 AND m.fingerprint = c.fingerprint
  AND (m.state IN ('open', 'acknowledged') OR (m.state = 'accepted' AND m.accepted_until <= $2))
"""
# Uses mismatch_open, mismatch_until and observation_unanswered. Findings of accounts without an answer stay open. NOT
# IN over one small set is hashed; three NOT EXISTS became a loop over 100,000 × 20,000 rows.
_GONE = """
WITH unanswered AS MATERIALIZED (
    SELECT o.account FROM credit_pipeline.observation AS o WHERE o.system = $1 AND o.unanswered_since IS NOT NULL
    UNION SELECT s.account FROM pg_temp.credit_pipeline_seen AS s WHERE s.unanswered_since IS NOT NULL
    UNION SELECT f.account FROM pg_temp.credit_pipeline_found AS f WHERE f.code = 'source_lookup_error'
)
UPDATE credit_pipeline.mismatch AS m SET state = 'resolved', closed_at = $2, closed_why = 'not found any more'
WHERE m.system = $1 AND NOT m.is_event AND m.last_seen < $2
  AND (m.state IN ('open', 'acknowledged') OR (m.state = 'accepted' AND m.accepted_until <= $2))
  AND m.account NOT IN (SELECT account FROM unanswered)
"""


def record(
    cursor: ArrowCursor,
    system: str,
    collection: CollectionRecord,
    changed: pa.Table,
    mismatches: Sequence[Mismatch],
    closed: Sequence[tuple[str, str]],
) -> None:
    """Writes one collection inside the caller's transaction (port MemoryStore.record)."""
    _answer(cursor, _LOCK, system)
    before = _answer(cursor, _BEFORE, system, collection.as_of)
    if not before:
        raise NotInstalled(f"{system}: not installed in this database: run `credit-pipeline init {system}`")
    if not before[0]["of_this_version"]:
        raise NotInstalled(
            f"{system}: an older version of the schema is installed: run `credit-pipeline init {system}`"
        )
    if before[0]["run_id"] == collection.run_id:
        return
    previous = before[0]["previous"]
    if previous is not None and collection.as_of <= previous:
        raise StoreError(
            f"{system}: this collection was read at {collection.as_of:%Y-%m-%d %H:%M:%S %Z}, not after the last one "
            f"recorded ({previous:%Y-%m-%d %H:%M:%S %Z}): check this machine's clock, then collect again"
        )
    _stage(cursor, changed, mismatches, closed)
    as_of = collection.as_of
    counts = (collection.answered, collection.population, collection.audit_seq)
    cursor.execute(_COLLECTION, parameters=(system, collection.run_id, as_of, *counts, _json(collection.files)))
    if changed.num_rows:
        cursor.execute(_BY_INDEX)
        cursor.execute(_OBSERVATIONS, parameters=(system, previous or as_of))
    if changed.num_rows >= max(MANY, collection.population // 10):
        cursor.execute("ANALYZE credit_pipeline.observation")
    cursor.execute(_FINDINGS, parameters=(system, as_of, collection.run_id))
    for statement in (_CLOSED, _GONE):
        cursor.execute(statement, parameters=(system, as_of))


def _stage(
    cursor: ArrowCursor, changed: pa.Table, mismatches: Sequence[Mismatch], closed: Sequence[tuple[str, str]]
) -> None:
    """The rows into temporary tables by binary COPY."""
    fingerprints = {row.fingerprint for row in mismatches}
    assert len(fingerprints) == len(mismatches), "a finding is recorded once per collection"
    for statement in _STAGES:
        cursor.execute(statement)
    ends = pa.table({"fingerprint": [one for one, _ in closed], "why": [_storable(why) for _, why in closed]})
    staged = {
        "credit_pipeline_seen": changed.select(OBSERVATIONS.names),
        "credit_pipeline_found": pa.Table.from_pylist([_found(row) for row in mismatches], schema=_FOUND),
        "credit_pipeline_closed": ends,
    }
    for name, table in staged.items():
        if table.num_rows:
            cursor.adbc_ingest(name, table, mode="append", temporary=True)
            cursor.execute(f"ANALYZE pg_temp.{name}")


def _found(row: Mismatch) -> dict[str, Any]:
    return {
        "fingerprint": row.fingerprint,
        "account": row.account_id,
        "billing_id": row.billing_id,
        "code": row.code,
        "severity": row.severity,
        "lane": row.lane,
        "is_event": row.is_event,
        "expected": _json(row.expected),
        "actual": _json(row.actual),
        "evidence": _json(row.evidence),
        "delta": row.delta,
    }


def _json(value: Any) -> str:
    return json.dumps(_storable(value), default=str)


def _storable(value: Any) -> Any:
    """Times as ISO text, and text that jsonb takes: a payload may hold NUL or half a surrogate pair."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        case datetime():
            return value.isoformat()
        case Mapping():
            return {_storable(str(key)): _storable(item) for key, item in value.items()}
        case list() | tuple():
            return [_storable(item) for item in value]
        case _:
            return value


def _answer(cursor: ArrowCursor, query: str, *parameters: Any) -> list[dict[str, Any]]:
    cursor.execute(query, parameters=parameters)
    rows: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
    return rows
