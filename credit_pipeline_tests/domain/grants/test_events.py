"""What happened between two looks (semantics §6, §7): the loss formula, declared rules, gains, renewals, closings."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants.events import allowance_came, movement, movements, nothing_visibly_came, renewal
from credit_pipeline.domain.policy import OnDowngrade, OnEnd, Renewal
from credit_pipeline.domain.subjects.account import Account, Mark, StateKind
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline_tests.domain.builders import (
    NOW,
    START,
    a_catalogue,
    a_grant,
    a_period,
    a_policy,
    an_account,
    an_open,
    corrected,
    hours_ago,
    rules,
    seen,
)

MARKED = Mark.ADOPTED


def moved(account: Account, **policy: Any) -> list[tuple[str, int]]:
    found = movements(account, a_catalogue(), a_policy(**policy), NOW)
    return [(f.code.value, f.evidence.get("loss", f.evidence.get("gain"))) for f in found]


def state(total: int, used: int, **facts: Any) -> Any:
    return seen(total=total, used=used, **facts)


@pytest.mark.parametrize(
    ("before", "after", "loss"),
    [
        ((1200, 300), (1000, 300), 200),
        ((1200, 300), (1000, 700), 200),
        ((1200, 300), (1200, 900), 0),
        ((1200, 300), (1000, 0), -100),  # a reset, and nothing can be proven
        ((1200, 300), (1200, 300), 0),
        ((1200, 300), (1000, 299), 199),
        ((1200, 0), (1000, 0), 200),
        ((1200, 300), (6200, 300), -5000),
        ((1000, 400), (5600, 0), -5000),  # folded
    ],
)
def test_the_loss_formula(before: tuple[int, int], after: tuple[int, int], loss: int) -> None:
    assert -movement(state(*before), state(*after)) == loss


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_spending_is_never_a_movement_and_a_loss_is_exact(total: int, used: int, spent: int, lost: int) -> None:
    assert movement(state(total, used), state(total - lost, used + spent)) == -lost


@pytest.mark.parametrize(
    ("before", "after", "signature"),
    [((1200, 300), (1000, 300), "reset_to_allowance"), ((1200, 300), (900, 300), None), ((1500, 0), (1001, 0), None)],
)
def test_a_loss_is_an_event_with_its_signature(
    before: tuple[int, int], after: tuple[int, int], signature: str | None
) -> None:
    last = state(*before, label="starter", billed="starter", mark=MARKED)
    account = an_account(label="starter", billed="starter", total=after[0], used=after[1], states=[last])
    (found,) = movements(account, a_catalogue(), a_policy(), NOW)
    assert (found.code, found.lane, found.is_event) == (Code.UNEXPLAINED_DECREASE, Lane.APPROVE, True)
    assert (found.evidence["signature"], found.delta) == (signature, before[0] - after[0])
    assert (found.evidence["total"], found.evidence["used"]) == ([before[0], after[0]], [before[1], after[1]])


def test_only_the_last_look_is_compared() -> None:
    assert moved(an_account(total=5000, states=[state(9000, 0), state(5000, 1000, mark=MARKED)])) == []
    assert moved(an_account(total=5000, states=())) == []
    assert moved(an_account(total=5000, installed=False)) == []
    assert moved(an_account(total=None)) == []


class TestOurOwnCorrections:
    """What we moved ourselves is explained; what moved around it is not."""

    def test_the_correction_itself_is_explained(self) -> None:
        pair = corrected(5, {"total": 100, "used": 0}, {"total": 5000, "used": 0})
        assert moved(an_account(total=5000, used=0, states=[state(100, 0), *pair], grants=[a_grant()])) == []

    def test_a_loss_after_it_is_found(self) -> None:
        pair = corrected(5, {"total": 100, "used": 0}, {"total": 5000, "used": 0})
        account = an_account(total=100, used=0, states=[state(100, 0), *pair], grants=[a_grant()])
        assert moved(account) == [("unexplained_decrease", 4900)]

    def test_a_loss_before_it_is_found(self) -> None:
        pair = corrected(5, {"total": 4000, "used": 0}, {"total": 5000, "used": 0})
        account = an_account(total=5000, used=0, states=[state(6000, 0), *pair], grants=[a_grant()])
        assert moved(account) == [("unexplained_decrease", 2000)]

    def test_one_that_the_look_already_shows_is_left_out(self) -> None:
        """The read began a moment after its as-of, so the correction's time is later than what it shows."""
        pair = corrected(5, {"total": 100, "used": 0}, {"total": 5000, "used": 0})
        account = an_account(total=5000, used=0, states=[state(5000, 0), *pair], grants=[a_grant()])
        assert moved(account) == []

    def test_two_corrections_in_a_row(self) -> None:
        label = corrected(5, {"total": 100, "used": 0, "label": "free"}, {"total": 100, "used": 0})
        raised = corrected(5, {"total": 100, "used": 0}, {"total": 5000, "used": 0})
        states = [state(100, 0, label="free"), *label, *raised]
        assert states[1].kind is StateKind.BEFORE
        assert moved(an_account(total=4900, used=0, states=states)) == [("unexplained_decrease", 100)]


