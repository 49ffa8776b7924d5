"""Dagster metadata of snapshots, reports and plans: what the UI shows of a value.

Numbers, hashes, times and tables. Never markdown with external text, because text from an API or a database could make
the browser request URLs of the web server. Tables are previews and are named so.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from credit_pipeline.domain.codes import CODES, Code
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.services.collect.ports import Snapshot
from credit_pipeline.services.health.statement import Health
from credit_pipeline.services.report.identity_report import STATES, IdentityReport
from credit_pipeline.services.report.report import Report

PREVIEW = 20
Metadata = dict[str, Any]


def content_version(value: Any) -> dg.DataVersion:
    """The data version of a JSON value: its sha256."""
    return dg.DataVersion(hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest())


def column_schema(schema: pa.Schema, descriptions: Mapping[str, str]) -> dg.TableSchema:
    """An Arrow schema as the UI's table of columns."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=str(field.type),
                description=descriptions.get(field.name),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def snapshot_metadata(snapshot: Snapshot) -> Metadata:
    """Row count, times, completeness and hash of a snapshot."""
    return {
        "dagster/row_count": snapshot.rows,
        "dagster/uri": snapshot.path,
        "sha256": snapshot.sha256,
        "run_id": snapshot.run_id,
        "as_of": dg.MetadataValue.timestamp(snapshot.as_of),
        "finished_at": dg.MetadataValue.timestamp(snapshot.finished_at),
        "completeness_level": snapshot.level,
        "enumerated": snapshot.enumerated,
        "asked": snapshot.asked,
        "unanswered": snapshot.unanswered,
        "problems": dg.MetadataValue.json(list(snapshot.problems[:PREVIEW])),
    }


def report_metadata(report: Report) -> Metadata:
    """Counts, findings by code, and the first mismatches of a report."""
    rows = [
        {
            "account": mismatch.account_id or mismatch.billing_id or "",
            "code": mismatch.code,
            "lane": mismatch.lane,
            "billed": str(mismatch.expected.get("plan")),
            "stored": str(mismatch.actual.get("plan")),
            "total": _or_unknown(mismatch.actual.get("total")),
            "used": _or_unknown(mismatch.actual.get("used")),
            "delta": _or_unknown(mismatch.delta),
            "first_seen": mismatch.first_seen.isoformat(),
        }
        for mismatch in report.mismatches[:PREVIEW]
    ]
    return {
        "as_of": report.as_of,
        "run_id": report.run_id,
        "population": report.population,
        "in_sync": report.in_sync,
        "exempt": report.exempt,
        "mismatches": len(report.mismatches),
        "to act on, by age": dg.MetadataValue.json(dict(report.ages)),
        "history": report.history,
        "direction": report.direction,
        "source": dg.MetadataValue.json(
            {
                "provider": report.source.provider,
                "complete": report.source.complete,
                "level": report.source.level,
                "records": report.source.records,
                "unanswered": report.source.unanswered,
            }
        ),
        "refusals": dg.MetadataValue.json(list(report.refusals)),
        "notices": dg.MetadataValue.json(list(report.notices)),
        "snapshots": dg.MetadataValue.json(dict(report.snapshots)),
        "classes": table([_class_row(code, count) for code, count in report.classes.items()]),
        f"first {PREVIEW} mismatches": table(rows),
    }


def identity_metadata(report: IdentityReport) -> Metadata:
    """Coverage by layer, counts by state with their meaning, and the first problems and orphans."""
    problems = [
        {
            "user": user.auth_id,
            "state": user.state,
            "layer": user.layer,
            "paying": str(user.paying),
            "accounts": ", ".join(user.claimed),
        }
        for user in report.problems[:PREVIEW]
    ]
    orphans = [
        {"what": orphan.what, "id": orphan.id, "same e-mail as": orphan.suggestion or ""}
        for orphan in report.orphans[:PREVIEW]
    ]
    return {
        "dagster/row_count": report.users,
        "as_of": report.as_of,
        "coverage": round(report.coverage, 4),
        "paying_unmapped": report.paying_unmapped,
        "orphan_accounts": report.orphan_accounts,
        "orphan_customers": report.orphan_customers,
        "users by layer": table([{"layer": layer, "users": count} for layer, count in report.by_layer.items()]),
        "users by state": table(
            [{"state": state, "users": count, "meaning": STATES[state]} for state, count in report.by_state.items()]
        ),
        f"first {PREVIEW} users not in order": table(problems),
        f"first {PREVIEW} without a user": table(orphans),
    }


