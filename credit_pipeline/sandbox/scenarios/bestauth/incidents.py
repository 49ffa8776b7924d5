"""Subscriptions about which product and Stripe disagree: missed webhooks, lost rows, unknown prices, two at once.

Each story carries its right answer by semantics §3, §6 and §7. What concerns a grant alone is in
`bestauth_grants.py`.
"""

from dataclasses import replace
from datetime import timedelta

from credit_pipeline.sandbox.scenarios.bestauth.contract import DRAFT, FLOOR, MISSED, Contract
from credit_pipeline.sandbox.scenarios.bestauth.healthy import paid_plan, spending, subscriber
from credit_pipeline.sandbox.scenarios.bestauth.identities import NEVER_HEARD, same, then
from credit_pipeline.sandbox.scenarios.bestauth.life import Patch, Script
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import Story, Tale
from credit_pipeline.sandbox.scenarios.bestauth.tables import Tier, adds, drops, puts, relabels
from credit_pipeline.sandbox.scenarios.wix_app.life import Planted, give, relabel


def purchase_missed(tale: Tale) -> Script:
    """The webhook of the first purchase never came: billed pro, tier free, no grant."""
    at, plan = tale.teller.some_day(), paid_plan(tale)
    tale.sign_up()
    Contract(tale, plan, at, first=MISSED)
    planted = Planted(
        code="plan_mismatch",
        secondary=NEVER_HEARD[1:],
        lane="auto",
        note=f"the product never heard of the purchase: label, status and {plan.credits:,} points",
        auto=then(relabel(plan.label), give(plan.credits)),
        steps=("SetPlan", "SetSubscription", "GrantCredits"),
    )
    return tale.told(planted, daily=2)


def free_limits(tale: Tale) -> Script:
    """Paid and granted, and the tier fell back to free: the user hits the free daily limit."""
    plan = paid_plan(tale)
    subscriber(tale, plan).live()
    tale.do(tale.teller.some_day(), relabels(tale.account, tier="free"))
    planted = Planted(
        code="plan_mismatch",
        lane="auto",
        note="the points are there, only the tier is repaired",
        auto=relabel(plan.label),
        steps=("SetPlan",),
    )
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def upgrade_missed(tale: Tale) -> Script:
    """The webhook of an upgrade in mid-period never came."""
    pro, business, at = tale.teller.plan("pro"), tale.teller.plan("business"), tale.teller.some_day()
    subscriber(tale, pro).live(at).change(at, business, MISSED)
    planted = Planted(
        code="plan_mismatch",
        secondary=("grant_missing",),
        lane="auto",
        note=f"upgraded to business in mid-period: the label and {business.credits:,} points beside pro's",
        auto=then(relabel(business.label), give(business.credits)),
        steps=("SetPlan", "GrantCredits"),
    )
    return tale.told(planted, daily=spending(tale, pro), floor=FLOOR)


def downgrade_missed(tale: Tale) -> Script:
    """Went down in mid-period, and the product still says business: label only, points kept."""
    pro, at = tale.teller.plan("pro"), tale.teller.some_day()
    subscriber(tale, tale.teller.plan("business")).live(at).change(at, pro, MISSED, billed=False)
    planted = Planted(
        code="plan_mismatch",
        lane="auto",
        note="a downgrade between paid plans changes the label and no points",
        auto=relabel(pro.label),
        steps=("SetPlan",),
    )
    return tale.told(planted, daily=20, floor=FLOOR)


def price_unknown(tale: Tale) -> Script:
    """Moved to a price that is in no catalogue."""
    plan = tale.teller.plan("pro")
    contract = subscriber(tale, plan).live()
    strange = replace(contract.item, price_id="price_bestauth_team_2", lookup_key=None)
    contract.patch(tale.teller.some_day(), items=(strange,))
    planted = Planted(code="plan_unmapped", lane="review", note="the price is in no catalogue")
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def two_seats(tale: Tale) -> Script:
    """Quantity 2: how many points that is, nobody said."""
    plan = tale.teller.plan("pro")
    subscriber(tale, plan, quantity=2).live()
    planted = Planted(code="plan_unmapped", lane="review", note="quantity 2, and the policy does not count seats")
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def row_missing(tale: Tale) -> Script:
    """Live at Stripe, granted, and the product has no subscription row."""
    plan = paid_plan(tale)
    subscriber(tale, plan).live()
    tale.do(tale.teller.some_day(), drops(Tier, tale.account))
    planted = Planted(
        code="subscription_missing_locally",
        lane="auto",
        note="the row is written as billed",
        auto=relabel(plan.label),
        steps=("SetPlan", "SetSubscription"),
    )
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def not_at_source(tale: Tale) -> Script:
    """The tier says pro, by hand perhaps; Stripe has no subscription of this user."""
    at = tale.sign_up() + timedelta(hours=9)
    tale.do(at, puts(Tier(tale.account, "pro", "active", at, at + timedelta(days=900), at)))
    planted = Planted(
        code="subscription_missing_at_source",
        lane="review",
        note="paid by the tier, unknown to Stripe: nothing is written",
    )
    return tale.told(planted)


