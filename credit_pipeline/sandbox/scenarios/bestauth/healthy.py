"""Users of bestauth who are in order and may look wrong: points spent, the id in the metadata, yearly plans.

None of these stories may be reported.
"""

import uuid
from datetime import datetime, timedelta

from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.sandbox.scenarios.bestauth.contract import FLOOR, Contract
from credit_pipeline.sandbox.scenarios.bestauth.life import Script
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import UserScenario
from credit_pipeline.sandbox.scenarios.bestauth.tables import ADJUSTMENT, BONUS, Failure, adds, puts, spends_down_to
from credit_pipeline.sandbox.scenarios.seeded_values import bought_before
from credit_pipeline.sandbox.scenarios.stories import Story


def paid_plan(user: UserScenario) -> Plan:
    """A plan that is billed by the month; the small one is more common."""
    return user.builder.plan(user.random.choice(("pro", "pro", "pro", "business")))


def subscriber(
    user: UserScenario,
    plan: Plan,
    *,
    renewed: datetime | None = None,
    months: int | None = None,
    yearly: bool = False,
    mapped: bool = True,
    quantity: int = 1,
    named_by: str = "subscription",
    metadata: dict[str, str] | None = None,
) -> Contract:
    """Signs the user up and subscribes her some months ago. Call `live` to add what happened since.

    `renewed` is the start of the present period. By default it lies before all moments of `some_day`, and no renewal
    falls due within a day of the present.
    """
    renewed = renewed or user.builder.ago(15 * 24, 26 * 24)
    if yearly:  # so that every month of the year has the day
        renewed = renewed.replace(day=min(renewed.day, 28))
    start = bought_before(renewed, months=user.builder.some(3, 9) if months is None else months)
    user.sign_up(start - timedelta(hours=user.builder.some(1, 2_000)), mapped=mapped)
    return Contract(user, plan, start, yearly=yearly, quantity=quantity, named_by=named_by, metadata=metadata)