def health_metadata(health: Health) -> Metadata:
    """The summary line, and every check with its count."""
    rows = [
        {
            "check": one.name,
            "severity": one.severity,
            "count": "not known" if one.count is None else f"{one.count:,}",
            "sentence": one.sentence,
            "recovery": one.recovery if one.count or one.count is None else "",
        }
        for one in health.statements
    ]
    return {"healthy": health.healthy, "summary": health.line(), "checks": table(rows)}


def plan_metadata(plan: Mapping[str, Any]) -> Metadata:
    """Id, digest, approvals, and before and after of the first rows of a plan (the JSON object of `fix`)."""
    rows: Sequence[Mapping[str, Any]] = plan["rows"]
    approvals: Sequence[Mapping[str, Any]] = plan.get("approvals", [])
    lanes = Counter(row["lane"] for row in rows)
    return {
        "dagster/row_count": len(rows),
        "plan_id": plan["plan_id"] or "none",
        "digest": plan["digest"] or "none",
        "state": plan["state"] or "none",
        "mode": plan["mode"],
        "credits": plan["totals"]["credits"],
        "rows_by_lane": dg.MetadataValue.json({lane.value: lanes[lane.value] for lane in Lane if lanes[lane.value]}),
        "outcomes": dg.MetadataValue.json(plan["outcomes"]),
        "failures": dg.MetadataValue.json(list(plan["failures"])),
        **({"undoes": plan["undoes"], "shortfall": plan["totals"]["shortfall"]} if plan.get("undoes") else {}),
        "rows_approved": sum(1 for row in rows if row.get("approved")),
        "approvals": table(approvals[-PREVIEW:]),
        f"before and after, first {PREVIEW} rows": table([_plan_row(row) for row in rows[:PREVIEW]]),
    }


def audit_metadata(trail: Mapping[str, Any]) -> Metadata:
    """The audit chain's head, which this anchors outside the database, and the newest rows of the plan."""
    return {
        "head_sequence": trail["head_sequence"],
        "head_hash": trail["head_hash"],
        "plan_id": trail["plan_id"] or "none",
        "dagster/row_count": trail["rows"],
        f"newest {PREVIEW} rows": table(trail["newest"]),
    }


def table(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as a table of text and numbers, with a column for every key."""
    found = list(rows)
    names = list(dict.fromkeys(name for row in found for name in row))
    records = [dg.TableRecord({name: _cell(row.get(name)) for name in names}) for row in found]
    columns = [dg.TableColumn(name=name, type="int" if _all_ints(found, name) else "string") for name in names]
    return dg.MetadataValue.table(records=records, schema=dg.TableSchema(columns=columns))


def _class_row(code: str, count: int) -> Metadata:
    facts = CODES[Code(code)]
    return {
        "code": code,
        "count": count,
        "severity": facts.severity.value,
        "hurts": facts.direction.value,
        "meaning": facts.sentence,
        "recovery": facts.recovery,
    }


def _plan_row(row: Mapping[str, Any]) -> Metadata:
    before, after = row["before"], row["after"]
    return {
        "account": row["account_id"],
        "lane": row["lane"],
        "codes": ", ".join(row["codes"]),
        "plan": f"{before['plan']} -> {after['plan']}",
        "total": f"{before['total']} -> {after['total']}",
        "used": f"{before['used']} -> {after['used']}",
        "available": f"{before['available']} -> {after['available']}",
        "delta": row["delta"],
        "outcome": row["outcome"],
        "failures": "; ".join(row["failures"]),
    }


def _or_unknown(value: int | None) -> int | str:
    return "unknown" if value is None else value


def _cell(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _all_ints(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(isinstance(row.get(name), int) and not isinstance(row.get(name), bool) for row in rows)