def ended_just_now(tale: Tale) -> Script:
    """Ended at Stripe a few hours ago; the product still says paid. Seen once, acted on by nobody yet."""
    at = tale.teller.lately()
    subscriber(tale, paid_plan(tale)).live(at).end(at, heard=False)
    planted = Planted(code="subscription_ended", lane="none", note="1 of 2: a second run a day later must agree")
    return tale.told(planted)


def ended_days_ago(tale: Tale) -> Script:
    """Ended at Stripe more than a day ago; the label waits for a person, the points are kept."""
    at = tale.teller.ago(90, 300)
    subscriber(tale, paid_plan(tale)).live(at).end(at, heard=False)
    planted = Planted(
        code="subscription_ended",
        lane="approve",
        note="2 of 2: the label goes to free if a person says so, the points stay",
        approve=relabel("free"),
    )
    return tale.told(planted)


def status_stale(tale: Tale) -> Script:
    """Was overdue and paid; the product heard of the grant, and its status stayed past_due."""
    plan = paid_plan(tale)
    subscriber(tale, plan).live()
    tale.do(tale.teller.some_day(), relabels(tale.account, status="past_due"))
    planted = Planted(
        code="status_mismatch",
        lane="auto",
        note="the status is written as billed",
        auto=same,
        steps=("SetSubscription",),
    )
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def two_at_once(tale: Tale) -> Script:
    """Bought business beside pro instead of upgrading: both are paid, both were granted."""
    subscriber(tale, tale.teller.plan("pro")).live()
    Contract(tale, tale.teller.plan("business"), tale.teller.some_day())
    planted = Planted(
        code="multiple_live_subscriptions", lane="approve", note="pays twice: nothing is owed, one must be cancelled"
    )
    return tale.told(planted, floor=FLOOR)


def one_of_two_ending(tale: Tale) -> Script:
    """The old subscription runs out while the new one goes on: judged on the new one."""
    at = tale.teller.some_day()
    subscriber(tale, tale.teller.plan("pro")).live().cancel_at_end(at - timedelta(minutes=4))
    Contract(tale, tale.teller.plan("business"), at)
    planted = Planted(
        code="multiple_live_subscriptions", lane="none", note="exactly one goes on, and the product agrees with it"
    )
    return tale.told(planted, floor=FLOOR)


def overdue(tale: Tale) -> Script:
    """The renewal's payment failed: no grant, no downgrade."""
    plan, at = paid_plan(tale), tale.teller.ago(30, 10 * 24)
    contract = subscriber(tale, plan, renewed=at).live(at - timedelta(seconds=1))
    contract.renewal(status="open")
    contract.patch(at + DRAFT, status="past_due")
    tale.do(at + DRAFT + timedelta(seconds=20), relabels(tale.account, status="past_due"))
    planted = Planted(code="dunning", lane="none", note="past_due: nothing is granted until it is paid")
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def paused(tale: Tale) -> Script:
    """Collection is paused: Stripe still says active, and no invoice will be paid."""
    plan, at = paid_plan(tale), tale.teller.some_day()
    subscriber(tale, plan).live().patch(at, pause_collection="void")
    planted = Planted(code="dunning", lane="none", note="paused: no grant and no downgrade")
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def refunded(tale: Tale) -> Script:
    """The period's payment was given back after its points were granted."""
    plan = paid_plan(tale)
    contract = subscriber(tale, plan).live()
    tale.bill(tale.teller.some_day(), Patch(contract.last_invoice, {"credit_notes": contract.price}))
    planted = Planted(code="refunded", lane="review", note="paid, granted, refunded: a person decides")
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def invoice_still_open(tale: Tale) -> Script:
    """The period began, its invoice is a draft yet: Stripe pays it about an hour later."""
    at, plan = tale.teller.ago(0.3, 0.9), paid_plan(tale)
    contract = subscriber(tale, plan, renewed=at).live(at - timedelta(seconds=1))
    contract.renewal(status="draft")
    planted = Planted(code="pending_settlement", lane="none", note="active, and its invoice is not paid yet")
    return tale.told(planted, daily=spending(tale, plan), floor=FLOOR)


def gift_card(tale: Tale) -> Script:
    """A type of transaction that the policy's map does not hold."""
    tale.sign_up()
    tale.do(tale.teller.some_day(), adds(tale.account, 250, "gift_card", text="promotion"))
    planted = Planted(
        code="balance_ledger_mismatch", lane="review", note="what a transaction of type gift_card is, nobody said"
    )
    return tale.told(planted)


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
