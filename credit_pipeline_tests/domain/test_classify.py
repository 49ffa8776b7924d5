"""The table of changes (semantics §6) row by row; codes, settling, adoption, ends, unknowns, and what is accepted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import Code, Severity
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.policy import EndLabels, Policy, Renewal, Trial
from credit_pipeline.domain.subjects.account import Account, Lookup, Mark
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline_tests.domain.builders import (
    NOW,
    START,
    a_grant,
    a_period,
    an_account,
    an_open,
    hours_ago,
    rules,
    seen,
)

HEALTHY: list[dict[str, Any]] = [
    {},
    {"used": 0},
    {"used": 5000},  # spent out
    {"total": 6200, "states": ()},  # carried over
    {"label": "starter", "billed": "starter", "total": 1200, "states": ()},
    {"label": "free", "billed": "free", "total": 100, "used": 100, "states": ()},
    {"label": "free", "billed": "free", "total": 5100, "used": 5000, "states": ()},
    {"status": BillingStatus.TRIALING},
    {"billed": "PRO"},
    {"billed": "Pro_Plan", "label": "pro plan", "states": ()},
    {"installed": False},
    {"states": ()},
    {"start": NOW},  # renewed this instant
]


@pytest.mark.parametrize("facts", HEALTHY, ids=str)
def test_healthy_accounts_are_in_sync(facts: dict[str, Any]) -> None:
    for settle in (False, True):
        judged = classify(an_account(**facts), rules(settle=settle))
        assert (judged.findings, judged.corrections, judged.primary, judged.lane) == ((), (), None, Lane.NONE)


def look(facts: dict[str, Any], **how: Any) -> Judgement:
    return classify(an_account(**facts), rules(**how))


def starter_before(**facts: Any) -> tuple[Any, ...]:
    return (
        seen(**({"label": "starter", "billed": "starter", "total": 1000, "used": 0, "mark": Mark.ADOPTED} | facts)),
    )


A_MONTH_AGO = hours_ago(24 * 28)


@pytest.mark.parametrize(
    ("facts", "code", "lane", "after"),
    [
        # same plan and period, total ≥ allowance: nothing, whatever the surplus
        ({"total": 9000, "states": (seen(total=9000, mark=Mark.ADOPTED),)}, None, Lane.NONE, None),
        # same plan, total < allowance, key free, no observed loss
        ({"total": 100, "used": 40, "states": ()}, Code.GRANT_MISSING, Lane.AUTO, ("pro", 5000, 40)),
        # the same, but the key is taken
        ({"total": 100, "used": 0, "states": (), "grants": [a_grant()]}, Code.GRANT_LOST, Lane.APPROVE, None),
        # the same, but a loss was observed
        ({"total": 4000, "states": (seen(total=5000),)}, Code.GRANT_MISSING, Lane.APPROVE, None),
        # label written by the app without the credits
        ({"total": 6000, "used": 400, "states": starter_before(total=6000, used=400)}, Code.GRANT_MISSING, Lane.AUTO,
         ("pro", 10_600, 0)),
        # upgrade, proven
        ({"label": "starter", "total": 1000, "used": 0, "states": starter_before()}, Code.PLAN_MISMATCH, Lane.AUTO,
         ("pro", 6000, 0)),
        ({"label": "free", "billed": "starter", "total": 200, "used": 0, "states": ()}, Code.PLAN_MISMATCH,
         Lane.AUTO, ("starter", 1200, 0)),
        # upgrade, not proven: label now, credits to a person
        ({"label": "free", "used": 3000, "states": ()}, Code.PLAN_MISMATCH, Lane.APPROVE, ("pro", 5000, 3000)),
        # downgrade between paid plans: label only
        ({"billed": "starter", "states": ()}, Code.PLAN_MISMATCH, Lane.AUTO, ("starter", 5000, 1000)),
        # a lost label of a plan already granted
        ({"label": "free"}, Code.PLAN_MISMATCH, Lane.AUTO, ("pro", 5000, 1000)),
        # ended: 1 of 2
        ({"billed": "free"}, Code.SUBSCRIPTION_ENDED, Lane.NONE, None),
        # no answer about a subscription
        ({"lookup": Lookup.MISSING}, Code.SUBSCRIPTION_MISSING_AT_SOURCE, Lane.REVIEW, None),
        # past due, unpaid, paused, incomplete: no grant, no downgrade
        ({"status": BillingStatus.DUNNING, "label": "free", "total": 100, "used": 0}, Code.DUNNING, Lane.NONE, None),
        # trialing: live
        ({"status": BillingStatus.TRIALING, "label": "free", "total": 100, "used": 0, "states": ()},
         Code.PLAN_MISMATCH, Lane.AUTO, ("pro", 5100, 0)),
        # renewal, counter: nothing is granted
        ({"used": 10, "states": (seen(used=4000, start=A_MONTH_AGO, mark=Mark.ADOPTED),)}, None, Lane.NONE, None),
        ({"used": 700, "start": hours_ago(3), "states": (seen(used=700, start=START, mark=Mark.ADOPTED),)},
         Code.RENEWAL_MISSING, Lane.APPROVE, None),
        # free shortfall is a person's
        ({"label": "free", "billed": "free", "total": 20, "used": 0, "states": ()}, Code.GRANT_MISSING, Lane.APPROVE,
         None),
        # a missing label
        ({"label": None, "billed": "free", "total": 100, "used": 0, "states": ()}, Code.PLAN_MISMATCH, Lane.AUTO,
         ("free", 100, 0)),
    ],
)  # fmt: skip
def test_the_table_of_changes(
    facts: dict[str, Any], code: Code | None, lane: Lane, after: tuple[str, int, int] | None
) -> None:
    judged = look(facts)
    automatic = [c.after for c in judged.corrections if c.lane is Lane.AUTO]
    assert judged.primary is code
    assert [(row.label, row.total, row.used) for row in automatic] == ([after] if after else [])
    assert judged.lane is lane


def test_a_trial_without_credits_is_a_label_and_no_adoption() -> None:
    facts: dict[str, Any] = {"status": BillingStatus.TRIALING, "total": 100, "used": 0}
    judged = look(facts | {"label": "free", "states": ()}, trial=Trial.NONE)
    assert [f.code for f in judged.findings] == [Code.PLAN_MISMATCH]
    assert judged.corrections[0].delta == 0
    begun = look(facts | {"states": [seen(total=100, used=0)]}, trial=Trial.NONE)
    assert (begun.findings, begun.mark) == ((), None)


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"lookup": Lookup.ERROR}, Code.SOURCE_LOOKUP_ERROR),
        ({"lookup": Lookup.GONE}, Code.SOURCE_GONE),
        ({"lookup": Lookup.MISSING}, Code.SUBSCRIPTION_MISSING_AT_SOURCE),
        ({"billed": "premuim"}, Code.PLAN_UNMAPPED),
        ({"billed": None}, Code.PLAN_UNMAPPED),
        ({"label": "premuim"}, Code.PLAN_UNMAPPED),
        ({"label": ""}, Code.PLAN_UNMAPPED),
        ({"total": None}, Code.BALANCE_MISSING),
        ({"used": None}, Code.BALANCE_MISSING),
        ({"total": -1, "used": 0}, Code.BALANCE_NEGATIVE),
        ({"used": -1}, Code.BALANCE_NEGATIVE),
    ],
)
def test_unknown_never_moves_credits_and_is_never_in_order(facts: dict[str, Any], code: Code) -> None:
    for total in ({"total": 100, "used": 0} | facts, {"total": 9000} | facts):
        for label in ({"label": "free"} | total, {"label": "pro"} | total):
            judged = look({"states": ()} | label, first_run=True)
            assert (judged.primary, judged.corrections, judged.mark) == (code, (), None)


@pytest.mark.parametrize("unknown", [{"lookup": Lookup.GONE}, {"billed": "premuim"}, {"label": "premuim"}], ids=str)
def test_a_loss_seen_while_unknown_is_an_event(unknown: dict[str, Any]) -> None:
    judged = look({"total": 4000, "states": [seen(mark=Mark.ADOPTED)]} | unknown)
    assert [f.evidence["loss"] for f in judged.findings if f.code is Code.UNEXPLAINED_DECREASE] == [1000]
    assert judged.corrections == ()


def test_a_loss_seen_without_an_answer_waits_for_the_next_look() -> None:
    lost: dict[str, Any] = {"total": 4000, "states": [seen(mark=Mark.ADOPTED)]}
    assert [f.code for f in look(lost | {"lookup": Lookup.ERROR}).findings] == [Code.SOURCE_LOOKUP_ERROR]


def test_unknown_resolves_no_missing_grant() -> None:
    (missing,) = look({"total": 100, "used": 0, "states": ()}).findings
    for unknown in ({"lookup": Lookup.GONE}, {"lookup": Lookup.ERROR}, {"billed": "premuim"}):
        judged = look({"total": 100, "used": 0, "open_mismatches": [an_open(missing)]} | unknown)
        assert missing.fingerprint in {f.fingerprint for f in judged.findings}
        assert judged.primary is not Code.GRANT_MISSING


def test_more_used_than_granted_is_reported_beside_what_else_is_wrong() -> None:
    judged = look({"used": 5001, "states": ()})
    assert (judged.primary, judged.lane, judged.corrections) == (Code.BALANCE_NEGATIVE, Lane.REVIEW, ())


def test_the_primary_code_is_first_by_precedence_and_the_rest_are_secondary() -> None:
    judged = look({"label": "free", "total": 100, "used": 200, "states": ()})
    assert judged.primary is Code.PLAN_MISMATCH
    assert judged.secondary == (Code.GRANT_MISSING, Code.BALANCE_NEGATIVE)
    assert judged.lane is Lane.REVIEW


@pytest.mark.parametrize(("label", "effect"), [("free", True), ("starter", False), ("pro_plus", False), (None, True)])
def test_a_paid_user_whom_the_product_calls_free_suffers_the_free_limits(label: str | None, effect: bool) -> None:
    (found,) = [f for f in look({"label": label}).findings if f.code is Code.PLAN_MISMATCH]
    assert (found.evidence.get("effect") == "free_limits") is effect


def test_an_unproven_upgrade_is_a_warning_and_an_event() -> None:
    (found,) = [f for f in look({"label": "free", "used": 3000}| {"states": ()}).findings
                if f.code is Code.GRANT_MISSING]  # fmt: skip
    assert (found.severity, found.is_event, found.lane, found.delta) == (Severity.WARNING, True, Lane.APPROVE, 5000)
    assert (found.evidence["proof"], found.evidence["verdict"]) == ("none", "unproven")


def test_an_unproven_upgrade_is_one_event_through_renewals_and_moved_time_stamps() -> None:
    unproven = {"label": "free", "used": 3000}
    (found,) = [f for f in look(unproven | {"states": ()}).findings if f.code is Code.GRANT_MISSING]
    later = unproven | {
        "start": hours_ago(2),
        "states": [seen(6, label="free", used=3000, start=START)],
        "open_mismatches": [an_open(found)],
    }
    assert [f.fingerprint for f in look(later).findings if f.code is Code.GRANT_MISSING] == [found.fingerprint]


def test_a_second_purchase_of_the_plan_is_an_event_of_its_own() -> None:
    unproven = {"label": "free", "used": 3000}
    (found,) = [f for f in look(unproven | {"states": ()}).findings if f.code is Code.GRANT_MISSING]
    again = unproven | {
        "start": hours_ago(2),
        "states": [
            seen(90, label="free", used=3000),
            seen(6, label="free", billed="starter", used=3000, start=START),
        ],
        "open_mismatches": [an_open(found, hours=90)],
    }
    assert len([f for f in look(again).findings if f.code is Code.GRANT_MISSING]) == 2


class TestSettling:
    """Younger than settle_time the product's webhook may still win; only scheduled runs wait."""

    PAID: dict[str, Any] = {"label": "free", "total": 100, "used": 0}  # noqa: RUF012

    def opened(self, minutes: float) -> list[Any]:
        return [an_open(f, hours=minutes / 60) for f in look(self.PAID | {"states": ()}).findings]

    @pytest.mark.parametrize(
        ("minutes", "pending"), [(0, True), (59, True), (60, False), (600, False)]
    )  # by the provider's own time
    def test_age_is_the_providers_change_time(self, minutes: int, pending: bool) -> None:
        facts = self.PAID | {"states": (), "changed_at": hours_ago(minutes / 60)}
        judged = look(facts, settle=True)
        assert (judged.primary is Code.PENDING_SETTLEMENT) is pending
        assert bool(judged.corrections) is not pending
        assert look(facts, settle=False).primary is Code.PLAN_MISMATCH

    @pytest.mark.parametrize(("minutes", "pending"), [(59, True), (60, False)])
    def test_without_one_age_counts_from_the_current_opening(self, minutes: int, pending: bool) -> None:
        judged = look(self.PAID | {"states": (), "open_mismatches": self.opened(minutes)}, settle=True)
        assert (judged.primary is Code.PENDING_SETTLEMENT) is pending

    def test_a_new_mismatch_has_no_age(self) -> None:
        judged = look(self.PAID | {"states": ()}, settle=True)
        assert (judged.primary, judged.lane, judged.corrections) == (Code.PENDING_SETTLEMENT, Lane.NONE, ())
        assert not any(f.is_event for f in judged.findings)
        assert {f.code for f in judged.findings} == {Code.PLAN_MISMATCH, Code.GRANT_MISSING}

    def test_an_open_event_stays_an_event_while_something_newer_settles(self) -> None:
        (event,) = [f for f in look({"label": "free", "used": 3000, "states": ()}).findings if f.is_event]
        judged = look({"label": "free", "used": 3000, "open_mismatches": [an_open(event)],
                       "states": [seen(used=3000)]}, settle=True)  # fmt: skip
        assert judged.primary is Code.PENDING_SETTLEMENT
        assert [f.is_event for f in judged.findings if f.fingerprint == event.fingerprint] == [True]

    @pytest.mark.parametrize(
        "facts", [{"total": 4000, "states": [seen(mark=Mark.ADOPTED)]}, {"billed": "free"}], ids=str
    )
    def test_what_no_webhook_could_mend_does_not_wait(self, facts: dict[str, Any]) -> None:
        assert look(facts, settle=True).primary is not Code.PENDING_SETTLEMENT

    def test_settle_time_is_the_policys(self) -> None:
        facts = self.PAID | {"states": (), "changed_at": hours_ago(20)}
        assert look(facts, settle=True, settle_time=Policy().settle_time * 48).primary is Code.PENDING_SETTLEMENT


