"""The hand that writes scripts: draws ids, times and numbers from the seed, and knows how a site of wix_app looks.

Which stories there are is in `healthy.py` and `incidents.py`; bestauth's own author is in `bestauth_tale.py`.
"""

import random
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.sandbox.scenarios.wix_app.life import Move, Planted, Script, State, renew, spend
from credit_pipeline.sandbox.wix.book import Instance, wire_time

WATCH = timedelta(days=35)
"""How far back the sandbox's past goes."""
LAST_LOOK = timedelta(hours=6)
"""The newest observation is this old; what happened since is seen by nobody yet."""
FREE = Instance(auto_renewing=None)


class Hand:
    """Draws times and numbers. The same seed, catalogue and present give the same ones."""

    def __init__(self, catalogue: Catalogue, *, seed: int, present: datetime) -> None:
        self.catalogue = catalogue
        self.present = present
        self.begin = present - WATCH
        self.random = random.Random(f"population {seed}")  # noqa: S311 - a simulation

    def plan(self, name: str) -> Plan:
        """The plan of that name."""
        plan = self.catalogue.named(name)
        assert plan is not None, name
        return plan

    def some(self, low: int, high: int) -> int:
        """A whole number of credits."""
        return self.random.randint(low, high)

    def ago(self, low: float, high: float) -> datetime:
        """A moment between so many hours before the present."""
        return self.present - timedelta(seconds=round(self.random.uniform(low, high) * 3600))

    def lately(self) -> datetime:
        """A moment since the newest observation."""
        return self.ago(0.5, 5.5)

    def some_day(self) -> datetime:
        """Since the newest observation, or in the ten days before it."""
        return self.lately() if self.random.random() < 0.5 else self.ago(8, 240)

    def id(self) -> str:
        """A new random id."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))


class Author(Hand):
    """Writes the scripts of wix_app's sites, one after another."""

    def paid_plan(self, among: Sequence[str] = ("starter", "starter", "pro", "pro", "pro_plus")) -> Plan:
        """Some paid plan; small ones are more common."""
        return self.plan(self.random.choice(among))

    def script(
        self,
        kind: str,
        start: State,
        instance: Instance,
        moves: Sequence[Move] = (),
        *,
        daily: int = 0,
        installed: datetime | None = None,
        planted: Planted | None = None,
    ) -> Script:
        """A script for a new site."""
        return Script(
            account_id=self.id(),
            kind=kind,
            start=start,
            instance=instance,
            moves=tuple(sorted(moves, key=lambda move: move.at)),
            daily=daily,
            installed=installed,
            planted=planted,
        )

    def subscriber(
        self,
        kind: str,
        plan: Plan,
        *,
        total: int | None = None,
        used: int | None = None,
        moves: Sequence[Move] = (),
        daily: int = 0,
        renewed: datetime | None = None,
        planted: Planted | None = None,
        **billing: Any,
    ) -> Script:
        """A site that has paid since before the watch began, and was renewed as it should be ever since.

        `renewed` is the start of its present period: by default old enough for what happens `some_day` to come after
        it, and young enough for no renewal to fall due within a day of the present. `used` is what it spent in it.
        """
        period_start = renewed or self.ago(15 * 24, 26 * 24)
        anchor = bought_before(period_start, months=self.random.randint(2, 11))
        holding = plan.credits if total is None else total
        spent = self.some(0, holding - 1) if used is None else used
        again = period_start + timedelta(hours=self.some(26, 50))
        spends = [Move(at=again, product=spend(spent))] if again < self.ago(7, 7) and not daily else []
        return self.script(
            kind,
            State(plan.label, holding, spent),
            paying(plan, anchor, **billing),
            [*self.renewals(anchor), *spends, *moves],
            daily=daily,
            planted=planted,
        )

    def renewals(self, anchor: datetime) -> Iterator[Move]:
        """The product's renewals of a subscription within the watch.

        For some, Wix moves `timeStamp` at each; not from a day that short months lack, where the two ways of counting
        would part.
        """
        moves_stamp = anchor.day <= 28 and self.random.random() < 0.3
        months = 0
        while (due := add_months(anchor, months := months + 1)) <= self.present:
            if due > self.begin:
                billing = {"time_stamp": wire_time(due)} if moves_stamp else None
                yield Move(at=due, product=renew, billing=billing, renewal=True)


def bought_before(period_start: datetime, *, months: int) -> datetime:
    """A time of purchase, at least `months` before, from which a period starts at `period_start`."""
    for back in range(months, months + 12):
        anchor = add_months(period_start, -back)
        if add_months(anchor, back) == period_start:
            return anchor
    raise AssertionError("every day of a month comes back within a year")


def paying(plan: Plan, since: datetime, **values: Any) -> Instance:
    """What Wix says about a site that bought a plan."""
    return Instance(**(billed(plan, since) | values))


def billed(plan: Plan, since: datetime) -> dict[str, Any]:
    """The values a purchase sets at Wix; also as a change of an instance."""
    return {
        "is_free": False,
        "package_name": plan.provider_ids[0],
        "billing_cycle": "MONTHLY",
        "time_stamp": wire_time(since),
        "auto_renewing": True,
    }
