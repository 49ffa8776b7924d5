"""Directed lives: the cases that once cost somebody credits, played over many runs (semantics §1, semantics §5–§7)."""

from datetime import UTC, datetime, timedelta

import pytest

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import AdjustCredits, Lane, SetPlan
from credit_pipeline.domain.policy import EndLabels
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline_tests.domain.builders import a_policy
from credit_pipeline_tests.domain.lives.life import Life

T0 = datetime(2026, 3, 3, 0, tzinfo=UTC)
ANCHOR = datetime(2026, 3, 1, 9, tzinfo=UTC)


def hours(n: float) -> datetime:
    return T0 + timedelta(hours=n)


def test_carried_over_surplus_is_untouched_by_any_number_of_runs() -> None:
    life = Life(label="starter", total=1200, used=300, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.every_six_hours(200)  # fifty days, a renewal among them
    assert life.row == ("starter", 1200, 300)
    assert life.applied == []
    assert [m.code for m in life.mismatches.values()] == ["renewal_missing"]  # nobody zeroed the 300


def test_pro_at_100_becomes_5000_with_used_kept() -> None:
    life = Life(label="pro", total=100, used=40, billed="pro", anchor=ANCHOR)
    life.at(T0)
    assert life.row == ("pro", 5000, 40)
    assert life.every_six_hours(20).primary is None
    assert life.auto_credits == 4900


def test_pro_at_100_is_still_repaired_after_dry_runs() -> None:
    life = Life(label="pro", total=100, used=40, billed="pro", anchor=ANCHOR)
    life.at(T0, live=False)
    life.every_six_hours(11, live=False)
    assert life.row == ("pro", 100, 40)
    life.at(hours(72))
    assert life.row == ("pro", 5000, 40)


def test_pro_at_100_is_still_repaired_after_a_dry_run_and_a_renewal() -> None:
    life = Life(label="pro", total=100, used=40, billed="pro", anchor=ANCHOR)
    life.at(T0, live=False)
    life.every_six_hours(130, live=False)
    life.every_six_hours(1)
    assert (life.total, life.auto_credits) == (5000, 4900)


def test_starter_unused_becomes_pro_with_6000() -> None:
    life = Life(label="starter", total=1000, used=0, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), billed="pro", anchor=hours(3))
    assert life.row == ("pro", 6000, 0)
    assert life.every_six_hours(20).primary is None
    assert life.auto_credits == 5000


def test_upgrade_keeps_the_credits_already_earned() -> None:
    life = Life(label="free", total=200, used=0, billed="free")
    life.at(T0)
    life.at(hours(6), billed="starter", anchor=hours(3))
    assert life.row == ("starter", 1200, 0)
    assert life.every_six_hours(40).primary is None
    assert life.row == ("starter", 1200, 0)


def test_pro_plus_never_becomes_pro() -> None:
    life = Life(label="Pro+", total=15_000, used=0, billed="Pro+", anchor=ANCHOR)
    assert life.at(T0).primary is None
    assert life.applied == []
    short = Life(label="free", total=100, used=0, billed="PRO＋", anchor=ANCHOR)
    short.at(T0)
    assert short.row == ("pro_plus", 15_100, 0)


@pytest.mark.parametrize("typo", ["premuim", "pro+_yearly", "Professional", "price_PRO"])
def test_an_unknown_plan_never_moves_credits(typo: str) -> None:
    life = Life(label="free", total=100, used=0, billed=typo, anchor=ANCHOR)
    assert life.at(T0).primary is Code.PLAN_UNMAPPED
    assert life.every_six_hours(10).primary is Code.PLAN_UNMAPPED
    assert life.row == ("free", 100, 0)


