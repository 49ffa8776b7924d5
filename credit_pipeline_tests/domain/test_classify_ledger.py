"""One ledger subject, whole: who comes before what, what stays open, what settles, and when a grant is adopted."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import Lane, LinkIdentity
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.grants.invoices import InvoiceStatus
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.account import Account, Lookup, Mark
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline_tests.domain.builders import NOW, START, a_grant, a_period, an_open, hours_ago, rules, seen
from credit_pipeline_tests.domain.grants.test_matching import an_unnamed
from credit_pipeline_tests.domain.invoice_builders import a_line, an_upgrade, day, with_lines
from credit_pipeline_tests.domain.ledger_builders import (
    AUTH,
    a_claim,
    a_local,
    a_user,
    an_entry,
    an_identity,
)

NOTHING: dict[str, Any] = {"entries": (), "spent": 0}


def judged(account: Account, now: Any = NOW, **how: Any) -> Judgement:
    return classify(account, rules(now=now, **how))


def codes(account: Account, **how: Any) -> list[Code]:
    return [f.code for f in judged(account, **how).findings]


def the_finding(account: Account, code: Code, **how: Any) -> Finding:
    (found,) = [f for f in judged(account, **how).findings if f.code is code]
    return found


class TestWhoComesFirst:
    @pytest.mark.parametrize(
        "claims",
        [
            (a_claim(1), a_claim(2, store_id="other", exists=False)),
            (a_claim(1), a_claim(2), a_claim(1, auth_id="another")),
            (a_claim(3),),
        ],
        ids=["conflict", "shared", "same id only"],
    )
    def test_with_a_doubt_about_who_somebody_is_nothing_is_corrected(self, claims: tuple[Any, ...]) -> None:
        account = a_user(**NOTHING, identity=an_identity(claims=claims), local=a_local(label="free"))
        judgement = judged(account)
        assert judgement.primary in {Code.ID_CONFLICT, Code.ID_SHARED, Code.ID_UNMAPPED}
        assert {Code.PLAN_MISMATCH, Code.GRANT_MISSING} <= set(judgement.secondary)
        assert judgement.corrections == ()
        assert judged(account, settle=True).primary is judgement.primary, "there is nothing to settle"

    def test_accepting_a_conflict_releases_nothing(self) -> None:
        claims = (a_claim(1), a_claim(2, store_id="other", exists=False))
        account = a_user(**NOTHING, identity=an_identity(claims=claims))
        name = the_finding(account, Code.ID_CONFLICT).fingerprint
        account = a_user(**NOTHING, identity=an_identity(claims=claims), accepted=[name])
        assert judged(account).corrections == ()
        assert judged(account).primary is Code.GRANT_MISSING

    def test_a_conflict_is_not_hidden_by_an_open_invoice(self) -> None:
        claims = (a_claim(1), a_claim(2, store_id="other", exists=False))
        lines = (a_line(status=InvoiceStatus.OPEN),)
        account = a_user(**NOTHING, identity=an_identity(claims=claims), invoices=lines)
        assert judged(account).primary is Code.ID_CONFLICT

    def test_a_link_and_its_grant_go_together(self) -> None:
        account = a_user(**NOTHING, identity=an_identity(claims=(a_claim(2),)))
        (correction,) = judged(account).corrections
        assert correction.lane is Lane.AUTO
        assert isinstance(correction.steps[0], LinkIdentity)
        assert correction.grant is not None

    def test_a_subject_without_an_account_is_never_written(self) -> None:
        account = replace(
            a_user(**NOTHING, identity=an_identity(store_ids=(), claims=()), local=None, states=()),
            ledger=None,
        )
        judgement = judged(account)
        assert judgement.primary is Code.ID_UNMAPPED
        assert judgement.corrections == ()

    def test_nobodys_account_is_never_written(self) -> None:
        nobody = an_identity(auth_ids=(), billing_ids=(), claims=(), namings=())
        facts = {"billed": "free", "label": "free", "status": BillingStatus.FREE, "invoices": ()}
        account = a_user(identity=nobody, used=None, **facts, **NOTHING)
        account = replace(account, subscriptions=())
        judgement = judged(account)
        assert judgement.primary is Code.ORPHAN_BALANCE
        assert judgement.corrections == ()


class TestUnknowns:
    @pytest.mark.parametrize(
        ("facts", "code"),
        [
            ({"lookup": Lookup.ERROR, "status": None, "resolution": None}, Code.SOURCE_LOOKUP_ERROR),
            ({"billed": "premuim"}, Code.PLAN_UNMAPPED),
            ({"quantity": 2}, Code.PLAN_UNMAPPED),
            ({"items": 2}, Code.PLAN_UNMAPPED),
            ({"period": None, "term": None}, Code.PLAN_UNMAPPED),
            ({"label": "mystery"}, Code.PLAN_UNMAPPED),
        ],
    )
    @pytest.mark.parametrize("entries", [(), (an_entry(), an_unnamed(NOW)), (an_entry(amount=3),)])
    def test_what_is_not_known_moves_no_credits(
        self, facts: dict[str, Any], code: Code, entries: tuple[Any, ...]
    ) -> None:
        judgement = judged(a_user(**({"entries": entries, "spent": 0} | facts)))
        assert {f.code for f in judgement.findings} == {code}
        assert judgement.corrections == ()
        assert judgement.mark is None

    def test_a_loss_is_not_told_by_a_look_that_is_not_remembered(self) -> None:
        looks = [replace(seen(), gap=0)]
        account = a_user(gap=-200, states=looks, lookup=Lookup.ERROR, status=None, resolution=None)
        assert Code.UNEXPLAINED_DECREASE not in codes(account)
        assert Code.UNEXPLAINED_DECREASE in codes(a_user(gap=-200, states=looks, billed="premuim"))

    def test_open_events_stand_while_billing_is_silent(self) -> None:
        lost = the_finding(a_user(**NOTHING, older=9, grants=[a_grant()]), Code.GRANT_LOST)
        account = a_user(
            **NOTHING, older=9, grants=[a_grant()], open_mismatches=[an_open(lost)], lookup=Lookup.ERROR, status=None
        )
        assert Code.GRANT_LOST in codes(account)
        assert judged(account).closed == ()


def missed(**facts: Any) -> Account:
    """February's grant is missing, and March's came."""
    lines = (a_line(period=a_period(day(2, 1))), a_line())
    return with_lines(*lines, **facts)


class TestOpenEvents:
    def the_event(self) -> Mismatch:
        return an_open(the_finding(missed(), Code.GRANT_MISSING))

    def test_a_person_case_outlives_the_lookback(self) -> None:
        account = missed(open_mismatches=[self.the_event()])
        later = NOW + timedelta(days=60)
        judgement = judged(account, later)
        assert Code.GRANT_MISSING in [f.code for f in judgement.findings]
        (correction,) = [c for c in judgement.corrections if c.grant]
        assert correction.lane is Lane.APPROVE
        assert correction.grant is not None
        assert correction.grant.grant_key.period_start == day(2, 1)

    def test_a_person_case_does_not_become_automatic_by_growing_old(self) -> None:
        """The month before, whose late grant held this one back, is no longer read back on day 31."""
        account = a_user(**NOTHING, grants=[a_grant(start=day(2, 20))])
        event = an_open(the_finding(account, Code.GRANT_MISSING))
        calm = a_user(**NOTHING, open_mismatches=[event])
        assert the_finding(calm, Code.GRANT_MISSING).lane is Lane.APPROVE
        assert judged(a_user(**NOTHING)).lane is Lane.AUTO

    @pytest.mark.parametrize(
        ("facts", "why"),
        [
            ({"grants": [a_grant(start=day(2, 1))]}, "granted by a correction"),
            ({"entries": [an_entry(), an_unnamed(day(2, 20))]}, "the product granted it since"),
        ],
    )
    def test_it_ends_with_a_reason(self, facts: dict[str, Any], why: str) -> None:
        event = self.the_event()
        assert judged(missed(open_mismatches=[event], **facts)).closed == ((event.fingerprint, why),)

    def test_it_ends_when_its_payment_was_refunded(self) -> None:
        lines = (a_line(period=a_period(day(2, 1)), status=InvoiceStatus.REFUNDED), a_line())
        judgement = judged(with_lines(*lines, open_mismatches=[self.the_event()]))
        assert [why for _, why in judgement.closed] == ["its payment was refunded or is disputed"]

    def test_an_accepted_one_is_gone(self) -> None:
        name = self.the_event().fingerprint
        assert codes(missed(accepted=[name])) == []

    @pytest.mark.parametrize(
        ("gap", "closed", "lanes"), [(-200, (), [Lane.APPROVE]), (-50, (), [Lane.APPROVE]), (0, 1, [])]
    )
    def test_a_loss_stands_until_it_has_come_back(self, gap: int, closed: Any, lanes: list[Lane]) -> None:
        lost = the_finding(a_user(gap=-200, states=[replace(seen(), gap=0)]), Code.UNEXPLAINED_DECREASE)
        account = a_user(gap=gap, open_mismatches=[an_open(lost)])
        judgement = judged(account)
        assert [f.lane for f in judgement.findings] == lanes
        assert len(judgement.closed) == (closed or 0)
        assert [c.delta for c in judgement.corrections] == ([-gap] if gap else [])

    def test_our_restore_ends_it_and_is_no_gain(self) -> None:
        lost = the_finding(a_user(gap=-200, states=[replace(seen(), gap=0)]), Code.UNEXPLAINED_DECREASE)
        looks = [
            replace(seen(6, used=1200), gap=-200),
            seen(2, kind=seen().kind.BEFORE, used=1200),
            seen(2, kind=seen().kind.AFTER, used=1000),
        ]
        account = a_user(
            gap=0, states=looks, open_mismatches=[an_open(lost)], applied_keys=[f"restore:{lost.fingerprint}"]
        )
        judgement = judged(account)
        assert judgement.findings == ()
        assert judgement.closed == ((lost.fingerprint, "restored by a correction"),)

    def test_a_second_loss_beside_our_restore_is_seen(self) -> None:
        looks = [
            replace(seen(6, used=1200), gap=-200),
            seen(2, kind=seen().kind.BEFORE, used=1200),
            seen(2, kind=seen().kind.AFTER, used=1000),
        ]
        found = the_finding(a_user(gap=-150, states=looks), Code.UNEXPLAINED_DECREASE)
        assert found.evidence["loss"] == 150

    def test_a_restore_that_the_last_look_shows_already_counts_once(self) -> None:
        looks = [
            replace(seen(6, used=1010), gap=0),
            seen(5, kind=seen().kind.BEFORE, used=1200),
            seen(5, kind=seen().kind.AFTER, used=1000),
        ]
        assert codes(a_user(gap=0, spent=1010, states=looks)) == []


class TestSettling:
    def paid(self, minutes: int, **facts: Any) -> Account:
        start = NOW - timedelta(minutes=minutes)
        return a_user(**NOTHING, period=a_period(start), **facts)

    @pytest.mark.parametrize(("minutes", "pending"), [(59, True), (60, False), (600, False)])
    def test_a_payment_is_given_an_hour(self, minutes: int, pending: bool) -> None:
        start = NOW - timedelta(minutes=minutes)
        lines = (a_line(period=a_period(start), paid_at=start),)
        account = self.paid(minutes, invoices=lines)
        judgement = judged(account, settle=True)
        assert judgement.pending is pending
        assert (judgement.primary is Code.PENDING_SETTLEMENT) is pending
        assert bool(judgement.corrections) is not pending
        assert judged(account).corrections, "a person's run does not wait"

    def test_an_upgrade_without_an_invoice_waits_from_our_first_look(self) -> None:
        account = with_lines(a_line("starter"), entries=[an_unnamed(START, 1000)])
        assert judged(account, settle=True).pending
        found = the_finding(account, Code.GRANT_MISSING)
        for hours, pending in ((0.5, True), (1, False)):
            waited = with_lines(
                a_line("starter"), entries=[an_unnamed(START, 1000)], open_mismatches=[an_open(found, hours=hours)]
            )
            assert judged(waited, settle=True).pending is pending

    def test_while_it_settles_a_missing_grant_is_no_event_yet(self) -> None:
        lines = (a_line("starter"), an_upgrade(at=hours_ago(0.5)))
        account = with_lines(*lines, entries=(), spent=0)
        judgement = judged(account, settle=True)
        assert judgement.pending
        assert not any(f.is_event for f in judgement.findings)


class TestAdoption:
    def test_the_products_own_grant_is_adopted(self) -> None:
        assert judged(a_user()).mark is Mark.ADOPTED

    def test_on_the_first_run_it_is_assumed(self) -> None:
        assert judged(a_user(states=()), first_run=True).mark is Mark.ASSUMED
        assert judged(a_user(states=())).mark is Mark.ADOPTED

    def test_what_is_held_stays_what_it_is(self) -> None:
        looks = [replace(seen(mark=Mark.ASSUMED), gap=0)]
        assert judged(a_user(states=looks)).mark is Mark.ASSUMED

    def test_spent_out_is_no_reason_against_it(self) -> None:
        judgement = judged(a_user(spent=5000))
        assert judgement.primary is Code.SPENT_OUT
        assert judgement.mark is Mark.ADOPTED

    @pytest.mark.parametrize(
        "facts",
        [
            NOTHING,
            {"grants": [a_grant()]},
            {"entries": [an_entry(), an_unnamed(NOW)]},
            {"gap": -1},
            {"label": "starter"},
            {"installed": False},
            {"status": BillingStatus.DUNNING},
        ],
        ids=["missing", "ours", "duplicate", "gap", "label", "no memory", "dunning"],
    )
    def test_nothing_else_is(self, facts: dict[str, Any]) -> None:
        assert judged(a_user(**facts)).mark is None

    def test_once_adopted_its_loss_is_never_a_missing_grant(self) -> None:
        looks = [replace(seen(mark=Mark.ADOPTED), gap=0)]
        assert codes(a_user(**NOTHING, older=7, states=looks)) == [Code.GRANT_LOST]


def test_the_user_of_the_builder_is_in_order() -> None:
    judgement = judged(a_user())
    assert judgement.primary is None
    assert judgement.lane is Lane.NONE
    assert AUTH in (judgement.account.identity.auth_ids if judgement.account.identity else ())
