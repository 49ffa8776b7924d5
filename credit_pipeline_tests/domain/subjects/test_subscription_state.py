"""Which subscription counts and whether the product's row agrees: single deviations from one healthy paid user."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.codes import CODES, Code, Group, Severity
from credit_pipeline.domain.corrections.correction import Lane, SetPlan, SetSubscription
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.plans.periods import Cycle
from credit_pipeline.domain.policy import STATUSES, EndLabels
from credit_pipeline.domain.subjects.account import Account, Billing, Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.subscription_state import subscription_findings, subscription_steps, the_one
from credit_pipeline_tests.domain.builders import START, a_catalogue, a_period, hours_ago, rules, seen
from credit_pipeline_tests.domain.ledger_builders import a_local, a_stripe_billing, a_user, an_identity

FREE = a_catalogue().free
YEAR = a_period(START, 12)
TERM = a_period()
ENDED = BillingStatus.ENDED
DUE = BillingStatus.DUNNING


def told(account: Account, **how: Any) -> list[tuple[Code, Lane]]:
    return [(f.code, f.lane) for f in subscription_findings(account, rules(**how))]


def steps(account: Account, **how: Any) -> list[tuple[Code, object]]:
    judged = rules(**how)
    return [
        (found.code, step)
        for found, step, _ in subscription_steps(account, subscription_findings(account, judged), judged)
    ]


def a_free_user(**facts: Any) -> Account:
    """Nobody's subscription: what billing says of a user whom the complete listing does not hold."""
    healthy: dict[str, Any] = {"label": "free", "billing": the_one((), free=FREE), "subscriptions": ()}
    return a_user(**(healthy | facts))


def as_written(status: str = "active") -> SetSubscription:
    return SetSubscription(status=status, period_start=TERM.start, period_end=TERM.end)


PRO = SetPlan(plan="pro", label="pro")

HEALTHY: list[dict[str, Any]] = [
    {},
    {"auto_renews": False},  # cancelled at the end of the period: live until then
    {"status": BillingStatus.TRIALING, "local": a_local(status="trialing")},
    {"billed": "price_pro"},
    {"label": "Pro Plan"},
    {"cycle": Cycle.YEARLY, "billed": "starter", "label": "starter", "term": YEAR},
    {"cycle": Cycle.YEARLY, "billed": "pro_plus", "label": "pro_plus", "period": YEAR},
    {"local": a_local(period_start=None, period_end=None)},
    {"billed": "free", "label": "free"},  # a subscription of nothing
    {"billed": "free", "label": None},
    {"status": BillingStatus.ENDED, "label": "free"},
    {"status": BillingStatus.ENDED, "label": None},
    {"status": BillingStatus.ENDED, "label": "free", "local": a_local(label="free", status="canceled")},
    {"status": BillingStatus.ENDED, "label": "free", "billed": "price_of_2019", "quantity": 3},  # matters no more
    {"installed": False},
    {"used": None},  # a missing balance row is another room's
]


@pytest.mark.parametrize("facts", HEALTHY, ids=str)
def test_subscriptions_in_good_order_have_no_finding(facts: dict[str, Any]) -> None:
    account = a_user(**facts)
    assert (told(account), steps(account)) == ([], [])


def test_a_user_without_any_subscription_is_free() -> None:
    for facts in ({}, {"label": None}, {"local": a_local(label="free", status="free")}):
        assert told(a_free_user(**facts)) == []


