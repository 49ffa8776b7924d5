"""Lives that the issue names, each played beside all others: what happens to one customer, and when.

What must have come of each is `ledger_fates.py`'s. Dates are of winter and spring 2026; runs begin at FIRST_RUN.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from credit_pipeline_tests.simulation.ledger_life import (
    DAY,
    HOUR,
    LOST,
    MINUTE,
    ON_TIME,
    TWICE,
    Customer,
    Fate,
    LedgerLife,
)

WORLD_BEGINS = datetime(2025, 11, 1, tzinfo=UTC)
FIRST_RUN = datetime(2026, 1, 27, tzinfo=UTC)
LAST_NAMED = datetime(2026, 4, 2, tzinfo=UTC)
"""By then everything named has happened."""

Script = Callable[[LedgerLife], None]
LIVES: dict[str, Script] = {}


def day(month: int, of_month: int, hour: int = 9, minute: int = 0) -> datetime:
    """An instant of 2026, or of the last months of 2025."""
    return datetime(2025 if month > 6 else 2026, month, of_month, hour, minute, tzinfo=UTC)


def _life(script: Script) -> Script:
    LIVES[script.__name__] = script
    return script


def _user(life: LedgerLife, name: str, *fates: Fate, **facts: object) -> Customer:
    return life.sign_up(name, fates, **facts)


@_life
def healthy(life: LedgerLife) -> None:
    who = _user(life, "healthy")
    life.at(day(1, 10, 9, 30), lambda: life.subscribe(who, "pro"))


@_life
def upgrade_missed(life: LedgerLife) -> None:
    who = _user(life, "upgrade_missed", ON_TIME, ON_TIME, LOST)
    life.at(day(1, 10, 9, 30), lambda: life.subscribe(who, "starter"))
    life.at(day(2, 20, 14), lambda: life.change(who, "pro"))


@_life
def upgrade_late(life: LedgerLife) -> None:
    who = _user(life, "upgrade_late", ON_TIME, ON_TIME, (30 * HOUR,))
    life.at(day(1, 10, 10, 30), lambda: life.subscribe(who, "starter"))
    life.at(day(2, 20, 15), lambda: life.change(who, "pro"))


@_life
def upgrade_unbilled(life: LedgerLife) -> None:
    who = _user(life, "upgrade_unbilled", ON_TIME, ON_TIME, LOST)
    life.at(day(1, 10, 11, 30), lambda: life.subscribe(who, "starter"))
    life.at(day(2, 20, 16), lambda: life.change(who, "business", billed=False))


@_life
def yearly_upfront(life: LedgerLife) -> None:
    who = _user(life, "yearly_upfront", LOST)
    life.at(day(2, 5, 10), lambda: life.subscribe(who, "business", "year"))


@_life
def yearly_upfront_delivered(life: LedgerLife) -> None:
    who = _user(life, "yearly_upfront_delivered")
    life.at(day(2, 5, 11), lambda: life.subscribe(who, "business", "year"))


@_life
def drip_31_january(life: LedgerLife) -> None:
    who = life.sign_up("drip_31_january", lambda: LOST)
    life.at(day(1, 31), lambda: life.subscribe(who, "pro", "year"))


@_life
def drip_31_january_delivered(life: LedgerLife) -> None:
    who = _user(life, "drip_31_january_delivered")
    life.at(day(1, 31, 10), lambda: life.subscribe(who, "pro", "year"))


@_life
def calendar_drip(life: LedgerLife) -> None:
    """Since November; never granted but on the 1st."""
    who = _user(life, "calendar_drip", calendar=True)
    life.at(day(11, 15, 12), lambda: life.subscribe(who, "pro", "year"))
    life.at(day(12, 1, 0, 10), lambda: life.grant_on_the_first(who, day(12, 1, 0)))


@_life
def calendar_drip_begun_meanwhile(life: LedgerLife) -> None:
    """Its first month looks like a lost webhook, and is granted by us before the product's first 1st."""
    who = _user(life, "calendar_drip_begun_meanwhile", calendar=True)
    life.at(day(2, 15, 12), lambda: life.subscribe(who, "pro", "year"))
    life.at(day(3, 1, 0, 10), lambda: life.grant_on_the_first(who, day(3, 1, 0)))