class TestUnprovenUpgrade:
    """`free, total 5,000, used 3,000` while billing says Pro: was Pro granted and the label lost, or not?"""

    def life(self) -> Life:
        life = Life(label="free", total=5000, used=3000, billed="pro", anchor=ANCHOR)
        life.at(T0)
        return life

    def test_gets_its_label_and_no_automatic_credits(self) -> None:
        life = self.life()
        judged = life.every_six_hours(10)
        assert life.row == ("pro", 5000, 3000)
        assert life.auto_credits == 0
        assert (judged.primary, judged.lane) == (Code.GRANT_MISSING, Lane.APPROVE)
        (event,) = life.open_codes(Code.GRANT_MISSING)
        assert (event.is_event, event.evidence["proof"], event.opened_at) == (True, "none", T0)

    def test_approval_gives_7000_available_once(self) -> None:
        life = self.life()
        life.every_six_hours(10)
        life.approve()
        assert life.available == 7000
        judged = life.every_six_hours(20)
        assert (judged.primary, judged.corrections, life.available) == (None, (), 7000)

    def test_stays_one_event_through_renewals_of_dry_runs(self) -> None:
        life = Life(label="free", total=5000, used=3000, billed="pro", anchor=ANCHOR)
        life.at(T0, live=False)
        judged = life.every_six_hours(260, live=False)  # two renewals, used never zeroed
        assert len(life.open_codes(Code.GRANT_MISSING)) == 1
        grants = [c.grant for c in judged.corrections if c.grant]
        assert [g.delta for g in grants] == [5000]

    def test_stays_open_when_the_product_zeroes_used_at_renewal(self) -> None:
        life = Life(label="free", total=12_000, used=10_000, billed="pro", anchor=ANCHOR)
        life.at(T0)
        life.at(datetime(2026, 4, 1, 12, tzinfo=UTC), used=0)
        assert len(life.open_codes(Code.GRANT_MISSING)) == 1

    def test_closes_when_the_product_grants_at_last_although_some_was_spent_before(self) -> None:
        life = self.life()
        life.at(hours(6), used=3500)
        life.at(hours(12), total=6500, used=0)  # 1,500 + 5,000, folded
        assert life.open_codes(Code.GRANT_MISSING) == []
        assert life.every_six_hours(3).primary is None

    def test_stays_open_when_another_plan_is_granted(self) -> None:
        life = self.life()
        life.at(hours(6), billed="pro_plus", anchor=hours(3), label="pro_plus", total=17_000, used=0)
        assert [m.evidence["plan"] for m in life.open_codes(Code.GRANT_MISSING)] == ["pro"]

    def test_is_not_forgotten_while_a_label_lost_anew_settles(self) -> None:
        life = self.life()
        life.at(hours(6))
        life.at(hours(12), label="free", settle=True)
        life.at(hours(18), label="pro", settle=True)
        assert len(life.open_codes(Code.GRANT_MISSING)) == 1


def test_a_loss_stays_open_for_ten_more_runs() -> None:
    life = Life(label="starter", total=1200, used=300, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), total=1000)
    judged = life.every_six_hours(10)
    (event,) = life.open_codes(Code.UNEXPLAINED_DECREASE)
    assert (judged.primary, event.evidence["loss"], event.opened_at) == (Code.UNEXPLAINED_DECREASE, 200, hours(6))
    assert event.evidence["signature"] == "reset_to_allowance"
    assert life.row == ("starter", 1000, 300)


def test_a_restored_loss_is_closed_and_given_back_once() -> None:
    life = Life(label="starter", total=1200, used=300, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), total=1000)
    restore = life.approve()
    assert restore.steps == (AdjustCredits(delta=200, correction_key=restore.key or "", cause="restore"),)
    assert life.every_six_hours(10).primary is None
    assert life.row == ("starter", 1200, 300)


def test_a_loss_while_billing_could_not_be_judged_is_found_afterwards() -> None:
    for unknown in ({"billed": "premuim"}, {"lookup": Lookup.ERROR}, {"lookup": Lookup.GONE}, {"label": "premuim"}):
        life = Life(label="starter", total=1200, used=300, billed="starter", anchor=ANCHOR)
        life.at(T0)
        life.at(hours(6), total=1000, **unknown)
        life.at(hours(12), billed="starter", lookup=Lookup.ANSWERED, label="starter")
        losses = life.open_codes(Code.UNEXPLAINED_DECREASE)
        assert [m.evidence["loss"] for m in losses] == [200], unknown


