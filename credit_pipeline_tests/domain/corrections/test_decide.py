"""Findings → corrections (semantics §6, §8): steps, lanes, at most one correction per lane, and the exact amounts."""

from typing import Any

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.corrections import decide
from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    GrantCredits,
    GrantKey,
    Lane,
    Seen,
    SetPlan,
    correction_fields,
    correction_from,
)
from credit_pipeline.domain.policy import EndLabels, OnEnd, Shortfall
from credit_pipeline.domain.subjects.account import Account, Mark
from credit_pipeline_tests.domain.builders import (
    START,
    a_catalogue,
    a_period,
    a_policy,
    an_account,
    an_open,
    corrected,
    hours_ago,
    rules,
    seen,
)

PRO = SetPlan(plan="pro", label="pro")


def made(account: Account, **how: Any) -> dict[Lane, Correction]:
    """The corrections by lane; two in one lane would be an error."""
    corrections = classify(account, rules(**how)).corrections
    by_lane = {c.lane: c for c in corrections}
    assert len(by_lane) == len(corrections)
    assert list(by_lane) == sorted(by_lane, key=list(Lane).index)
    return by_lane


def grant(delta: int, *, plan: str = "pro", reset_used: bool, account: Account) -> GrantCredits:
    key = GrantKey(account_id=account.account_id, plan=plan, period_start=START)
    return GrantCredits(delta=delta, grant_key=key, period_end=a_period().end, reset_used=reset_used)


@pytest.mark.parametrize(
    ("facts", "delta", "reset_used", "after"),
    [
        ({"label": "free", "total": 100, "used": 0}, 5000, True, ("pro", 5100, 0)),
        ({"label": "starter", "total": 1000, "used": 0}, 5000, True, ("pro", 6000, 0)),
        ({"label": "starter", "total": 1000, "used": 1000}, 5000, True, ("pro", 5000, 0)),
        ({"label": "starter", "total": 4999, "used": 300}, 5000, True, ("pro", 9699, 0)),
        ({"label": None, "total": 0, "used": 0}, 5000, True, ("pro", 5000, 0)),
        ({"label": "pro", "total": 100, "used": 40}, 4900, False, ("pro", 5000, 40)),
        ({"label": "pro", "total": 4999, "used": 4999}, 1, False, ("pro", 5000, 4999)),
        ({"label": "pro_plus", "total": 100, "used": 0}, 4900, False, ("pro", 5000, 0)),
    ],
)
def test_a_proven_missing_grant(
    facts: dict[str, Any], delta: int, reset_used: bool, after: tuple[str, int, int]
) -> None:
    account = an_account(**facts, states=())
    (correction,) = made(account).values()
    assert correction.lane is Lane.AUTO
    assert correction.grant == grant(delta, reset_used=reset_used, account=account)
    assert correction.delta == delta
    assert (correction.after.label, correction.after.total, correction.after.used) == after
    assert correction.set_plan == (None if facts["label"] == "pro" else PRO)
    assert correction.key == f"acct_1/pro/{int(START.timestamp())}"


def test_upgrade_keeps_the_credits_already_earned() -> None:
    account = an_account(label="free", total=200, used=0, billed="starter", states=())
    (correction,) = made(account).values()
    assert correction.after == Seen(label="starter", total=1200, used=0)
    assert "upgrade free -> starter: available 200 + new 1000 = 1200" in correction.reasons


def test_shortfall_add_adds_a_whole_allowance() -> None:
    account = an_account(total=100, used=40, states=())
    (correction,) = made(account, shortfall=Shortfall.ADD).values()
    assert (correction.delta, correction.after.total, correction.after.used) == (5000, 5100, 40)


def test_the_proven_part_is_applied_and_the_rest_waits() -> None:
    """A lost label is written at once; what was lost besides waits for a person."""
    account = an_account(label="free", total=4800, states=[seen(mark=Mark.ADOPTED)])
    by_lane = made(account)
    assert by_lane[Lane.AUTO].steps == (PRO,)
    assert by_lane[Lane.AUTO].key is None
    assert [s.delta for s in by_lane[Lane.APPROVE].adjustments] == [200]


