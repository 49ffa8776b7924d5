"""Grants that are missing, duplicated, wrong or lost, and balances that the ledger does not explain.

Each story carries its right answer by semantics §5 to §7.
"""

from datetime import timedelta

from credit_pipeline.sandbox.scenarios.bestauth.contract import FAILED, FLOOR, MISSED, Contract, Handling
from credit_pipeline.sandbox.scenarios.bestauth.healthy import paid_plan, spending, subscriber
from credit_pipeline.sandbox.scenarios.bestauth.identities import NEVER_HEARD, then
from credit_pipeline.sandbox.scenarios.bestauth.life import Script
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import UserScenario
from credit_pipeline.sandbox.scenarios.bestauth.tables import (
    ADJUSTMENT,
    GRANT,
    USAGE,
    Points,
    Transaction,
    adds,
    drops,
    loses,
    shifts,
    spends_down_to,
)
from credit_pipeline.sandbox.scenarios.stories import Story
from credit_pipeline.sandbox.scenarios.wix_app.life import Change, Planted, State, give, relabel


def created(amount: int) -> Change:
    """A balance row is created at zero, and a grant is added to it."""
    return lambda state: State(state.label, (state.total or 0) + amount, state.total)


def restored(amount: int) -> Change:
    """Only the balance rises: the ledger has the points already."""
    return lambda state: state._replace(used=(state.used or 0) - amount)


def _missing(amount: int, note: str) -> Planted:
    return Planted(code="grant_missing", lane="auto", note=note, auto=give(amount), steps=("GrantCredits",))


def _unproven(amount: int, note: str) -> Planted:
    return Planted(code="grant_missing", lane="approve", note=note, approve=give(amount))


def add_failed(user: UserScenario) -> Script:
    """The first purchase: the tier was written, `add_points` failed and nobody saw it."""
    at, plan = user.builder.some_day(), paid_plan(user)
    user.sign_up()
    Contract(user, plan, at, first=FAILED)
    return user.script(_missing(plan.credits, "tier and status are right, the points never came"), daily=2)


def renewal_missed(user: UserScenario) -> Script:
    """The webhook of the renewal never came."""
    plan = paid_plan(user)
    renewed = user.builder.ago(2, 4) if user.random.random() < 0.4 else user.builder.ago(30, 26 * 24)
    subscriber(user, plan, renewed=renewed).live(last=MISSED)
    return user.script(_missing(plan.credits, "renewed and paid, not granted; the period before was"), floor=FLOOR)


def upgrade_not_granted(user: UserScenario) -> Script:
    """An upgrade in mid-period: the label was written, the points were not."""
    pro, business, at = user.builder.plan("pro"), user.builder.plan("business"), user.builder.some_day()
    subscriber(user, pro).live(at).change(at, business, FAILED)
    return user.script(_missing(business.credits, "upgraded and labelled, the new allowance never came"))


def mended_by_hand(user: UserScenario) -> Script:
    """The renewal was not granted, and support gave more than half of it by hand: a person says whether that was it."""
    plan = paid_plan(user)
    contract = subscriber(user, plan).live(last=FAILED)
    amount = round(plan.credits * user.random.uniform(0.55, 1))
    user.do(contract.term[0] + timedelta(days=2), adds(user.account, amount, ADJUSTMENT, text="support"))
    note = f"renewed and paid, not granted; {amount} that support gave may stand for it"
    return user.script(_unproven(plan.credits, note), floor=FLOOR)


def drip_missed(user: UserScenario) -> Script:
    """Paid for the year; this month's drip never came."""
    pro, renewed = user.builder.plan("pro"), user.builder.ago(30, 25 * 24)
    subscriber(user, pro, renewed=renewed, months=user.builder.some(2, 8), yearly=True).live(last=FAILED)
    return user.script(_missing(pro.credits, "a month of a yearly plan was not granted"), floor=FLOOR)


def year_missed(user: UserScenario) -> Script:
    """A year up front was paid and not granted: twelve months' points."""
    annual = user.builder.plan("annual")
    user.sign_up()
    Contract(user, annual, user.builder.some_day(), yearly=True, first=FAILED)
    return user.script(_missing(12 * annual.credits, "twelve months' points at once, as the plan says"))


