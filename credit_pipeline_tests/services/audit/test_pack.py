"""Which rows a pack holds, and totals that add up."""

import json
from datetime import date

import pytest

from credit_pipeline.services.audit.pack import ControlTotals, Wanted
from credit_pipeline.services.audit.text import AuditedChange
from credit_pipeline_tests.services.audit.audit_rows import words_of


def a_change(seq: int = 1, **words: object) -> AuditedChange:
    return AuditedChange(json.dumps(words_of(seq, **words)))


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), True),
        (Wanted(since=date(2026, 3, 5)), True),
        (Wanted(since=date(2026, 3, 6)), False),
        (Wanted(until=date(2026, 3, 5)), True),
        (Wanted(until=date(2026, 3, 4)), False),
        (Wanted(plan="wix_app-1"), True),
        (Wanted(plan="wix_app-2"), False),
        (Wanted(accounts=frozenset({"a", "b"})), True),
        (Wanted(accounts=frozenset({"b"})), False),
        (Wanted(accounts=frozenset({"a"}), since=date(2026, 3, 6)), False),
    ],
)
def test_a_row_is_taken_where_every_word_fits_and_days_count_whole(wanted: Wanted, taken: bool) -> None:
    assert wanted.takes(a_change(account="a", at="2026-03-05T23:59:59.999999Z")) is taken


def test_a_text_that_nobody_can_read_is_never_left_out() -> None:
    assert Wanted(plan="another").takes(None)


def test_totals_by_code_and_by_plan_add_up_to_the_whole() -> None:
    totals = ControlTotals()
    totals.add(4, a_change(4))
    totals.add(5, a_change(5, available=(900, 400), codes=["grant_duplicate"], plan_id="wix_app-2"))
    totals.add(6, a_change(6, available=(0, 70), codes=["plan_mismatch", "grant_missing"]))
    totals.add(7, None)
    told = totals.as_json()
    assert told == {
        "rows": 4,
        "credits": {"up": 5070, "down": 500, "net": 4570},
        "by_code": {
            "grant_duplicate": {"rows": 1, "up": 0, "down": 500, "net": -500},
            "grant_missing": {"rows": 1, "up": 5000, "down": 0, "net": 5000},
            "plan_mismatch, grant_missing": {"rows": 1, "up": 70, "down": 0, "net": 70},
        },
        "by_plan": {
            "wix_app-1": {"rows": 2, "up": 5070, "down": 0, "net": 5070},
            "wix_app-2": {"rows": 1, "up": 0, "down": 500, "net": -500},
        },
        "first_seq": 4,
        "last_seq": 7,
        "unreadable": 1,
    }
    for part in ("by_code", "by_plan"):
        assert sum(one["rows"] for one in told[part].values()) + told["unreadable"] == told["rows"]
        assert sum(one["net"] for one in told[part].values()) == told["credits"]["net"]


def test_no_row_is_no_credits() -> None:
    told = ControlTotals().as_json()
    assert (told["rows"], told["credits"], told["first_seq"]) == (0, {"up": 0, "down": 0, "net": 0}, None)