def test_an_unproven_upgrade_is_a_label_now_and_credits_for_a_person() -> None:
    account = an_account(label="free", total=5000, used=3000, states=())
    by_lane = made(account)
    assert by_lane[Lane.AUTO].steps == (PRO,)
    assert by_lane[Lane.APPROVE].steps == (grant(5000, reset_used=True, account=account),)
    assert by_lane[Lane.APPROVE].after.available == 7000


def test_without_a_time_to_count_from_no_write_is_offered_but_the_label() -> None:
    by_lane = made(an_account(label="free", total=100, used=0, start=None, states=()))
    assert {lane: c.steps for lane, c in by_lane.items()} == {Lane.AUTO: (PRO,)}


def test_a_system_without_a_renewal_rule_is_report_only() -> None:
    judged = classify(an_account(total=100, states=()), rules(renewal=None))
    assert judged.primary is not None
    assert judged.corrections == ()


class TestRestore:
    """A restore is the loss less what was given back, at least the floor's shortfall, recomputed at each planning."""

    def open_loss(self, loss_to: int = 4000, mark: Mark | None = Mark.ADOPTED) -> Any:
        lost = an_account(total=loss_to, states=[seen(12, total=6000, mark=mark)])
        (found,) = [f for f in classify(lost, rules(now=hours_ago(6))).findings if f.code == "unexplained_decrease"]
        return an_open(found)

    @pytest.mark.parametrize(("total", "amount"), [(5500, 500), (5000, 1000), (4000, 2000), (0, 6000)])
    def test_gives_back_what_was_lost(self, total: int, amount: int) -> None:
        account = an_account(total=total, used=0, states=[seen(total=6000, used=0, mark=Mark.ADOPTED)])
        restore = made(account)[Lane.APPROVE]
        assert [(s.delta, s.cause, s.lower_used) for s in restore.adjustments] == [(amount, "restore", False)]

    def test_spending_since_is_not_given_back(self) -> None:
        account = an_account(total=5800, used=1500, states=[seen(total=6000, used=1000, mark=Mark.ADOPTED)])
        assert made(account)[Lane.APPROVE].delta == 200

    def test_several_losses_are_one_restore_with_one_key(self) -> None:
        first = self.open_loss(5900)  # of 6,000
        account = an_account(total=5600, open_mismatches=[first], states=[seen(total=5900, mark=Mark.ADOPTED)])
        (step,) = made(account)[Lane.APPROVE].adjustments
        assert step.delta == 400
        assert step.correction_key.startswith("restore:")
        assert first.fingerprint in step.correction_key

    def test_a_later_raise_counts_as_given_back(self) -> None:
        loss = self.open_loss(5900)
        pair = corrected(3, {"total": 4600, "used": 1000}, {"total": 4670, "used": 1000})
        account = an_account(total=4670, open_mismatches=[loss], states=[*pair, seen(2, total=4670)])
        parts = decide.corrections(account, [decide_again(loss)], a_catalogue(), a_policy())
        assert [c.delta for c in parts] == [30]  # 100 lost, 70 raised since

    def test_a_new_plans_grant_gives_nothing_back(self) -> None:
        loss = self.open_loss(5900)
        for before, after in (((1000, 0), (6000, 0)), ((1000, 400), (5600, 0))):
            pair = corrected(3, {"total": before[0], "used": before[1]}, {"total": after[0], "used": after[1]})
            account = an_account(total=after[0], used=after[1], states=[*pair, seen(2, total=after[0])])
            parts = decide.corrections(account, [decide_again(loss)], a_catalogue(), a_policy())
            assert [c.delta for c in parts] == [100]

    def test_is_at_least_the_shortfall_of_the_floor(self) -> None:
        account = an_account(total=100, used=0, states=[seen(total=100, used=0, mark=Mark.ADOPTED)])
        (step,) = made(account)[Lane.APPROVE].adjustments
        assert (step.delta, step.cause) == (4900, "restore")

    def test_says_what_was_lost_where_the_floor_asks_for_more(self) -> None:
        account = an_account(total=100, used=0, states=[seen(total=5000, used=1392, mark=Mark.ADOPTED)])
        restore = made(account)[Lane.APPROVE]
        assert restore.delta == 4900
        assert restore.reasons[-1].endswith(
            "give 4900 back: 3508 were lost, the rest brings the total back to the allowance"
        )

    def test_a_raise_for_the_same_person_is_computed_after_it(self) -> None:
        account = an_account(total=4000, states=[seen(total=5000)])
        approve = made(account)[Lane.APPROVE]
        assert approve.after.total == 5000
        assert approve.delta == 1000


