"""Proof before money (semantics §5): floor, history, keys that are held or near, and what a person must decide."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.domain.grants.history import KeyState, granted_in_this_term, key_state
from credit_pipeline.domain.grants.proof import Owed, Proof, Verdict, owed
from credit_pipeline.domain.subjects.account import Account, Mark, Memory, ObservedState
from credit_pipeline_tests.domain.builders import (
    NOW,
    START,
    a_catalogue,
    a_grant,
    a_period,
    a_policy,
    an_account,
    corrected,
    hours_ago,
    seen,
)

PLANS = a_catalogue()
A_YEAR_AGO = NOW - timedelta(days=365)


def judge(account: Account, **how: Any) -> Owed:
    plan = account.billing.plan
    assert plan is not None
    return owed(account, plan, PLANS, a_policy(), NOW, **({"losses_since": False} | how))


def starter(hours: float = 6, **facts: Any) -> ObservedState:
    """A look while Starter was billed: 6,000 in total, 400 used."""
    return seen(hours, **({"label": "starter", "billed": "starter", "total": 6000, "used": 400} | facts))


def upgraded(*states: ObservedState, total: int = 6000, used: int = 400, **facts: Any) -> Account:
    """The product wrote the label pro; whether credits came is the question."""
    return an_account(**({"total": total, "used": used, "states": states} | facts))


@pytest.mark.parametrize(
    ("facts", "verdict", "proof"),
    [
        ({"total": 4999}, Verdict.RAISE, Proof.FLOOR),
        ({"total": 5000}, Verdict.NOTHING, Proof.NONE),
        ({"total": 12_000}, Verdict.NOTHING, Proof.NONE),
        ({"total": 5000, "used": 5000}, Verdict.NOTHING, Proof.NONE),  # a low available proves nothing
        ({"total": 4999, "label": "starter"}, Verdict.UPGRADE, Proof.FLOOR),
        ({"total": 4999, "label": None}, Verdict.UPGRADE, Proof.FLOOR),
        ({"total": 4999, "label": "pro_plus"}, Verdict.RAISE, Proof.FLOOR),
        ({"total": 5000, "label": "starter"}, Verdict.UNPROVEN, Proof.NONE),
        ({"total": 5000, "used": 3000, "label": "free"}, Verdict.UNPROVEN, Proof.NONE),
        ({"total": 5000, "label": "pro_plus"}, Verdict.NOTHING, Proof.NONE),  # a downgrade is a label only
    ],
)
def test_without_history_only_the_floor_proves(facts: dict[str, Any], verdict: Verdict, proof: Proof) -> None:
    for memory in ({"states": ()}, {"installed": False}):
        assert judge(an_account(**facts, **memory)) == Owed(verdict=verdict, proof=proof)


@pytest.mark.parametrize(
    ("states", "total", "used", "proven"),
    [
        ([starter()], 6000, 400, True),
        ([starter()], 6000, 6000, True),  # spending is no grant
        ([starter()], 6000, 399, False),  # used fell: folded, or reset
        ([starter()], 6001, 400, False),  # total rose
        ([starter()], 5999, 400, False),  # a fall is a loss, and a fold may look like it
        ([starter()], 5600, 0, False),
        ([starter(total=6000, used=5400)], 5600, 5500, False),  # folded, then a burst of spending
        ([starter(12), seen(6, total=6000, used=500)], 6000, 600, True),
        ([starter(12), seen(6, total=6000, used=500)], 6000, 400, False),  # not monotone over the links
        ([starter(12), seen(6, total=7000, used=500)], 6000, 600, False),
        ([starter(24)], 6000, 400, True),  # exactly the longest gap
        ([starter(24.01)], 6000, 400, False),
        ([starter(90, until=24)], 6000, 400, True),  # unchanged and looked at until then
        ([starter(12), seen(6, until=0, total=6000, used=400, label="free")], 6000, 400, True),
        ([starter(billed="free", label="free")], 6000, 400, True),
        ([starter(billed=None)], 6000, 400, False),  # what was billed before is not known
        ([starter(billed="pro_plus", label="starter")], 6000, 400, False),  # a downgrade
        ([seen(6, total=6000, used=400, label="starter")], 6000, 400, False),  # no change of plan was seen
        ([starter(12), seen(6, total=6000, used=400, start=hours_ago(9))], 6000, 400, True),  # timeStamp moved since
        ([], 6000, 400, False),
    ],
)
def test_history_proves_that_nothing_came(states: list[ObservedState], total: int, used: int, proven: bool) -> None:
    expected = Owed(verdict=Verdict.UPGRADE, proof=Proof.HISTORY) if proven else Owed(verdict=Verdict.NOTHING)
    assert judge(upgraded(*states, total=total, used=used)) == expected


@pytest.mark.parametrize(
    ("looks", "runs", "proven"),
    [
        ([starter(72), seen(49, until=6, total=6000)], (49, 30, 6), True),
        ([starter(72), seen(47, until=6, total=6000)], (47, 30, 6), False),  # 25 h unwatched before it
        ([starter(72), seen(49, until=6, total=6000)], (49, 6), False),  # no run for 43 h while nothing changed
        ([starter(72), seen(49, until=25, total=6000)], (49, 25, 6), False),  # runs went on, this account had no answer
    ],
)
def test_a_day_without_a_look_breaks_the_watch(
    looks: list[ObservedState], runs: tuple[float, ...], proven: bool
) -> None:
    found = judge(upgraded(*looks, used=1000, runs=[hours_ago(h) for h in runs]))
    assert found.verdict is (Verdict.UPGRADE if proven else Verdict.NOTHING)


def test_the_floor_stands_where_history_is_broken() -> None:
    account = upgraded(starter(60, total=1000, used=0), total=1000, used=0)
    assert judge(account) == Owed(verdict=Verdict.RAISE, proof=Proof.FLOOR)


@pytest.mark.parametrize(
    ("before", "after", "proof"),
    [
        ((6000, 400, "starter"), (6000, 400, "pro"), Proof.HISTORY),  # our own label is neither a grant nor a doubt
        ((6000, 400, "starter"), (6200, 400, "starter"), Proof.HISTORY),  # a restore of an older loss
    ],
)
def test_our_own_corrections_between_are_not_the_products(
    before: tuple[int, int, str], after: tuple[int, int, str], proof: Proof
) -> None:
    names = ("total", "used", "label")
    pair = corrected(3, dict(zip(names, before, strict=True)), dict(zip(names, after, strict=True)))
    found = judge(upgraded(starter(12), starter(6), *pair, total=after[0], used=after[1]))
    assert (found.verdict, found.proof, found.holds) == (Verdict.UPGRADE, proof, ())


def test_what_moved_between_a_look_and_our_correction_is_the_products() -> None:
    pair = corrected(3, {"total": 11_000, "used": 400}, {"total": 11_000, "used": 400})
    assert judge(upgraded(starter(), *pair, total=11_000)).verdict is Verdict.NOTHING


class TestHeldKeys:
    """A key that is taken ends the matter; one that is near is a person's."""

    @pytest.mark.parametrize("grants_total", [5000, 6000])
    def test_taken_and_in_order_owes_nothing(self, grants_total: int) -> None:
        for held in ({"grants": [a_grant()]}, {"states": [seen(mark=Mark.ADOPTED)]}):
            for label in ("pro", "free"):
                account = an_account(**({"total": grants_total, "label": label, "states": ()} | held))
                assert judge(account) == Owed(verdict=Verdict.NOTHING)

    def test_taken_and_gone_is_lost(self) -> None:
        for held in ({"grants": [a_grant()]}, {"states": [seen(mark=Mark.ASSUMED)]}):
            assert judge(an_account(**({"total": 4999, "states": ()} | held))) == Owed(verdict=Verdict.LOST)

    @pytest.mark.parametrize(
        ("days", "state"),
        [
            (0, KeyState.TAKEN),
            (1, KeyState.NEAR),
            (-1, KeyState.NEAR),
            (27.8, KeyState.NEAR),  # 0.9 of March's 31 days is 27.9
            (27.9, KeyState.FREE),
            (-27.8, KeyState.NEAR),
            (31, KeyState.FREE),
        ],
    )
    def test_near_is_nine_tenths_of_a_cycle_either_way(self, days: float, state: KeyState) -> None:
        start = START - timedelta(days=days)
        by_grant = Memory(grants=(a_grant(start=start),))
        by_mark = Memory(states=(seen(start=start, mark=Mark.ADOPTED),))
        plan = PLANS.plans[2]
        assert [key_state(memory, plan, a_period()) for memory in (by_grant, by_mark)] == [state, state]

    def test_another_plans_key_is_no_key(self) -> None:
        memory = Memory(grants=(a_grant("starter"),), states=(seen(billed="starter", mark=Mark.ADOPTED),))
        assert key_state(memory, PLANS.plans[2], a_period()) is KeyState.FREE
        assert key_state(None, PLANS.plans[2], a_period()) is KeyState.FREE

    def test_a_proven_grant_near_another_is_held(self) -> None:
        """Pro, Starter, Pro again within a month, the timeStamp moving each time."""
        account = upgraded(
            seen(200, start=hours_ago(201), mark=Mark.ADOPTED, total=6000),
            starter(start=hours_ago(100)),
            start=hours_ago(3),
        )
        found = judge(account)
        assert (found.verdict, found.proof) == (Verdict.UPGRADE, Proof.HISTORY)
        assert found.holds == ("this plan was granted less than 0.9 of a cycle ago",)

    def test_a_key_taken_in_an_earlier_term_stays_taken(self) -> None:
        """Pro, Starter, Pro again within a month, the timeStamp fixed."""
        account = upgraded(seen(200, total=6000, mark=Mark.ADOPTED), starter())
        assert judge(account) == Owed(verdict=Verdict.NOTHING)

    def test_a_renewal_owes_nothing_however_low_the_label(self) -> None:
        renewed = an_account(label="free", total=5000, start=NOW - timedelta(days=1), states=[seen(mark=Mark.ADOPTED)])
        assert judge(renewed) == Owed(verdict=Verdict.NOTHING)

    @pytest.mark.parametrize(
        ("granted", "looks", "held"),
        [
            (START - timedelta(days=60), [starter()], False),  # granted in an earlier term, the change seen just now
            (START - timedelta(days=60), [starter(12), seen(6)], False),
            (START, [starter(12), seen(6)], True),
            (START - timedelta(days=60), [seen(6)], True),  # no other plan was ever seen
            (START - timedelta(days=60), [], True),
        ],
    )
    def test_a_grant_counts_for_its_own_term(self, granted: datetime, looks: list[ObservedState], held: bool) -> None:
        memory = Memory(states=tuple(looks), grants=(a_grant(start=granted),))
        assert granted_in_this_term(memory, PLANS.plans[2]) is held

    def test_a_mark_of_an_earlier_term_does_not_count(self) -> None:
        memory = Memory(states=(seen(99, start=hours_ago(999), mark=Mark.ADOPTED), starter(12), seen(6)))
        assert not granted_in_this_term(memory, PLANS.plans[2])


