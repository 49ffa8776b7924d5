"""Parses Wix's payloads into rows of SUBSCRIPTIONS.

Facts it relies on: `packageName` is the plan; if it is missing on a paying instance the plan is unknown, not free. A
cancelled plan keeps `isFree: false` until it expires. In dunning `expirationDate` may be in the past, so nothing is
ever decided from that date.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from credit_pipeline.adapters.billing.json_values import WireError, mapping, text
from credit_pipeline.adapters.billing.subscription_rows import MAX_DETAIL, blank_row, unanswered
from credit_pipeline.domain.plans.periods import Cycle
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.ids import BillingId

TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path, not a secret
INSTANCE_PATH = "/apps/v1/instance"
REQUEST_ID_HEADER = "X-Wix-Request-Id"

_CYCLES = {
    "MONTHLY": Cycle.MONTHLY,
    "YEARLY": Cycle.YEARLY,
    "TWO_YEARS": Cycle.YEARLY,
    "THREE_YEARS": Cycle.YEARLY,
    "FOUR_YEARS": Cycle.YEARLY,
    "FIVE_YEARS": Cycle.YEARLY,
    "ONE_TIME": Cycle.ONE_TIME,
}


def parse_instance(billing_id: BillingId, payload: Mapping[str, Any]) -> dict[str, Any]:
    """One row of SUBSCRIPTIONS from a Get App Instance response. Raises WireError for another shape."""
    instance = mapping(payload, "instance")
    if payload.get("instance") is None:
        raise WireError("instance is missing")
    answered_for = text(instance, "instanceId")
    is_free = instance.get("isFree")
    if answered_for is None or not isinstance(is_free, bool):
        raise WireError("instance.instanceId or instance.isFree is missing")
    if answered_for.casefold() != billing_id.casefold():
        return unanswered(billing_id, "answered about another instance")
    row = blank_row(billing_id, Lookup.ANSWERED) | {"subscription_id": str(billing_id)}
    if is_free:
        return row | {"status": BillingStatus.FREE.value}
    return row | _paid(mapping(instance, "billing"))


def error_code(body: Mapping[str, Any] | None) -> str | None:
    """The code in either of Wix's error shapes: IETF `error`, or `details.applicationError.code`."""
    if body is None:
        return None
    if isinstance(plain := body.get("error"), str):
        return plain
    details = body.get("details")
    application = details.get("applicationError") if isinstance(details, dict) else None
    code = application.get("code") if isinstance(application, dict) else None
    return code if isinstance(code, str) else None


def parse_token(payload: Mapping[str, Any]) -> tuple[str, float]:
    """The access token and its lifetime in seconds. Raises WireError."""
    token, life = payload.get("access_token"), payload.get("expires_in")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise WireError("access_token is missing")
    if isinstance(life, bool) or not isinstance(life, int | float) or life <= 0:
        raise WireError("expires_in is missing")
    return token, float(life)


def parse_time(value: object) -> datetime | None:
    """The time in UTC of `2026-01-31T10:00:00.000Z`; None for a time without an offset and for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _paid(billing: Mapping[str, Any]) -> dict[str, Any]:
    trial = mapping(billing, "freeTrialInfo")
    trialing = trial.get("status") == "IN_PROGRESS"
    auto_renews = billing.get("autoRenewing")
    source = text(billing, "source")
    return {
        "status": (BillingStatus.TRIALING if trialing else BillingStatus.ACTIVE).value,
        "raw_plan": text(billing, "packageName"),
        "cycle": _cycle(billing.get("billingCycle")),
        "anchor": parse_time(billing.get("timeStamp")),
        "ends_at": parse_time(billing.get("expirationDate")),
        "auto_renews": auto_renews if isinstance(auto_renews, bool) else None,
        "detail": source[:MAX_DETAIL] if source else None,
    }


def _cycle(value: object) -> str | None:
    cycle = _CYCLES.get(value) if isinstance(value, str) else None
    return cycle.value if cycle else None
