"""What takes back our changes: relative, bounded by what is left, once; and what later runs make of it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    CreateBalance,
    GrantCredits,
    GrantKey,
    Lane,
    LinkIdentity,
    Seen,
    SetPlan,
    SetSubscription,
    Step,
)
from credit_pipeline.domain.corrections.undo import Change, Later, Standing, Undoing, in_effect, undo, undone_by
from credit_pipeline.domain.subjects.account import GrantRecord, Undone
from credit_pipeline.domain.subjects.identity import Layer
from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId
from credit_pipeline_tests.domain.builders import START, a_catalogue, an_account, hours_ago, rules, seen

ACCOUNT = AccountId("acct_1")
END = datetime(2026, 4, 1, 9, tzinfo=UTC)
CATALOGUE = a_catalogue()


def state(plan: str | None, total: int, used: int, **beside: Any) -> dict[str, Any]:
    return {"plan": plan, "total": total, "used": used, "available": total - used, **beside}


def a_grant(delta: int = 5000, *, fold: bool = False) -> GrantCredits:
    key = GrantKey(account_id=ACCOUNT, plan="pro", period_start=START)
    return GrantCredits(delta=delta, grant_key=key, period_end=END, reset_used=fold)


def an_adjustment(delta: int, *, lower_used: bool = False) -> AdjustCredits:
    return AdjustCredits(delta=delta, correction_key="restore:f", cause="restore", lower_used=lower_used)


LABEL = SetPlan(plan="pro", label="pro")


def a_change(*steps: Step, **overrides: Any) -> Change:
    """A raise from 100 to 5,000 of an account called pro; override single facts."""
    facts: dict[str, Any] = {
        "seq": 7,
        "account_id": ACCOUNT,
        "billing_id": BillingId("acct_1"),
        "plan_id": "plan_1",
        "codes": ("grant_missing",),
        "steps": steps or (a_grant(4900),),
        "billed_plan": "pro",
        "delta": 4900,
        "before": state("pro", 100, 20),
        "after": state("pro", 5000, 20),
    }
    return Change(**(facts | overrides))


def now(label: str | None = "pro", total: int = 5000, used: int | None = 20, status: str | None = None) -> Standing:
    return Standing(seen=Seen(label=label, total=total, used=used), status=status)


def undone(*changes: Change, standing: Standing | None = None, later: tuple[Later, ...] = ()) -> Undoing:
    return undo(changes, standing or now(), later, CATALOGUE)


def keyed(found: Undoing) -> list[tuple[str, int, bool]]:
    return [(step.correction_key, step.delta, step.lower_used) for step in found.correction.adjustments]


UPGRADE = a_change(a_grant(fold=True), LABEL, delta=5000, before=state("free", 1000, 600), after=state("pro", 5400, 0))


def test_untouched_credits_are_taken_back_whole_and_a_person_decides() -> None:
    found = undone(a_change())
    assert (found.correction.lane, found.shortfall) == (Lane.APPROVE, 0)
    assert keyed(found) == [("undo:7", -4900, False)]
    assert found.correction.after == Seen(label="pro", total=100, used=20)
    assert (found.correction.codes, found.correction.seen) == (("grant_missing",), now().seen)
    assert found.correction.reasons == ("takes back audit row 7: -4,900 credits",)


def test_what_was_spent_meanwhile_stays_spent_and_is_told() -> None:
    found = undone(a_change(), standing=now(used=4000))
    assert (found.correction.delta, found.shortfall) == (-1000, 3900)
    assert found.correction.after == Seen(label="pro", total=4000, used=4000)
    assert found.correction.reasons == (
        "takes back audit row 7: 1,000 of 4,900 credits are left, 3,900 were spent meanwhile and stay spent",
    )


def test_where_nothing_is_left_the_key_is_taken_all_the_same() -> None:
    found = undone(a_change(), standing=now(used=5000))
    assert (keyed(found), found.shortfall) == ([("undo:7", 0, False)], 4900)
    assert found.correction.key == "undo:7"


def test_a_fold_is_not_unfolded_since_it_moved_no_credits() -> None:
    found = undone(UPGRADE, standing=now(total=5400, used=0))
    assert found.correction.after == Seen(label="free", total=400, used=0), "400 were available before"
    assert found.correction.set_plan == SetPlan(plan="free", label="free")
    assert "used stays as it is: the grant folded 600 used credits into the total, which moved none" in (
        found.correction.reasons
    )


def test_a_label_alone_has_a_key_of_its_own() -> None:
    change = a_change(LABEL, delta=0, before=state("free", 100, 0), after=state("pro", 100, 0))
    found = undone(change, standing=now(total=100, used=0))
    assert (keyed(found), found.correction.set_plan) == ([("undo:7", 0, False)], SetPlan(plan="free", label="free"))


@pytest.mark.parametrize(
    ("label", "later", "reason"),
    [
        ("pro_plus", (), "the label stays pro_plus: it was set again since"),
        ("pro", (Later(9, "plan_2", True),), "the label stays pro: it was set again since"),
    ],
)
def test_a_label_that_another_hand_set_since_stays(label: str, later: tuple[Later, ...], reason: str) -> None:
    found = undone(UPGRADE, standing=now(label, 5400, 0), later=later)
    assert found.correction.set_plan is None
    assert found.correction.delta == -5000
    assert reason in found.correction.reasons


def test_a_label_that_is_back_already_is_not_written() -> None:
    assert undone(UPGRADE, standing=now("free", 5400, 0)).correction.set_plan is None


def test_no_label_at_all_cannot_be_written_back() -> None:
    change = replace(UPGRADE, before=state(None, 1000, 600))
    found = undone(change, standing=now(total=5400, used=0))
    assert found.correction.set_plan is None
    assert "the label stays pro: there was none before" in found.correction.reasons


def test_a_later_correction_stands_and_is_named() -> None:
    found = undone(a_change(), standing=now(total=6000), later=(Later(9, "plan_2", False),))
    assert found.correction.after == Seen(label="pro", total=1100, used=20)
    assert "a later correction (audit row 9, plan plan_2) stays as it is" in found.correction.reasons


def test_used_that_we_lowered_is_raised_again_and_the_total_left_alone() -> None:
    change = a_change(
        an_adjustment(4000, lower_used=True), delta=4000, before=state("pro", 5000, 4000), after=state("pro", 5000, 0)
    )
    found = undone(change, standing=now(used=500))
    assert keyed(found) == [("undo:7", -4000, True)]
    assert found.correction.after == Seen(label="pro", total=5000, used=4500)


def test_credits_that_a_person_had_taken_are_given_back() -> None:
    change = a_change(an_adjustment(-300), delta=-300, before=state("pro", 5000, 0), after=state("pro", 4700, 0))
    found = undone(change, standing=now(total=4700, used=4700))
    assert (keyed(found), found.shortfall) == ([("undo:7", 300, False)], 0)


def test_several_changes_of_one_account_are_one_correction_with_a_key_each() -> None:
    first = a_change(LABEL, seq=7, delta=0, before=state("free", 100, 0), after=state("pro", 100, 0))
    second = a_change(
        an_adjustment(200), an_adjustment(50, lower_used=True), seq=8, codes=("unexplained_decrease",), delta=250,
        before=state("pro", 100, 60), after=state("pro", 300, 10),
    )  # fmt: skip
    found = undone(second, first, standing=now(total=300, used=10))
    assert keyed(found) == [("undo:8", -200, False), ("undo:8:used", -50, True), ("undo:7", 0, False)]
    assert found.correction.after == Seen(label="free", total=100, used=60)
    assert found.correction.codes == ("unexplained_decrease", "grant_missing")


def test_a_subscription_s_row_goes_back_as_far_as_it_was_known() -> None:
    step = SetSubscription(status="active", period_start=START, period_end=END)
    before = state("pro", 100, 0, status="trialing", period_start="2026-02-01T00:00:00", period_end=None)
    after = state("pro", 100, 0, status="active", period_start="2026-03-01T09:00:00+00:00", period_end="2026-04-01")
    change = a_change(step, delta=0, before=before, after=after)
    found = undone(change, standing=now(total=100, used=0, status="active"))
    assert found.correction.steps[0] == SetSubscription(
        status="trialing", period_start=datetime(2026, 2, 1, tzinfo=UTC), period_end=None
    )
    changed = undone(change, standing=now(total=100, used=0, status="canceled"))
    assert "the subscription's status stays canceled: it was set again since" in changed.correction.reasons
    made = undone(replace(change, before=before | {"status": None}), standing=now(total=100, used=0, status="active"))
    assert "the row about the subscription stays: there was none before" in made.correction.reasons


def test_what_cannot_be_taken_back_is_named_as_kept() -> None:
    link = LinkIdentity(auth_id=AuthId("u"), store_id=ACCOUNT, layer=Layer.METADATA)
    change = a_change(
        link, CreateBalance(), a_grant(4900), before={**state("pro", 0, 0), "used": None, "available": None}
    )
    reasons = undone(change).correction.reasons
    assert "the user's link to the account stays: others may lean on it by now" in reasons
    assert "the balance row that was made stays" in reasons


def test_without_a_balance_row_nothing_is_left_to_take() -> None:
    found = undone(a_change(), standing=now(total=4900, used=None))
    assert (keyed(found), found.shortfall) == ([("undo:7", 0, False)], 4900)


CREDITS = st.integers(min_value=0, max_value=20_000)


@given(
    moves=st.lists(st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000)), min_size=1, max_size=4),
    total=CREDITS,
    used=CREDITS,
)
def test_never_below_zero_and_nothing_forgotten(moves: list[tuple[int, int]], total: int, used: int) -> None:
    """Whatever happened since: what is moved and the shortfall add up to what was done, but for `used` zeroed since."""
    used = min(used, total)
    changes = [
        a_change(an_adjustment(up), an_adjustment(down, lower_used=True), seq=seq, delta=up + down)
        for seq, (up, down) in enumerate(moves, 1)
    ][::-1]
    found = undone(*changes, standing=now(total=total, used=used))
    after = found.correction.after
    assert after.used is not None
    assert 0 <= after.used <= after.total
    assert found.shortfall >= 0
    back = sum(-down for _, down in moves if down < 0)
    assert -found.correction.delta + found.shortfall in range(sum(map(sum, moves)), sum(map(sum, moves)) + back + 1)
    keys = [step.correction_key for step in found.correction.adjustments]
    assert len(set(keys)) == len(keys)
    assert set(undone_by(keys)) == set(range(1, len(moves) + 1))


def test_keys_of_other_kinds_undo_nothing() -> None:
    assert list(undone_by(["undo:7", "undo:8:used", "restore:f", "undo:5/pro/1", "undo:", "acct/pro/7"])) == [7, 8]


def test_an_undo_of_an_undo_brings_the_change_back() -> None:
    changes = [(1, ["acct/pro/1"]), (2, ["undo:1"]), (3, ["undo:2"])]
    assert in_effect(changes[:1]) == {1}
    assert in_effect(changes[:2]) == {2}
    assert in_effect(changes) == {1, 3}
    assert in_effect([*changes, (4, ["undo:3"])]) == {2, 4}


# What later runs make of it

PUT_BACK = Undone(at=hours_ago(2), label=("pro", "free"))
REVERSED = GrantRecord(plan="pro", period_start=START, credits=5000, reversed=True)
SINCE = seen(1, label="free", total=400, used=0)


def an_undone_account(**facts: Any) -> Any:
    account = an_account(**({"label": "free", "total": 400, "used": 0, "states": (SINCE,)} | facts))
    assert account.memory is not None
    return replace(account, memory=replace(account.memory, undone=PUT_BACK, grants=(REVERSED,)))


def test_what_an_undo_put_back_is_neither_reported_nor_corrected() -> None:
    judged = classify(an_undone_account(), rules())
    assert (judged.findings, judged.corrections) == ((), ())


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"billed": "pro_plus"}, Code.PLAN_MISMATCH),
        ({"label": "starter"}, Code.PLAN_MISMATCH),
        (
            {"states": (seen(1.5, label="free", total=400, used=0, billed="starter"), SINCE)},
            Code.PLAN_MISMATCH,
        ),
        ({"billed": "free", "label": "pro", "total": 5000}, Code.SUBSCRIPTION_ENDED),
    ],
)
def test_another_plan_or_another_label_is_a_new_matter(facts: dict[str, Any], code: Code) -> None:
    assert code in {found.code for found in classify(an_undone_account(**facts), rules()).findings}


def test_an_end_that_was_taken_back_is_answered_as_well() -> None:
    account = an_account(label="pro", billed="free", states=(seen(1, billed="free"),))
    assert account.memory is not None
    ended = replace(account, memory=replace(account.memory, undone=Undone(at=hours_ago(2), label=("free", "pro"))))
    assert classify(ended, rules()).findings == ()


def test_a_grant_that_was_not_taken_back_is_still_missed() -> None:
    account = an_undone_account()
    standing = replace(account, memory=replace(account.memory, grants=(replace(REVERSED, reversed=False),)))
    assert [found.code for found in classify(standing, rules()).findings] == [Code.GRANT_LOST]