def trial_not_granted(user: UserScenario) -> Script:
    """A trial began, its invoice of zero is paid, and the points never came."""
    start, plan = user.builder.ago(30, 250), user.builder.plan("pro")
    user.sign_up(start - timedelta(hours=2))
    Contract(user, plan, start, trial=timedelta(days=14), first=FAILED)
    return user.script(_missing(plan.credits, "a trial is granted once, at its invoice of zero"))


def on_another_day(user: UserScenario) -> Script:
    """The app drips on a day of its calendar, eleven days after the anchor: is this month missing, or yet to come?"""
    pro, late = user.builder.plan("pro"), Handling(delay=timedelta(days=11), keyed=False)
    contract = subscriber(
        user, pro, renewed=user.builder.ago(5 * 24, 9 * 24), months=user.builder.some(3, 8), yearly=True
    )
    contract.live(usual=late, before=late, last=FAILED)
    return user.script(_unproven(pro.credits, "the month before was granted on another day, so nothing is proven"))


def older_gap(user: UserScenario) -> Script:
    """The period before this one was never granted; this one was."""
    plan = paid_plan(user)
    subscriber(user, plan, renewed=user.builder.ago(15 * 24, 25 * 24)).live(before=FAILED)
    return user.script(_unproven(plan.credits, "a gap of an earlier period is granted only if a person says so"))


def rows_lost(user: UserScenario) -> Script:
    """The grant was there, and a half restored backup took its transaction and its points."""
    plan = paid_plan(user)
    start = subscriber(user, plan).live().term[0]

    def is_it(entry: Transaction) -> bool:
        return entry.type == GRANT and entry.created_at >= start

    user.do(user.builder.some_day(), loses(user.account, is_it))
    planted = Planted(
        code="grant_lost",
        lane="approve",
        note=f"{plan.credits:,} points were granted and are gone: given back if a person says so",
        approve=give(plan.credits),
    )
    return user.script(planted)


def granted_twice(user: UserScenario) -> Script:
    """One webhook handled twice by an unkeyed `add_points`."""
    plan = paid_plan(user)
    subscriber(user, plan).live(last=Handling(amounts=(plan.credits, plan.credits)))
    planted = Planted(
        code="grant_duplicate",
        lane="approve",
        note="the second grant is taken back, as far as it is left, if a person says so",
        approve=lambda state: give(-min(plan.credits, state.available))(state),
    )
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def wrong_amount(user: UserScenario) -> Script:
    """The period was granted with another amount than the plan's."""
    plan, amount = user.builder.plan("pro"), user.random.choice((500, 650, 900))
    subscriber(user, plan).live(last=Handling(amounts=(amount,)))
    planted = Planted(
        code="grant_amount_mismatch",
        lane="approve",
        note=f"{amount} were granted for {plan.credits}: the difference if a person says so",
        approve=give(plan.credits - amount),
    )
    return user.script(planted)


def granted_for_nothing(user: UserScenario) -> Script:
    """A free user's ledger holds a subscription's grant that nothing billed explains."""
    user.sign_up()
    user.do(user.builder.some_day(), adds(user.account, user.builder.plan("pro").credits, GRANT, text="pro points"))
    planted = Planted(code="grant_unexpected", lane="review", note="a grant that no billed period explains")
    return user.script(planted)


def no_balance(user: UserScenario) -> Script:
    """Mapped, and the points store never opened the account."""
    user.sign_up(welcome=False)
    planted = Planted(
        code="balance_missing",
        lane="auto",
        note="the balance row is made, at zero",
        auto=created(0),
        steps=("CreateBalance",),
    )
    return user.script(planted)


def no_balance_and_paid(user: UserScenario) -> Script:
    """The same, and the first purchase could not be granted."""
    plan = paid_plan(user)
    user.sign_up(welcome=False)
    Contract(user, plan, user.builder.some_day(), first=MISSED)
    planted = Planted(
        code="plan_mismatch",
        secondary=(*NEVER_HEARD[1:], "balance_missing"),
        lane="auto",
        note="row, label, status and points in one correction",
        auto=then(relabel(plan.label), created(plan.credits)),
        steps=("SetPlan", "SetSubscription", "CreateBalance", "GrantCredits"),
    )
    return user.script(planted)


def balance_lost(user: UserScenario) -> Script:
    """The balance row is gone, the transactions are there."""
    subscriber(user, paid_plan(user)).live()
    user.do(user.builder.some_day(), drops(Points, user.account))
    planted = Planted(code="balance_missing", lane="review", note="what was in the row, the ledger may not know")
    return user.script(planted)