DEVIATIONS: list[tuple[dict[str, Any], list[tuple[Code, Lane]], list[object]]] = [
    # no answer, or none that can be read
    ({"lookup": Lookup.ERROR, "status": None}, [(Code.SOURCE_LOOKUP_ERROR, Lane.REVIEW)], []),
    ({"status": None, "detail": "on_holiday"}, [(Code.SOURCE_LOOKUP_ERROR, Lane.REVIEW)], []),
    ({"lookup": Lookup.MISSING, "status": None}, [(Code.SUBSCRIPTION_MISSING_AT_SOURCE, Lane.REVIEW)], []),
    ({"lookup": Lookup.ERROR, "status": None, "label": "premuim"}, [(Code.SOURCE_LOOKUP_ERROR, Lane.REVIEW)], []),
    # plans that cannot be told, on either side
    ({"billed": "premuim"}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"billed": "premuim", "label": "free"}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"billed": "premuim", "status": BillingStatus.DUNNING}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"label": "premuim"}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"label": ""}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"label": "premuim", "status": BillingStatus.ENDED}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"quantity": 2, "label": "free"}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"items": 2, "label": "free"}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"cycle": Cycle.YEARLY, "period": None, "term": YEAR}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"cycle": None, "period": None}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)], []),
    ({"billed": "premuim", "label": "premuim"}, [(Code.PLAN_UNMAPPED, Lane.REVIEW)] * 2, []),
    # the product's row
    ({"label": None}, [(Code.SUBSCRIPTION_MISSING_LOCALLY, Lane.AUTO)], [PRO, as_written()]),
    ({"label": "free"}, [(Code.PLAN_MISMATCH, Lane.AUTO)], [PRO]),
    ({"local": a_local(label=None)}, [(Code.PLAN_MISMATCH, Lane.AUTO)], [PRO]),
    ({"label": "starter"}, [(Code.PLAN_MISMATCH, Lane.AUTO)], [PRO]),
    ({"label": "pro_plus"}, [(Code.PLAN_MISMATCH, Lane.AUTO)], [PRO]),  # a downgrade between paid plans
    ({"label": "free", "auto_renews": False}, [(Code.PLAN_MISMATCH, Lane.AUTO)], [PRO]),
    ({"local": a_local(status="past_due")}, [(Code.STATUS_MISMATCH, Lane.AUTO)], [as_written()]),
    ({"local": a_local(status=None)}, [(Code.STATUS_MISMATCH, Lane.AUTO)], [as_written()]),
    ({"local": a_local(status="banned")}, [(Code.STATUS_MISMATCH, Lane.REVIEW)], []),
    ({"status": BillingStatus.TRIALING}, [(Code.STATUS_MISMATCH, Lane.AUTO)], [as_written("trialing")]),
    ({"local": a_local(label="free", status="free")},
     [(Code.PLAN_MISMATCH, Lane.AUTO), (Code.STATUS_MISMATCH, Lane.AUTO)], [PRO, as_written()]),
    # overdue: no grant, no downgrade
    ({"status": BillingStatus.DUNNING}, [(Code.DUNNING, Lane.NONE)], []),
    ({"status": BillingStatus.DUNNING, "detail": "paused", "label": "free"}, [(Code.DUNNING, Lane.NONE)], []),
    ({"status": BillingStatus.DUNNING, "label": None}, [(Code.DUNNING, Lane.NONE)], []),
    # the end, seen once
    ({"status": BillingStatus.ENDED}, [(Code.SUBSCRIPTION_ENDED, Lane.NONE)], []),
    ({"billed": "free"}, [(Code.SUBSCRIPTION_ENDED, Lane.NONE)], []),
    ({"billed": "free", "local": a_local(label=None)}, [(Code.PLAN_MISMATCH, Lane.AUTO)],
     [SetPlan(plan="free", label="free")]),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "expected", "written"), DEVIATIONS, ids=str)
def test_single_deviations(facts: dict[str, Any], expected: list[tuple[Code, Lane]], written: list[object]) -> None:
    account = a_user(**facts)
    assert told(account) == expected
    assert [step for _, step in steps(account)] == written


def test_a_paid_label_that_no_subscription_explains_is_a_persons() -> None:
    account = a_free_user(label="pro", states=(seen(48, billed="free"),))
    (found,) = subscription_findings(account, rules(end_labels=EndLabels.AUTO))
    assert (found.code, found.lane) == (Code.SUBSCRIPTION_MISSING_AT_SOURCE, Lane.REVIEW)
    assert found.evidence == {"label": "pro", "reason": "no_subscription"}
    assert steps(account, end_labels=EndLabels.AUTO) == []


@pytest.mark.parametrize(
    ("hours", "end_labels", "lane"),
    [
        (6, EndLabels.APPROVE, Lane.NONE),
        (24, EndLabels.APPROVE, Lane.APPROVE),
        (24, EndLabels.AUTO, Lane.AUTO),
        (23, EndLabels.AUTO, Lane.NONE),
    ],
)
def test_an_end_is_relabelled_after_two_runs_a_day_apart(hours: float, end_labels: EndLabels, lane: Lane) -> None:
    account = a_user(status=BillingStatus.ENDED, states=(seen(hours, until=1, status="ended"),))
    assert told(account, end_labels=end_labels) == [(Code.SUBSCRIPTION_ENDED, lane)]
    written = [] if lane is Lane.NONE else [(Code.SUBSCRIPTION_ENDED, SetPlan(plan="free", label="free"))]
    assert steps(account, end_labels=end_labels) == written