def test_a_loss_is_restorable_after_a_later_upgrade() -> None:
    life = Life(label="starter", total=1200, used=0, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), total=1000)
    life.at(hours(12), billed="pro", anchor=hours(9))
    assert life.row == ("pro", 6000, 0)
    life.every_six_hours(1)
    life.approve()
    assert life.available == 6200


class TestFlapping:
    """Starter → Pro → Starter → Pro in one period: the right label, each plan granted once by us."""

    @pytest.mark.parametrize("moving", [False, True], ids=["fixed timeStamp", "moving timeStamp"])
    def test_each_plan_is_granted_once(self, moving: bool) -> None:
        def anchor(at: datetime) -> datetime:
            return at if moving else hours(3)

        life = Life(label="free", total=100, used=0, billed="free")
        life.at(T0)
        life.at(hours(6), billed="starter", anchor=hours(3))
        assert life.row == ("starter", 1100, 0)
        life.at(hours(12), billed="pro", anchor=anchor(hours(9)))
        assert life.row == ("pro", 6100, 0)
        life.at(hours(18), billed="starter", anchor=anchor(hours(15)))
        assert life.row == ("starter", 6100, 0)
        life.at(hours(24), billed="pro", anchor=anchor(hours(21)))
        assert life.row == ("pro", 6100, 0)
        life.every_six_hours(10)
        assert life.row == ("pro", 6100, 0)
        assert [g.plan for g in life.grants] == ["starter", "pro"]
        waiting = life.open_codes(Code.GRANT_MISSING)
        assert [bool(m.evidence["holds"]) for m in waiting] == ([True] if moving else [])

    def test_a_second_purchase_months_later_is_granted_again(self) -> None:
        life = Life(label="starter", total=1000, used=0, billed="starter", anchor=ANCHOR)
        life.at(T0)
        life.at(hours(6), billed="pro", anchor=hours(3))
        assert life.row == ("pro", 6000, 0)
        life.at(hours(12), billed="starter", anchor=hours(9))
        life.every_six_hours(240)
        assert life.now is not None
        life.at(life.now + timedelta(hours=6), billed="pro", anchor=life.now)
        assert life.row == ("pro", 11_000, 0)


@pytest.mark.parametrize(("lost_after", "codes"), [(12, {Code.GRANT_MISSING}), (18, set())])
def test_folded_upgrade_whose_label_is_lost_is_never_paid_again(lost_after: int, codes: set[Code]) -> None:
    """Lost before the second look it is a person's case, afterwards the grant is adopted and only the label is due."""
    life = Life(label="starter", total=6000, used=5400, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), billed="pro", anchor=hours(3), label="pro", total=5600, used=0)
    if lost_after > 12:
        life.at(hours(12))
    life.at(hours(lost_after), label="starter")
    judged = life.every_six_hours(12)
    assert life.auto_credits == 0
    assert life.row == ("pro", 5600, 0)
    assert {f.code for f in judged.findings} == codes


def test_folded_upgrade_whose_label_is_lost_before_anyone_looked_goes_to_a_person() -> None:
    life = Life(label="starter", total=6000, used=5400, billed="starter", anchor=ANCHOR)
    life.at(T0)
    judged = life.at(hours(6), billed="pro", anchor=hours(3), total=5600, used=0)
    assert (judged.primary, judged.lane) == (Code.PLAN_MISMATCH, Lane.APPROVE)
    assert life.every_six_hours(10).primary is Code.GRANT_MISSING
    assert life.auto_credits == 0


@pytest.mark.parametrize(("total", "used", "after"), [(6000, 5000, 5200), (5000, 300, 400), (5000, 5000, 5000)])
def test_a_grant_that_left_the_total_as_it_was_is_not_taken_for_missing(total: int, used: int, after: int) -> None:
    """(6000, 5000) folded is (6000, 0), (5000, 300) set is (5000, 0): a burst of spending then hides either."""
    life = Life(label="starter", total=total, used=used, billed="starter", anchor=ANCHOR)
    life.at(T0)
    judged = life.at(hours(6), billed="pro", anchor=hours(3), used=after)
    assert life.auto_credits == 0
    assert Code.GRANT_MISSING in {f.code for f in judged.findings}


