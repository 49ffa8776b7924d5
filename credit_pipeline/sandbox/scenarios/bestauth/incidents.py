"""Subscriptions that differ between product and Stripe: missed webhooks, lost rows, unknown prices, two at once.

Each story carries its right answer by semantics §3, §6 and §7.
"""

from dataclasses import replace
from datetime import timedelta

from credit_pipeline.sandbox.scenarios.bestauth.contract import DRAFT, FLOOR, MISSED, Contract
from credit_pipeline.sandbox.scenarios.bestauth.healthy import paid_plan, spending, subscriber
from credit_pipeline.sandbox.scenarios.bestauth.identities import NEVER_HEARD, same, then
from credit_pipeline.sandbox.scenarios.bestauth.life import Script
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import UserScenario
from credit_pipeline.sandbox.scenarios.bestauth.tables import Tier, adds, drops, puts, relabels
from credit_pipeline.sandbox.scenarios.stories import Story
from credit_pipeline.sandbox.scenarios.wix_app.life import Planted, give, relabel
from credit_pipeline.sandbox.stripe.rows import Refund


def purchase_missed(user: UserScenario) -> Script:
    """The webhook of the first purchase never came: billed pro, tier free, no grant."""
    at, plan = user.builder.some_day(), paid_plan(user)
    user.sign_up()
    Contract(user, plan, at, first=MISSED)
    planted = Planted(
        code="plan_mismatch",
        secondary=NEVER_HEARD[1:],
        lane="auto",
        note=f"the product never heard of the purchase: label, status and {plan.credits:,} points",
        auto=then(relabel(plan.label), give(plan.credits)),
        steps=("SetPlan", "SetSubscription", "GrantCredits"),
    )
    return user.script(planted, daily=2)


def free_limits(user: UserScenario) -> Script:
    """Paid and granted, and the tier fell back to free: the user hits the free daily limit."""
    plan = paid_plan(user)
    subscriber(user, plan).live()
    user.do(user.builder.some_day(), relabels(user.account, tier="free"))
    planted = Planted(
        code="plan_mismatch",
        lane="auto",
        note="the points are there, only the tier is repaired",
        auto=relabel(plan.label),
        steps=("SetPlan",),
    )
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def upgrade_missed(user: UserScenario) -> Script:
    """The webhook of an upgrade in mid-period never came."""
    pro, business, at = user.builder.plan("pro"), user.builder.plan("business"), user.builder.some_day()
    subscriber(user, pro).live(at).change(at, business, MISSED)
    planted = Planted(
        code="plan_mismatch",
        secondary=("grant_missing",),
        lane="auto",
        note=f"upgraded to business in mid-period: the label and {business.credits:,} points beside pro's",
        auto=then(relabel(business.label), give(business.credits)),
        steps=("SetPlan", "GrantCredits"),
    )
    return user.script(planted, daily=spending(user, pro), floor=FLOOR)


def downgrade_missed(user: UserScenario) -> Script:
    """Went down in mid-period, and the product still says business: label only, points kept."""
    pro, at = user.builder.plan("pro"), user.builder.some_day()
    subscriber(user, user.builder.plan("business")).live(at).change(at, pro, MISSED, billed=False)
    planted = Planted(
        code="plan_mismatch",
        lane="auto",
        note="a downgrade between paid plans changes the label and no points",
        auto=relabel(pro.label),
        steps=("SetPlan",),
    )
    return user.script(planted, daily=20, floor=FLOOR)


def price_unknown(user: UserScenario) -> Script:
    """Moved to a price that is in no catalogue."""
    plan = user.builder.plan("pro")
    contract = subscriber(user, plan).live()
    strange = replace(contract.item, price_id="price_bestauth_team_2", lookup_key=None)
    contract.patch(user.builder.some_day(), items=(strange,))
    planted = Planted(code="plan_unmapped", lane="review", note="the price is in no catalogue")
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def two_seats(user: UserScenario) -> Script:
    """Quantity 2: how many points that is, nobody said."""
    plan = user.builder.plan("pro")
    subscriber(user, plan, quantity=2).live()
    planted = Planted(code="plan_unmapped", lane="review", note="quantity 2, and the policy does not count seats")
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def row_missing(user: UserScenario) -> Script:
    """Live at Stripe, granted, and the product has no subscription row."""
    plan = paid_plan(user)
    subscriber(user, plan).live()
    user.do(user.builder.some_day(), drops(Tier, user.account))
    planted = Planted(
        code="subscription_missing_locally",
        lane="auto",
        note="the row is written as billed",
        auto=relabel(plan.label),
        steps=("SetPlan", "SetSubscription"),
    )
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def not_at_source(user: UserScenario) -> Script:
    """The tier says pro, by hand perhaps; Stripe has no subscription of this user."""
    at = user.sign_up() + timedelta(hours=9)
    user.do(at, puts(Tier(user.account, "pro", "active", at, at + timedelta(days=900), at)))
    planted = Planted(
        code="subscription_missing_at_source",
        lane="review",
        note="paid by the tier, unknown to Stripe: nothing is written",
    )
    return user.script(planted)


def ended_just_now(user: UserScenario) -> Script:
    """Ended at Stripe a few hours ago; the product still says paid. Seen once, acted on by nobody yet."""
    at = user.builder.lately()
    subscriber(user, paid_plan(user)).live(at).end(at, handled=False)
    planted = Planted(code="subscription_ended", lane="none", note="1 of 2: a second run a day later must agree")
    return user.script(planted)