def test_an_end_of_a_plan_nobody_knows_is_an_end_all_the_same() -> None:
    before = (seen(30, until=1, billed=None, status="ended"),)
    account = a_user(status=BillingStatus.ENDED, billed="price_of_2019", states=before)
    assert told(account) == [(Code.SUBSCRIPTION_ENDED, Lane.APPROVE)]


@pytest.mark.parametrize(
    "facts",
    [{"status": DUE}, {"status": None}, {"lookup": Lookup.ERROR, "status": None}, {"billed": "premuim"}],
    ids=str,
)
def test_no_label_is_written_without_an_answer_whatever_was_found(facts: dict[str, Any]) -> None:
    found = subscription_findings(a_user(label="starter"), rules())
    assert subscription_steps(a_user(**facts), found, rules()) == []


def test_a_subject_without_an_account_has_no_row_to_miss() -> None:
    account = a_user(label=None, account_id="user:1", identity=an_identity(store_ids=(), claims=()))
    assert (told(account), steps(account)) == ([], [])


@pytest.mark.parametrize(
    ("facts", "effect"),
    [({"label": "free"}, "free_limits"), ({"label": None}, "free_limits"), ({"label": "starter"}, None)],
)
def test_a_paying_user_under_free_limits_is_told_apart(facts: dict[str, Any], effect: str | None) -> None:
    (found,) = subscription_findings(a_user(**facts), rules())
    assert found.evidence.get("effect") == effect
    assert found.evidence["to_plan"] == "pro"


@pytest.mark.parametrize(
    ("facts", "reason", "where"),
    [
        ({"billed": "premuim"}, "no plan has this id or alias", "billing"),
        ({"label": "premuim"}, "no plan has this id or alias", "store"),
        ({"quantity": 2}, "quantity", "billing"),
        ({"items": 3}, "items", "billing"),
        ({"cycle": Cycle.YEARLY, "period": None}, "yearly mode undeclared", "billing"),
        ({"cycle": None, "period": None}, "period unknown", "billing"),
        ({"cycle": Cycle.YEARLY, "period": None, "billed": "starter"}, "period unknown", "billing"),
    ],
    ids=str,
)
def test_an_unmapped_plan_tells_why(facts: dict[str, Any], reason: str, where: str) -> None:
    found = [f for f in subscription_findings(a_user(**facts), rules()) if f.evidence["reason"] == reason]
    assert [f.evidence["where"] for f in found] == [where]


@pytest.mark.parametrize(
    ("detail", "statuses", "word"),
    [
        ("active", STATUSES, "active"),
        ("active", {"current": BillingStatus.ACTIVE, "past": BillingStatus.ENDED}, "current"),
        ("active", {"current": BillingStatus.ACTIVE, "active": BillingStatus.ACTIVE}, "active"),
        (None, {"current": BillingStatus.ACTIVE, "active": BillingStatus.ACTIVE}, "current"),
        ("active", {"active": BillingStatus.DUNNING, "current": BillingStatus.ACTIVE}, "current"),
    ],
)
def test_the_status_is_written_in_the_products_words(
    detail: str | None, statuses: dict[str, BillingStatus], word: str
) -> None:
    account = a_user(label=None, detail=detail)
    assert steps(account, statuses=statuses)[1] == (Code.SUBSCRIPTION_MISSING_LOCALLY, as_written(word))


def test_a_product_without_a_word_for_trials_calls_them_active() -> None:
    words = {"active": BillingStatus.ACTIVE, "canceled": BillingStatus.ENDED}
    assert told(a_user(status=BillingStatus.TRIALING), statuses=words) == []
    missing = a_user(status=BillingStatus.TRIALING, label=None)
    assert steps(missing, statuses=words)[1] == (Code.SUBSCRIPTION_MISSING_LOCALLY, as_written("active"))


def test_the_row_gets_the_period_that_is_billed_and_not_the_part_of_it_that_is_granted() -> None:
    account = a_user(label=None, billed="starter", cycle=Cycle.YEARLY, term=YEAR)
    row = SetSubscription(status="active", period_start=YEAR.start, period_end=YEAR.end)
    assert (Code.SUBSCRIPTION_MISSING_LOCALLY, row) in steps(account)