class TestAdoption:
    """A complete run that finds a subject in order holds its current grant key."""

    @pytest.mark.parametrize(
        ("facts", "how", "mark"),
        [
            ({"states": ()}, {"first_run": True}, Mark.ASSUMED),
            ({"states": ()}, {}, None),  # a new account: adopted at its second look
            ({"states": [seen()]}, {}, Mark.ADOPTED),
            ({"states": [seen(mark=Mark.ASSUMED)]}, {}, Mark.ASSUMED),  # carried over
            ({"states": [seen(12, mark=Mark.ADOPTED), seen(6)]}, {}, Mark.ADOPTED),
            ({"states": [seen(start=A_MONTH_AGO, used=2000, mark=Mark.ASSUMED)]}, {}, Mark.ADOPTED),  # renewed
            ({"installed": False}, {"first_run": True}, None),
            ({"start": None, "states": [seen()]}, {}, None),  # no key to hold
            ({"label": "free", "billed": "free", "states": ()}, {"first_run": True}, None),
            ({"label": "free", "states": ()}, {"first_run": True}, None),  # not in order
            ({"total": 100, "states": ()}, {"first_run": True}, None),
            ({"status": BillingStatus.DUNNING, "states": ()}, {"first_run": True}, None),
            ({"status": BillingStatus.TRIALING, "states": ()}, {"first_run": True}, Mark.ASSUMED),
        ],
    )
    def test_who_is_adopted(self, facts: dict[str, Any], how: dict[str, Any], mark: Mark | None) -> None:
        assert look(facts, **how).mark is mark

    @pytest.mark.parametrize(
        ("looks", "start", "mark"),
        [
            ((), 1, None),  # the change is seen now, the product granted in time
            ((seen(0.99, total=6000, used=0),), 1, None),
            ((seen(1, total=6000, used=0),), 1, Mark.ADOPTED),
            ((seen(0.5, total=6000, used=0),), 300, None),  # the timeStamp is old, the change is not
        ],
    )
    def test_not_before_a_plan_change_has_settled(
        self, looks: tuple[Any, ...], start: float, mark: Mark | None
    ) -> None:
        account = {"total": 6000, "used": 0, "start": hours_ago(start)}
        judged = look(account | {"states": [*starter_before(), *(replace_start(s, start) for s in looks)]})
        assert (judged.primary, judged.mark) == (None, mark)

    @pytest.mark.parametrize(("hours", "mark"), [(0.99, None), (1, Mark.ADOPTED)])
    def test_not_before_a_renewal_has_settled(self, hours: float, mark: Mark | None) -> None:
        facts = {"used": 0, "start": hours_ago(hours), "states": [seen(used=700, mark=Mark.ADOPTED)]}
        assert look(facts).mark is mark

    def test_not_with_an_open_event(self) -> None:
        (event,) = look({"states": [seen(total=6000, mark=Mark.ADOPTED)]}).findings
        assert look({"states": [seen()], "open_mismatches": [an_open(event)]}).mark is None

    def test_again_after_the_event_was_accepted(self) -> None:
        facts = {"states": [seen(total=6000)]}
        (event,) = look(facts).findings
        assert look(facts | {"accepted": [event.fingerprint]}).mark is Mark.ADOPTED