def ended_days_ago(user: UserScenario) -> Script:
    """Ended at Stripe more than a day ago; the label waits for a person, the points are kept."""
    at = user.builder.ago(90, 300)
    subscriber(user, paid_plan(user)).live(at).end(at, handled=False)
    planted = Planted(
        code="subscription_ended",
        lane="approve",
        note="2 of 2: the label goes to free if a person says so, the points stay",
        approve=relabel("free"),
    )
    return user.script(planted)


def status_stale(user: UserScenario) -> Script:
    """Was overdue and paid; the product heard of the grant, and its status stayed past_due."""
    plan = paid_plan(user)
    subscriber(user, plan).live()
    user.do(user.builder.some_day(), relabels(user.account, status="past_due"))
    planted = Planted(
        code="status_mismatch",
        lane="auto",
        note="the status is written as billed",
        auto=same,
        steps=("SetSubscription",),
    )
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def two_at_once(user: UserScenario) -> Script:
    """Bought business beside pro instead of upgrading: both are paid, both were granted."""
    subscriber(user, user.builder.plan("pro")).live()
    Contract(user, user.builder.plan("business"), user.builder.some_day())
    planted = Planted(
        code="multiple_live_subscriptions", lane="approve", note="pays twice: nothing is owed, one must be cancelled"
    )
    return user.script(planted, floor=FLOOR)


def one_of_two_ending(user: UserScenario) -> Script:
    """The old subscription runs out while the new one goes on: judged on the new one."""
    at = user.builder.some_day()
    subscriber(user, user.builder.plan("pro")).live().cancel_at_end(at - timedelta(minutes=4))
    Contract(user, user.builder.plan("business"), at)
    planted = Planted(
        code="multiple_live_subscriptions", lane="none", note="exactly one goes on, and the product agrees with it"
    )
    return user.script(planted, floor=FLOOR)


def overdue(user: UserScenario) -> Script:
    """The renewal's payment failed: no grant, no downgrade."""
    plan, at = paid_plan(user), user.builder.ago(30, 10 * 24)
    contract = subscriber(user, plan, renewed=at).live(at - timedelta(seconds=1))
    contract.renewal(status="open")
    contract.patch(at + DRAFT, status="past_due")
    user.do(at + DRAFT + timedelta(seconds=20), relabels(user.account, status="past_due"))
    planted = Planted(code="dunning", lane="none", note="past_due: nothing is granted until it is paid")
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def paused(user: UserScenario) -> Script:
    """Collection is paused: Stripe still says active, and no invoice will be paid."""
    plan, at = paid_plan(user), user.builder.some_day()
    subscriber(user, plan).live().patch(at, pause_collection="void")
    planted = Planted(code="dunning", lane="none", note="paused: no grant and no downgrade")
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def refunded(user: UserScenario) -> Script:
    """The period's payment was given back after its points were granted."""
    plan = paid_plan(user)
    contract = subscriber(user, plan).live()
    at = user.builder.some_day()
    refund_id = user.builder.stripe_id("re")
    user.bill(at, Refund(id=refund_id, invoice=contract.last_invoice, amount=contract.price, created=at))
    planted = Planted(code="refunded", lane="review", note="paid, granted, refunded: a person decides")
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def invoice_still_open(user: UserScenario) -> Script:
    """The period began, its invoice is a draft yet: Stripe pays it about an hour later."""
    at, plan = user.builder.ago(0.3, 0.9), paid_plan(user)
    contract = subscriber(user, plan, renewed=at).live(at - timedelta(seconds=1))
    contract.renewal(status="draft")
    planted = Planted(code="pending_settlement", lane="none", note="active, and its invoice is not paid yet")
    return user.script(planted, daily=spending(user, plan), floor=FLOOR)


def gift_card(user: UserScenario) -> Script:
    """A type of transaction that the policy's map does not hold."""
    user.sign_up()
    user.do(user.builder.some_day(), adds(user.account, 250, "gift_card", text="promotion"))
    planted = Planted(
        code="balance_ledger_mismatch", lane="review", note="what a transaction of type gift_card is, nobody said"
    )
    return user.script(planted)


SUBSCRIPTION_INCIDENTS = (
    Story(name="purchase_missed", share=0.012, write=purchase_missed),
    Story(name="free_limits", share=0.008, write=free_limits),
    Story(name="upgrade_missed", share=0.004, write=upgrade_missed),
    Story(name="downgrade_missed", share=0.002, write=downgrade_missed),
    Story(name="price_unknown", share=0.0015, write=price_unknown),
    Story(name="two_seats", share=0.001, write=two_seats),
    Story(name="row_missing", share=0.003, write=row_missing),
    Story(name="not_at_source", share=0.002, write=not_at_source),
    Story(name="ended_just_now", share=0.002, write=ended_just_now),
    Story(name="ended_days_ago", share=0.003, write=ended_days_ago),
    Story(name="status_stale", share=0.002, write=status_stale),
    Story(name="two_at_once", share=0.001, write=two_at_once),
    Story(name="one_of_two_ending", share=0.001, write=one_of_two_ending),
    Story(name="overdue", share=0.003, write=overdue),
    Story(name="paused", share=0.001, write=paused),
    Story(name="refunded", share=0.001, write=refunded),
    Story(name="invoice_still_open", share=0.001, write=invoice_still_open),
    Story(name="gift_card", share=0.001, write=gift_card),
)