@_life
def calendar_drip_from_the_purchase(life: LedgerLife) -> None:
    """Granted at the purchase, and from then on the 1st."""
    who = _user(life, "calendar_drip_from_the_purchase", calendar=True)
    life.at(day(2, 12, 12), lambda: life.subscribe(who, "pro", "year"))
    life.at(day(2, 12, 12, 5), lambda: life.grant_first(who))
    life.at(day(3, 1, 0, 10), lambda: life.grant_on_the_first(who, day(3, 1, 0)))


@_life
def invoice_open_for_hours(life: LedgerLife) -> None:
    who = _user(life, "invoice_open_for_hours", ON_TIME, LOST, pays_after=9 * HOUR)
    life.at(day(1, 12, 10), lambda: life.subscribe(who, "starter"))


@_life
def dunning_paid_on_day_5(life: LedgerLife) -> None:
    who = _user(life, "dunning_paid_on_day_5", ON_TIME, LOST, fails_for=5 * DAY)
    life.at(day(1, 8, 11), lambda: life.subscribe(who, "pro"))


@_life
def dunning_delivered(life: LedgerLife) -> None:
    who = _user(life, "dunning_delivered", fails_for=5 * DAY)
    life.at(day(1, 8, 12), lambda: life.subscribe(who, "pro"))


@_life
def trial_converted(life: LedgerLife) -> None:
    who = _user(life, "trial_converted")
    life.at(day(2, 3, 15), lambda: life.subscribe(who, "starter", trial=14 * DAY))


@_life
def trial_lost(life: LedgerLife) -> None:
    who = _user(life, "trial_lost", LOST)
    life.at(day(2, 3, 16), lambda: life.subscribe(who, "starter", trial=14 * DAY))


@_life
def conversion_lost(life: LedgerLife) -> None:
    who = _user(life, "conversion_lost", ON_TIME, LOST)
    life.at(day(2, 3, 17), lambda: life.subscribe(who, "starter", trial=14 * DAY))


@_life
def resubscribed(life: LedgerLife) -> None:
    _resubscribes(life, "resubscribed", ON_TIME)


@_life
def resubscribed_lost(life: LedgerLife) -> None:
    _resubscribes(life, "resubscribed_lost", LOST)


def _resubscribes(life: LedgerLife, name: str, fate: Fate) -> None:
    who = _user(life, name, ON_TIME, ON_TIME, fate)
    life.at(day(1, 9, 12), lambda: life.subscribe(who, "pro"))
    life.at(day(1, 29, 12), lambda: life.cancel(who))
    life.at(day(2, 14, 16), lambda: life.subscribe(who, "pro"))


@_life
def two_live(life: LedgerLife) -> None:
    who = _user(life, "two_live")
    life.at(day(1, 6, 9), lambda: life.subscribe(who, "starter"))
    life.at(day(2, 18, 13), lambda: life.subscribe(who, "pro"))


@_life
def two_live_lost(life: LedgerLife) -> None:
    """The renewal of the higher one is lost, after the lower one's second renewal beside it."""
    who = _user(life, "two_live_lost", ON_TIME, ON_TIME, ON_TIME, ON_TIME, LOST)
    life.at(day(1, 6, 10), lambda: life.subscribe(who, "starter"))
    life.at(day(2, 18, 14), lambda: life.subscribe(who, "pro"))


@_life
def downgrade_in_mid_period(life: LedgerLife) -> None:
    who = _user(life, "downgrade_in_mid_period", ON_TIME, ON_TIME, LOST)
    life.at(day(1, 11, 9), lambda: life.subscribe(who, "pro"))
    life.at(day(2, 22, 9), lambda: life.change(who, "starter"))


@_life
def downgrade_at_renewal(life: LedgerLife) -> None:
    who = _user(life, "downgrade_at_renewal", ON_TIME, ON_TIME, LOST)
    life.at(day(1, 11, 10), lambda: life.subscribe(who, "pro"))

    def scheduled() -> None:
        who.sold.next_plan = "starter"

    life.at(day(2, 22, 10), scheduled)


@_life
def to_yearly(life: LedgerLife) -> None:
    """January and February by the month, the switch on 17 February; then the webhook of 17 March is lost."""
    who = _user(life, "to_yearly", ON_TIME, ON_TIME, ON_TIME, LOST)
    life.at(day(1, 7, 9), lambda: life.subscribe(who, "pro"))
    life.at(day(2, 17, 9), lambda: life.to_yearly(who))


