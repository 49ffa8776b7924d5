"""What billing entitles to: which period one grant is for, when it was due, and which grants are owed at all."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.domain.grants.entitlement import AFTER, BEFORE, Entitlement, Settlement, allowance
from credit_pipeline.domain.grants.entitlements import entitlements, grant_period
from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.plans.periods import Cycle, Period, add_months
from credit_pipeline.domain.policy import Trial
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline_tests.domain.builders import NOW, START, a_grant, a_period, rules
from credit_pipeline_tests.domain.invoice_builders import (
    CHANGED,
    PLANS,
    YEAR,
    a_line,
    an_upgrade,
    day,
    with_lines,
    yearly,
)
from credit_pipeline_tests.domain.ledger_builders import (
    PAID,
    STORE,
    a_stripe_billing,
    a_user,
)

STARTER, PRO, PLUS = PLANS.named("starter"), PLANS.named("pro"), PLANS.named("pro_plus")
OLDER = a_period(add_months(START, -1))


def found(account: Account, now: datetime = NOW, **policy: Any) -> list[Entitlement]:
    return list(entitlements(account, rules(now=now, **policy)))


def owed(account: Account, now: datetime = NOW, **policy: Any) -> list[tuple[str, datetime]]:
    return [one.key for one in found(account, now, **policy) if one.owed]


class TestThePeriodOfOneGrant:
    def test_a_monthly_plan_is_granted_per_billed_term(self) -> None:
        assert grant_period(a_stripe_billing(), NOW) == a_period()

    @pytest.mark.parametrize(
        ("now", "start", "end"),
        [
            (day(1, 31), day(1, 31), day(2, 28)),
            (day(2, 28, 8), day(1, 31), day(2, 28)),
            (day(2, 28), day(2, 28), day(3, 31)),
            (day(3, 31), day(3, 31), day(4, 30)),
            (day(4, 30, 8), day(3, 31), day(4, 30)),
            (day(1, 30, year=2027), day(12, 31), day(1, 31, year=2027)),
            (day(2, 20, year=2027), day(12, 31), day(1, 31, year=2027)),  # billing has not renewed it yet
            (day(1, 1), day(1, 31), day(2, 28)),  # a clock before the term
        ],
    )
    def test_a_yearly_drip_keeps_the_anchors_day(self, now: datetime, start: datetime, end: datetime) -> None:
        period = yearly("starter", now).billing.period
        assert period == Period(start=start, end=end)

    def test_a_leap_day_is_kept_where_there_is_one(self) -> None:
        term = Period(start=day(1, 31, year=2028), end=day(1, 31, year=2029))
        account = yearly("starter", day(3, 1, year=2028), term=term)
        assert account.billing.period == Period(start=day(2, 29, year=2028), end=day(3, 31, year=2028))

    def test_a_yearly_plan_up_front_is_granted_per_term(self) -> None:
        assert yearly("pro_plus", NOW).billing.period == YEAR

    def test_without_a_declared_yearly_mode_no_period_is_known(self) -> None:
        assert yearly("pro", NOW).billing.period is None

    @pytest.mark.parametrize("facts", [{"term": None}, {"resolution": None}, {"cycle": None}])
    def test_what_billing_does_not_say_is_not_guessed(self, facts: dict[str, Any]) -> None:
        assert grant_period(a_stripe_billing(**facts), NOW) is None

    def test_a_purchase_has_one_period(self) -> None:
        period = grant_period(a_stripe_billing(cycle=Cycle.ONE_TIME), NOW)
        assert period is not None
        assert period.start == START
        assert period.end > NOW + timedelta(days=30_000)

    def test_a_year_up_front_holds_twelve_months_of_credits(self) -> None:
        year, month = Period(start=START, end=add_months(START, 12)), Period(start=START, end=add_months(START, 1))
        assert [allowance(plan, year) for plan in PLANS.plans] == [100, 1000, 5000, 180_000]
        assert allowance(PLANS.plans[3], month) == 15_000


def test_a_paid_period_is_owed_from_its_payment() -> None:
    (one,) = found(a_user())
    assert one.owed
    assert one.current
    assert (one.key, one.allowance, one.instant) == (("pro", START), 5000, PAID)
    assert (one.opens, one.closes) == (PAID - BEFORE, PAID + AFTER)
    assert one.reference == f"{STORE}/pro/{int(START.timestamp())}"
    assert one.known_by == {one.reference}


@pytest.mark.parametrize("status", [InvoiceStatus.OPEN, InvoiceStatus.VOID, None])
def test_an_unpaid_period_is_not_owed_yet(status: InvoiceStatus | None) -> None:
    lines = () if status is None else (a_line(status=status),)
    (one,) = found(a_user(invoices=lines))
    assert one.current
    assert one.settlement is Settlement.PENDING
    assert not one.owed


def test_a_refunded_period_is_not_owed() -> None:
    (one,) = found(a_user(invoices=(a_line(status=InvoiceStatus.REFUNDED),)))
    assert one.settlement is Settlement.REFUNDED
    assert not one.owed


def test_a_paid_invoice_speaks_louder_than_the_one_it_replaced() -> None:
    lines = (a_line(), a_line(status=InvoiceStatus.OPEN, invoice_id="in_0"))
    assert [one.invoice_id for one in found(a_user(invoices=lines))] == ["in_1"]


def test_older_periods_are_owed_as_far_as_the_ledger_was_read() -> None:
    lines = [a_line(period=a_period(add_months(START, -n))) for n in range(4)]
    account = with_lines(*lines)
    assert owed(account) == [("pro", add_months(START, -1)), ("pro", START)]
    assert [one.key for one in found(account) if not one.owed] == [("pro", add_months(START, -2))]
    assert owed(account, lookback=timedelta(days=20)) == [("pro", START)]


def test_a_void_or_unpaid_older_period_is_not_owed() -> None:
    account = with_lines(a_line(period=OLDER, status=InvoiceStatus.OPEN), a_line())
    assert owed(account) == [("pro", START)]
    account = with_lines(a_line(period=OLDER, status=InvoiceStatus.VOID), a_line())
    assert [one.key for one in found(account)] == [("pro", START)]


@pytest.mark.parametrize("refund_line", [True, False], ids=["both lines", "one line"])
def test_an_upgrade_owes_both_plans(refund_line: bool) -> None:
    lines = [a_line("starter"), an_upgrade("pro")]
    if refund_line:  # the old plan's unused rest is given back by a line of the same start
        lines.append(an_upgrade("starter", line_id="il_back"))
    old, new = found(with_lines(*lines))
    assert (old.key, old.current, old.owed) == (("starter", START), False, True)
    assert (new.key, new.current, new.owed) == (("pro", START), True, True)
    assert new.change
    assert new.instant == CHANGED + timedelta(minutes=5)
    assert new.known_by.isdisjoint(old.known_by)


def test_an_upgrade_without_an_invoice_of_its_own_is_owed_by_the_periods_payment() -> None:
    old, new = found(with_lines(a_line("starter")))
    assert (old.key, new.key) == (("starter", START), ("pro", START))
    assert new.owed
    assert new.anywhere
    assert (new.opens, new.closes) == (START, a_period().end)


def test_an_upgrade_whose_invoice_is_open_waits() -> None:
    _, new = found(with_lines(a_line("starter"), an_upgrade(status=InvoiceStatus.OPEN, paid_at=None)))
    assert new.current
    assert new.settlement is Settlement.PENDING


def test_an_upgrade_billed_with_the_next_renewal_was_due_at_the_change() -> None:
    late = an_upgrade(paid_at=a_period().end + timedelta(hours=1))
    following = a_line(period=a_period(a_period().end))
    now = following.period.start + timedelta(days=5)
    account = with_lines(a_line("starter"), late, following, period=following.period)
    _, upgrade, current = found(account, now)
    assert (upgrade.key, upgrade.instant) == (("pro", START), CHANGED)
    assert current.key == ("pro", following.period.start)


@pytest.mark.parametrize("lines", [(a_line("pro_plus"),), (a_line("pro_plus"), an_upgrade("pro"))])
def test_a_downgrade_in_mid_period_owes_nothing_more(lines: tuple[InvoiceLine, ...]) -> None:
    account = with_lines(*lines)
    assert owed(account) == [("pro_plus", START)]
    assert not any(one.current for one in found(account))


def test_there_and_back_again_owes_each_plan_once() -> None:
    down, up = an_upgrade("starter"), an_upgrade("pro", CHANGED + timedelta(days=2), line_id="il_3")
    assert owed(with_lines(a_line("pro"), down, up)) == [("pro", START)]


def test_monthly_to_yearly_of_the_same_plan_owes_nothing_at_the_switch() -> None:
    term = Period(start=day(3, 10), end=day(3, 10, year=2027))
    lines = (a_line("starter"), a_line("starter", term))
    account = yearly("starter", day(3, 15), lines, term=term, started_at=START)
    assert owed(account, day(3, 15)) == [("starter", START)]
    account = yearly("starter", day(4, 12), lines, term=term, started_at=START)
    assert owed(account, day(4, 12)) == [("starter", START), ("starter", day(4, 10))]


def test_monthly_to_a_year_up_front_is_a_persons_case() -> None:
    term = Period(start=day(3, 10), end=day(3, 10, year=2027))
    account = yearly("pro_plus", NOW, (a_line("pro_plus"), a_line("pro_plus", term)), term=term, started_at=START)
    _, year = found(account)
    assert (year.key, year.allowance) == (("pro_plus", day(3, 10)), 180_000)
    assert year.holds


def test_a_yearly_drip_owes_a_month_at_a_time() -> None:
    now = day(4, 5)
    ones = [one for one in found(yearly("starter", now), now) if one.owed]
    assert [one.key[1] for one in ones] == [day(2, 28), day(3, 31)]
    assert [one.instant for one in ones] == [day(2, 28), day(3, 31)]
    assert {one.allowance for one in ones} == {1000}


def test_a_year_paid_late_owes_its_first_months_from_the_payment() -> None:
    now, paid = day(3, 5), day(3, 4)
    account = yearly("starter", now, (a_line("starter", YEAR, paid_at=paid),))
    assert [(one.key[1], one.instant) for one in found(account, now)] == [(day(1, 31), paid), (day(2, 28), paid)]


def test_an_upgrade_in_mid_year_owes_the_new_plan_from_then_on() -> None:
    change = a_line("pro_plus", Period(start=day(3, 10), end=YEAR.end), change=True, paid_at=day(3, 10, 10))
    account = yearly("pro_plus", NOW, (a_line("starter", YEAR), change))
    upgrade = next(one for one in found(account) if one.plan == PLUS)
    assert upgrade.change
    assert upgrade.holds, "how much of a year up front an upgrade is worth is a person's case"


@pytest.mark.parametrize(("policy", "keys"), [(Trial.GRANT, [("pro", day(3, 8))]), (Trial.NONE, [])])
def test_a_trial_is_one_grant_if_it_is_one(policy: Trial, keys: list[tuple[str, datetime]]) -> None:
    trial = Period(start=day(3, 8), end=day(3, 22))
    account = a_user(period=trial, status=BillingStatus.TRIALING)
    assert owed(account, trial=policy) == keys


def test_after_a_trial_without_credits_only_the_paid_period_is_owed() -> None:
    trial = Period(start=day(2, 15), end=START)
    account = with_lines(a_line(period=trial), a_line())
    assert owed(account, trial=Trial.NONE) == [("pro", START)]
    assert owed(account) == [("pro", day(2, 15)), ("pro", START)]


@pytest.mark.parametrize("status", [BillingStatus.DUNNING, BillingStatus.ENDED])
@pytest.mark.parametrize("invoice", [InvoiceStatus.PAID, InvoiceStatus.OPEN])
def test_what_is_not_live_owes_only_what_was_paid(status: BillingStatus, invoice: InvoiceStatus) -> None:
    """A paid period stays owed when the subscription is overdue, paused or cancelled later (semantics §5)."""
    (one,) = found(a_user(status=status, invoices=(a_line(status=invoice),)))
    assert one.owed is (invoice is InvoiceStatus.PAID)
    assert not one.current


@pytest.mark.parametrize("days", [-3, 3])
def test_a_month_of_a_paid_year_that_begins_after_its_end_is_explained_and_not_owed(days: int) -> None:
    year = a_line("starter", a_period(day(1, 8), 12), paid_at=day(1, 8, 10))
    ended = {"status": BillingStatus.ENDED, "cycle": Cycle.YEARLY, "ends_at": day(3, 8) + timedelta(days=days)}
    owed_now = {one.key[1]: one.owed for one in found(a_user(billed="starter", invoices=(year,), **ended))}
    assert owed_now[day(3, 8)] is (days > 0)


def test_another_subscription_s_paid_periods_are_owed_too() -> None:
    account = a_user()
    other = a_stripe_billing(
        "starter",
        subscription_id="sub_2",
        period=a_period(day(2, 20)),
        invoices=(a_line("starter", a_period(day(2, 20)), subscription_id="sub_2"),),
    )
    account = a_user(billing=account.billing, subscriptions=(account.billing, other))
    assert [(one.key, one.owed) for one in found(account)] == [
        (("starter", day(2, 20)), True),
        (("pro", START), True),
    ]


def test_a_grant_of_ours_stays_explained_when_no_invoice_tells_of_it() -> None:
    following = a_line("starter", a_period(a_period().end))
    account = with_lines(following, billed="starter", period=following.period, grants=[a_grant("pro")])
    ones = found(account, following.period.start + timedelta(days=1))
    assert [(one.key, one.owed) for one in ones] == [(("pro", START), False), (("starter", a_period().end), True)]


def test_a_higher_plan_at_renewal_may_have_come_before_it() -> None:
    following = a_line("pro", a_period(a_period().end))
    account = with_lines(a_line("starter"), following, period=following.period)
    ones = {one.key: one.owed for one in found(account, following.period.start + timedelta(days=1))}
    assert ones == {("starter", START): True, ("pro", START): False, ("pro", a_period().end): True}


@pytest.mark.parametrize(
    ("template", "reference", "named"),
    [
        ("stripe:{invoice}", "stripe:in_1", True),
        ("{subscription}:{period_start}", f"sub_1:{int(START.timestamp())}", True),
        ("{subscription}/{plan}", "sub_1/pro", False),
    ],
)
def test_the_products_own_reference_is_written_and_known(template: str, reference: str, named: bool) -> None:
    (one,) = found(a_user(), reference=template)
    assert one.reference == reference
    assert (reference in one.known_by) is named
    assert f"{STORE}/pro/{int(START.timestamp())}" in one.known_by


def test_one_invoice_of_a_year_names_no_month() -> None:
    ones = found(yearly("starter", NOW), reference="{invoice}")
    assert all(one.known_by == {f"{STORE}/starter/{int(one.period.start.timestamp())}"} for one in ones)


def test_without_its_invoice_a_reference_falls_back_to_the_grant_key() -> None:
    *_, new = found(with_lines(a_line("starter")), reference="stripe:{invoice}")
    assert new.reference == f"{STORE}/pro/{int(START.timestamp())}"
