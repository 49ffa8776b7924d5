"""Sites that are in order, and look as if they were not: spent out, carried over, cancelled, overdue, just changed.

Each is a story that must never be reported.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.sandbox.scenarios.wix_app.author import FREE, Author, billed, bought_before, paying
from credit_pipeline.sandbox.scenarios.wix_app.life import Move, Script, State, fold, relabel, spend_all
from credit_pipeline.sandbox.wix.book import wire_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A story, and how common it is: of incidents a share of the population, of the healthy a weight."""

    name: str
    share: float
    write: Callable[[Author, str], Script]


def free(author: Author, kind: str) -> Script:
    """Pays nothing, spends now and then, until nothing is left."""
    return author.script(kind, State("free", 100, author.some(0, 100)), FREE, daily=author.some(0, 3))


def free_spent_out(author: Author, kind: str) -> Script:
    """Pays nothing, spent everything."""
    return author.script(kind, State("free", 100, 100), FREE)


def free_topped_up(author: Author, kind: str) -> Script:
    """Bought credits without a plan, before the watch began."""
    total = 100 * author.some(2, 9)
    return author.script(kind, State("free", total, author.some(0, total)), FREE)


def free_new(author: Author, kind: str) -> Script:
    """Installed during the watch."""
    return author.script(kind, State("free", 100, 0), FREE, daily=author.some(0, 9), installed=author.ago(1, 800))


def free_after_paying(author: Author, kind: str) -> Script:
    """Its subscription ended long ago; the credits were kept."""
    total = author.some(10, 60) * 100
    return author.script(kind, State("free", total, author.some(0, total)), FREE)


