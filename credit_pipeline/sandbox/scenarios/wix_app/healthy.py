"""Sites that are in order and look wrong: spent out, carried over, cancelled, overdue, just changed.

None of these stories may be reported.
"""

from datetime import datetime, timedelta

from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.sandbox.scenarios.seeded_values import bought_before
from credit_pipeline.sandbox.scenarios.stories import Story
from credit_pipeline.sandbox.scenarios.wix_app.life import Move, Script, State, fold, relabel, spend_all
from credit_pipeline.sandbox.scenarios.wix_app.scenario_builder import FREE, ScenarioBuilder, billed, paying
from credit_pipeline.sandbox.wix.book import wire_time


def free(builder: ScenarioBuilder, kind: str) -> Script:
    """Pays nothing, spends now and then, until nothing is left."""
    return builder.script(kind, State("free", 100, builder.some(0, 100)), FREE, daily=builder.some(0, 3))


def free_spent_out(builder: ScenarioBuilder, kind: str) -> Script:
    """Pays nothing, spent everything."""
    return builder.script(kind, State("free", 100, 100), FREE)


def free_topped_up(builder: ScenarioBuilder, kind: str) -> Script:
    """Bought credits without a plan, before the watch began."""
    total = 100 * builder.some(2, 9)
    return builder.script(kind, State("free", total, builder.some(0, total)), FREE)


def free_new(builder: ScenarioBuilder, kind: str) -> Script:
    """Installed during the watch."""
    return builder.script(kind, State("free", 100, 0), FREE, daily=builder.some(0, 9), installed=builder.ago(1, 800))


def free_after_paying(builder: ScenarioBuilder, kind: str) -> Script:
    """Its subscription ended long ago; the credits were kept."""
    total = builder.some(10, 60) * 100
    return builder.script(kind, State("free", total, builder.some(0, total)), FREE)