def spending(user: UserScenario, plan: Plan) -> int:
    """The points a subscriber spends on an average day."""
    return user.builder.some(0, plan.credits // 40)


def free(user: UserScenario) -> Script:
    """Pays nothing, spends now and then until nothing is left."""
    user.sign_up()
    return user.script(daily=user.builder.some(0, 3))


def free_without_row(user: UserScenario) -> Script:
    """The app writes the tier row only when somebody buys."""
    user.sign_up(tier=False)
    return user.script(daily=user.builder.some(0, 2))


def free_new(user: UserScenario) -> Script:
    """Signed up during the watch."""
    user.sign_up(user.builder.ago(1, 800))
    return user.script(daily=user.builder.some(0, 9))


def free_spent_out(user: UserScenario) -> Script:
    """Spent everything; the next deduction failed."""
    user.sign_up()
    at = user.builder.ago(0.1, 300)
    failed = Failure(user.account, user.builder.some(1, 30), "not enough points", at + timedelta(seconds=9))
    user.do(at, spends_down_to(user.account, 0))
    user.do(failed.created_at, puts(failed))
    return user.script()


def free_topped_up(user: UserScenario) -> Script:
    """Bought points without a plan."""
    user.sign_up()
    user.buys(user.builder.ago(2, 1_500), 100 * user.builder.some(5, 90))
    return user.script(daily=user.builder.some(0, 20))


def registered(user: UserScenario) -> Script:
    """Known to the auth system alone: neither mapping, nor account, nor subscription."""
    user.register()
    return user.script(counted=False)


def paid(user: UserScenario) -> Script:
    """Pays every month and spends every day."""
    plan = paid_plan(user)
    subscriber(user, plan, renewed=user.builder.ago(10, 620)).live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


def paid_with_purchases(user: UserScenario) -> Script:
    """Buys more points beside the plan, as many as the plan gives, and was given a bonus and a correction by hand."""
    plan = paid_plan(user)
    subscriber(user, plan).live()
    user.buys(user.builder.ago(8, 700), plan.credits)
    user.buys(user.builder.ago(1, 300), 100 * user.builder.some(1, 20))
    user.do(user.builder.ago(8, 1_200), adds(user.account, 150, BONUS, text="referral"))
    user.do(user.builder.ago(8, 1_200), adds(user.account, -40, ADJUSTMENT, text="support"))
    return user.script(daily=spending(user, plan), floor=FLOOR)


def paid_spent_down(user: UserScenario) -> Script:
    """A few points are left of the month's: spent, not missing."""
    plan = paid_plan(user)
    subscriber(user, plan).live()
    user.do(user.builder.some_day(), spends_down_to(user.account, user.builder.some(1, 30)))
    return user.script()


def same_id(user: UserScenario) -> Script:
    """The store took over the auth system's id, and the mapping says so too."""
    user.account = user.auth_id
    plan = paid_plan(user)
    subscriber(user, plan).live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


def metadata_too(user: UserScenario) -> Script:
    """All keys of the metadata name the account that the mapping names."""
    keys = ("resolved_supabase_user_id", "supabase_user_id", "original_userId")
    plan = paid_plan(user)
    subscriber(user, plan, metadata=dict.fromkeys(keys, user.account)).live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


def named_by_customer(user: UserScenario) -> Script:
    """Stripe names the user in the customer's metadata, not in the subscription's."""
    plan = paid_plan(user)
    subscriber(user, plan, named_by="customer").live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


def named_by_local_row(user: UserScenario) -> Script:
    """Stripe names nobody; the product's own row knows whose subscription it is."""
    plan = paid_plan(user)
    subscriber(user, plan, named_by="nothing").live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


def yearly_drip(user: UserScenario) -> Script:
    """Paid for a year, gets the month's points every month from the anchor."""
    pro = user.builder.plan("pro")
    subscriber(user, pro, renewed=user.builder.ago(24, 590), months=user.builder.some(0, 10), yearly=True).live()
    return user.script(daily=spending(user, pro), floor=FLOOR)


def yearly_upfront(user: UserScenario) -> Script:
    """Paid for a year, got twelve months' points at once."""
    annual = user.builder.plan("annual")
    subscriber(user, annual, renewed=user.builder.ago(24, 7_000), months=0, yearly=True).live()
    return user.script(daily=spending(user, annual), floor=FLOOR)


def another_key(user: UserScenario) -> Script:
    """The metadata holds a word that is no id beside the one that counts."""
    plan = paid_plan(user)
    odd = {"resolved_supabase_user_id": "pending", "supabase_user_id": user.account, "session": str(uuid.UUID(int=0))}
    subscriber(user, plan, metadata=odd).live()
    return user.script(daily=spending(user, plan), floor=FLOOR)


PLAIN = (
    Story(name="free", share=34, write=free),
    Story(name="free_without_row", share=4, write=free_without_row),
    Story(name="free_new", share=3, write=free_new),
    Story(name="free_spent_out", share=5, write=free_spent_out),
    Story(name="free_topped_up", share=2, write=free_topped_up),
    Story(name="paid", share=21, write=paid),
    Story(name="paid_with_purchases", share=3, write=paid_with_purchases),
    Story(name="paid_spent_down", share=3, write=paid_spent_down),
    Story(name="same_id", share=2, write=same_id),
    Story(name="metadata_too", share=2, write=metadata_too),
    Story(name="named_by_customer", share=2, write=named_by_customer),
    Story(name="named_by_local_row", share=1, write=named_by_local_row),
    Story(name="yearly_drip", share=3, write=yearly_drip),
    Story(name="yearly_upfront", share=2, write=yearly_upfront),
    Story(name="another_key", share=0.5, write=another_key),
)
OUTSIDE = Story(name="registered", share=0.05, write=registered)
"""Users outside the population; `share` is relative to its size."""