def a_sub(name: str, billed: str = "pro", *, days: int = 14, **facts: Any) -> Billing:
    """A subscription of that id, begun so many days before NOW."""
    return a_stripe_billing(billed, subscription_id=name, started_at=hours_ago(24 * days), **facts)


@pytest.mark.parametrize(
    ("subscriptions", "judged_on"),
    [
        # the only paid one, whatever else there is
        ([a_sub("live"), a_sub("ended", days=1, status=ENDED), a_sub("due", days=1, status=DUE)], "live"),
        ([a_sub("live", "starter"), a_sub("error", lookup=Lookup.ERROR, status=None)], "live"),
        ([a_sub("live", auto_renews=False), a_sub("ended", days=1, status=ENDED)], "live"),
        ([a_sub("live"), a_sub("nothing", "free", days=1)], "live"),
        # the one that goes on, even if it is the smaller
        ([a_sub("goes_on", "starter"), a_sub("runs_out", "pro_plus", auto_renews=False)], "goes_on"),
        ([a_sub("goes_on", "starter", auto_renews=None), a_sub("runs_out", auto_renews=False)], "goes_on"),
        # none or several go on: the highest plan, then the newest
        ([a_sub("low", "starter", days=1), a_sub("high", "pro_plus")], "high"),
        ([a_sub("low", "starter", auto_renews=False), a_sub("high", auto_renews=False)], "high"),
        ([a_sub("old", days=20), a_sub("new", days=2)], "new"),
        ([a_sub("a"), a_sub("b")], "b"),
        ([a_sub("known", "pro_plus"), a_sub("strange", "premuim")], "strange"),
        # none is paid
        ([a_sub("error", days=30, lookup=Lookup.ERROR, status=None), a_sub("due", status=DUE)], "error"),
        ([a_sub("missing", lookup=Lookup.MISSING, status=None), a_sub("ended", days=1, status=ENDED)], "missing"),
        ([a_sub("missing", lookup=Lookup.MISSING, status=None), a_sub("error", lookup=Lookup.ERROR, status=None)],
         "error"),
        ([a_sub("strange", status=None), a_sub("ended", days=1, status=ENDED)], "strange"),
        ([a_sub("error", lookup=Lookup.ERROR, status=None), a_sub("nothing", "free")], "error"),
        ([a_sub("due", status=DUE), a_sub("ended", days=1, status=ENDED)], "due"),
        ([a_sub("old", status=DUE, days=40), a_sub("new", status=DUE, days=3)], "new"),
        ([a_sub("old", status=ENDED, days=40), a_sub("new", status=ENDED, days=3)], "new"),
        ([a_sub("undated", status=ENDED), a_sub("dated", status=ENDED, days=3)], "dated"),
    ],
    ids=str,
)  # fmt: skip
def test_which_subscription_counts(subscriptions: list[Billing], judged_on: str) -> None:
    undated = [replace(one, started_at=None) if one.subscription_id == "undated" else one for one in subscriptions]
    for order in permutations(undated):
        assert the_one(order, free=FREE).subscription_id == judged_on


def test_no_subscription_at_all_is_an_answer_and_says_free() -> None:
    none = the_one((), free=FREE)
    assert (none.lookup, none.status, none.plan) == (Lookup.ANSWERED, BillingStatus.FREE, FREE)
    assert (none.billing_id, none.subscription_id, none.period) == ("", None, None)


def with_all(*subscriptions: Billing, **facts: Any) -> Account:
    return a_user(billing=the_one(subscriptions, free=FREE), subscriptions=subscriptions, **facts)


def several(account: Account) -> Finding:
    (found,) = [f for f in subscription_findings(account, rules()) if f.code is Code.MULTIPLE_LIVE_SUBSCRIPTIONS]
    return found


def test_two_paid_subscriptions_are_loud_unless_all_but_one_run_out() -> None:
    twice = several(with_all(a_sub("sub_1"), a_sub("sub_2")))
    assert (twice.lane, twice.severity) == (Lane.APPROVE, Severity.CRITICAL)
    both_ending = several(with_all(a_sub("sub_1", auto_renews=False), a_sub("sub_2", auto_renews=False)))
    assert (both_ending.lane, both_ending.severity) == (Lane.APPROVE, Severity.CRITICAL)
    switching = several(with_all(a_sub("sub_1", "starter", auto_renews=False), a_sub("sub_2")))
    assert (switching.lane, switching.severity) == (Lane.NONE, Severity.INFO)
    assert switching.evidence == {
        "subscriptions": [
            {"subscription": "sub_1", "plan": "starter", "ending": True},
            {"subscription": "sub_2", "plan": "pro", "ending": False},
        ],
        "judged_on": "sub_2",
    }


