"""Who decided about a plan, for a reader: names as they were given, but none that is an address. Decides nothing."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from credit_pipeline.services.decision_log import pseudonym
from credit_pipeline.services.gateways import Gateways


def decisions_about(system: str, gateways: Gateways, plan_id: str | None) -> list[dict[str, Any]]:
    """The decisions about this plan, and earlier ones that released a row changed in it, oldest first."""
    if plan_id is None:
        return []
    with gateways.plans.audit_snapshot() as audit:
        return [_shown(system, made) for made in audit.approvals([plan_id])]


def _shown(system: str, made: Mapping[str, Any]) -> dict[str, Any]:
    at = made["decided_at"]
    return {
        "decision": made["decision"],
        "who": person(system, made["approver"]),
        "login": person(system, made["login"]),
        "lane": made["lane"],
        "rows": made["rows"],
        "four_eyes": made["four_eyes"],
        "plan_id": made["plan_id"],
        "decided_at": at.isoformat() if isinstance(at, datetime) else str(at),
    }


def person(system: str, name: str) -> str:
    """A name as it was given; an address becomes a stable word that tells nothing: `person_9f2c61d0`."""
    return pseudonym(system, name).replace("acct_", "person_") if "@" in name else name
