"""Stories of products that keep a counter of credits: total and used, seen every six hours."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.plans.catalogue import Catalogue, YearlyMode
from credit_pipeline.domain.plans.periods import Cycle
from credit_pipeline.domain.policy import Policy, Renewal
from credit_pipeline.domain.subjects.account import Account, Mark, ObservedState
from credit_pipeline_tests.domain.builders import (
    START,
    a_catalogue,
    a_period,
    an_account,
    an_open,
    hours_ago,
    rules,
    seen,
)

IN_DOUBT = (Code.GRANT_MISSING, Lane.APPROVE)


def free(hours: float, total: int = 100, used: int = 20, label: str = "free") -> ObservedState:
    return seen(hours, label=label, billed="free", total=total, used=used)


def judged(account: Account, **how: Any) -> Judgement:
    return classify(account, rules(**({"renewal_grace": Policy().renewal_grace} | how)))


def said(account: Account, **how: Any) -> list[tuple[Code, Lane]]:
    return [(f.code, f.lane) for f in judged(account, **how).findings]


def the(account: Account, code: Code, **how: Any) -> Finding:
    (found,) = [f for f in judged(account, **how).findings if f.code is code]
    return found


def automatic(account: Account, **how: Any) -> list[int]:
    """Credits that would move without a person."""
    made = judged(account, **how).corrections
    return [c.grant.delta for c in made if c.lane is Lane.AUTO and c.grant is not None]


class TestJ5TheCreditsCameBeforeBillingSaidSo:
    """(free; 100, 20) → (free; 5100, 20) while billing still says free, then billing says Pro."""

    @pytest.mark.parametrize("rise", [5000, 2500])
    @pytest.mark.parametrize("hours", [12, 24 * 20], ids=["this morning", "three weeks ago"])
    def test_the_label_is_automatic_and_the_credits_are_a_person_s(self, rise: int, hours: float) -> None:
        states = (free(hours + 6), free(hours, total=100 + rise), free(3, total=100 + rise))
        account = an_account(label="free", total=100 + rise, used=20, start=hours_ago(1), states=states)
        assert said(account) == [(Code.PLAN_MISMATCH, Lane.AUTO), IN_DOUBT]
        found = the(account, Code.GRANT_MISSING)
        assert [moved["amount"] for moved in found.evidence["movements"]] == [rise]
        assert (found.is_event, found.evidence["proof"]) == (True, "none")
        assert automatic(account) == []
        assert [c.after.label for c in judged(account).corrections if c.lane is Lane.AUTO] == ["pro"]

    @pytest.mark.parametrize(
        "states",
        [
            (free(30, total=100), free(3, total=100)),
            (free(30, total=100), free(9, total=1000), free(3, total=1000)),
            (free(24 * 40, total=100), free(24 * 35, total=5100), free(3, total=5100)),
        ],
        ids=["nothing came", "less than half came", "it came long before"],
    )
    def test_its_siblings_stay_automatic(self, states: tuple[ObservedState, ...]) -> None:
        total = states[-1].total
        account = an_account(label="free", total=total, used=20, start=hours_ago(1), states=states)
        runs = [hours_ago(hours) for hours in range(1, 24 * 41, 6)]
        account = replace(account, memory=replace(account.memory, complete_runs=tuple(runs)))  # type: ignore[type-var]
        assert automatic(account) == [5000]

    def test_the_grant_of_the_plan_before_does_not_stand_for_the_next_one(self) -> None:
        starter = seen(60, label="starter", billed="starter", total=1100, used=20, start=hours_ago(70))
        states = (free(72), starter, replace(starter, as_of=hours_ago(3), seen_until=hours_ago(3)))
        runs = [hours_ago(hours) for hours in range(1, 72, 6)]
        account = an_account(label="starter", total=1100, used=20, start=hours_ago(1), states=states, runs=runs)
        assert automatic(account) == [5000]


class TestS1TheProductSetTheTotalAtItsOwnUpgrade:
    """(free; 200, 0) → (starter; 1000, 0): 200 + 1,000 is 1,200."""

    def story(self, total: int, used: int = 0, before: int = 200, **facts: Any) -> Account:
        states = (free(9, total=before, used=0),)
        account = {"label": "starter", "billed": "starter", "total": total, "used": used, "start": hours_ago(2)}
        return an_account(**(account | {"states": states} | facts))

    @pytest.mark.parametrize(
        ("total", "used", "short"), [(1000, 0, 200), (1000, 150, 200), (1100, 0, 100), (1199, 0, 1)]
    )
    def test_the_difference_is_a_person_s(self, total: int, used: int, short: int) -> None:
        account = self.story(total, used)
        assert said(account) == [(Code.GRANT_AMOUNT_MISMATCH, Lane.APPROVE)]
        (correction,) = judged(account).corrections
        assert (correction.lane, correction.after.total, correction.after.used) == (Lane.APPROVE, total + short, used)
        assert judged(account).mark is None

    @pytest.mark.parametrize(("total", "used"), [(1200, 0), (1200, 700), (1300, 0)])
    def test_what_was_owed_is_in_order(self, total: int, used: int) -> None:
        assert Code.GRANT_AMOUNT_MISMATCH not in dict(said(self.story(total, used)))

    def test_where_used_fell_what_came_cannot_be_told(self) -> None:
        account = self.story(1000, 0, states=(free(9, total=200, used=180),))
        assert said(account) == []

    def test_what_came_shortly_before_counts_for_it(self) -> None:
        states = (free(15, total=100, used=0), free(9, total=300, used=0))
        assert Code.GRANT_AMOUNT_MISMATCH not in dict(said(self.story(1100, states=states)))

    def test_it_stays_open_until_a_person_decides(self) -> None:
        found = the(self.story(1000), Code.GRANT_AMOUNT_MISMATCH)
        states = (free(9, total=200, used=0), seen(6, label="starter", billed="starter", total=1000, used=0))
        later = {"total": 1250, "used": 10, "states": states, "open_mismatches": [an_open(found)]}
        account = self.story(**later)
        assert Code.GRANT_AMOUNT_MISMATCH in dict(said(account)), "a gift of 250 may be something else"
        assert judged(account).mark is None
        done = self.story(**(later | {"applied_keys": [f"amount:{found.fingerprint}"]}))
        assert judged(done).closed == ((found.fingerprint, "restored by a correction"),)

    def test_in_a_scheduled_run_the_handler_may_still_complete_it(self) -> None:
        account = self.story(1000, changed_at=hours_ago(0.5))
        assert judged(account, settle=True).pending


class TestS2AndS3TheRenewalDidNotCome:
    """What the product declares to do at a renewal is expected; a day and two hours after it, it is told."""

    def story(self, *looks: tuple[float, int, int], now: tuple[int, int], hours: float = 27, **facts: Any) -> Account:
        """`looks`: hours before now, total, used. The period began `hours` ago."""
        old = {"start": hours_ago(hours + 24 * 31), "mark": Mark.ADOPTED}
        new = {"start": hours_ago(hours)}
        states = [seen(ago, total=t, used=u, **(new if ago < hours else old)) for ago, t, u in looks]
        total, used = now
        return an_account(total=total, used=used, start=hours_ago(hours), states=tuple(states), **facts)

    @pytest.mark.parametrize(
        ("looks", "now"),
        [
            (((30, 5000, 800),), (5000, 800)),
            (((30, 5000, 800), (24, 5000, 801)), (5000, 840)),
            (((30, 5000, 4900), (24, 5000, 5000)), (5000, 5000)),
        ],
        ids=["as it was", "spent on", "spent out"],
    )
    def test_used_was_not_reset(self, looks: tuple[tuple[float, int, int], ...], now: tuple[int, int]) -> None:
        account = self.story(*looks, now=now)
        assert said(account) == [(Code.RENEWAL_MISSING, Lane.APPROVE)]
        (correction,) = judged(account).corrections
        assert correction.lane is Lane.APPROVE
        assert correction.after.used == now[1] - looks[0][2], "what was spent since stays spent"
        assert judged(account).mark is None

    @pytest.mark.parametrize(
        ("looks", "now"),
        [
            (((30, 5000, 800),), (5000, 10)),
            (((30, 5000, 800), (24, 5000, 0)), (5000, 840)),
            (((30, 5000, 499),), (5000, 499)),
            (((30, 5000, 800),), (5000, 600)),
        ],
        ids=["reset", "reset and spent again", "hardly anything to reset", "hidden by spending"],
    )
    def test_it_came_or_cannot_be_told(self, looks: tuple[tuple[float, int, int], ...], now: tuple[int, int]) -> None:
        assert said(self.story(*looks, now=now)) == []

    def test_within_the_grace_nobody_is_told_and_nothing_is_adopted(self) -> None:
        account = self.story((10, 5000, 800), now=(5000, 800), hours=7)
        assert said(account) == []
        assert judged(account).mark is None
        assert said(account, renewal_grace=timedelta(hours=2)) == [(Code.RENEWAL_MISSING, Lane.APPROVE)]

    @pytest.mark.parametrize(
        ("renewal", "before", "now", "owed"),
        [
            (Renewal.ADD_ALLOWANCE, (6000, 800), (6000, 900), 5000),
            (Renewal.SET_TO_ALLOWANCE, (5000, 3000), (5000, 3100), 3000),
            (Renewal.ADD_ALLOWANCE, (6000, 800), (11_000, 900), None),
            (Renewal.SET_TO_ALLOWANCE, (5000, 3000), (5000, 100), None),
            (Renewal.SET_TO_ALLOWANCE, (9000, 3000), (9000, 3100), None),
            (Renewal.NONE, (5000, 3000), (5000, 3100), None),
        ],
        ids=["nothing added", "not set", "added", "set", "has more than that", "none declared"],
    )
    def test_each_declared_effect(
        self, renewal: Renewal, before: tuple[int, int], now: tuple[int, int], owed: int | None
    ) -> None:
        account = self.story((30, *before), now=now)
        how = {"renewal": renewal}
        if owed is None:
            assert Code.RENEWAL_MISSING not in dict(said(account, **how))
            return
        assert said(account, **how) == [(Code.RENEWAL_MISSING, Lane.APPROVE)]
        (correction,) = judged(account, **how).corrections
        assert correction.after.total - correction.after.used == now[0] - now[1] + owed

    @pytest.mark.parametrize(("used", "closes"), [(300, True), (500, False)])
    def test_a_later_look_that_shows_it_ends_the_event(self, used: int, closes: bool) -> None:
        found = the(self.story((30, 5000, 800), now=(5000, 800)), Code.RENEWAL_MISSING)
        later = self.story(
            (36, 5000, 800), (6, 5000, 800), now=(5000, used), hours=33, open_mismatches=[an_open(found)]
        )
        assert (judged(later).closed == ((found.fingerprint, "the product renewed it since"),)) is closes
        assert (Code.RENEWAL_MISSING in dict(said(later))) is not closes


class TestS8ATopUpNobodyAccepts:
    def test_adoption_goes_on(self) -> None:
        held = seen(6, total=5000, used=1000, mark=Mark.ADOPTED)
        account = an_account(total=5500, used=1000, states=(held,))
        assert said(account) == [(Code.UNEXPLAINED_INCREASE, Lane.NONE)]
        assert judged(account).mark is Mark.ADOPTED

    def test_one_that_an_earlier_release_kept_open_ends(self) -> None:
        held = seen(6, total=5000, used=1000, mark=Mark.ADOPTED)
        kept = an_open(the(an_account(total=5500, states=(held,)), Code.UNEXPLAINED_INCREASE), is_event=True)
        account = an_account(total=5500, states=(replace(held, total=5500),), open_mismatches=[kept])
        judgement = judged(account)
        assert (judgement.findings, judgement.mark) == ((), Mark.ADOPTED)
        assert judgement.closed == ((kept.fingerprint, "it was information"),)

    def test_so_a_label_lost_ten_weeks_later_is_only_a_label(self) -> None:
        held = seen(6, total=5500, used=1000, mark=Mark.ADOPTED)
        assert said(an_account(label="free", total=5500, used=1000, states=(held,))) == [
            (Code.PLAN_MISMATCH, Lane.AUTO)
        ]


class TestJ10AYearGrantedUpFront:
    PLANS = Catalogue(
        plans=tuple(
            replace(plan, yearly=YearlyMode.UPFRONT) if plan.name == "pro" else plan for plan in a_catalogue().plans
        )
    )

    def story(self, total: int, label: str, **facts: Any) -> Account:
        year = a_period(START, 12)
        account = an_account(label=label, total=total, used=0, period=year, catalogue=self.PLANS, **facts)
        return replace(account, billing=replace(account.billing, cycle=Cycle.YEARLY))

    def test_twelve_months_are_owed(self) -> None:
        account = self.story(100, "free", states=())
        assert automatic(account, catalogue=self.PLANS) == [60_000]
        assert [c.after.total for c in judged(account, catalogue=self.PLANS).corrections] == [60_100]

    def test_one_month_s_credits_are_a_shortfall(self) -> None:
        account = self.story(5000, "pro", states=())
        assert [c.after.total for c in judged(account, catalogue=self.PLANS).corrections] == [60_000]

    def test_a_year_s_credits_are_in_order(self) -> None:
        assert said(self.story(60_100, "pro", states=()), catalogue=self.PLANS) == []
