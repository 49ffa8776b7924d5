"""One healthy paid counter account, and the values around it. Tests override single facts; nothing is judged here."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, Resolution, Resolved, Rule, YearlyMode
from credit_pipeline.domain.plans.periods import Cycle, Period, add_months
from credit_pipeline.domain.policy import Policy, Renewal
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import (
    Account,
    Balance,
    Billing,
    GrantRecord,
    Lookup,
    Mark,
    Memory,
    ObservedState,
    StateKind,
)
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.ids import AccountId, BillingId

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
START = datetime(2026, 3, 1, 9, tzinfo=UTC)
"""The current period's start, two weeks before NOW."""


def a_plan(name: str, credits: int, rank: int, **overrides: Any) -> Plan:
    return Plan(**({"name": name, "credits": credits, "rank": rank, "label": name} | overrides))


def a_catalogue(**overrides: Any) -> Catalogue:
    """free 100, starter 1,000, pro 5,000, pro_plus 15,000."""
    plans = (
        a_plan("free", 100, 0, free=True),
        a_plan("starter", 1000, 1, provider_ids=("price_starter",), yearly=YearlyMode.DRIP),
        a_plan("pro", 5000, 2, provider_ids=("price_pro", "PRO"), lookup_keys=("pro_monthly",), aliases=("Pro Plan",)),
        a_plan("pro_plus", 15_000, 3, aliases=("Pro+",), yearly=YearlyMode.UPFRONT),
    )
    return Catalogue(**({"plans": plans} | overrides))


def a_policy(**overrides: Any) -> Policy:
    """The seed product's policy: it zeroes `used` at renewal, within the hour."""
    return Policy(**({"renewal": Renewal.RESET_USED, "renewal_grace": timedelta(hours=1)} | overrides))


def rules(
    *,
    now: datetime = NOW,
    settle: bool = False,
    first_run: bool = False,
    catalogue: Catalogue | None = None,
    **policy: Any,
) -> Rules:
    """How a run judges; every other word is a policy's."""
    return Rules(
        catalogue=catalogue or a_catalogue(), policy=a_policy(**policy), now=now, settle=settle, first_run=first_run
    )


def hours_ago(hours: float, now: datetime = NOW) -> datetime:
    return now - timedelta(hours=hours)


def a_period(start: datetime = START, months: int = 1) -> Period:
    return Period(start=start, end=add_months(start, months))


def seen(
    hours: float = 6,
    *,
    until: float | None = None,
    kind: StateKind = StateKind.OBSERVED,
    label: str | None = "pro",
    total: int = 5000,
    used: int = 1000,
    billed: str | None = "pro",
    start: datetime | None = START,
    status: str = "active",
    mark: Mark | None = None,
) -> ObservedState:
    """A remembered state, first seen `hours` before NOW and last seen `until` hours before NOW (default: at once)."""
    return ObservedState(
        as_of=hours_ago(hours),
        seen_until=hours_ago(hours if until is None else until),
        kind=kind,
        label=label,
        total=total,
        used=used,
        billed_plan=billed,
        billed_period_start=None if billed in {None, "free"} else start,
        billed_status="free" if billed == "free" else status,
        mark=mark,
    )


def corrected(hours: float, before: dict[str, Any], after: dict[str, Any]) -> tuple[ObservedState, ObservedState]:
    """Our own correction as the audit remembers it."""
    return (
        seen(hours, kind=StateKind.BEFORE, billed=None, **before),
        seen(hours, kind=StateKind.AFTER, billed=None, **after),
    )


def a_grant(plan: str = "pro", start: datetime = START, credits: int = 5000) -> GrantRecord:
    return GrantRecord(plan=plan, period_start=start, credits=credits)


def an_open(found: Finding, *, hours: float = 6, is_event: bool | None = None) -> Mismatch:
    """A finding of a run some hours ago as the lifecycle remembers it."""
    return Mismatch(
        fingerprint=found.fingerprint,
        account_id=AccountId("site-1"),
        code=found.code.value,
        severity=found.severity.value,
        lane=found.lane.value,
        is_event=found.is_event if is_event is None else is_event,
        opened_at=hours_ago(hours),
        first_seen=hours_ago(hours),
        evidence=found.evidence,
    )


def a_resolution(word: str | None, catalogue: Catalogue) -> Resolution:
    if word == "free":
        return Resolved(plan=catalogue.free, rule=Rule.FREE)
    return catalogue.resolve(word)


def an_account(
    *,
    label: str | None = "pro",
    total: int | None = 5000,
    used: int | None = 1000,
    billed: str | None = "pro",
    status: BillingStatus | None = None,
    lookup: Lookup = Lookup.ANSWERED,
    period: Period | None = None,
    start: datetime | None = START,
    changed_at: datetime | None = None,
    states: Iterable[ObservedState] | None = None,
    runs: Iterable[datetime] = (),
    grants: Iterable[GrantRecord] = (),
    open_mismatches: Iterable[Mismatch] = (),
    accepted: Iterable[str] = (),
    applied_keys: Iterable[str] = (),
    installed: bool = True,
    account_id: str = "acct_1",
    catalogue: Catalogue | None = None,
) -> Account:
    """A Pro customer in good order, seen six hours ago with its grant adopted; override single facts."""
    plans = catalogue or a_catalogue()
    answered = lookup is Lookup.ANSWERED
    if period is None and start is not None and billed not in {None, "free"} and answered:
        period = a_period(start)
    default = (seen(total=total or 0, used=used or 0, label=label, mark=Mark.ADOPTED),)
    memory = Memory(
        states=default if states is None else tuple(states),
        complete_runs=tuple(runs),
        grants=tuple(grants),
        open_mismatches=tuple(open_mismatches),
        accepted=frozenset(accepted),
        applied_keys=frozenset(applied_keys),
    )
    return Account(
        account_id=AccountId(account_id),
        billing=Billing(
            lookup=lookup,
            billing_id=BillingId(account_id),
            status=(status or (BillingStatus.FREE if billed == "free" else BillingStatus.ACTIVE)) if answered else None,
            raw_plan=billed if answered else None,
            resolution=a_resolution(billed, plans) if answered else None,
            subscription_id=account_id,
            cycle=Cycle.MONTHLY,
            period=period,
            changed_at=changed_at,
        ),
        balance=Balance(label=label, resolution=plans.resolve_label(label), total=total, used=used),
        memory=memory if installed else None,
    )