class TestDeclaredRules:
    """A label change or a renewal explains a loss only where the product's rule for it is declared."""

    @pytest.mark.parametrize(
        ("rule", "total", "codes"),
        [
            (OnDowngrade.KEEP, 1000, [("unexplained_decrease", 5000)]),
            (OnDowngrade.SET_TO_ALLOWANCE, 1000, []),
            (OnDowngrade.SET_TO_ALLOWANCE, 900, [("unexplained_decrease", 5100)]),
        ],
    )
    def test_a_downgrade(self, rule: OnDowngrade, total: int, codes: list[tuple[str, int]]) -> None:
        account = an_account(
            label="starter", billed="starter", total=total, used=0, states=[state(6000, 0, mark=MARKED)]
        )
        assert moved(account, on_downgrade=rule) == codes

    @pytest.mark.parametrize(("rule", "codes"), [(OnEnd.KEEP, [("unexplained_decrease", 5900)]), (OnEnd.FORFEIT, [])])
    def test_an_end(self, rule: OnEnd, codes: list[tuple[str, int]]) -> None:
        account = an_account(label="free", billed="free", total=100, used=0, states=[state(6000, 0)])
        assert moved(account, on_end=rule) == codes

    def test_an_end_is_not_explained_by_the_downgrade_rule(self) -> None:
        account = an_account(label="free", billed="free", total=100, used=0, states=[state(6000, 0)])
        assert moved(account, on_downgrade=OnDowngrade.SET_TO_ALLOWANCE) == [("unexplained_decrease", 5900)]

    @pytest.mark.parametrize(
        ("rule", "codes"),
        [(Renewal.SET_TO_ALLOWANCE, []), (Renewal.RESET_USED, [("unexplained_decrease", 1000)])],
    )
    def test_a_renewal(self, rule: Renewal, codes: list[tuple[str, int]]) -> None:
        last = state(6000, 0, start=START - timedelta(days=28), mark=MARKED)
        assert moved(an_account(total=5000, used=0, states=[last]), renewal=rule) == codes

    def test_no_rule_explains_a_loss_within_a_period(self) -> None:
        account = an_account(total=5000, used=0, states=[state(6000, 0, mark=MARKED)])
        assert moved(account, renewal=Renewal.SET_TO_ALLOWANCE, on_end=OnEnd.FORFEIT) == [
            ("unexplained_decrease", 1000)
        ]


