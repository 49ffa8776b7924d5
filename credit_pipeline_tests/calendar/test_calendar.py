"""The demo on the day that most dates lean on: a leap day that ends while the sandbox is planted."""

import os

import pytest

from credit_pipeline_tests.calendar.__main__ import demo
from credit_pipeline_tests.calendar.clock import library
from credit_pipeline_tests.calendar.dates import MOMENTS


def test_the_demo_finds_what_was_planted_on_a_leap_day_that_ends() -> None:
    if library() is None and not os.environ.get("CREDIT_PIPELINE_REQUIRE_FAKETIME"):
        pytest.skip("libfaketime is not installed")
    assert demo("2028-02-29 23:40") == []


def test_the_campaign_has_its_dates() -> None:
    assert len(set(MOMENTS)) >= 40