def test_what_is_not_paid_is_no_second_subscription() -> None:
    others = (a_sub("a", status=ENDED), a_sub("b", status=DUE), a_sub("c", "free"))
    assert told(with_all(a_sub("sub_1"), *others)) == []


def test_several_subscriptions_do_not_hide_what_is_wrong_with_the_row() -> None:
    account = with_all(a_sub("sub_1"), a_sub("sub_2", "pro_plus"), label="free")
    assert told(account) == [(Code.MULTIPLE_LIVE_SUBSCRIPTIONS, Lane.APPROVE), (Code.PLAN_MISMATCH, Lane.AUTO)]
    assert steps(account) == [(Code.PLAN_MISMATCH, SetPlan(plan="pro_plus", label="pro_plus"))]


def test_every_subscription_code_can_be_reached() -> None:
    subjects = [a_user(**facts) for facts, _, _ in DEVIATIONS] + [with_all(a_sub("sub_1"), a_sub("sub_2"))]
    reached = {found.code for subject in subjects for found in subscription_findings(subject, rules())}
    owned = {code for code in Code if CODES[code].group is Group.SUBSCRIPTION} | {Code.SOURCE_LOOKUP_ERROR}
    assert reached == owned


WORDS = ["free", "starter", "pro", "pro_plus", "premuim"]


@st.composite
def subscriptions(draw: st.DrawFn, name: str = "sub") -> Billing:
    """Any one subscription."""
    lookup = draw(st.sampled_from([Lookup.ANSWERED] * 5 + [Lookup.ERROR, Lookup.MISSING]))
    states = [*(s for s in BillingStatus if s is not BillingStatus.FREE), None]
    return a_sub(
        draw(st.sampled_from([f"{name}_{n}" for n in range(9)])),
        draw(st.sampled_from(WORDS)),
        days=draw(st.integers(1, 60)),
        lookup=lookup,
        status=draw(st.sampled_from(states)) if lookup is Lookup.ANSWERED else None,
        auto_renews=draw(st.sampled_from([True, False, None])),
        quantity=draw(st.sampled_from([1, 1, 1, 2])),
    )


@given(
    held=st.lists(subscriptions(), max_size=4, unique_by=lambda one: one.subscription_id),
    label=st.sampled_from([*WORDS, None]),
    status=st.sampled_from(["active", "canceled", "banned", None]),
    end_labels=st.sampled_from(EndLabels),
)
def test_random_subscriptions_keep_the_promises(
    held: list[Billing], label: str | None, status: str | None, end_labels: EndLabels
) -> None:
    one = the_one(held, free=FREE)
    local = a_local(label=label, status=status) if label else None
    before = (seen(30, until=1, label=label, billed="free"),)
    account = a_user(billing=one, subscriptions=held, local=local, states=before)
    judged = rules(end_labels=end_labels)
    found = subscription_findings(account, judged)
    assert the_one(held[::-1], free=FREE) == one
    assert not held or one in held
    assert len({f.fingerprint for f in found}) == len(found)
    written = [step for _, step, _ in subscription_steps(account, found, judged)]
    unknown = {Code.PLAN_UNMAPPED, Code.SOURCE_LOOKUP_ERROR, Code.SUBSCRIPTION_MISSING_AT_SOURCE, Code.DUNNING}
    if unknown & {f.code for f in found}:
        assert written == []
    paid_or_unknown = [s for s in held if s.status is None or s.status.live or s.status is DUE]
    for step in written:
        if isinstance(step, SetPlan) and step.plan == "free":  # never while anybody may be paying
            assert all(s.plan is not None and s.plan.free for s in paid_or_unknown)


def test_the_age_of_a_subscription_is_its_start_and_not_its_period() -> None:
    renewed = a_sub("old", days=40, period=a_period(START + timedelta(days=10)))
    assert the_one((renewed, a_sub("new", days=5)), free=FREE).subscription_id == "new"