class TestHolds:
    """Proven, and yet a person's: the reasons are given in words."""

    def test_no_time_to_count_from(self) -> None:
        found = judge(an_account(total=100, start=None, states=()))
        assert (found.verdict, len(found.holds)) == (Verdict.RAISE, 1)
        assert found.holds[0].startswith("billing sent no time to count the period from")

    def test_a_floor_after_an_observed_loss(self) -> None:
        found = judge(an_account(total=4000, states=()), losses_since=True)
        assert found.holds == (
            "credits vanished since the plan changed, so a low total does not prove a missing grant",
        )

    @pytest.mark.parametrize(
        ("states", "held"),
        [
            ([seen(12, total=5000)], True),  # it was there once: what is missing now fell
            ([seen(12, total=4000)], False),
            ([seen(12, total=5000, billed="starter"), seen(6, total=4000)], False),  # under another plan
            ([seen(12, total=5000), seen(6, total=4000, billed=None)], True),  # unknown billing is no other plan
            # billed in an earlier term of the same period as well: granted then, perhaps
            ([seen(18, total=5000), seen(12, total=4000, used=3999, billed="starter"), seen(6, total=4000)], True),
            (
                [
                    seen(1400, total=5000, start=hours_ago(2000)),
                    seen(12, total=4000, used=3999, billed="starter"),
                    seen(6, total=4000),
                ],
                False,
            ),
        ],
    )
    def test_a_floor_under_a_total_that_fell(self, states: list[ObservedState], held: bool) -> None:
        found = judge(an_account(total=4000, used=3900, states=states))
        assert (found.proof, bool(found.holds)) == (Proof.FLOOR, held)

    def test_a_history_is_not_held_for_losses(self) -> None:
        account = upgraded(starter(total=1000, used=0), total=1000, used=0)
        assert judge(account, losses_since=True) == Owed(verdict=Verdict.UPGRADE, proof=Proof.HISTORY)

    def test_a_label_that_was_there_before_billing_named_the_plan(self) -> None:
        found = judge(upgraded(starter(12), starter(6, label="pro")))
        assert (found.verdict, found.proof, len(found.holds)) == (Verdict.UPGRADE, Proof.HISTORY, 1)
        assert found.holds[0].startswith("the product called the account this plan before billing did")

    @pytest.mark.parametrize(
        ("before", "after", "held"),
        [
            ((6000, 5000), (6000, 5200), True),  # 5,000 used folds into the same total
            ((5000, 300), (5000, 400), True),  # 5,000 set to 5,000 stays
            ((6000, 5001), (6000, 5200), False),
            ((1000, 0), (1000, 0), False),  # below the allowance no grant can hide
        ],
    )
    def test_a_grant_that_may_hide(self, before: tuple[int, int], after: tuple[int, int], held: bool) -> None:
        found = judge(upgraded(starter(total=before[0], used=before[1]), total=after[0], used=after[1]))
        assert (found.verdict, found.proof, bool(found.holds)) == (Verdict.UPGRADE, Proof.HISTORY, held)

    @pytest.mark.parametrize(
        ("looks", "held"),
        [
            ([starter(6, label="pro")], True),  # since when is not known
            ([starter(12, label="free"), starter(6, label="pro")], True),
            (
                [seen(40, total=6000, start=A_YEAR_AGO), starter(6, label="pro")],
                False,
            ),  # left over from an earlier term
            ([seen(40, total=6000, start=A_YEAR_AGO), starter(12), starter(6, label="pro")], True),
            ([seen(40, billed="pro_plus", label="pro_plus"), starter(6, label="pro")], False),
            ([starter(12, label="pro"), starter(6)], False),
        ],
    )
    def test_a_label_left_over_is_no_sign_of_a_grant(self, looks: list[ObservedState], held: bool) -> None:
        found = judge(upgraded(*looks))
        assert (found.proof, bool(found.holds)) == (Proof.HISTORY, held)


def test_what_was_found_missing_before_is_not_dropped_with_its_proof() -> None:
    assert judge(upgraded(starter(), used=0), was_missing=True) == Owed(verdict=Verdict.UNPROVEN)
    assert judge(an_account(), was_missing=True) == Owed(verdict=Verdict.NOTHING)  # its key is held by now