def decide_again(event: Any) -> Any:
    """An open event as a later run carries it."""
    (found,) = [
        f for f in classify(an_account(open_mismatches=[event]), rules()).findings if f.fingerprint == event.fingerprint
    ]
    return found


@pytest.mark.parametrize(("total", "used", "back"), [(10_000, 0, 5000), (10_000, 8000, 2000), (10_000, 10_000, None)])
def test_a_duplicate_is_clawed_back_as_far_as_it_is_unspent(total: int, used: int, back: int | None) -> None:
    account = an_account(total=total, used=used, states=[seen(total=5000, used=used, mark=Mark.ADOPTED)])
    corrections = made(account)
    assert [c.delta for c in corrections.values()] == ([] if back is None else [-back])
    assert Lane.AUTO not in corrections


def test_a_renewal_is_repaired_by_zeroing_what_was_carried() -> None:
    renewed = hours_ago(3)
    before = seen(total=5000, used=700, start=hours_ago(24 * 31), mark=Mark.ADOPTED)
    account = an_account(total=5000, used=700, start=renewed, states=[before])
    (correction,) = made(account).values()
    key = f"renewal:acct_1/pro/{renewed.isoformat()}"
    assert correction.steps == (AdjustCredits(delta=700, correction_key=key, cause="renewal", lower_used=True),)
    assert correction.after == Seen(label="pro", total=5000, used=0)


ENDED = [seen(30, until=6, billed="free")]


@pytest.mark.parametrize(
    ("policy", "lane", "delta"),
    [
        ({}, Lane.APPROVE, {Lane.APPROVE: 0}),
        ({"end_labels": EndLabels.AUTO}, Lane.AUTO, {Lane.AUTO: 0}),
        ({"on_end": OnEnd.FORFEIT}, Lane.APPROVE, {Lane.APPROVE: -3900}),
        ({"on_end": OnEnd.FORFEIT, "end_labels": EndLabels.AUTO}, Lane.AUTO, {Lane.AUTO: 0, Lane.APPROVE: -3900}),
    ],
)
def test_an_ended_subscription(policy: dict[str, Any], lane: Lane, delta: dict[Lane, int]) -> None:
    by_lane = made(an_account(billed="free", states=ENDED), **policy)
    assert by_lane[lane].set_plan == SetPlan(plan="free", label="free")
    assert {name: c.delta for name, c in by_lane.items()} == delta


@pytest.mark.parametrize(("total", "used"), [(100, 0), (5000, 4950)])
def test_a_forfeit_never_goes_below_the_free_allowance(total: int, used: int) -> None:
    account = an_account(
        billed="free",
        total=total,
        used=used,
        states=[seen(30, until=6, billed="free", total=total, used=used)],
    )
    assert [c.delta for c in made(account, on_end=OnEnd.FORFEIT).values()] == [0]


def test_a_free_shortfall_is_a_persons_case_without_a_grant_key() -> None:
    account = an_account(label="free", billed="free", total=20, used=5, states=())
    (correction,) = made(account).values()
    (step,) = correction.adjustments
    assert (correction.lane, step.delta, step.cause, correction.grant) == (Lane.APPROVE, 80, "free allowance", None)


def test_a_digest_binds_account_codes_and_steps_and_not_what_was_seen() -> None:
    first, again = (made(an_account(label="free", states=(), used=u))[Lane.AUTO] for u in (1, 2))
    assert (first.digest, first.seen) != (again.digest, None)
    assert first.digest == again.digest
    other = made(an_account(label="free", states=(), account_id="acct_2"))[Lane.AUTO]
    short = made(an_account(label="free", total=100, used=0, states=()))[Lane.AUTO]
    assert len({first.digest, other.digest, short.digest}) == 3


def test_a_correction_survives_being_stored() -> None:
    for account in (
        an_account(label="free", total=100, states=()),
        an_account(label="free", total=4800),
        an_account(billed="free", states=ENDED),
    ):
        for correction in classify(account, rules(on_end=OnEnd.FORFEIT)).corrections:
            assert correction_from(correction_fields(correction)) == correction
