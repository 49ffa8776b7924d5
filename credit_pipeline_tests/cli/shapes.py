"""The commands' JSON objects as shapes to hold an answer against. Small and by hand; no assertions about values."""

from collections.abc import Mapping
from typing import Any

NUMBER, WORD, FLAG = int, str, bool


class Maybe:
    """A value of this shape, or null."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


class Each:
    """A mapping from any word to values of this shape."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


def differences(value: Any, shape: Any, where: str = "$") -> list[str]:
    """Where the value is not of the shape; keys beyond it are free."""
    if isinstance(shape, Maybe):
        return [] if value is None else differences(value, shape.shape, where)
    if isinstance(shape, Each):
        if not isinstance(value, Mapping):
            return [f"{where} is no object"]
        return [d for key, inner in value.items() for d in differences(inner, shape.shape, f"{where}.{key}")]
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            return [f"{where} is no object"]
        absent = [f"{where}.{key} is missing" for key in shape if key not in value]
        inner = [d for key in shape if key in value for d in differences(value[key], shape[key], f"{where}.{key}")]
        return absent + inner
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [d for i, item in enumerate(value) for d in differences(item, shape[0], f"{where}[{i}]")]
    if isinstance(shape, set):
        return [] if value in shape else [f"{where} is {value!r}"]
    right = type(value) is shape
    return [] if right else [f"{where} is {type(value).__name__}"]


MISMATCH = {
    "fingerprint": WORD,
    "account_id": Maybe(WORD),
    "billing_id": Maybe(WORD),
    "code": WORD,
    "secondary": [WORD],
    "severity": {"critical", "error", "warning", "info"},
    "lane": {"auto", "approve", "review", "none"},
    "expected": {},
    "actual": {},
    "delta": Maybe(NUMBER),
    "evidence": {},
    "first_seen": WORD,
    "aged": FLAG,
}
CHECK = {
    "system": WORD,
    "run_id": WORD,
    "as_of": WORD,
    "source": {"provider": WORD, "complete": FLAG, "level": {"L0", "L1", "L2", "L3"}, "records": NUMBER},
    "population": NUMBER,
    "in_sync": NUMBER,
    "exempt": NUMBER,
    "classes": Each(NUMBER),
    "direction": {"both", "store_only"},
    "webhooks": Each(NUMBER),
    "mismatches": [MISMATCH],
    "identities": {"by_layer": Each(NUMBER), "unmapped": NUMBER, "conflicts": NUMBER},
}
STATE = {"plan": Maybe(WORD), "total": NUMBER, "used": NUMBER, "available": NUMBER}
OUTCOMES = {
    "would_change",
    "changed",
    "noop_already_applied",
    "stale_skipped",
    "blocked_by_guard",
    "needs_approval",
    "busy",
    "failed",
}
STATES = {
    "proposed",
    "approved",
    "rejected",
    "quarantined",
    "applying",
    "applied",
    "partly_applied",
    "expired",
    "superseded",
}
PLAN = {
    "system": WORD,
    "plan_id": WORD,
    "digest": WORD,
    "mode": {"dry_run", "live"},
    "state": STATES,
    "failures": [WORD],
    "rows": [
        {
            "account_id": WORD,
            "codes": [WORD],
            "steps": [{}],
            "set_plan": Maybe(WORD),
            "reset_used": FLAG,
            "delta": NUMBER,
            "grant_key": Maybe(WORD),
            "lane": {"auto", "approve"},
            "before": STATE,
            "after": STATE,
            "outcome": OUTCOMES,
            "failures": [WORD],
        }
    ],
    "outcomes": Each(NUMBER),
    "totals": {"rows": NUMBER, "credits": NUMBER},
}
HEALTH = {
    "system": WORD,
    "healthy": FLAG,
    "checks": [
        {
            "name": WORD,
            "severity": {"critical", "error", "warning", "info"},
            "count": Maybe(NUMBER),
            "sample": [WORD],
            "truncated": FLAG,
            "recovery": WORD,
        }
    ],
}
ACCOUNT = {
    "system": WORD,
    "account_id": Maybe(WORD),
    "billing_id": Maybe(WORD),
    "passed": NUMBER,
    "failed": NUMBER,
    "checks": [{"name": WORD, "ok": Maybe(FLAG), "detail": WORD}],
    "timeline": [{"at": WORD, "kind": WORD, "text": WORD}],
}
DEMO = {
    "systems": Each(
        {
            "population": NUMBER,
            "planted": Each(NUMBER),
            "found": Each(NUMBER),
            "changed": NUMBER,
            "held": NUMBER,
            "second_run_changed": NUMBER,
            "credits_lost": NUMBER,
        }
    )
}
EIGHT = [
    "user_exists",
    "mapping_exists",
    "subscription_exists",
    "metadata_resolved",
    "balance_exists",
    "balance_reasonable_for_plan",
    "ledger_explains_balance",
    "can_deduct",
]
