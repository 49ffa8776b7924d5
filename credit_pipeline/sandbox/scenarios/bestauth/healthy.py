"""Users of bestauth who are in order, and may look as if they were not: spent down, spent out, named here or there.

Each is a story that must never be reported. Those to whom more happened are in `bestauth_turns.py`.
"""

import uuid
from datetime import datetime, timedelta

from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.sandbox.scenarios.bestauth.contract import FLOOR, Contract
from credit_pipeline.sandbox.scenarios.bestauth.life import Script
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import Story, Tale
from credit_pipeline.sandbox.scenarios.bestauth.tables import ADJUSTMENT, BONUS, Failure, adds, puts, spends_down_to
from credit_pipeline.sandbox.scenarios.wix_app.author import bought_before


def paid_plan(tale: Tale) -> Plan:
    """A plan that is billed by the month; the small one is more common."""
    return tale.teller.plan(tale.random.choice(("pro", "pro", "pro", "business")))


def subscriber(
    tale: Tale,
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
    """Signed up, subscribed some months ago; what happened since is still to be told with `live`.

    `renewed` is the start of the present period: by default old enough for what happens `some_day` to come after it,
    and young enough for no renewal to fall due within a day of the present.
    """
    renewed = renewed or tale.teller.ago(15 * 24, 26 * 24)
    if yearly:  # so that every month of the year has the day
        renewed = renewed.replace(day=min(renewed.day, 28))
    start = bought_before(renewed, months=tale.teller.some(3, 9) if months is None else months)
    tale.sign_up(start - timedelta(hours=tale.teller.some(1, 2_000)), mapped=mapped)
    return Contract(tale, plan, start, yearly=yearly, quantity=quantity, named_by=named_by, metadata=metadata)


def spending(tale: Tale, plan: Plan) -> int:
    """What a subscriber spends on a day."""
    return tale.teller.some(0, plan.credits // 40)


def free(tale: Tale) -> Script:
    """Pays nothing, spends now and then until nothing is left."""
    tale.sign_up()
    return tale.told(daily=tale.teller.some(0, 3))


def free_without_row(tale: Tale) -> Script:
    """The app writes the tier row only when somebody buys."""
    tale.sign_up(tier=False)
    return tale.told(daily=tale.teller.some(0, 2))


def free_new(tale: Tale) -> Script:
    """Signed up during the watch."""
    tale.sign_up(tale.teller.ago(1, 800))
    return tale.told(daily=tale.teller.some(0, 9))


def free_spent_out(tale: Tale) -> Script:
    """Spent everything; the next deduction failed."""
    tale.sign_up()
    at = tale.teller.ago(0.1, 300)
    failed = Failure(tale.account, tale.teller.some(1, 30), "not enough points", at + timedelta(seconds=9))
    tale.do(at, spends_down_to(tale.account, 0))
    tale.do(failed.created_at, puts(failed))
    return tale.told()


def free_topped_up(tale: Tale) -> Script:
    """Bought points without a plan."""
    tale.sign_up()
    tale.buys(tale.teller.ago(2, 1_500), 100 * tale.teller.some(5, 90))
    return tale.told(daily=tale.teller.some(0, 20))


def registered(tale: Tale) -> Script:
    """Known to the auth system alone: neither mapping, nor account, nor subscription."""
    tale.register()
    return tale.told(counted=False)


def paid(tale: Tale) -> Script:
    """Pays every month and spends every day."""
    plan = paid_plan(tale)
    subscriber(tale, plan, renewed=tale.teller.ago(10, 620)).live()
    return tale.told(daily=spending(tale, plan), floor=FLOOR)


def paid_with_purchases(tale: Tale) -> Script:
    """Buys more points beside the plan, as many as the plan gives, and was given a bonus and a correction by hand."""
    plan = paid_plan(tale)
    subscriber(tale, plan).live()
    tale.buys(tale.teller.ago(8, 700), plan.credits)
    tale.buys(tale.teller.ago(1, 300), 100 * tale.teller.some(1, 20))
    tale.do(tale.teller.ago(8, 1_200), adds(tale.account, 150, BONUS, text="referral"))
    tale.do(tale.teller.ago(8, 1_200), adds(tale.account, -40, ADJUSTMENT, text="support"))
    return tale.told(daily=spending(tale, plan), floor=FLOOR)


def paid_spent_down(tale: Tale) -> Script:
    """A few points are left of the month's: spent, not missing."""
    plan = paid_plan(tale)
    subscriber(tale, plan).live()
    tale.do(tale.teller.some_day(), spends_down_to(tale.account, tale.teller.some(1, 30)))
    return tale.told()


def same_id(tale: Tale) -> Script:
    """The store took over the auth system's id, and the mapping says so too."""
    tale.account = tale.user
    plan = paid_plan(tale)
    subscriber(tale, plan).live()
    return tale.told(daily=spending(tale, plan), floor=FLOOR)


def metadata_too(tale: Tale) -> Script:
    """All keys of the metadata name the account that the mapping names."""
    keys = ("resolved_supabase_user_id", "supabase_user_id", "original_userId")
    plan = paid_plan(tale)
    subscriber(tale, plan, metadata=dict.fromkeys(keys, tale.account)).live()
    return tale.told(daily=spending(tale, plan), floor=FLOOR)


def named_by_customer(tale: Tale) -> Script:
    """Stripe names the user in the customer's metadata, not in the subscription's."""
    plan = paid_plan(tale)
    subscriber(tale, plan, named_by="customer").live()
    return tale.told(daily=spending(tale, plan), floor=FLOOR)


def named_by_local_row(tale: Tale) -> Script:
    """Stripe names nobody; the product's own row knows whose subscription it is."""
    plan = paid_plan(tale)
    subscriber(tale, plan, named_by="nothing").live()
    return tale.told(daily=spending(tale, plan), floor=FLOOR)


def yearly_drip(tale: Tale) -> Script:
    """Paid for a year, gets the month's points every month from the anchor."""
    pro = tale.teller.plan("pro")
    subscriber(tale, pro, renewed=tale.teller.ago(24, 590), months=tale.teller.some(0, 10), yearly=True).live()
    return tale.told(daily=spending(tale, pro), floor=FLOOR)


def yearly_upfront(tale: Tale) -> Script:
    """Paid for a year, got twelve months' points at once."""
    annual = tale.teller.plan("annual")
    subscriber(tale, annual, renewed=tale.teller.ago(24, 7_000), months=0, yearly=True).live()
    return tale.told(daily=spending(tale, annual), floor=FLOOR)


def another_key(tale: Tale) -> Script:
    """The metadata holds a word that is no id beside the one that counts."""
    plan = paid_plan(tale)
    odd = {"resolved_supabase_user_id": "pending", "supabase_user_id": tale.account, "session": str(uuid.UUID(int=0))}
    subscriber(tale, plan, metadata=odd).live()
    return tale.told(daily=spending(tale, plan), floor=FLOOR)


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
"""Users beside the population, as a share of it."""
