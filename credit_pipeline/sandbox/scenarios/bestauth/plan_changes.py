"""Users of bestauth with correct changes: trials, upgrades, late webhooks, late payments.

None of these stories may be reported.
"""

from datetime import datetime, timedelta

from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.sandbox.scenarios.bestauth.contract import DRAFT, FLOOR, Contract, Handling
from credit_pipeline.sandbox.scenarios.bestauth.healthy import paid_plan, spending, subscriber
from credit_pipeline.sandbox.scenarios.bestauth.life import Patch, Script
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import UserScenario
from credit_pipeline.sandbox.scenarios.bestauth.tables import relabels
from credit_pipeline.sandbox.scenarios.seeded_values import bought_before
from credit_pipeline.sandbox.scenarios.stories import Story


def on_trial(user: UserScenario) -> Script:
    """In the trial: an invoice of zero was paid, and the plan's points were granted."""
    start, plan = user.builder.ago(24, 300), user.builder.plan("pro")
    user.sign_up(start - timedelta(hours=2))
    Contract(user, plan, start, trial=timedelta(days=14))
    return user.script(daily=spending(user, plan), floor=FLOOR)


def after_trial(user: UserScenario) -> Script:
    """The trial became a subscription: one grant for the trial, one for the first month."""
    first, plan = user.builder.ago(24, 500), user.builder.plan("pro")
    start = first - timedelta(days=14)
    user.sign_up(start - timedelta(hours=2))
    Contract(user, plan, start, trial=timedelta(days=14)).live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


def cancelled_but_paid(user: UserScenario) -> Script:
    """Will not renew; live until the period's end."""
    plan = paid_plan(user)
    subscriber(user, plan).live().cancel_at_end(user.builder.some_day())
    return user.script(daily=spending(user, plan), floor=FLOOR)


def upgraded(user: UserScenario) -> Script:
    """Went from pro to business in mid-period; the product granted the new allowance at once."""
    return _upgraded(user, Handling())


def upgraded_late(user: UserScenario) -> Script:
    """The same, and the webhook came 13 hours later: a mismatch for a while, mended by the product itself."""
    return _upgraded(user, Handling(delay=timedelta(hours=13)))


def _upgraded(user: UserScenario, handled: Handling) -> Script:
    pro, business = user.builder.plan("pro"), user.builder.plan("business")
    at = user.builder.ago(20, 240)
    subscriber(user, pro).live(at).change(at, business, handled)
    return user.script(daily=spending(user, business), floor=FLOOR)


def downgraded(user: UserScenario) -> Script:
    """Went from business to pro in mid-period: the label changed, the points were kept."""
    at = user.builder.ago(8, 240)
    subscriber(user, user.builder.plan("business")).live(at).change(at, user.builder.plan("pro"), billed=False)
    return user.script(daily=20, floor=FLOOR)


def switched_to_yearly(user: UserScenario) -> Script:
    """Went from pro by the month to pro by the year in mid-period: nothing is due at the switch itself."""
    pro, renewed = user.builder.plan("pro"), user.builder.ago(40 * 24, 55 * 24)
    switched = (renewed + timedelta(days=user.builder.some(5, 12))).replace(hour=11)
    switched = switched.replace(day=min(switched.day, 28))
    contract = subscriber(user, pro, renewed=renewed)
    contract.live(switched).switch_to_yearly(switched).live()
    return user.script(daily=spending(user, pro), floor=FLOOR)


def ended(user: UserScenario) -> Script:
    """Stopped paying during the watch; the product wrote `free` at once and kept the points."""
    at = user.builder.some_day()
    subscriber(user, paid_plan(user)).live(at).end(at)
    return user.script(daily=user.builder.some(0, 9))


def resubscribed(user: UserScenario) -> Script:
    """An older subscription ended some weeks ago; a new one began since, perhaps to another plan."""
    first = subscriber(user, paid_plan(user), renewed=user.builder.ago(50 * 24, 58 * 24))
    over = user.builder.ago(40 * 24, 45 * 24)
    first.live(over).end(over)
    plan = paid_plan(user)
    Contract(user, plan, user.builder.ago(3 * 24, 26 * 24)).live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