@_life
def webhook_twice(life: LedgerLife) -> None:
    who = _user(life, "webhook_twice", ON_TIME, TWICE)
    life.at(day(1, 13, 9), lambda: life.subscribe(who, "pro"))


@_life
def purchase_of_an_allowance(life: LedgerLife) -> None:
    who = _user(life, "purchase_of_an_allowance", ON_TIME, LOST)
    life.at(day(1, 14, 9), lambda: life.subscribe(who, "pro"))
    life.at(day(2, 14, 10, 20), lambda: life.buy_credits(who, 5_000))


@_life
def on_the_boundary(life: LedgerLife) -> None:
    """Its periods begin at the instants of runs, and are paid at once."""
    who = _user(life, "on_the_boundary", ON_TIME, LOST, LOST, pays_after=timedelta(0))
    life.at(day(1, 18, 6), lambda: life.subscribe(who, "starter"))


@_life
def across_the_boundary(life: LedgerLife) -> None:
    """An upgrade is planned to be granted at 12:00; at 12:05, before it is written, the next period begins."""
    who = _user(life, "across_the_boundary", ON_TIME, LOST, ON_TIME, pays_after=timedelta(0))
    life.at(day(1, 19, 12, 5), lambda: life.subscribe(who, "starter"))
    life.at(day(2, 19, 9), lambda: life.change(who, "pro"))


@_life
def support_gave_it(life: LedgerLife) -> None:
    who = _user(life, "support_gave_it", ON_TIME, LOST)
    life.at(day(1, 16, 7), lambda: life.subscribe(who, "starter"))

    def give() -> None:
        life.by_hand(who, 1_000, life.truth.of(who.account)[-1])

    life.at(day(2, 16, 9, 30), give)


@_life
def late_by_three_days(life: LedgerLife) -> None:
    who = _user(life, "late_by_three_days", ON_TIME, (70 * HOUR,))
    life.at(day(1, 17, 8), lambda: life.subscribe(who, "starter"))


def random_life(life: LedgerLife, number: int, until: datetime) -> None:
    """A customer of whom nothing is planned: webhooks lost, late, doubled, and changes in mid-month."""
    chance = life.random

    def fate() -> Fate:
        late = timedelta(minutes=chance.randint(20, 72 * 60))
        return chance.choices([ON_TIME, (late,), (3 * MINUTE, late), LOST], [64, 14, 7, 15])[0]

    who = life.sign_up(f"random_{number}", fate, pays_after=timedelta(minutes=chance.choice([0, 60, 70, 500])))
    begins = WORLD_BEGINS + timedelta(seconds=chance.randint(20 * 86_400, 110 * 86_400))
    interval = chance.choice(["month", "month", "month", "year"])
    life.at(begins, lambda: life.subscribe(who, chance.choice(["starter", "pro", "business"]), interval))
    month = begins + 14 * DAY
    while month < until:
        life.at(month + timedelta(hours=chance.randint(0, 48)), lambda: _something(life, who))
        month += timedelta(days=31)


def _something(life: LedgerLife, who: Customer) -> None:
    """One turn of a random life, in the middle of a month."""
    sold, chance = who.sold, life.random
    turn = chance.choices(
        ["nothing", "up", "down", "cancel", "return", "buy", "dunning", "yearly"], [30, 15, 8, 8, 8, 10, 8, 5]
    )[0]
    by_month = sold.interval == "month"
    if sold.over:
        if turn in {"return", "up", "yearly"}:
            life.subscribe(who, chance.choice(["starter", "pro", "business"]))
        return
    if turn == "up" and by_month and sold.plan != "business":
        life.change(who, "business" if sold.plan == "pro" else "pro", billed=chance.random() < 0.7)
    elif turn == "down" and by_month and sold.plan != "starter":
        if chance.random() < 0.5:
            life.change(who, "starter")
        else:
            sold.next_plan = "starter"
    elif turn == "cancel":
        life.cancel(who)
    elif turn == "buy":
        life.buy_credits(who, chance.choice([300, 1_000, 5_000, 15_000]))
    elif turn == "dunning":
        who.fails_for = timedelta(days=chance.randint(2, 9))
    elif turn == "yearly" and by_month and sold.plan in {"starter", "pro"}:
        life.to_yearly(who)
