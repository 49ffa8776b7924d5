"""Reads what our schema remembers of given accounts, as the domain's Memory.

Each table is queried once per 5,000 accounts, through its index on (system, account).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.adapters.postgres.transactions import Cursor, Row
from credit_pipeline.domain.corrections.undo import in_effect, undone_by
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.account import (
    GrantRecord,
    Mark,
    Memory,
    ObservedState,
    StateKind,
    Undone,
)
from credit_pipeline.domain.subjects.ids import AccountId

WINDOW = timedelta(days=62)
"""How far back states and marks are read (semantics §5)."""
UPFRONT_WINDOW = timedelta(days=366 + 31)
"""How far back marks of plans that grant a year at once are read."""
PORTION = 5_000

_RUNS = """
SELECT as_of, audit_seq FROM credit_pipeline.snapshot WHERE system = %(system)s AND as_of BETWEEN %(since)s AND %(now)s
ORDER BY as_of
"""
# The current version was seen until billing stopped answering, else until the last complete collection.
_SIGHTINGS = """
SELECT account, label, total, used, billed_plan, billed_period_start, billed_status, mark, as_of, seen_until,
       gap
FROM credit_pipeline.observation_log
WHERE system = %(system)s AND account = ANY (%(accounts)s)
  AND (seen_until >= %(since)s
       OR (mark IS NOT NULL AND billed_plan = ANY (%(upfront)s) AND seen_until >= %(upfront_since)s))
UNION ALL
SELECT o.account, o.label, o.total, o.used, o.billed_plan, o.billed_period_start, o.billed_status, o.mark, o.as_of,
       greatest(o.as_of, coalesce(o.unanswered_since, last.as_of)), o.gap
FROM credit_pipeline.observation AS o
CROSS JOIN (SELECT max(as_of) AS as_of FROM credit_pipeline.snapshot WHERE system = %(system)s) AS last
WHERE o.system = %(system)s AND o.account = ANY (%(accounts)s)
ORDER BY as_of
"""
_CORRECTIONS = """
SELECT account, coalesce(payload::jsonb -> 'keys', '[]') AS keys, seq, at::timestamptz AS at,
       before_label, before_total, before_used, after_label, after_total, after_used,
       payload::jsonb #>> '{before,status}' AS before_status, payload::jsonb #>> '{after,status}' AS after_status
FROM credit_pipeline.audit WHERE system = %(system)s AND account = ANY (%(accounts)s) ORDER BY seq
"""
_GRANTS = """
SELECT account, plan, period_start, credits, reversed_at IS NOT NULL AS reversed
FROM credit_pipeline."grant" WHERE system = %(system)s AND account = ANY (%(accounts)s) ORDER BY period_start
"""
# An event whose acceptance expired is open again, because nothing would find it again; other findings are found again.
# Whether a state that an undo restored is still the same is judged by the domain, not by the fingerprint.
_MISMATCHES = """
SELECT m.account, m.fingerprint, m.code, m.severity, m.lane, m.is_event, m.first_seen, m.evidence,
       CASE WHEN life.over THEN 'open' ELSE m.state END AS state,
       CASE WHEN life.over THEN m.accepted_until ELSE m.opened_at END AS opened_at
FROM credit_pipeline.mismatch AS m
CROSS JOIN LATERAL (
    SELECT m.state = 'accepted' AND (coalesce(m.accepted_until <= %(now)s, false)
        OR m.closed_why = 'undone'
        AND m.code IN ('plan_mismatch', 'status_mismatch', 'subscription_ended')) AS over) AS life
WHERE m.system = %(system)s AND m.account = ANY (%(accounts)s)
  AND (m.state IN ('open', 'acknowledged') OR (m.state = 'accepted' AND (m.is_event OR NOT life.over)))