def imported(user: UserScenario) -> Script:
    """The balance was imported long ago without a transaction."""
    at = user.sign_up()
    user.do(at + timedelta(days=1), shifts(user.account, user.random.choice((-60, 40, 500))))
    planted = Planted(code="balance_ledger_mismatch", lane="review", note="the transactions do not explain the balance")
    return user.script(planted)


def overdrawn(user: UserScenario) -> Script:
    """A deduction went past zero."""
    user.sign_up()
    at = user.builder.some_day()
    user.do(at, spends_down_to(user.account, 5))
    user.do(at + timedelta(minutes=1), adds(user.account, -user.builder.some(6, 60), USAGE, text="batch"))
    return user.script(Planted(code="balance_negative", lane="review", note="below zero: a person must look"))


def balance_set(user: UserScenario) -> Script:
    """A job SET the balance to the allowance, past the ledger: what was above it is gone."""
    plan, surplus = paid_plan(user), user.builder.some(50, 900)
    contract = subscriber(user, plan).live()
    user.buys(contract.term[0] + timedelta(days=1), 2_000)
    user.do(user.builder.some_day(), shifts(user.account, -surplus))
    planted = Planted(
        code="unexplained_decrease",
        lane="approve",
        note=f"{surplus} points vanished without a transaction: given back if a person says so",
        approve=restored(surplus),
    )
    return user.script(planted, daily=5, floor=FLOOR)


def gift(user: UserScenario) -> Script:
    """The balance rose without a transaction: seen when it happened, and not explained by the ledger since."""
    plan = paid_plan(user)
    subscriber(user, plan).live()
    user.do(user.builder.lately(), shifts(user.account, user.random.choice((50, 300, 2_500))))
    planted = Planted(
        code="balance_ledger_mismatch",
        secondary=("unexplained_increase",),
        lane="review",
        note="points appeared that no transaction tells of",
    )
    return user.script(planted, daily=5, floor=FLOOR)


def put_right_by_hand(user: UserScenario) -> Script:
    """The balance had always been below its ledger, and somebody wrote what was missing: information, nothing to do."""
    imported_at, gap = user.sign_up() + timedelta(minutes=5), user.builder.some(10, 60)
    user.do(imported_at, shifts(user.account, -gap))
    user.do(user.builder.lately(), shifts(user.account, gap))
    planted = Planted(
        code="unexplained_increase",
        lane="none",
        note="points appeared without a transaction; the ledger now explains it",
    )
    return user.script(planted)


def spent_out(user: UserScenario) -> Script:
    """Paid, granted, and all spent: not the same as never granted."""
    subscriber(user, paid_plan(user)).live()
    user.do(user.builder.some_day(), spends_down_to(user.account, 0))
    return user.script(Planted(code="spent_out", lane="none", note="all points were granted and spent"))


GRANT_INCIDENTS = (
    Story(name="add_failed", share=0.008, write=add_failed),
    Story(name="renewal_missed", share=0.01, write=renewal_missed),
    Story(name="upgrade_not_granted", share=0.002, write=upgrade_not_granted),
    Story(name="drip_missed", share=0.002, write=drip_missed),
    Story(name="year_missed", share=0.001, write=year_missed),
    Story(name="trial_not_granted", share=0.001, write=trial_not_granted),
    Story(name="on_another_day", share=0.001, write=on_another_day),
    Story(name="older_gap", share=0.002, write=older_gap),
    Story(name="rows_lost", share=0.001, write=rows_lost),
    Story(name="granted_twice", share=0.003, write=granted_twice),
    Story(name="wrong_amount", share=0.001, write=wrong_amount),
    Story(name="granted_for_nothing", share=0.001, write=granted_for_nothing),
)
BALANCE_ACCIDENTS = (
    Story(name="no_balance", share=0.002, write=no_balance),
    Story(name="no_balance_and_paid", share=0.002, write=no_balance_and_paid),
    Story(name="balance_lost", share=0.001, write=balance_lost),
    Story(name="imported", share=0.001, write=imported),
    Story(name="overdrawn", share=0.001, write=overdrawn),
    Story(name="balance_set", share=0.003, write=balance_set),
    Story(name="gift", share=0.001, write=gift),
    Story(name="mended_by_hand", share=0.001, write=mended_by_hand),
    Story(name="put_right_by_hand", share=0.001, write=put_right_by_hand),
    Story(name="spent_out", share=0.004, write=spent_out),
)