def test_a_label_left_over_hides_no_missing_grant() -> None:
    """Pro ended with its label left, 5,000 used 4,999; bought again, and the product's handler saw nothing to do."""
    life = Life(label="pro", total=5000, used=4999, billed="pro", anchor=ANCHOR - timedelta(days=90))
    life.at(T0 - timedelta(days=60))
    life.at(T0, billed="free")
    life.at(hours(6), billed="pro", anchor=hours(3))
    life.every_six_hours(10)
    assert len(life.open_codes(Code.GRANT_MISSING)) == 1


def test_our_own_label_is_no_evidence_that_a_grant_is_missing() -> None:
    """The product granted before billing named the plan, and we wrote the old label back meanwhile."""
    life = Life(label="starter", total=1000, used=0, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), label="pro", total=6000)
    judged = life.at(hours(12), billed="pro", anchor=hours(5))
    assert life.auto_credits == 0
    assert Code.GRANT_MISSING in {f.code for f in judged.findings}


def test_a_label_written_without_credits_is_the_upgrade_it_is() -> None:
    life = Life(label="starter", total=6000, used=400, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), billed="pro", anchor=hours(3), label="pro")
    assert life.row == ("pro", 10_600, 0)


def test_a_missing_grant_once_proven_is_not_forgotten_in_dry_runs() -> None:
    """The proof ends with the next renewal's reset; what it proved does not."""
    life = Life(label="starter", total=6000, used=400, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), billed="pro", anchor=hours(3), label="pro", live=False)
    life.every_six_hours(2, live=False)
    judged = life.at(hours(24), used=0, live=False)
    assert (judged.primary, judged.lane) == (Code.GRANT_MISSING, Lane.APPROVE)
    life.every_six_hours(8)
    life.approve()
    assert life.available == 11_000
    assert life.every_six_hours(8).primary is None


def test_a_proven_grant_that_the_product_makes_after_all_is_no_finding() -> None:
    life = Life(label="starter", total=6000, used=400, billed="starter", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), billed="pro", anchor=hours(3), label="pro", live=False)
    judged = life.at(hours(12), total=10_600, used=70, live=False)
    assert (judged.primary, life.mismatches) == (None, {})


def test_a_loss_that_a_person_accepted_is_not_paid_back_at_the_next_renewal() -> None:
    life = Life(label="pro", total=5000, used=0, billed="pro", anchor=ANCHOR)
    life.runs.append(T0 - timedelta(days=9))  # not the first run, so nothing is assumed
    life.at(T0 - timedelta(days=3))
    life.at(T0, total=4000)
    life.accepted |= set(life.mismatches)
    life.mismatches.clear()
    life.every_six_hours(130)
    assert life.auto_credits == 0