def replace_start(observed_state: Any, hours: float) -> Any:
    return replace(observed_state, billed_period_start=hours_ago(hours))


class TestEnded:
    """Seen in two complete runs at least 24 h apart, and every complete run between must agree."""

    @pytest.mark.parametrize(
        ("looks", "lane", "confirmed"),
        [
            ([], Lane.NONE, "1 of 2"),
            ([seen(6, billed="free")], Lane.NONE, "1 of 2"),
            ([seen(23.99, until=6, billed="free")], Lane.NONE, "1 of 2"),
            ([seen(24, until=6, billed="free")], Lane.APPROVE, "2 of 2"),
            ([seen(30, billed="free"), seen(20, billed="free", used=1200)], Lane.APPROVE, "2 of 2"),
            ([seen(30, billed="free"), seen(12), seen(6, billed="free")], Lane.NONE, "1 of 2"),
            (
                [seen(30, billed="free"), seen(12, billed="free", label="free"), seen(6, billed="free")],
                Lane.NONE,
                "1 of 2",
            ),
            ([seen(30, billed=None)], Lane.NONE, "1 of 2"),  # uninstalled or unmapped is no such answer
            ([seen(30, status="ended")], Lane.APPROVE, "2 of 2"),
        ],
    )
    def test_waits_for_the_second_run(self, looks: list[Any], lane: Lane, confirmed: str) -> None:
        (found,) = look({"billed": "free", "states": [seen(99, mark=Mark.ADOPTED), *looks]}).findings
        assert (found.code, found.lane, found.evidence["confirmed"]) == (Code.SUBSCRIPTION_ENDED, lane, confirmed)

    def test_a_provider_that_still_names_the_ended_plan(self) -> None:
        facts = {"status": BillingStatus.ENDED, "states": [seen(25, until=6, status="ended")]}
        (found,) = look(facts).findings
        assert (found.code, found.lane) == (Code.SUBSCRIPTION_ENDED, Lane.APPROVE)

    def test_end_labels_auto(self) -> None:
        facts = {"billed": "free", "states": [seen(24, until=6, billed="free")]}
        assert look(facts, end_labels=EndLabels.AUTO).lane is Lane.AUTO

    def test_without_memory_it_is_never_confirmed(self) -> None:
        assert look({"billed": "free", "installed": False}).lane is Lane.NONE