def paid(author: Author, kind: str) -> Script:
    """Pays every month and spends every day."""
    plan = author.paid_plan()
    return author.subscriber(kind, plan, daily=author.some(0, plan.credits // 25), renewed=author.ago(10, 620))


def paid_spent_out(author: Author, kind: str) -> Script:
    """Spent the whole month's credits: available 0, total at the allowance or above."""
    plan, renewed = author.paid_plan(), author.ago(60, 26 * 24)
    spent = Move(at=renewed + timedelta(hours=author.some(14, 50)), product=spend_all)
    total = plan.credits + author.random.choice((0, 0, author.some(1, plan.credits)))
    return author.subscriber(kind, plan, total=total, used=0, moves=[spent], renewed=renewed)


def carried_over(author: Author, kind: str) -> Script:
    """Has more than the plan gives, because credits were carried over at an upgrade: 1,200 on Starter's 1,000."""
    plan = author.paid_plan()
    surplus = author.random.choice((200, author.some(1, plan.credits)))
    return author.subscriber(kind, plan, total=plan.credits + surplus, daily=author.some(0, 20))


def cancelled_but_paid(author: Author, kind: str) -> Script:
    """Will not renew; live until the period's end."""
    renewed = author.ago(24, 620)
    ends = wire_time(add_months(renewed, 1))
    return author.subscriber(kind, author.paid_plan(), renewed=renewed, auto_renewing=False, expiration_date=ends)


def overdue(author: Author, kind: str) -> Script:
    """In dunning: Wix says isFree false with an expirationDate in the past. Still paid."""
    expired = wire_time(author.ago(24, 500))
    return author.subscriber(kind, author.paid_plan(), expiration_date=expired)


def yearly(author: Author, kind: str) -> Script:
    """Paid for a year, gets the month's credits every month."""
    renewed = author.ago(24, 620)
    anchor = bought_before(renewed, months=author.random.randint(2, 8))
    ends = wire_time(add_months(anchor, 12))
    plan = author.paid_plan()
    instance = paying(plan, anchor, billing_cycle="YEARLY", expiration_date=ends)
    moves = [Move(at=move.at, product=move.product, renewal=True) for move in author.renewals(anchor)]
    state = State(plan.label, plan.credits, author.some(0, plan.credits))
    return author.script(kind, state, instance, moves, daily=author.some(0, 40))


def typed_name(author: Author, kind: str) -> Script:
    """Wix sends a name where others have an id: `Pro+` is pro_plus, never pro."""
    name, plan = author.random.choice((("Pro+", "pro_plus"), ("Pro Plan", "pro"), ("STARTER", "starter")))
    return author.subscriber(kind, author.plan(plan), package_name=name)


def no_purchase_time(author: Author, kind: str) -> Script:
    """Wix sends no timeStamp, so no period can be told; the credits are there."""
    plan = author.paid_plan()
    state = State(plan.label, plan.credits, author.some(0, plan.credits))
    return author.script(kind, state, paying(plan, author.begin, time_stamp=None))


def upgraded(author: Author, kind: str) -> Script:
    """Bought a higher plan during the watch, and the product folded it in at once."""
    return _upgraded(author, kind, author.ago(8, 620))


def upgraded_lately(author: Author, kind: str) -> Script:
    """The same, since the newest observation."""
    return _upgraded(author, kind, author.lately())


def upgraded_late(author: Author, kind: str) -> Script:
    """The webhook came 13 hours after the purchase: a mismatch for a while, mended by the product itself."""
    return _upgraded(author, kind, author.ago(72, 620), delay=timedelta(hours=13))


def _upgraded(author: Author, kind: str, at: datetime, delay: timedelta = timedelta(0)) -> Script:
    plan = author.paid_plan(("starter", "pro"))
    bought = Move(at=at, billing=billed(plan, at))
    granted = Move(at=at + delay, product=fold(plan))
    return author.script(kind, State("free", 100, author.some(0, 100)), FREE, [bought, granted])


def on_trial(author: Author, kind: str) -> Script:
    """In its free trial: isFree false, freeTrialInfo IN_PROGRESS. Counts as paid."""
    at, plan = author.ago(24, 300), author.plan("pro")
    trial = {"free_trial": "IN_PROGRESS", "free_trial_ends": wire_time(at + timedelta(days=14))}
    began = Move(at=at, product=fold(plan), billing=billed(plan, at) | trial)
    return author.script(kind, State("free", 100, author.some(0, 60)), FREE, [began], daily=author.some(0, 90))


def bought_at_once(author: Author, kind: str) -> Script:
    """Installed and paid within minutes, during the watch."""
    at, plan = author.ago(8, 620), author.paid_plan()
    start = State(plan.label, 100 + plan.credits, 0)
    return author.script(kind, start, paying(plan, at - timedelta(minutes=9)), installed=at, daily=author.some(0, 50))


def downgraded(author: Author, kind: str) -> Script:
    """Went to a lower plan; the credits were kept."""
    at, plan = author.ago(8, 300), author.plan("starter")
    went = Move(at=at, product=relabel(plan.label), billing=billed(plan, at))
    return author.subscriber(kind, author.plan("pro"), moves=[went])


def ended(author: Author, kind: str) -> Script:
    """Stopped paying during the watch; the product wrote `free` at once and kept the credits."""
    went = Move(at=author.some_day(), product=relabel("free"), billing={"is_free": True})
    return author.subscriber(kind, author.paid_plan(), moves=[went])


def renewed_lately(author: Author, kind: str) -> Script:
    """Its period began since the newest observation and `used` was zeroed as it should be."""
    plan = author.paid_plan()
    return author.subscriber(kind, plan, used=author.some(1, plan.credits), renewed=author.ago(1.5, 5))


HEALTHY = (
    Kind(name="free", share=30, write=free),
    Kind(name="free_spent_out", share=9, write=free_spent_out),
    Kind(name="free_topped_up", share=2, write=free_topped_up),
    Kind(name="free_new", share=3, write=free_new),
    Kind(name="free_after_paying", share=2, write=free_after_paying),
    Kind(name="paid", share=25, write=paid),
    Kind(name="paid_spent_out", share=6, write=paid_spent_out),
    Kind(name="carried_over", share=5, write=carried_over),
    Kind(name="cancelled_but_paid", share=3, write=cancelled_but_paid),
    Kind(name="overdue", share=2, write=overdue),
    Kind(name="yearly", share=3, write=yearly),
    Kind(name="typed_name", share=1, write=typed_name),
    Kind(name="no_purchase_time", share=0.3, write=no_purchase_time),
    Kind(name="upgraded", share=2, write=upgraded),
    Kind(name="upgraded_lately", share=0.5, write=upgraded_lately),
    Kind(name="upgraded_late", share=0.5, write=upgraded_late),
    Kind(name="on_trial", share=2, write=on_trial),
    Kind(name="bought_at_once", share=1, write=bought_at_once),
    Kind(name="downgraded", share=1, write=downgraded),
    Kind(name="ended", share=1, write=ended),
    Kind(name="renewed_lately", share=0.7, write=renewed_lately),
)
