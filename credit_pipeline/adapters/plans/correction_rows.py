"""Converts corrections to rows of `credit_pipeline.correction` and back.

`content` holds the whole correction. The write path carries out the other columns, and reads from `content` the steps
that move no credits. `bound` is the text whose SHA-256 is the digest; the write path checks the row against it under
its lock.
"""

import json
from collections.abc import Mapping
from typing import Any

from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    correction_fields,
    correction_from,
)
from credit_pipeline.domain.errors import PlanError

Columns = dict[str, Any]


def columns(correction: Correction) -> Columns:
    """The row of a correction: all columns except plan, number, system and outcome. Amounts are credits.

    Raises PlanError if it has two steps of one kind other than adjustments: one row holds one of each.
    """
    kinds = [type(step) for step in correction.steps if not isinstance(step, AdjustCredits)]
    if len(set(kinds)) < len(kinds):
        raise PlanError("a correction holds several steps of one kind for one account: plan them one after the other")
    grant, label = correction.grant, correction.set_plan
    adjusted = correction.adjustments
    return {
        "account": correction.account_id,
        "lane": correction.lane.value,
        "digest": correction.digest,
        "bound": correction.bound,
        "key": correction.key,
        "keys": [*([str(grant.grant_key)] if grant else []), *(step.correction_key for step in adjusted)],
        "set_label": label.label if label else None,
        "grant_plan": grant.grant_key.plan if grant else None,
        "grant_start": grant.grant_key.period_start if grant else None,
        "grant_end": grant.period_end if grant else None,
        "grant_credits": grant.delta if grant else None,
        "reset_used": grant.reset_used if grant else False,
        "total_delta": sum(step.delta for step in adjusted if not step.lower_used),
        "used_delta": -sum(step.delta for step in adjusted if step.lower_used),
        "seen_label": correction.seen.label,
        "seen_total": correction.seen.total,
        "seen_used": correction.seen.used,
        "content": json.dumps(correction_fields(correction), ensure_ascii=False),
    }


def stored_correction(row: Mapping[str, Any]) -> Correction:
    """The correction in a row; `content` may be JSON text or decoded. Raises PlanError if the row was edited."""
    raw = row["content"]
    correction = correction_from(json.loads(raw) if isinstance(raw, str) else raw)
    expected = columns(correction)
    del expected["content"]
    if row["bound"] is None:  # saved by an older version: readable, but the write path skips it
        del expected["bound"]
    if any(row[name] != value for name, value in expected.items()):
        raise PlanError("a correction was changed in the database after it was saved: make a new plan")
    return correction
