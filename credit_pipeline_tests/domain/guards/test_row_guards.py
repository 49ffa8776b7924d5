"""Row-scope guards that need no lock: an account that flaps, and a row that gives more than is due."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    GrantCredits,
    GrantKey,
    Lane,
    Seen,
    SetPlan,
    Step,
)
from credit_pipeline.domain.guards.ceilings import ceilings_of, tightened
from credit_pipeline.domain.guards.row_guards import RowFacts, credits_due, judge_row
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.policy import Limits
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline_tests.domain.builders import NOW, a_catalogue
from credit_pipeline_tests.domain.guards.test_plan_guards import facts

CATALOGUE = a_catalogue()
ACCOUNT = AccountId("a")
CEILINGS = ceilings_of(Limits(), facts())


def a_grant(delta: int, plan: str = "pro", *, days: int = 30) -> GrantCredits:
    key = GrantKey(account_id=ACCOUNT, plan=plan, period_start=NOW)
    return GrantCredits(delta=delta, grant_key=key, period_end=NOW + timedelta(days=days))


def a_restore(delta: int, key: str = "restore:f1", *, lower_used: bool = False) -> AdjustCredits:
    return AdjustCredits(delta=delta, correction_key=key, cause="restore", lower_used=lower_used)


def a_row(*steps: Step, **overrides: Any) -> Correction:
    row = Correction(
        account_id=ACCOUNT,
        billing_id=BillingId("a"),
        lane=Lane.AUTO,
        codes=("grant_missing",),
        steps=steps or (SetPlan(plan="pro", label="pro"),),
        reasons=("",),
        seen=Seen(label="pro", total=1000, used=300),
        billed_plan="pro",
    )
    return replace(row, **overrides)


def an_event(fingerprint: str, **evidence: Any) -> Mismatch:
    return Mismatch(
        fingerprint=fingerprint,
        account_id=ACCOUNT,
        code="unexplained_decrease",
        severity="critical",
        lane="auto",
        is_event=True,
        opened_at=NOW,
        first_seen=NOW,
        evidence=evidence,
    )


def known(changes: int = 0, *events: Mismatch) -> RowFacts:
    return RowFacts(
        system="wix_app",
        catalogue=CATALOGUE,
        flap_window=timedelta(hours=24),
        changes={ACCOUNT: changes},
        open_mismatches={ACCOUNT: events},
    )


def held(row: Correction, past: RowFacts, **tighter: float) -> list[tuple[str, str]]:
    ceilings, _ = tightened(CEILINGS, tighter)
    return [(failure.guard, failure.sentence) for failure in judge_row(row, ceilings, past)]


def test_a_row_of_a_quiet_account_within_its_allowance_goes() -> None:
    assert held(a_row(a_grant(5000)), known()) == []


def test_an_account_corrected_twice_within_a_day_is_held() -> None:
    assert held(a_row(), known(1)) == []
    assert held(a_row(), known(2)) == [
        (
            "flap",
            "had 2 automatic corrections in 24 h, and is held from 2 on: "
            "find what undoes them with credit-pipeline account wix_app ID",
        )
    ]


def test_a_person_s_decision_is_not_held_by_earlier_automatic_ones() -> None:
    assert held(a_row(lane=Lane.APPROVE), known(7)) == []


def test_a_run_may_hold_such_an_account_earlier() -> None:
    assert [guard for guard, _ in held(a_row(), known(1), flap_changes=1)] == ["flap"]


def test_an_account_nobody_heard_of_had_no_corrections() -> None:
    assert held(a_row(), replace(known(), changes={})) == []


def test_a_row_that_gives_more_than_its_allowance_is_held() -> None:
    assert held(a_row(a_grant(5001)), known()) == [
        (
            "max_credits_per_account",
            "would give 5,001 credits, limit 5,000, the allowances of its grants and the losses it restores: "
            "make a new plan with credit-pipeline fix wix_app",
        )
    ]


@pytest.mark.parametrize(
    ("steps", "events", "due"),
    [
        ([a_grant(5000)], [], 5000),
        ([a_grant(800, "starter")], [], 1000),
        ([a_grant(60_000, days=365)], [], 5000),
        ([a_grant(180_000, "pro_plus", days=365)], [], 180_000),
        ([a_grant(15_000, "pro_plus")], [], 15_000),
        ([a_grant(100, "gone")], [], 0),
        ([SetPlan(plan="pro", label="pro")], [], 0),
        ([a_restore(200)], [an_event("f1", loss=200)], 200),
        ([a_restore(900)], [an_event("f1", loss=200)], 200),
        ([a_restore(900, "restore:f1,f2")], [an_event("f1", loss=200), an_event("f2", loss=300)], 500),
        ([a_restore(900, "restore:f1,f2")], [an_event("f1", loss=200), an_event("f2", allowance=5000)], 5000),
        ([a_restore(900, "restore:f1,f2")], [an_event("f2", loss=300), an_event("f9", loss=7000)], 300),
        ([a_restore(200, "undo:17")], [an_event("f1", loss=100)], 200),
        ([a_restore(250, "renewal:a/pro/0", lower_used=True)], [], 250),
        ([a_restore(900, "renewal:a/pro/0", lower_used=True)], [], 300),
        ([a_restore(-400, "clawback:f1")], [], 0),
        ([a_grant(5000), a_restore(200)], [an_event("f1", loss=200)], 5200),
    ],
)
def test_what_is_due_is_the_allowances_and_the_recorded_losses(
    steps: list[Step], events: list[Mismatch], due: int
) -> None:
    assert credits_due(a_row(*steps), CATALOGUE, events) == due


def test_a_row_that_takes_credits_is_never_above_its_limit() -> None:
    assert held(a_row(a_restore(-400, "clawback:f1"), lane=Lane.APPROVE), known()) == []


def test_all_reasons_of_a_row_are_told() -> None:
    assert [guard for guard, _ in held(a_row(a_grant(6000)), known(2))] == ["flap", "max_credits_per_account"]
