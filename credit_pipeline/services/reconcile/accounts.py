"""Turns screened rows into Account objects for the pure judgement. Reads the memory, decides nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from credit_pipeline.domain.plans.catalogue import Catalogue, Resolution, Resolved
from credit_pipeline.domain.plans.periods import Cycle, Period, period_at
from credit_pipeline.domain.subjects.account import Account, Balance, Billing, Lookup, Memory
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.services.reconcile.ports import MemoryStore
from credit_pipeline.services.reconcile.screen import billed_resolution, billed_step


def accounts_of(
    rows: Sequence[Mapping[str, Any]], catalogue: Catalogue, memory: MemoryStore | None, now: datetime
) -> list[Account]:
    """The suspects with all that is remembered of them; memory is None where nothing is installed.

    Their plans are those of the period that billing names.
    """
    remembered = memory.remembered([row["account_id"] for row in rows], now) if memory and rows else {}
    words: dict[tuple[str | None, str | None], Resolution | None] = {}
    labels: dict[str | None, Resolution] = {}
    made = []
    for row in rows:
        word = (row["status"], row["raw_plan"])
        if word not in words:
            words[word] = billed_resolution(catalogue, *word)
        if row["label"] not in labels:
            labels[row["label"]] = catalogue.resolve_label(row["label"])
        period = _period(row, words[word], now)
        start = period.start if period else None
        label = _as_of(labels[row["label"]], start)
        made.append(
            Account(
                account_id=AccountId(row["account_id"]),
                billing=_billing(row, _as_of(words[word], start), period),
                balance=Balance(label=row["label"], resolution=label, total=row["total"], used=row["used"]),
                memory=remembered.get(row["account_id"], Memory()) if memory else None,
            )
        )
    return made


def _as_of(found: Resolution | None, start: datetime | None) -> Any:
    return replace(found, plan=found.plan.as_of(start)) if isinstance(found, Resolved) else found


def _billing(row: Mapping[str, Any], resolution: Resolution | None, period: Period | None) -> Billing:
    lookup = Lookup(row["lookup"])
    return Billing(
        lookup=lookup,
        billing_id=BillingId(row["billing_id"] or row["account_id"]),
        status=BillingStatus(row["status"]) if row["status"] else None,
        raw_plan=row["raw_plan"],
        resolution=resolution,
        subscription_id=row["subscription_id"],
        cycle=Cycle(row["cycle"]) if row["cycle"] else None,
        period=period,
        changed_at=_utc(row["changed_at"]),
        started_at=_utc(row["anchor"]),
        ends_at=_utc(row["ends_at"]),
        auto_renews=row["auto_renews"],
        detail=row["detail"],
    )


def _period(row: Mapping[str, Any], resolution: Resolution | None, now: datetime) -> Period | None:
    anchor = _utc(row["anchor"])
    if anchor is None or not isinstance(resolution, Resolved):
        return None
    step = billed_step(resolution.plan, row["cycle"])
    return None if step is None else period_at(anchor, step, now)


def _utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)