class TestRenewal:
    """The product zeroes `used`; we never grant at renewal."""

    RENEWED = datetime(2026, 4, 1, 9, tzinfo=UTC)

    def life(self, used: int) -> Life:
        life = Life(label="pro", total=5000, used=used, billed="pro", anchor=ANCHOR)
        life.at(self.RENEWED - timedelta(hours=3))
        return life

    @pytest.mark.parametrize(
        ("used", "after", "codes"),
        [
            (0, 0, []),
            (0, 50, []),
            (700, 0, []),
            (700, 60, []),
            (700, 700, ["renewal_missing"]),
            (700, 900, ["renewal_missing"]),  # as high as before, and higher: it was not reset
        ],
    )
    def test_is_judged_by_used_before_and_after(self, used: int, after: int, codes: list[str]) -> None:
        life = self.life(used)
        judged = life.at(self.RENEWED + timedelta(hours=3), used=after)
        assert [f.code.value for f in judged.findings] == codes
        assert life.auto_credits == 0

    def test_is_judged_once(self) -> None:
        life = self.life(700)
        life.at(self.RENEWED + timedelta(hours=3), used=0)
        assert life.at(self.RENEWED + timedelta(hours=9), used=700).primary is None

    def test_waits_for_the_first_answer_of_this_account(self) -> None:
        life = self.life(700)
        life.at(self.RENEWED + timedelta(hours=3), lookup=Lookup.ERROR)
        judged = life.at(self.RENEWED + timedelta(hours=9), lookup=Lookup.ANSWERED)
        assert judged.primary is Code.RENEWAL_MISSING

    def test_is_not_judged_and_not_adopted_before_it_settled(self) -> None:
        life = self.life(700)
        judged = life.at(self.RENEWED + timedelta(minutes=30))
        assert (judged.primary, judged.mark) == (None, None)
        assert life.at(self.RENEWED + timedelta(minutes=90)).primary is Code.RENEWAL_MISSING

    def test_the_approved_repair_zeroes_what_was_carried(self) -> None:
        life = self.life(700)
        life.at(self.RENEWED + timedelta(hours=3))
        life.approve()
        assert life.row == ("pro", 5000, 0)
        assert life.every_six_hours(5).primary is None

    def test_a_later_fall_closes_it(self) -> None:
        life = self.life(700)
        life.at(self.RENEWED + timedelta(hours=3))
        judged = life.at(self.RENEWED + timedelta(hours=30), used=20)
        assert (judged.primary, life.mismatches) == (None, {})

    @pytest.mark.parametrize("moves", [False, True])
    def test_a_whole_year_of_renewals_moves_nothing(self, moves: bool) -> None:
        life = Life(label="pro", total=5000, used=0, billed="pro", anchor=ANCHOR)
        life.at(T0)
        for month in range(4, 13):
            renewed = datetime(2026, month, 1, 9, tzinfo=UTC)
            life.at(renewed - timedelta(hours=2), used=4000)
            life.at(renewed + timedelta(hours=4), used=10, anchor=renewed if moves else ANCHOR)
        assert (life.row, life.applied, life.mismatches) == (("pro", 5000, 10), [], {})


def test_a_label_lost_after_adoption_is_repaired_without_credits() -> None:
    life = Life(label="pro", total=5000, used=4990, billed="pro", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), label="free")
    assert life.row == ("pro", 5000, 4990)
    assert [s for c in life.applied for s in c.steps] == [SetPlan(plan="pro", label="pro")]


def test_an_uninstalled_instance_is_told_apart_and_left_alone() -> None:
    life = Life(label="pro", total=5000, used=0, billed="pro", anchor=ANCHOR)
    life.at(T0)
    judged = life.at(hours(6), lookup=Lookup.GONE)
    assert (judged.primary, judged.lane, judged.corrections) == (Code.SOURCE_GONE, Lane.NONE, ())
    assert life.at(hours(12), lookup=Lookup.ANSWERED).primary is None


def test_ended_waits_for_a_second_run_a_day_later() -> None:
    life = Life(label="pro", total=5000, used=1000, billed="pro", anchor=ANCHOR)
    life.at(T0)
    lanes = [life.at(hours(6), billed="free").lane, *(life.every_six_hours(1).lane for _ in range(4))]
    assert lanes == [Lane.NONE] * 4 + [Lane.APPROVE]
    life.approve()
    assert life.row == ("free", 5000, 1000)


def test_ended_starts_its_wait_anew_when_a_run_between_disagrees() -> None:
    life = Life(label="pro", total=5000, used=1000, billed="pro", anchor=ANCHOR)
    life.at(T0)
    life.at(hours(6), billed="free")
    life.at(hours(12), billed="pro")
    assert life.at(hours(31), billed="free").lane is Lane.NONE


def test_end_labels_auto_relabels_and_keeps_the_credits() -> None:
    life = Life(label="pro", total=5000, used=1000, billed="free", policy=a_policy(end_labels=EndLabels.AUTO))
    life.at(T0)
    life.every_six_hours(4)
    assert life.row == ("free", 5000, 1000)


def test_a_grant_lost_twice_is_restored_twice() -> None:
    life = Life(label="pro", total=5000, used=0, billed="pro", anchor=ANCHOR)
    life.at(T0)
    for hour in (6, 12):
        assert life.at(hours(hour), total=100).primary is Code.GRANT_LOST
        life.approve()
        assert life.total == 5000
    assert life.every_six_hours(4).primary is None
