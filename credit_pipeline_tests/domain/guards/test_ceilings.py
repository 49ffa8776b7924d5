"""What one apply may do at most: the policy's limits as numbers of its plan. A run may tighten them, never loosen."""

from datetime import timedelta

import pytest

from credit_pipeline.domain.guards.ceilings import Ceilings, ceilings_of, tightened
from credit_pipeline.domain.policy import Limits
from credit_pipeline_tests.domain.guards.test_plan_guards import facts

POLICY = ceilings_of(Limits(), facts())


def refused(word: str, value: float, ceilings: Ceilings = POLICY) -> list[tuple[str, str]]:
    same, failures = tightened(ceilings, {word: value})
    assert not failures or same == ceilings, "a refused word changes nothing"
    return [(failure.guard, failure.sentence) for failure in failures]


def test_the_shares_of_the_policy_become_numbers_of_the_plan() -> None:
    assert (
        Ceilings(
            rows=100,
            credits=200_000,
            unknown=20,
            unanswered=20,
            answers_ratio=0.9,
            max_snapshot_age=timedelta(minutes=30),
            max_clock_skew=timedelta(seconds=30),
            flap_changes=2,
            canary=5,
            batch=200,
        )
        == POLICY
    )


def test_an_approval_lifts_the_amounts_and_the_age_of_the_snapshot() -> None:
    lifted = ceilings_of(Limits(), facts(), lifted=True)
    assert (lifted.rows, lifted.credits, lifted.max_snapshot_age) == (None, None, None)
    assert (lifted.unknown, lifted.unanswered, lifted.flap_changes) == (20, 20, 2)


TIGHTER = {
    "rows": 10,
    "credits": 1000,
    "unknown": 0,
    "unanswered": 0,
    "answers_ratio": 1,
    "max_snapshot_age": 2.5,
    "max_clock_skew": 1,
    "flap_changes": 1,
    "canary": 1,
    "batch": 20,
}


def test_every_ceiling_can_be_tightened_by_a_run() -> None:
    assert set(TIGHTER) == set(Ceilings.__dataclass_fields__)
    ceilings, failures = tightened(POLICY, TIGHTER)
    assert not failures
    assert ceilings == Ceilings(
        rows=10,
        credits=1000,
        unknown=0,
        unanswered=0,
        answers_ratio=1,
        max_snapshot_age=timedelta(seconds=150),
        max_clock_skew=timedelta(seconds=1),
        flap_changes=1,
        canary=1,
        batch=20,
    )


def test_the_limit_itself_may_be_asked_for() -> None:
    same = {"rows": 100, "credits": 200_000, "max_snapshot_age": 30, "answers_ratio": 0.9, "canary": 5, "batch": 200}
    assert tightened(POLICY, same) == (POLICY, ())


@pytest.mark.parametrize(
    ("word", "value", "sentence"),
    [
        ("rows", 101, "is 101, limit 100: a run may only tighten it, so give at most 100 or leave it out"),
        (
            "credits",
            1_234_567,
            "is 1,234,567, limit 200,000: a run may only tighten it, so give at most 200,000 or leave it out",
        ),
        ("unknown", 21, "is 21, limit 20: a run may only tighten it, so give at most 20 or leave it out"),
        ("unanswered", 21, "is 21, limit 20: a run may only tighten it, so give at most 20 or leave it out"),
        (
            "answers_ratio",
            0.5,
            "is 0.5, limit 0.9: a run may only tighten it, so give from 0.9 to 1 or leave it out",
        ),
        ("answers_ratio", 2, "is 2, limit 0.9: a run may only tighten it, so give from 0.9 to 1 or leave it out"),
        ("max_snapshot_age", 31, "is 31, limit 30: a run may only tighten it, so give at most 30 or leave it out"),
        ("max_clock_skew", 60, "is 60, limit 30: a run may only tighten it, so give at most 30 or leave it out"),
        ("flap_changes", 3, "is 3, limit 2: a run may only tighten it, so give at most 2 or leave it out"),
        ("canary", 6, "is 6, limit 5: a run may only tighten it, so give at most 5 or leave it out"),
        ("batch", 201, "is 201, limit 200: a run may only tighten it, so give at most 200 or leave it out"),
        ("batch", 0, "is 0: give at least 1"),
        ("canary", -1, "is -1: give at least 1"),
        ("rows", -1, "is -1: give at least 0"),
    ],
)
def test_a_looser_word_is_a_refusal(word: str, value: float, sentence: str) -> None:
    assert refused(word, value) == [("run_config", f"limits.{word} of this run {sentence}")]


def test_a_word_that_is_no_limit_is_a_refusal() -> None:
    ((guard, sentence),) = refused("row", 1)
    assert guard == "run_config"
    assert sentence.startswith("limits.row of this run is no limit: write one of rows, credits, unknown, ")


def test_all_looser_words_are_told_and_the_others_still_count() -> None:
    ceilings, failures = tightened(POLICY, {"rows": 500, "batch": 50, "canary": 9})
    assert [failure.sentence.split()[0] for failure in failures] == ["limits.rows", "limits.canary"]
    assert (ceilings.rows, ceilings.batch, ceilings.canary) == (100, 50, 5)


def test_where_an_approval_lifted_a_limit_any_number_is_tighter() -> None:
    lifted = ceilings_of(Limits(), facts(), lifted=True)
    ceilings, failures = tightened(lifted, {"rows": 30_000, "max_snapshot_age": 600})
    assert not failures
    assert (ceilings.rows, ceilings.max_snapshot_age) == (30_000, timedelta(hours=10))


def test_the_canary_is_never_larger_than_a_batch() -> None:
    assert tightened(POLICY, {"batch": 2})[0].canary == 2
    assert ceilings_of(Limits(canary=50, batch=10), facts()).canary == 10
