"""The eight checks and the story of an account, over single deviations from a healthy one."""

from datetime import datetime
from typing import Any

import pytest

from credit_pipeline.config.loader import load_system
from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.subjects.account import Lookup, Mark
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.services.explain.counter_checks import counter_checks
from credit_pipeline.services.explain.explanation import Check
from credit_pipeline.services.explain.timeline import Entry, timeline
from credit_pipeline_tests.domain.builders import NOW, an_account, hours_ago, rules, seen

SYSTEM = load_system("wix_app", environ={})
OPEN = {"mapping_exists": None, "metadata_resolved": None, "ledger_explains_balance": None}
HEALTHY = OPEN | {
    "user_exists": True,
    "subscription_exists": True,
    "balance_exists": True,
    "balance_reasonable_for_plan": True,
    "can_deduct": True,
}


def asked(*, in_store: bool = True, **overrides: Any) -> dict[str, Check]:
    judgement = classify(an_account(**overrides), rules())
    return {check.name: check for check in counter_checks(SYSTEM, judgement, in_store=in_store)}


def story(**overrides: Any) -> list[Entry]:
    audit = overrides.pop("audit", [])
    judgement = classify(an_account(**overrides), rules())
    return list(timeline(judgement, audit, in_store=True, now=NOW))


@pytest.mark.parametrize(
    ("deviation", "changed"),
    [
        ({}, {}),
        ({"total": 100, "used": 0, "states": ()}, {"balance_reasonable_for_plan": False}),
        ({"label": "free"}, {"balance_reasonable_for_plan": False}),
        ({"total": 6_200}, {}),
        ({"used": 5_000}, {"can_deduct": False}),
        ({"used": 4_999}, {}),
        (
            {"total": None},
            {"balance_exists": False, "balance_reasonable_for_plan": False, "can_deduct": None},
        ),
        ({"lookup": Lookup.ERROR}, {"subscription_exists": None, "balance_reasonable_for_plan": None}),
        ({"lookup": Lookup.MISSING}, {"subscription_exists": False, "balance_reasonable_for_plan": None}),
        ({"lookup": Lookup.GONE}, {"subscription_exists": False, "balance_reasonable_for_plan": None}),
        ({"billed": "Pro+ 2027"}, {"balance_reasonable_for_plan": None}),
        ({"billed": "free", "label": "pro"}, {"subscription_exists": False}),
        ({"billed": "free", "label": "free", "total": 100, "used": 0}, {"subscription_exists": None}),
        ({"status": BillingStatus.DUNNING}, {}),
    ],
)
def test_each_deviation_shows_in_its_own_check(deviation: dict[str, Any], changed: dict[str, bool | None]) -> None:
    deviation = {"states": ()} | deviation  # without a past, so that only the present is judged
    assert {name: check.ok for name, check in asked(**deviation).items()} == HEALTHY | changed


def test_an_account_without_a_row_fails_the_first_check_and_leaves_the_rest_open() -> None:
    found = {n: c.ok for n, c in asked(in_store=False, label=None, total=None, used=None, states=()).items()}
    assert found["user_exists"] is False
    assert found["balance_exists"] is False
    assert found["balance_reasonable_for_plan"] is found["can_deduct"] is None


def test_a_carried_over_surplus_is_reasonable_and_said() -> None:
    detail = asked(total=6_200, states=())["balance_reasonable_for_plan"].detail
    assert detail == "1,200 more than the 5,000 of pro: carried over, and kept"


def test_the_past_is_told_as_differences_in_time_order() -> None:
    past = (
        seen(72, until=49, label="free", total=100, used=0, billed="free"),
        seen(48, until=25, label="pro", total=5_000, used=0, mark=Mark.ADOPTED),
        seen(24, label="pro", total=5_000, used=400, mark=Mark.ADOPTED),
    )
    told = [(entry.kind, entry.text) for entry in story(states=past, used=400) if entry.at < NOW.isoformat()]
    assert told == [
        ("observed", "first seen: label free, 100 granted, 0 used"),
        ("billing", "billing said free (free)"),
        ("observed", "label free -> pro, granted 100 -> 5,000 (+4,900); 5,000 available"),
        ("billing", "billing said pro (active, period from 2026-03-01)"),
        ("granted", "the product's own grant of pro for 2026-03-01 counts as made (seen in order)"),
        ("observed", "400 spent; 4,600 available"),
    ]
    moments = [datetime.fromisoformat(entry.at) for entry in story(states=past)]
    assert moments == sorted(moments)


def test_a_correction_is_told_with_its_reason_and_its_approver() -> None:
    row = {
        "at": hours_ago(2).isoformat().replace("+00:00", "Z"),
        "plan_id": "wix_app-1",
        "before": {"plan": "free", "available": 100},
        "after": {"plan": "pro", "available": 5_100},
        "reasons": ["upgrade free -> pro: available 100 + new 5000 = 5100"],
        "approver": "eva",
        "keys": [],
    }
    (told,) = [entry.text for entry in story(audit=[row]) if entry.kind == "corrected"]
    assert told == (
        "free, 100 available -> pro, 5,100 available: upgrade free -> pro: available 100 + new 5000 = 5100 "
        "(plan wix_app-1, approved by eva)"
    )


def test_without_a_memory_the_story_says_so() -> None:
    assert story(installed=False)[0].text == "nothing is remembered: credit-pipeline init has not been run"


def test_expected_stands_against_actual() -> None:
    (told,) = [e.text for e in story(total=100, used=40, states=()) if e.text.startswith("expected:")]
    assert told == "expected: label pro, at least 5,000 granted; actual: label pro: 100 granted, 40 used, 60 available"