@pytest.mark.parametrize(
    ("before", "after", "facts", "codes"),
    [
        ((5000, 3000), (5000, 0), {}, []),  # the reset of used, whenever it comes
        ((5000, 3000), (5000, 0), {"policy": {"renewal": Renewal.NONE}}, [("unexplained_increase", 3000)]),
        ((5000, 0), (10_000, 0), {"mark": MARKED}, [("grant_duplicate", 5000)]),
        ((5000, 0), (10_000, 0), {"grants": [a_grant()]}, [("grant_duplicate", 5000)]),
        ((5000, 0), (9999, 0), {"mark": MARKED}, [("unexplained_increase", 4999)]),
        ((100, 0), (5100, 0), {}, []),  # the product granting what is billed
        ((100, 0), (5101, 0), {}, [("unexplained_increase", 5001)]),
        ((100, 0), (150, 0), {"billed": "free", "label": "free"}, [("unexplained_increase", 50)]),
        ((100, 0), (5100, 0), {"start": None}, [("unexplained_increase", 5000)]),
    ],
)
def test_gains(
    before: tuple[int, int], after: tuple[int, int], facts: dict[str, Any], codes: list[tuple[str, int]]
) -> None:
    facts = dict(facts)
    last = state(*before, mark=facts.pop("mark", None))
    policy = facts.pop("policy", {})
    account = an_account(total=after[0], used=after[1], states=[last], **facts)
    assert moved(account, **policy) == codes


@pytest.mark.parametrize("rule", [Renewal.ADD_ALLOWANCE, Renewal.SET_TO_ALLOWANCE])
def test_a_declared_renewal_explains_a_gain(rule: Renewal) -> None:
    last = state(4000, 0, start=START - timedelta(days=28), mark=MARKED)
    renewed = an_account(total=9000, used=0, states=[last], grants=[a_grant()])
    assert moved(renewed, renewal=rule) == []
    assert moved(renewed, renewal=Renewal.NONE) == [("grant_duplicate", 5000)]


@pytest.mark.parametrize(
    ("before", "after", "came", "nothing"),
    [
        ((5000, 3000), (10_000, 3000), True, False),  # added
        ((5000, 3500), (6500, 0), True, False),  # folded after spending
        ((100, 50), (5000, 0), False, False),  # set: something came, less than an allowance
        ((5000, 5000), (5000, 0), False, True),  # zeroing used is no grant, whatever it frees
        ((5000, 3000), (5000, 3400), False, True),
        ((5000, 3000), (4900, 3000), False, True),  # a plain loss
        ((6000, 5400), (5600, 0), True, False),  # folded into less
    ],
)
def test_what_is_seen_to_come(before: tuple[int, int], after: tuple[int, int], came: bool, nothing: bool) -> None:
    account = an_account(total=after[0], used=after[1], states=[state(*before)])
    assert allowance_came(account, 5000, NOW) is came
    assert nothing_visibly_came(account, NOW) is nothing


class TestRenewalMissing:
    """Asked once, of the first look `settle_time` after the period's start: equal is a warning, all else is none."""

    RENEWED = hours_ago(3)

    def ask(self, before: int, after: int, **facts: Any) -> Finding | None:
        start: datetime = facts.pop("start", self.RENEWED)
        policy = facts.pop("policy", {})
        looks = facts.pop("looks", [])
        plan = facts.pop("was", "pro")
        total = facts.pop("total", 5000)
        last = state(5000, before, start=START - timedelta(days=28), billed=plan)
        account = an_account(total=total, used=after, start=start, states=[last, *looks], **facts)
        assert account.billing.plan is not None
        return renewal(account, account.billing.plan, a_period(start), a_policy(**policy), NOW)

    @pytest.mark.parametrize(
        ("before", "after", "missing"),
        [(700, 700, True), (700, 701, True), (700, 699, False), (700, 0, False), (0, 0, False)],
    )
    def test_equal_greater_zero(self, before: int, after: int, missing: bool) -> None:
        found = self.ask(before, after)
        assert (found is not None) == missing
        if found:
            assert (found.code, found.delta, found.lane) == (Code.RENEWAL_MISSING, before, Lane.APPROVE)
            assert found.is_event

    @pytest.mark.parametrize(
        "facts",
        [
            {"policy": {"renewal": Renewal.NONE}},
            {"start": hours_ago(0.99)},  # not settled
            {"looks": [seen(4, used=700, start=hours_ago(3))], "was": "starter"},  # seen with this period already
            {"was": "starter"},  # a plan change is no renewal
            {"total": 4000},
            {"looks": [seen(1, used=700, start=hours_ago(3))]},  # judged before
            {"looks": [seen(2.5, until=2, used=700, start=hours_ago(3))]},
            {"installed": False},
        ],
    )
    def test_is_not_asked(self, facts: dict[str, Any]) -> None:
        assert self.ask(700, 700, **facts) is None

    @pytest.mark.parametrize(
        "facts",
        [
            {"start": hours_ago(1)},  # settled to the minute
            {"looks": [seen(2.5, until=2.01, used=700, start=hours_ago(3))]},  # looked at before it settled
            {"runs": [hours_ago(1)]},  # a run in which this account had no answer
        ],
    )
    def test_is_asked(self, facts: dict[str, Any]) -> None:
        assert self.ask(700, 700, **facts) is not None

    def test_keeps_its_name(self) -> None:
        first, again = self.ask(700, 700), self.ask(700, 700, account_id="acct_1")
        assert first
        assert again
        assert first.fingerprint == again.fingerprint
        other = self.ask(700, 700, account_id="acct_2")
        assert other
        assert other.fingerprint != first.fingerprint


