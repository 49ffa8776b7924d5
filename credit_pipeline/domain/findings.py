"""Findings: one code about one account with its evidence. An event stays open until restored, explained or accepted.

A fingerprint names the same finding in every run: account, code, subscription, period, and for what was seen between
two observations that pair (semantics §7).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from credit_pipeline.domain.codes import CODES, Code, Severity
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.subjects.account import Account

EVENTS: frozenset[Code] = frozenset(
    {
        Code.UNEXPLAINED_DECREASE,
        Code.RENEWAL_MISSING,
        Code.GRANT_LOST,
        Code.GRANT_DUPLICATE,
    }
)
"""Codes that the next run's silence does not resolve; an unproven grant_missing is one as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with one account, and who may act on it."""

    code: Code
    fingerprint: str
    lane: Lane
    severity: Severity
    is_event: bool = False
    delta: int | None = None
    """Credits the account is short of (positive) or over (negative), where that is known."""
    evidence: Mapping[str, Any] = field(default_factory=dict)


def fingerprint(account: Account, code: Code, *parts: object) -> str:
    """The finding's name in every run; `parts` are its period or its pair of observations."""
    words = [account.account_id, code.value, account.billing.subscription_id, *map(_stable, parts)]
    return hashlib.sha256("\x1f".join(str(word) for word in words).encode()).hexdigest()[:20]


def finding(
    account: Account,
    code: Code,
    *parts: object,
    lane: Lane | None = None,
    severity: Severity | None = None,
    is_event: bool | None = None,
    delta: int | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Finding:
    """A finding with its code's defaults where nothing else is said."""
    facts = dict(evidence or {}) | ({} if delta is None else {"delta": delta})
    return Finding(
        code=code,
        fingerprint=fingerprint(account, code, *parts),
        lane=CODES[code].lane if lane is None else lane,
        severity=CODES[code].severity if severity is None else severity,
        is_event=code in EVENTS if is_event is None else is_event,
        delta=delta,
        evidence={key: _stable(value) for key, value in facts.items()},
    )


def _stable(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