def paid(builder: ScenarioBuilder, kind: str) -> Script:
    """Pays every month and spends every day."""
    plan = builder.paid_plan()
    return builder.subscriber(kind, plan, daily=builder.some(0, plan.credits // 25), renewed=builder.ago(10, 620))


def paid_spent_out(builder: ScenarioBuilder, kind: str) -> Script:
    """Spent the whole month's credits: available 0, total at the allowance or above."""
    plan, renewed = builder.paid_plan(), builder.ago(60, 26 * 24)
    spent = Move(at=renewed + timedelta(hours=builder.some(14, 50)), product=spend_all)
    total = plan.credits + builder.random.choice((0, 0, builder.some(1, plan.credits)))
    return builder.subscriber(kind, plan, total=total, used=0, moves=[spent], renewed=renewed)


def carried_over(builder: ScenarioBuilder, kind: str) -> Script:
    """Has more than the plan gives, because credits were carried over at an upgrade: 1,200 on Starter's 1,000."""
    plan = builder.paid_plan()
    surplus = builder.random.choice((200, builder.some(1, plan.credits)))
    return builder.subscriber(kind, plan, total=plan.credits + surplus, daily=builder.some(0, 20))


def cancelled_but_paid(builder: ScenarioBuilder, kind: str) -> Script:
    """Will not renew; live until the period's end."""
    renewed = builder.ago(24, 620)
    ends = wire_time(add_months(renewed, 1))
    return builder.subscriber(kind, builder.paid_plan(), renewed=renewed, auto_renewing=False, expiration_date=ends)


def overdue(builder: ScenarioBuilder, kind: str) -> Script:
    """In dunning: Wix says isFree false with an expirationDate in the past. Still paid."""
    expired = wire_time(builder.ago(24, 500))
    return builder.subscriber(kind, builder.paid_plan(), expiration_date=expired)


def yearly(builder: ScenarioBuilder, kind: str) -> Script:
    """Paid for a year, gets the month's credits every month."""
    renewed = builder.ago(24, 620)
    anchor = bought_before(renewed, months=builder.random.randint(2, 8))
    ends = wire_time(add_months(anchor, 12))
    plan = builder.paid_plan()
    instance = paying(plan, anchor, billing_cycle="YEARLY", expiration_date=ends)
    moves = [Move(at=move.at, product=move.product, renewal=True) for move in builder.renewals(anchor)]
    state = State(plan.label, plan.credits, builder.some(0, plan.credits))
    return builder.script(kind, state, instance, moves, daily=builder.some(0, 40))


def typed_name(builder: ScenarioBuilder, kind: str) -> Script:
    """Wix sends a name where others have an id: `Pro+` is pro_plus, never pro."""
    name, plan = builder.random.choice((("Pro+", "pro_plus"), ("Pro Plan", "pro"), ("STARTER", "starter")))
    return builder.subscriber(kind, builder.plan(plan), package_name=name)


def no_purchase_time(builder: ScenarioBuilder, kind: str) -> Script:
    """Wix sends no timeStamp, so no period can be told; the credits are there."""
    plan = builder.paid_plan()
    state = State(plan.label, plan.credits, builder.some(0, plan.credits))
    return builder.script(kind, state, paying(plan, builder.begin, time_stamp=None))


def upgraded(builder: ScenarioBuilder, kind: str) -> Script:
    """Bought a higher plan during the watch, and the product folded it in at once."""
    return _upgraded(builder, kind, builder.ago(8, 620))


def upgraded_lately(builder: ScenarioBuilder, kind: str) -> Script:
    """The same, since the newest observation."""
    return _upgraded(builder, kind, builder.lately())


def upgraded_late(builder: ScenarioBuilder, kind: str) -> Script:
    """The webhook came 13 hours after the purchase: a mismatch for a while, mended by the product itself."""
    return _upgraded(builder, kind, builder.ago(72, 620), delay=timedelta(hours=13))


def _upgraded(builder: ScenarioBuilder, kind: str, at: datetime, delay: timedelta = timedelta(0)) -> Script:
    plan = builder.paid_plan(("starter", "pro"))
    bought = Move(at=at, billing=billed(plan, at))
    granted = Move(at=at + delay, product=fold(plan))
    return builder.script(kind, State("free", 100, builder.some(0, 100)), FREE, [bought, granted])


def on_trial(builder: ScenarioBuilder, kind: str) -> Script:
    """In its free trial: isFree false, freeTrialInfo IN_PROGRESS. Counts as paid."""
    at, plan = builder.ago(24, 300), builder.plan("pro")
    trial = {"free_trial": "IN_PROGRESS", "free_trial_ends": wire_time(at + timedelta(days=14))}
    began = Move(at=at, product=fold(plan), billing=billed(plan, at) | trial)
    return builder.script(kind, State("free", 100, builder.some(0, 60)), FREE, [began], daily=builder.some(0, 90))


def bought_at_once(builder: ScenarioBuilder, kind: str) -> Script:
    """Installed and paid within minutes, during the watch."""
    at, plan = builder.ago(8, 620), builder.paid_plan()
    start = State(plan.label, 100 + plan.credits, 0)
    return builder.script(kind, start, paying(plan, at - timedelta(minutes=9)), installed=at, daily=builder.some(0, 50))


def downgraded(builder: ScenarioBuilder, kind: str) -> Script:
    """Went to a lower plan; the credits were kept."""
    at, plan = builder.ago(8, 300), builder.plan("starter")
    went = Move(at=at, product=relabel(plan.label), billing=billed(plan, at))
    return builder.subscriber(kind, builder.plan("pro"), moves=[went])


def ended(builder: ScenarioBuilder, kind: str) -> Script:
    """Stopped paying during the watch; the product wrote `free` at once and kept the credits."""
    went = Move(at=builder.some_day(), product=relabel("free"), billing={"is_free": True})
    return builder.subscriber(kind, builder.paid_plan(), moves=[went])


def renewed_lately(builder: ScenarioBuilder, kind: str) -> Script:
    """Its period began since the newest observation and `used` was zeroed as it should be."""
    plan = builder.paid_plan()
    return builder.subscriber(kind, plan, used=builder.some(1, plan.credits), renewed=builder.ago(1.5, 5))


HEALTHY = (
    Story(name="free", share=30, write=free),
    Story(name="free_spent_out", share=9, write=free_spent_out),
    Story(name="free_topped_up", share=2, write=free_topped_up),
    Story(name="free_new", share=3, write=free_new),
    Story(name="free_after_paying", share=2, write=free_after_paying),
    Story(name="paid", share=25, write=paid),
    Story(name="paid_spent_out", share=6, write=paid_spent_out),
    Story(name="carried_over", share=5, write=carried_over),
    Story(name="cancelled_but_paid", share=3, write=cancelled_but_paid),
    Story(name="overdue", share=2, write=overdue),
    Story(name="yearly", share=3, write=yearly),
    Story(name="typed_name", share=1, write=typed_name),
    Story(name="no_purchase_time", share=0.3, write=no_purchase_time),
    Story(name="upgraded", share=2, write=upgraded),
    Story(name="upgraded_lately", share=0.5, write=upgraded_lately),
    Story(name="upgraded_late", share=0.5, write=upgraded_late),
    Story(name="on_trial", share=2, write=on_trial),
    Story(name="bought_at_once", share=1, write=bought_at_once),
    Story(name="downgraded", share=1, write=downgraded),
    Story(name="ended", share=1, write=ended),
    Story(name="renewed_lately", share=0.7, write=renewed_lately),
)
