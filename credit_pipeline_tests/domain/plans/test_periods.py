"""Billing periods (semantics §5): the anchor's day is kept, periods tile, and every instant is in exactly one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.plans.catalogue import YearlyMode
from credit_pipeline.domain.plans.periods import FOREVER, Cycle, Period, add_months, period_at, step_months
from credit_pipeline_tests.domain.builders import a_plan


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("anchor", "now", "start", "end"),
    [
        ("2026-01-31", "2026-02-10", "2026-01-31", "2026-02-28"),
        ("2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
        ("2026-01-31", "2026-03-30", "2026-02-28", "2026-03-31"),
        ("2026-01-31", "2026-03-31", "2026-03-31", "2026-04-30"),
        ("2028-01-31", "2028-02-29", "2028-02-29", "2028-03-31"),  # leap year
        ("2027-12-31", "2028-02-29T12:00", "2028-02-29", "2028-03-31"),
        ("2026-01-29", "2026-03-01", "2026-02-28", "2026-03-29"),
        ("2026-01-30", "2026-02-27", "2026-01-30", "2026-02-28"),
        ("2026-03-01T09:00", "2026-04-01T08:59:59.999999", "2026-03-01T09:00", "2026-04-01T09:00"),
        ("2026-03-01T09:00", "2026-04-01T09:00", "2026-04-01T09:00", "2026-05-01T09:00"),
        ("2026-12-15", "2027-01-15", "2027-01-15", "2027-02-15"),
        ("2020-03-15", "2026-03-14", "2026-02-15", "2026-03-15"),
        ("2026-05-01", "2026-04-01", "2026-05-01", "2026-06-01"),  # an anchor in the future: its own first period
        ("2026-05-31", "2026-05-30", "2026-05-31", "2026-06-30"),
    ],
)
def test_monthly_periods(anchor: str, now: str, start: str, end: str) -> None:
    assert period_at(at(anchor), 1, at(now)) == Period(start=at(start), end=at(end))


@pytest.mark.parametrize(
    ("anchor", "now", "start", "end"),
    [
        ("2024-02-29", "2025-02-28", "2025-02-28", "2026-02-28"),
        ("2024-02-29", "2028-02-28", "2027-02-28", "2028-02-29"),
        ("2024-02-29", "2028-02-29", "2028-02-29", "2029-02-28"),
        ("2026-06-10", "2027-06-09T23:59", "2026-06-10", "2027-06-10"),
    ],
)
def test_yearly_periods(anchor: str, now: str, start: str, end: str) -> None:
    assert period_at(at(anchor), 12, at(now)) == Period(start=at(start), end=at(end))


def test_a_purchase_without_renewal_is_one_period() -> None:
    start = at("2026-01-31")
    assert period_at(start, 0, at("2036-01-01")) == Period(start=start, end=start + FOREVER)


@pytest.mark.parametrize(
    ("cycle", "yearly", "months"),
    [
        (Cycle.MONTHLY, None, 1),
        (Cycle.MONTHLY, YearlyMode.UPFRONT, 1),
        (Cycle.YEARLY, YearlyMode.DRIP, 1),
        (Cycle.YEARLY, YearlyMode.UPFRONT, 12),
        (Cycle.YEARLY, None, None),  # no default: undeclared is report-only
        (Cycle.ONE_TIME, YearlyMode.DRIP, 0),
    ],
)
def test_months_between_two_grants(cycle: Cycle, yearly: YearlyMode | None, months: int | None) -> None:
    assert step_months(a_plan("pro", 5000, 1, yearly=yearly), cycle) == months


def test_near_is_nine_tenths_of_the_cycle() -> None:
    assert Period(start=at("2026-02-28"), end=at("2026-03-28")).near == timedelta(days=25.2)


ANCHORS = st.datetimes(datetime(2015, 1, 1), datetime(2030, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))  # noqa: DTZ001
AGES = st.timedeltas(timedelta(0), timedelta(days=4000))
STEPS = st.sampled_from([1, 12])


@given(ANCHORS, AGES, STEPS)
def test_the_period_contains_now(anchor: datetime, age: timedelta, step: int) -> None:
    period = period_at(anchor, step, anchor + age)
    assert period.start <= anchor + age < period.end


@given(ANCHORS, AGES, STEPS)
def test_periods_tile(anchor: datetime, age: timedelta, step: int) -> None:
    period = period_at(anchor, step, anchor + age)
    assert period_at(anchor, step, period.end).start == period.end
    if period.start > anchor:
        assert period_at(anchor, step, period.start - timedelta(microseconds=1)).end == period.start


@given(ANCHORS, AGES, STEPS)
def test_the_original_day_and_time_are_kept(anchor: datetime, age: timedelta, step: int) -> None:
    start = period_at(anchor, step, anchor + age).start
    assert start.time() == anchor.time()
    clamped = (start + timedelta(days=1)).day == 1
    assert start.day == anchor.day or (clamped and start.day < anchor.day)


@given(ANCHORS, st.integers(0, 17))
def test_the_day_of_a_long_month_comes_back_after_short_ones(anchor: datetime, leaps: int) -> None:
    later = add_months(anchor, 48 * leaps)
    assert later == anchor.replace(year=anchor.year + 4 * leaps)
