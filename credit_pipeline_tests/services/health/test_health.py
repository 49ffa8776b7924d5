"""The health checks: count, sentence and severity of each; a check that cannot tell never passes."""

from dataclasses import replace
from typing import Any

import pytest

from credit_pipeline.config.loader import load_system
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.services.collect.ports import FailedSpend
from credit_pipeline.services.health.health import health
from credit_pipeline.services.health.statement import Health
from credit_pipeline.services.report.report import Report, Source
from credit_pipeline_tests.domain.builders import NOW

LEDGER = load_system("bestauth", environ={})
COUNTER = load_system("wix_app", environ={})
NAMES = [
    "no_paid_account_without_its_grant",
    "no_paid_account_on_free_limits",
    "every_user_is_mapped",
    "no_recent_failed_deductions",
    "ledger_explains_balance",
    "no_credits_lost",
]

WRONG_BALANCE = "1 balance is missing, negative or differs from the sum of its transactions."


def a_mismatch(code: str, number: int = 1, **overrides: Any) -> Mismatch:
    facts: dict[str, Any] = {
        "fingerprint": f"{code}-{number}",
        "account_id": f"account-{number}",
        "billing_id": f"cus_{number}",
        "code": code,
        "secondary": (),
        "severity": "error",
        "lane": "auto",
        "expected": {"plan": "pro", "credits": 800},
        "actual": {"plan": "free", "total": 0, "used": 0, "available": 0},
        "delta": None,
        "evidence": {},
        "first_seen": NOW,
        "opened_at": NOW,
        "aged": False,
    }
    return Mismatch(**(facts | overrides))


def a_report(*mismatches: Mismatch, history: str = "evaluated") -> Report:
    classes: dict[str, int] = {}
    for found in mismatches:
        classes[found.code] = classes.get(found.code, 0) + 1
    return Report(
        system="bestauth",
        run_id="r",
        as_of=NOW.isoformat(),
        source=Source(provider="stripe", complete=True, level="L2", records=20, unanswered=0),
        population=20,
        in_sync=20 - len(mismatches),
        exempt=0,
        classes=classes,
        direction="both",
        mismatches=mismatches,
        identities={"by_layer": {}, "unmapped": 0, "conflicts": 0},
        history=history,
        facts={},
    )


def counts(told: Health) -> dict[str, int | None]:
    return {one.name: one.count for one in told.statements}


def test_a_system_in_order_is_healthy_and_the_line_says_so() -> None:
    told = health(LEDGER, a_report(), ())
    assert counts(told) == dict.fromkeys(NAMES, 0)
    assert told.healthy
    assert told.line() == "bestauth: healthy, 6 of 6 checks answered and passed"


@pytest.mark.parametrize(
    ("code", "name", "sentence"),
    [
        (Code.GRANT_MISSING, NAMES[0], "1 paid account was not granted the credits of the period."),
        (Code.PLAN_MISMATCH, NAMES[1], "1 paid account has the free plan's limits by label."),
        (Code.ID_UNMAPPED, NAMES[2], "1 user has no store account, several, or one that layers disagree on."),
        (Code.ID_CONFLICT, NAMES[2], "1 user has no store account, several, or one that layers disagree on."),
        (Code.BALANCE_LEDGER_MISMATCH, NAMES[4], WRONG_BALANCE),
        (Code.BALANCE_NEGATIVE, NAMES[4], WRONG_BALANCE),
        (Code.UNEXPLAINED_DECREASE, NAMES[5], "1 account lost credits without spending them."),
        (Code.GRANT_LOST, NAMES[5], "1 account lost credits without spending them."),
    ],
)
def test_each_code_fails_its_own_check_which_says_what_is_wrong(code: Code, name: str, sentence: str) -> None:
    told = health(LEDGER, a_report(a_mismatch(code.value)), ())
    assert counts(told) == dict.fromkeys(NAMES, 0) | {name: 1}
    assert not told.healthy
    assert [one.sentence for one in told.failing] == [sentence]


def test_a_check_that_passes_says_what_is_right() -> None:
    sentences = [one.sentence for one in health(LEDGER, a_report(), ()).statements]
    assert sentences[5] == "All credits that left a balance between two runs were spent."
    assert not [sentence for sentence in sentences if sentence[0].isdigit()]


def test_a_secondary_code_counts_as_well() -> None:
    hidden = a_mismatch("id_unmapped", secondary=("grant_missing",))
    assert counts(health(LEDGER, a_report(hidden), ()))["no_paid_account_without_its_grant"] == 1


def test_an_unmapped_user_who_pays_is_louder_than_one_who_does_not() -> None:
    paying = a_mismatch("id_unmapped")
    free = replace(paying, expected={"plan": "free", "credits": 100})
    heard = [
        next(one.severity for one in health(LEDGER, a_report(found), ()).statements if one.name == NAMES[2])
        for found in (paying, free)
    ]
    assert heard == ["error", "warning"]


def test_what_a_counter_cannot_answer_is_null_and_not_zero() -> None:
    told = health(COUNTER, a_report(), None)
    assert {name for name, count in counts(told).items() if count is None} == set(NAMES[2:5])
    assert told.line() == "bestauth: healthy, 3 of 6 checks answered and passed".replace("bestauth", "wix_app")


def test_without_history_a_loss_cannot_be_told() -> None:
    assert counts(health(LEDGER, a_report(history="first_run"), ()))["no_credits_lost"] is None


def test_many_are_sampled_and_that_is_said() -> None:
    many = [a_mismatch("grant_missing", number) for number in range(12)]
    (failing,) = health(LEDGER, a_report(*many), ()).failing
    assert (failing.count, len(failing.sample), failing.truncated) == (12, 10, True)
    shown = health(LEDGER, a_report(*many), ()).as_json()
    assert [set(check) for check in shown["checks"]] == [
        {"name", "sentence", "severity", "count", "sample", "truncated", "recovery"}
    ] * 6


def test_failed_deductions_are_counted_and_their_accounts_named_once() -> None:
    failed = [FailedSpend(account_id="a-1", at=NOW, amount=5, reason=None)] * 3
    (failing,) = health(LEDGER, a_report(), failed).failing
    assert (failing.count, failing.sample, failing.severity) == (3, ("a-1",), "error")


def test_the_line_names_the_loudest() -> None:
    found = a_report(a_mismatch("grant_missing"), a_mismatch("id_unmapped", 2))
    assert health(LEDGER, found, ()).line() == "bestauth: NOT healthy (critical): 2 of 6 checks fail"