class TestAccepted:
    """What a person accepted counts no more."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: {"label": "free"},
            lambda: {"total": 100, "used": 0, "states": ()},
            lambda: {"label": "free", "used": 3000, "states": ()},
            lambda: {"billed": "free"},
        ],
    )
    def test_is_in_sync_and_offers_no_correction(self, make: Callable[[], dict[str, Any]]) -> None:
        facts = make()
        findings = look(facts).findings
        assert findings
        judged = look(facts | {"accepted": [f.fingerprint for f in findings]})
        assert (judged.primary, judged.corrections) == (None, ())

    def test_only_what_was_accepted(self) -> None:
        facts = {"label": "free", "used": 3000, "states": ()}
        label, credits = look(facts).findings
        judged = look(facts | {"accepted": [credits.fingerprint]})
        assert [f.fingerprint for f in judged.findings] == [label.fingerprint]
        assert [c.lane for c in judged.corrections] == [Lane.AUTO]


def names(account: Account, **how: Any) -> set[str]:
    return {f.fingerprint for f in classify(account, rules(**how)).findings}


def test_a_fingerprint_is_the_same_in_every_run_and_another_for_another_case() -> None:
    case = an_account(label="free", total=100, used=0, states=())
    assert names(case) == names(case, now=hours_ago(-6))
    spent = an_account(label="free", total=100, used=50, states=())
    assert names(case) == names(spent)
    for other in (
        an_account(label="free", total=100, used=0, states=(), account_id="acct_2"),
        an_account(label="free", total=100, used=0, states=(), billed="starter"),
        an_account(label="free", total=99, used=0, states=(), period=a_period(hours_ago(3))),
    ):
        assert not names(case) >= names(other)


def test_a_report_only_system_finds_the_same() -> None:
    account = an_account(label="free", total=100, used=0, states=())
    judged = classify(account, rules(renewal=None))
    assert judged.findings == classify(account, rules(renewal=Renewal.RESET_USED)).findings
    assert judged.corrections == ()