def subscribed_lately(user: UserScenario) -> Script:
    """Bought since the newest observation."""
    user.sign_up()
    plan = paid_plan(user)
    Contract(user, plan, user.builder.lately())
    return user.script(floor=FLOOR)


def renewed_lately(user: UserScenario) -> Script:
    """The period began and was paid since the newest observation."""
    plan = paid_plan(user)
    subscriber(user, plan, renewed=user.builder.ago(1.3, 5)).live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


def heard_late(user: UserScenario) -> Script:
    """The renewal's webhook was retried for a day and a half before it came through."""
    plan = paid_plan(user)
    subscriber(user, plan).live(last=Handling(delay=timedelta(hours=35)))
    return user.script(daily=spending(user, plan), floor=FLOOR)


def overdue_and_paid(user: UserScenario) -> Script:
    """The renewal's payment failed, and went through on the fifth day: granted then, and once."""
    plan, at = paid_plan(user), user.builder.ago(9 * 24, 25 * 24)
    contract = subscriber(user, plan, renewed=at).live(at - timedelta(seconds=1))
    invoice = contract.renewal(status="open")
    contract.patch(at + DRAFT, status="past_due")
    user.do(at + DRAFT + timedelta(seconds=20), relabels(user.account, status="past_due"))
    paid_at = at + timedelta(days=5)
    contract.patch(paid_at, status="active")
    contract.pay(invoice, paid_at)
    return user.script(daily=spending(user, plan), floor=FLOOR)


def anchored_on_the_31st(user: UserScenario) -> Script:
    """Renews on 31 January, 28 February, 31 March, with no renewal due around the present."""
    plan, present = paid_plan(user), user.builder.present
    starts = [s for back in range(4, 12) for s in [_on_the_31st(add_months(present, -back))] if s is not None]
    fitting = [s for s in starts if _clear_of(s, present)]
    start = user.random.choice(fitting) if fitting else bought_before(user.builder.ago(24, 620), months=4)
    user.sign_up(start - timedelta(days=1))
    Contract(user, plan, start).live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


def _on_the_31st(moment: datetime) -> datetime | None:
    try:
        return moment.replace(day=31, hour=10, minute=0, second=0)
    except ValueError:
        return None


def _clear_of(start: datetime, present: datetime) -> bool:
    """Whether no period starts in the two hours before the present or the day after it."""
    dues = (add_months(start, number) for number in range(14))
    return not any(present - timedelta(hours=2) < due < present + timedelta(hours=30) for due in dues)


def void_draft(user: UserScenario) -> Script:
    """An invoice of the period was made by mistake and voided; the right one was paid."""
    plan = paid_plan(user)
    contract = subscriber(user, plan).live()
    at = contract.term[0] + timedelta(hours=3)
    extra = contract.bill(at, None)
    user.bill(at + timedelta(hours=1), Patch(extra.id, {"status": "void"}))
    return user.script(daily=spending(user, plan), floor=FLOOR)


PLAN_CHANGES = (
    Story(name="on_trial", share=2, write=on_trial),
    Story(name="after_trial", share=1, write=after_trial),
    Story(name="cancelled_but_paid", share=2, write=cancelled_but_paid),
    Story(name="upgraded", share=1.5, write=upgraded),
    Story(name="upgraded_late", share=0.5, write=upgraded_late),
    Story(name="downgraded", share=0.7, write=downgraded),
    Story(name="switched_to_yearly", share=0.4, write=switched_to_yearly),
    Story(name="ended", share=1, write=ended),
    Story(name="resubscribed", share=1, write=resubscribed),
    Story(name="subscribed_lately", share=0.5, write=subscribed_lately),
    Story(name="renewed_lately", share=0.7, write=renewed_lately),
    Story(name="heard_late", share=0.5, write=heard_late),
    Story(name="overdue_and_paid", share=0.7, write=overdue_and_paid),
    Story(name="anchored_on_the_31st", share=0.5, write=anchored_on_the_31st),
    Story(name="void_draft", share=0.3, write=void_draft),
)