class TestLife:
    """An event stays until restored, explained or accepted; absence from the next run resolves nothing."""

    def event(self, account: Account, code: Code) -> Any:
        (found,) = [f for f in classify(account, rules()).findings if f.code is code]
        return an_open(found)

    def loss(self) -> Any:
        return self.event(an_account(total=5000, states=[state(6000, 1000, mark=MARKED)]), Code.UNEXPLAINED_DECREASE)

    def test_silence_closes_nothing(self) -> None:
        loss = self.loss()
        judged = classify(an_account(open_mismatches=[loss]), rules())
        assert ([f.fingerprint for f in judged.findings], judged.closed) == ([loss.fingerprint], ())
        assert judged.findings[0].evidence == loss.evidence
        assert judged.mark is None

    def test_what_is_no_event_is_dropped_by_silence(self) -> None:
        loss = an_open(classify(an_account(label="free"), rules()).findings[0])
        assert not loss.is_event
        assert classify(an_account(open_mismatches=[loss]), rules()).findings == ()

    def test_a_restore_closes_it(self) -> None:
        loss = self.loss()
        judged = classify(an_account(open_mismatches=[loss], applied_keys=[f"restore:{loss.fingerprint}"]), rules())
        assert (judged.findings, judged.closed) == ((), ((loss.fingerprint, "restored by a correction"),))

    def test_another_accounts_restore_does_not(self) -> None:
        judged = classify(an_account(open_mismatches=[self.loss()], applied_keys=["restore:0000"]), rules())
        assert judged.primary is Code.UNEXPLAINED_DECREASE

    def test_an_accepted_event_is_not_found_again(self) -> None:
        lost = an_account(total=5000, states=[state(6000, 1000, mark=MARKED)])
        (found,) = classify(lost, rules()).findings
        accepted = an_account(total=5000, states=[state(6000, 1000, mark=MARKED)], accepted=[found.fingerprint])
        assert classify(accepted, rules()).findings == ()

    def test_a_lost_grant_closes_when_the_total_is_back(self) -> None:
        lost = self.event(an_account(total=100, used=0, states=[state(100, 0, mark=MARKED)]), Code.GRANT_LOST)
        still = classify(
            an_account(total=4999, open_mismatches=[lost], states=[state(4999, 1000, mark=MARKED)]), rules()
        )
        assert still.primary is Code.GRANT_LOST
        back = classify(an_account(open_mismatches=[lost]), rules())
        assert back.closed == ((lost.fingerprint, "the total is back at the allowance"),)

    def test_a_missed_renewal_closes_with_a_later_fall(self) -> None:
        before = state(5000, 700, start=START - timedelta(days=28))
        missed = self.event(an_account(used=700, start=hours_ago(3), states=[before]), Code.RENEWAL_MISSING)
        for used, closed in ((700, False), (900, False), (699, False), (351, False), (350, True), (0, True)):
            judged = classify(an_account(used=used, open_mismatches=[missed], states=[state(5000, 700)]), rules())
            assert bool(judged.closed) is closed

    @pytest.mark.parametrize(("total", "used", "closed"), [(10_000, 3000, True), (7000, 0, True), (5000, 0, False)])
    def test_an_unproven_grant_closes_when_an_allowance_comes(self, total: int, used: int, closed: bool) -> None:
        unproven = an_account(label="free", used=3000, states=())
        event = self.event(unproven, Code.GRANT_MISSING)
        looks = [seen(used=3000)]
        judged = classify(an_account(total=total, used=used, open_mismatches=[event], states=looks), rules())
        assert judged.closed == (((event.fingerprint, "the product granted it since"),) if closed else ())
        assert judged.mark is (Mark.ADOPTED if closed else None)

    def test_a_grant_that_came_without_its_label_holds_the_key(self) -> None:
        event = self.event(an_account(label="free", used=3000, states=()), Code.GRANT_MISSING)
        facts = {"label": "free", "total": 10_000, "used": 3000, "open_mismatches": [event]}
        judged = classify(an_account(**facts, states=[seen(label="free", used=3000)]), rules())
        assert ([f.code for f in judged.findings], judged.mark) == ([Code.PLAN_MISMATCH], Mark.ADOPTED)

    def test_an_unproven_grant_closes_when_we_grant_it(self) -> None:
        event = self.event(an_account(label="free", used=3000, states=()), Code.GRANT_MISSING)
        judged = classify(an_account(total=7000, used=0, open_mismatches=[event], grants=[a_grant()]), rules())
        assert judged.closed == ((event.fingerprint, "granted by a correction"),)

    def test_a_held_raise_closes_when_the_total_is_back(self) -> None:
        fell = an_account(total=4000, states=[state(5000, 1000)])
        event = self.event(fell, Code.GRANT_MISSING)
        assert event.is_event
        for total, closed in ((4999, False), (5000, True)):
            account = an_account(total=total, open_mismatches=[event], states=[state(total, 1000)])
            assert bool(classify(account, rules()).closed) is closed

    def test_what_ends_and_is_found_again_at_once_goes_on(self) -> None:
        """A held raise ends with the total's return, while a lost label makes the same grant unproven."""
        event = self.event(an_account(total=4000, states=[state(5000, 1000)]), Code.GRANT_MISSING)
        account = an_account(label="free", total=5000, open_mismatches=[event], states=[state(4000, 1000)])
        judged = classify(account, rules())
        assert judged.closed == ()
        assert event.fingerprint in {f.fingerprint for f in judged.findings}

    def test_events_are_kept_while_the_account_cannot_be_judged(self) -> None:
        loss = self.loss()
        for unknown in ({"billed": "premuim"}, {"label": "premuim"}, {"total": None}):
            judged = classify(an_account(**unknown, open_mismatches=[loss]), rules())
            assert loss.fingerprint in {f.fingerprint for f in judged.findings}
            assert judged.corrections == ()

    def test_events_are_kept_through_dunning(self) -> None:
        judged = classify(an_account(status=BillingStatus.DUNNING, open_mismatches=[self.loss()]), rules())
        assert (judged.primary, judged.secondary) == (Code.DUNNING, (Code.UNEXPLAINED_DECREASE,))


@pytest.mark.parametrize(
    ("before", "after", "facts", "codes"),
    [
        # 167 were left, 5,000 came by folding, 5,050 were spent before we looked: nothing vanished
        ((6000, 5833), (5164, 5047), {}, []),
        ((6000, 5833), (5164, 5047), {"mark": MARKED}, [("unexplained_decrease", 50)]),  # granted long ago
        ((6000, 5833), (4999, 4990), {}, [("unexplained_decrease", 158)]),  # no grant of 5,000 leaves less than 5,000
        ((6000, 5833), (5200, 5190), {}, [("unexplained_decrease", 157)]),  # more than was left and came
        ((6000, 100), (5164, 5047), {}, [("unexplained_decrease", 836)]),  # used did not fall: no fold
    ],
)
def test_a_fold_and_a_burst_of_spending_are_no_loss(
    before: tuple[int, int], after: tuple[int, int], facts: dict[str, Any], codes: list[tuple[str, int]]
) -> None:
    look = state(*before, **facts) if facts else state(*before, billed="starter", start=START)
    assert moved(an_account(total=after[0], used=after[1], states=[look])) == codes
