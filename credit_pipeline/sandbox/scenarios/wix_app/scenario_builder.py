"""Builds the scripts of wix_app's sites: subscribers, their renewals, and what Wix says about them."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.sandbox.scenarios.seeded_values import SeededValues, bought_before
from credit_pipeline.sandbox.scenarios.wix_app.life import Move, Planted, Script, State, renew, spend
from credit_pipeline.sandbox.wix.book import Instance, wire_time

FREE = Instance(auto_renewing=None)


class ScenarioBuilder(SeededValues):
    """Builds scripts of sites, one after another."""

    def paid_plan(self, among: Sequence[str] = ("starter", "starter", "pro", "pro", "pro_plus")) -> Plan:
        """A random paid plan; small ones are more common."""
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
        """A site that has paid since before the watch began, with a correct renewal in every period.

        `renewed` is the start of its present period. By default it lies before all moments of `some_day`, and no
        renewal falls due within a day of the present. `used` is what the site spent in that period.
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

        For some subscriptions Wix moves `timeStamp` at each renewal. Not for anchors on a day that short months lack,
        because the two ways of counting differ there.
        """
        moves_stamp = anchor.day <= 28 and self.random.random() < 0.3
        months = 0
        while (due := add_months(anchor, months := months + 1)) <= self.present:
            if due > self.begin:
                billing = {"time_stamp": wire_time(due)} if moves_stamp else None
                yield Move(at=due, product=renew, billing=billing, renewal=True)


def paying(plan: Plan, since: datetime, **values: Any) -> Instance:
    """What Wix says about a site that bought a plan."""
    return Instance(**(billed(plan, since) | values))


def billed(plan: Plan, since: datetime) -> dict[str, Any]:
    """The values that a purchase sets at Wix, to create or to change an instance."""
    return {
        "is_free": False,
        "package_name": plan.provider_ids[0],
        "billing_cycle": "MONTHLY",
        "time_stamp": wire_time(since),
        "auto_renewing": True,
    }
