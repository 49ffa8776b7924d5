"""Plan-scope guards (semantics §9): each refuses with its sentence (n/N, %, limit, what to type), at its boundary."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from credit_pipeline.domain.corrections.correction import AdjustCredits, Correction, Lane, Seen, SetPlan
from credit_pipeline.domain.guards.ceilings import ceilings_of
from credit_pipeline.domain.guards.plan_guards import (
    BillingPin,
    Circumstances,
    judge_alone,
    judge_collection,
    judge_plan,
)
from credit_pipeline.domain.guards.verdict import PlanFacts, Verdict
from credit_pipeline.domain.policy import Limits
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline_tests.domain.builders import NOW

RELEASE = "credit-pipeline approve plan_7 --lane auto --as YOU --reason WHY"
IDENTITY = {"app": "a1", "host": "www.wixapis.com", "provider": "wix"}


def facts(**overrides: Any) -> PlanFacts:
    """A healthy collection of 2,000 accounts, just read."""
    healthy = PlanFacts(
        population=2000,
        entitlements=4_000_000,
        largest_allowance=15_000,
        unknown=0,
        asked=2000,
        unanswered=0,
        enumerated=True,
        store_rows=2000,
        answered=2000,
        last_answered=2000,
        finished_at=NOW,
    )
    return replace(healthy, **overrides)


def there(**overrides: Any) -> Circumstances:
    """A live run of a person on the right database, with clocks that agree."""
    pin = BillingPin(pinned=IDENTITY, found=IDENTITY)
    return replace(Circumstances(system="wix_app", now=NOW, clock=NOW, pin=pin), **overrides)


def rows(count: int, credits: int = 0) -> list[Correction]:
    """That many label corrections, the first of which moves `credits` besides."""
    move = (AdjustCredits(delta=credits, correction_key="k", cause="restore"),) if credits else ()
    return [
        Correction(
            account_id=AccountId(f"acct_{n}"),
            billing_id=BillingId(f"acct_{n}"),
            lane=Lane.AUTO,
            codes=("plan_mismatch",),
            steps=(SetPlan(plan="pro", label="pro"), *(move if n == 0 else ())),
            reasons=("",),
            seen=Seen(label="free", total=5000, used=0),
            billed_plan="pro",
        )
        for n in range(count)
    ]


def judge(
    written: list[Correction],
    given: PlanFacts,
    *,
    limits: Limits | None = None,
    **overrides: Any,
) -> Verdict:
    limits, now = limits or Limits(), there(**overrides)
    ceilings = ceilings_of(limits, given, lifted=now.approved)
    return judge_plan("plan_7", written, given, ceilings, limits, now)


def sentences(verdict: Verdict) -> list[tuple[str, str]]:
    return [(f.guard, f.sentence) for f in verdict.failures]


def test_a_small_plan_of_a_healthy_collection_goes() -> None:
    verdict = judge(rows(100, 200_000), facts())
    assert (verdict.go, verdict.failures) == (True, ())


@pytest.mark.parametrize(
    ("count", "given", "expected"),
    [
        (
            101,
            facts(),
            ("rows", f"would change 101/2,000 (5.1%) accounts, limit 100: review, then {RELEASE}"),
        ),
        (6, facts(population=20), ("rows", f"would change 6/20 (30.0%) accounts, limit 5: review, then {RELEASE}")),
        (
            201,
            facts(population=1_000_000),
            ("rows", f"would change 201/1,000,000 (0.0%) accounts, limit 200: review, then {RELEASE}"),
        ),
        (
            1,
            facts(unknown=21),
            (
                "unknown",
                "21/2,000 (1.1%) accounts could not be judged, limit 20: "
                "map the plans or repair the source that credit-pipeline check wix_app names",
            ),
        ),
        (
            1,
            facts(population=10, unknown=4),
            (
                "unknown",
                "4/10 (40.0%) accounts could not be judged, limit 3: "
                "map the plans or repair the source that credit-pipeline check wix_app names",
            ),
        ),
        (
            1,
            facts(finished_at=NOW - timedelta(minutes=30, seconds=1)),
            (
                "max_snapshot_age",
                "the snapshot is 30 min old, limit 30 min: make a new plan with credit-pipeline fix wix_app",
            ),
        ),
        (
            1,
            facts(unanswered=21),
            (
                "source_complete",
                "billing left 21/2,000 (1.1%) accounts unanswered, limit 20: run again when it is healthy",
            ),
        ),
        (
            1,
            facts(asked=5, unanswered=4),
            (
                "source_complete",
                "billing left 4/5 (80.0%) accounts unanswered, limit 3: run again when it is healthy",
            ),
        ),
        (
            1,
            facts(answered=1799),
            (
                "source_complete",
                "billing answered for 1,799/2,000 (90.0%) of the accounts of the last good run, limit 90%: "
                "check key, app and environment",
            ),
        ),
        (
            1,
            facts(enumerated=False),
            ("source_complete", "billing's answer did not end by itself: run again when it is healthy"),
        ),
        (
            1,
            facts(store_rows=0),
            ("store_complete", "the store returned no accounts: check the table and its rights"),
        ),
    ],
)
def test_one_step_over_a_limit_is_refused(count: int, given: PlanFacts, expected: tuple[str, str]) -> None:
    verdict = judge(rows(count), given)
    assert sentences(verdict) == [expected]
    assert not verdict.go


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (
            {"clock": NOW - timedelta(seconds=31)},
            (
                "max_clock_skew",
                "this machine's clock is 31 s ahead of the database's, limit 30 s: "
                "set both by a time server, then make a new plan with credit-pipeline fix wix_app",
            ),
        ),
        (
            {"clock": NOW + timedelta(hours=1)},
            (
                "max_clock_skew",
                "this machine's clock is 3,600 s behind the database's, limit 30 s: "
                "set both by a time server, then make a new plan with credit-pipeline fix wix_app",
            ),
        ),
        ({"first_plan": True}, ("first_plan", f"the first applied plan of a system needs approval: {RELEASE}")),
        (
            {"unattended": True},
            ("automation", f"live runs from the UI or a schedule need automation.apply or an approval: {RELEASE}"),
        ),
        (
            {"flapping": 2},
            (
                "flap",
                "2/12 (16.7%) rows are of accounts corrected automatically 2 times in 24 h, limit 1: find what undoes "
                "the corrections with credit-pipeline account wix_app ID, then credit-pipeline fix wix_app",
            ),
        ),
        (
            {"pin": BillingPin(pinned={}, found=IDENTITY)},
            (
                "environment_pin",
                "billing's account is not pinned in this database: run credit-pipeline init wix_app",
            ),
        ),
        (
            {"pin": BillingPin(pinned=IDENTITY, found=IDENTITY | {"app": "b2"})},
            (
                "environment_pin",
                "billing's account is not the one pinned, 1/3 (33.3%) of its marks differ, limit 0: app is b2, pinned "
                "a1: use that account's key, or credit-pipeline init wix_app --repin --as YOU --reason WHY",
            ),
        ),
        (
            {"pin": BillingPin(pinned={"app": "a1"}, found={"provider": "stripe"})},
            (
                "environment_pin",
                "billing's account is not the one pinned, 2/2 (100.0%) of its marks differ, limit 0: app is unknown, "
                "pinned a1, provider is stripe, pinned without: "
                "use that account's key, or credit-pipeline init wix_app --repin --as YOU --reason WHY",
            ),
        ),
    ],
)
def test_each_circumstance_that_forbids_a_write_is_refused(now: dict[str, Any], expected: tuple[str, str]) -> None:
    assert sentences(judge(rows(10), facts(), **now)) == [expected]


@pytest.mark.parametrize(
    ("count", "given"),
    [
        (100, facts()),
        (5, facts(population=20)),
        (200, facts(population=1_000_000)),
        (1, facts(unknown=20)),
        (1, facts(population=10, unknown=3)),
        (1, facts(finished_at=NOW - timedelta(minutes=30))),
        (1, facts(unanswered=20)),
        (1, facts(asked=5, unanswered=3)),
        (1, facts(answered=1800)),
        (1, facts(last_answered=None, answered=1)),
    ],
)
def test_exactly_at_a_limit_is_allowed(count: int, given: PlanFacts) -> None:
    assert judge(rows(count), given).failures == ()


@pytest.mark.parametrize(
    "now",
    [
        {"clock": NOW - timedelta(seconds=30)},
        {"clock": NOW + timedelta(seconds=30)},
        {"flapping": 1},
        {"pin": None},
    ],
)
def test_circumstances_at_their_limit_are_allowed(now: dict[str, Any]) -> None:
    assert judge(rows(10), facts(), **now).failures == ()


def test_flapping_is_measured_by_a_share_of_the_rows_and_one_row_stops_nobody() -> None:
    assert judge(rows(99), facts(), flapping=1).go
    assert judge(rows(197), facts(population=4000), flapping=3).failures[0].guard == "flap"
    assert judge(rows(198), facts(population=4000), flapping=2).go
    assert not judge(rows(99), facts(), flapping=1, limits=Limits(flap_floor=0, flap_share=0.009)).go


@pytest.mark.parametrize(
    ("changed", "population", "limits", "limit"),
    [
        (4, 0, Limits(), None),
        (5, 0, Limits(), "5/0 accounts were corrected one by one in 24 h, limit 5"),
        (99, 2_000, Limits(), None),
        (100, 2_000, Limits(), "100/2,000 (5.0%) accounts were corrected one by one in 24 h, limit 100"),
        (199, 10**6, Limits(), None),
        (200, 10**6, Limits(), "200/1,000,000 (0.0%) accounts were corrected one by one in 24 h, limit 200"),
        (0, 10**6, Limits(rows_ceiling=0), "0/1,000,000 (0.0%) accounts were corrected one by one in 24 h, limit 0"),
    ],
)
def test_accounts_corrected_one_by_one_are_limited_like_those_of_one_plan(
    changed: int, population: int, limits: Limits, limit: str | None
) -> None:
    failure = judge_alone("wix_app", changed, population, limits, timedelta(hours=24))
    said = None if limit is None else f"{limit}: see in one plan what else is found, with credit-pipeline fix wix_app"
    assert (failure.sentence if failure else None) == said
    assert failure is None or failure.guard == "rows"


@pytest.mark.parametrize(
    ("credits", "given", "limit"),
    [
        (200_001, facts(), "200,001/4,000,000 (5.0%) credits of a month, limit 200,000"),
        (75_001, facts(entitlements=100_000), "75,001/100,000 (75.0%) credits of a month, limit 75,000"),
        (75_001, facts(entitlements=0), "75,001/0 credits of a month, limit 75,000"),
        (-200_001, facts(), "200,001/4,000,000 (5.0%) credits of a month, limit 200,000"),
    ],
)
def test_credits_are_limited_by_allowances_and_by_a_months_entitlements(
    credits: int, given: PlanFacts, limit: str
) -> None:
    assert sentences(judge(rows(1, credits), given)) == [("credits", f"would move {limit}: review, then {RELEASE}")]
    assert judge(rows(1, credits - (1 if credits > 0 else -1)), given).go


def test_credits_given_and_taken_do_not_cancel() -> None:
    verdict = judge([*rows(1, 150_000), *rows(1, -150_000)], facts())
    assert [f.guard for f in verdict.failures] == ["credits"]


EVERYTHING = {
    "first_plan": True,
    "flapping": 90,
    "unattended": True,
    "clock": NOW - timedelta(hours=2),
    "pin": BillingPin(pinned=IDENTITY, found={}),
}
ALL_BAD = facts(
    unknown=900, unanswered=900, enumerated=False, store_rows=0, answered=1, finished_at=NOW - timedelta(hours=2)
)


def test_all_failures_are_collected() -> None:
    verdict = judge(rows(500, 900_000), ALL_BAD, **EVERYTHING)
    assert [f.guard for f in verdict.failures] == [
        "store_complete",
        "source_complete",
        "source_complete",
        "source_complete",
        "unknown",
        "max_snapshot_age",
        "max_clock_skew",
        "rows",
        "credits",
        "first_plan",
        "flap",
        "environment_pin",
        "automation",
    ]


def test_an_approval_lifts_the_amounts_and_the_age_and_nothing_doubtful() -> None:
    assert judge(rows(500, 900_000), facts(), approved=True, first_plan=True).go
    verdict = judge(rows(500, 900_000), ALL_BAD, approved=True, **EVERYTHING)
    assert {f.guard for f in verdict.failures} == {
        "store_complete",
        "source_complete",
        "unknown",
        "max_clock_skew",
        "flap",
        "environment_pin",
        "automation",
    }


@pytest.mark.parametrize("given", [facts(unknown=900), facts(unanswered=900), facts(store_rows=0), facts(answered=1)])
def test_no_approval_lifts_a_doubtful_source(given: PlanFacts) -> None:
    assert not judge(rows(500), given, approved=True).go


def test_a_plan_without_rows_is_not_measured_by_amounts() -> None:
    assert judge([], facts(population=0, entitlements=0), first_plan=True).go


def test_limits_come_from_the_policy() -> None:
    tight = Limits(
        rows_floor=0,
        rows_share=0.001,
        credits_allowances=0,
        credits_share=0.0001,
        max_snapshot_age=timedelta(minutes=5),
        max_clock_skew=timedelta(seconds=1),
        flap_floor=0,
    )
    given = facts(finished_at=NOW - timedelta(minutes=6))
    verdict = judge(rows(3, 401), given, limits=tight, clock=NOW - timedelta(seconds=2), flapping=1)
    assert [f.sentence.split(":")[0] for f in verdict.failures] == [
        "the snapshot is 6 min old, limit 5 min",
        "this machine's clock is 2 s ahead of the database's, limit 1 s",
        "would change 3/2,000 (0.1%) accounts, limit 2",
        "would move 401/4,000,000 (0.0%) credits of a month, limit 400",
        "1/4 (25.0%) rows are of accounts corrected automatically 2 times in 24 h, limit 0",
    ]


def test_an_incomplete_collection_is_judged_without_a_plan() -> None:
    assert judge_collection(facts(), Limits()).go
    assert [f.guard for f in judge_collection(facts(enumerated=False), Limits()).failures] == ["source_complete"]