ORDER BY opened_at, fingerprint
"""


def recall(
    cursor: Cursor, system: str, accounts: Sequence[AccountId], now: datetime, upfront: Sequence[str]
) -> dict[AccountId, Memory]:
    """Account → Memory, for every account given. `upfront`: names of plans that grant a year at once."""
    params = {
        "system": system,
        "now": now,
        "since": now - WINDOW,
        "upfront": list(upfront),
        "upfront_since": now - UPFRONT_WINDOW,
    }
    runs = cursor.execute(_RUNS, params).fetchall()
    run_times = tuple(row["as_of"] for row in runs)
    answer: dict[AccountId, Memory] = {}
    distinct = list(dict.fromkeys(accounts))
    for start in range(0, len(distinct), PORTION):
        portion = distinct[start : start + PORTION]
        facts = {**params, "accounts": portion}
        states = _by_account(cursor, _SIGHTINGS, facts)
        corrections = _by_account(cursor, _CORRECTIONS, facts)
        grants = _by_account(cursor, _GRANTS, facts)
        mismatches = _by_account(cursor, _MISMATCHES, facts)
        for account in portion:
            found = mismatches[account]
            answer[account] = Memory(
                states=_states(states[account], corrections[account], runs),
                complete_runs=run_times,
                grants=tuple(map(_grant, grants[account])),
                open_mismatches=tuple(_mismatch(row) for row in found if row["state"] != "accepted"),
                accepted=frozenset(row["fingerprint"] for row in found if row["state"] == "accepted"),
                applied_keys=frozenset(key for row in corrections[account] for key in row["keys"]),
                undone=_undone(corrections[account], runs),
            )
    return answer


def _undone(corrections: Sequence[Row], runs: Sequence[Row]) -> Undone | None:
    """What our last changes of label and status undid; None if neither was an undo. An undo may itself be undone."""
    standing = in_effect((row["seq"], row["keys"]) for row in corrections)
    label, status = (_last_undo(corrections, standing, name) for name in ("label", "status"))
    if label is None and status is None:
        return None
    at = max(_time_of(row, runs) for row in (label, status) if row)
    return Undone(at=at, label=_change(label, "label"), status=_change(status, "status"))


def _last_undo(corrections: Sequence[Row], standing: set[int], name: str) -> Row | None:
    """The last change of that column still in effect, if it was an undo."""
    changes = [row for row in corrections if row["seq"] in standing and row[f"before_{name}"] != row[f"after_{name}"]]
    return changes[-1] if changes and any(undone_by(changes[-1]["keys"])) else None


def _change(row: Row | None, name: str) -> tuple[str | None, str | None] | None:
    return (row[f"before_{name}"], row[f"after_{name}"]) if row else None


def _by_account(cursor: Cursor, query: str, facts: Mapping[str, Any]) -> defaultdict[str, list[Row]]:
    grouped: defaultdict[str, list[Row]] = defaultdict(list)
    for row in cursor.execute(query.encode(), facts):
        grouped[row["account"]].append(row)
    return grouped


def _states(observed: Sequence[Row], corrections: Sequence[Row], runs: Sequence[Row]) -> tuple[ObservedState, ...]:
    """Observations, and our corrections since the oldest of them as before and after, by time."""
    seen = [_observation(row) for row in observed]
    ours = ({**row, "at": _time_of(row, runs)} for row in corrections)
    seen += [one for row in ours if not observed or row["at"] >= seen[0].as_of for one in _correction(row)]
    return tuple(sorted(seen, key=lambda one: one.as_of))  # stable: before stays ahead of after


def _time_of(correction: Row, runs: Sequence[Row]) -> datetime:
    """A correction's time (UTC), kept between the collections that the audit chain places it between."""
    moment = timedelta(microseconds=1)
    at: datetime = correction["at"]
    after = bisect_left(runs, correction["seq"], key=lambda run: run["audit_seq"])
    if after:
        at = max(at, runs[after - 1]["as_of"] + moment)
    return min(at, runs[after]["as_of"] - moment) if after < len(runs) else at


def _observation(row: Row) -> ObservedState:
    return ObservedState(
        as_of=row["as_of"],
        seen_until=row["seen_until"],
        label=row["label"],
        total=row["total"],
        used=row["used"],
        billed_plan=row["billed_plan"],
        billed_period_start=row["billed_period_start"],
        billed_status=row["billed_status"],
        mark=Mark(row["mark"]) if row["mark"] else None,
        gap=row["gap"],
    )


def _correction(row: Row) -> Iterator[ObservedState]:
    for kind in (StateKind.BEFORE, StateKind.AFTER):
        total, used = row[f"{kind.value}_total"], row[f"{kind.value}_used"]
        if total is not None and used is not None:  # a balance that the correction created had no before
            yield ObservedState(
                as_of=row["at"],
                seen_until=row["at"],
                kind=kind,
                label=row[f"{kind.value}_label"],
                total=total,
                used=used,
                billed_plan=None,
                billed_period_start=None,
                billed_status=None,
            )


def _grant(row: Row) -> GrantRecord:
    return GrantRecord(
        plan=row["plan"], period_start=row["period_start"], credits=row["credits"], reversed=row["reversed"]
    )


def _mismatch(row: Row) -> Mismatch:
    return Mismatch(
        fingerprint=row["fingerprint"],
        account_id=AccountId(row["account"]),
        code=row["code"],
        severity=row["severity"],
        lane=row["lane"],
        is_event=row["is_event"],
        opened_at=row["opened_at"],
        first_seen=row["first_seen"],
        evidence=row["evidence"],
        state=row["state"],
    )
