"""Billing periods: where one starts and when the next begins (semantics §5). All instants are UTC.

The anchor's day of the month is kept through short months: 31 Jan → 28 Feb → 31 Mar.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from credit_pipeline.domain.plans.catalogue import Plan, YearlyMode

NEAR = 0.9
"""Two grants of one plan closer than this share of a cycle are one period's (semantics §5, adoption)."""

A_MONTH = timedelta(days=30)

FOREVER = timedelta(days=36_500)


class Cycle(StrEnum):
    """How often the provider bills."""

    MONTHLY = "monthly"
    YEARLY = "yearly"
    ONE_TIME = "one_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One period of entitlement, [start, end)."""

    start: datetime
    end: datetime

    @property
    def near(self) -> timedelta:
        """Grants of the same plan less than this far from `start` belong to the same purchase."""
        return (self.end - self.start) * NEAR


def add_months(anchor: datetime, months: int) -> datetime:
    """`anchor` moved by whole months; the original day is kept, clamped to the month's last day."""
    year, month0 = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    day = min(anchor.day, monthrange(year, month0 + 1)[1])
    return anchor.replace(year=year, month=month0 + 1, day=day)


def step_months(plan: Plan, cycle: Cycle) -> int | None:
    """Months between two grants, 0 for a purchase without renewal, None where the yearly mode is undeclared."""
    if cycle is Cycle.ONE_TIME:
        return 0
    if cycle is Cycle.MONTHLY:
        return 1
    if plan.yearly is None:
        return None
    return 1 if plan.yearly is YearlyMode.DRIP else 12


def months_of(plan: Plan, cycle: Cycle | None) -> int:
    """How many months' credits one grant has: a whole year's where the plan is granted up front."""
    return 12 if cycle is Cycle.YEARLY and plan.yearly is YearlyMode.UPFRONT else 1


def period_at(anchor: datetime, step: int, now: datetime) -> Period:
    """The period that contains `now`, counted from `anchor` in steps of whole months to the last instant ≤ now.

    A step of 0 is one period without end. An anchor in the future is its own first period.
    """
    if step == 0:
        return Period(start=anchor, end=anchor + FOREVER)
    elapsed = (now.year - anchor.year) * 12 + now.month - anchor.month
    count = max(0, elapsed // step)
    if count and add_months(anchor, count * step) > now:
        count -= 1
    return Period(start=add_months(anchor, count * step), end=add_months(anchor, (count + 1) * step))
