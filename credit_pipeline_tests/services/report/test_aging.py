"""How long findings wait: the edges of each step, and the words for them."""

from datetime import timedelta

import pytest

from credit_pipeline.services.report.aging import STEPS, by_age, spoken, step

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("age", "name"),
    [
        (-DAY, "under_24h"),
        (timedelta(), "under_24h"),
        (DAY - SECOND, "under_24h"),
        (DAY, "1_to_7_days"),
        (7 * DAY - SECOND, "1_to_7_days"),
        (7 * DAY, "7_to_30_days"),
        (30 * DAY - SECOND, "7_to_30_days"),
        (30 * DAY, "over_30_days"),
        (900 * DAY, "over_30_days"),
    ],
)
def test_each_wait_has_one_step(age: timedelta, name: str) -> None:
    assert step(age) == name


def test_every_step_is_counted_and_only_those_that_hold_any_are_spoken() -> None:
    steps = by_age([SECOND, 2 * SECOND, 40 * DAY])
    assert steps == dict.fromkeys(STEPS, 0) | {"under_24h": 2, "over_30_days": 1}
    assert spoken(steps) == "2 under 24 h, 1 over 30 days"
    assert spoken(by_age([])) == spoken({}) == ""
