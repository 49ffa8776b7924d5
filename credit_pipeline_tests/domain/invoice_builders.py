"""Invoice lines and subscriptions by the year, for tests about entitlements. Nothing is judged here."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from credit_pipeline.domain.grants.entitlements import grant_period
from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.plans.catalogue import Resolved, Rule
from credit_pipeline.domain.plans.periods import Cycle, Period
from credit_pipeline.domain.subjects.account import Account, Billing
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline_tests.domain.builders import a_catalogue, a_period
from credit_pipeline_tests.domain.ledger_builders import (
    CUSTOMER,
    SUBSCRIPTION,
    a_ledger,
    a_stripe_billing,
    a_user,
    an_invoice,
)

PLANS = a_catalogue()
CHANGED = datetime(2026, 3, 10, 15, tzinfo=UTC)
YEAR = Period(start=datetime(2026, 1, 31, 9, tzinfo=UTC), end=datetime(2027, 1, 31, 9, tzinfo=UTC))


def day(month: int, number: int, hour: int = 9, year: int = 2026) -> datetime:
    return datetime(year, month, number, hour, tzinfo=UTC)


def a_line(plan: str = "pro", period: Period | None = None, **facts: Any) -> InvoiceLine:
    period = period or a_period()
    paid = period.start + timedelta(hours=1) if facts.get("status", InvoiceStatus.PAID) is InvoiceStatus.PAID else None
    return an_invoice(**({"plan": PLANS.named(plan), "period": period, "paid_at": paid} | facts))


def an_upgrade(plan: str = "pro", at: datetime = CHANGED, **facts: Any) -> InvoiceLine:
    period = Period(start=at, end=a_period().end)
    return a_line(plan, period, **({"change": True, "paid_at": at + timedelta(minutes=5)} | facts))


def with_lines(*lines: InvoiceLine, **facts: Any) -> Account:
    return a_user(**({"invoices": lines, "started_at": min(x.period.start for x in lines)} | facts))


def yearly(plan: str, now: datetime, lines: tuple[InvoiceLine, ...] | None = None, **facts: Any) -> Account:
    resolution = Resolved(plan=PLANS.named(plan), rule=Rule.ALIAS)
    term = facts.pop("term", YEAR)
    billing = Billing(
        **(
            {
                "lookup": a_stripe_billing().lookup,
                "billing_id": CUSTOMER,
                "status": BillingStatus.ACTIVE,
                "raw_plan": plan,
                "resolution": resolution,
                "subscription_id": SUBSCRIPTION,
                "cycle": Cycle.YEARLY,
                "term": term,
                "started_at": term.start,
                "invoices": lines if lines is not None else (a_line(plan, term),),
            }
            | facts
        )
    )
    billing = replace(billing, period=grant_period(billing, now))
    return a_user(billing=billing, ledger=a_ledger(since=now - timedelta(days=62)))
