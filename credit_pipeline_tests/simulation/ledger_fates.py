"""What must have come of each named life, and of everybody: the promises held against the truth.

Each check is asked after the last run; its name is the life's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline_tests.simulation.ledger_life import DAY, HOUR, LedgerLife
from credit_pipeline_tests.simulation.ledger_lives import FIRST_RUN, day
from credit_pipeline_tests.simulation.ledger_operations import Given, LedgerOperations, Sight
from credit_pipeline_tests.simulation.ledger_truth import Owed


@dataclass(kw_only=True)
class Fate:
    """One customer's, as it came out."""

    name: str
    life: LedgerLife
    operations: LedgerOperations

    def __str__(self) -> str:
        granted = [f"{g.plan} {g.start:%d %b %H:%M} at {g.at:%d %b %H:%M} ({g.lane})" for g in self._ours()]
        first = {(s.code, s.lane, s.plan, s.start, s.holds): s.at for s in reversed(self._sights())}
        seen = [f"{at:%d %b %H:%M} {' '.join(map(str, one))}" for one, at in sorted(first.items(), key=lambda f: f[1])]
        truth = [f"{one} times {one.times}" for one in self.life.truth.of(self.account)]
        return "\n    ".join([self.name, "ours:", *granted, "seen:", *seen, "truth:", *truth])

    @property
    def account(self) -> str:
        return self.life.customers[self.name].account

    def _ours(self) -> list[Given]:
        return [g for g in self.operations.given if g.account == self.account]

    def _sights(self) -> list[Sight]:
        return [s for s in self.operations.sights if s.account == self.account]

    def ours(self, lane: Lane | None = Lane.AUTO) -> list[tuple[str, datetime]]:
        """What we granted: automatically, or in that lane; None: in any."""
        return [
            (g.plan, g.start) for g in self.operations.given if g.account == self.account and lane in {None, g.lane}
        ]

    def at(self, plan: str, start: datetime) -> datetime:
        """When we granted it."""
        return next(g.at for g in self.operations.given if (g.account, g.plan, g.start) == (self.account, plan, start))

    def seen(self, *codes: str) -> list[Sight]:
        """Findings of these codes that stood open after a run."""
        return [s for s in self.operations.sights if s.account == self.account and s.code in codes]

    def codes(self) -> set[str]:
        return {s.code for s in self.operations.sights if s.account == self.account}

    def owed(self, plan: str, start: datetime) -> Owed:
        one = self.life.truth.get((self.account, plan, start))
        assert one is not None
        return one

    def held(self, plan: str, start: datetime, why: str) -> bool:
        """Whether a person saw it with that reason."""
        return any(
            s.lane == "approve" and (s.plan, s.start) == (plan, start) and why in "; ".join(s.holds)
            for s in self.seen("grant_missing")
        )


GRANTS = {"grant_missing", "grant_lost", "grant_duplicate", "grant_amount_mismatch", "grant_unexpected"}
Check = Callable[[Fate], None]
CHECKS: dict[str, Check] = {}


def _check(check: Check) -> Check:
    CHECKS[check.__name__] = check
    return check


def _once(fate: Fate, *grants: tuple[str, datetime]) -> None:
    """We granted these, and nothing else; nobody granted them besides."""
    assert fate.ours(None) == list(grants)
    for plan, start in grants:
        assert fate.owed(plan, start).times == 1


def _delivered(fate: Fate) -> None:
    """The product did all of it, and nobody was ever asked about its grants; one may have been waited for."""
    assert fate.ours(None) == []
    assert {s.lane for s in fate.seen(*GRANTS)} <= {"none"}
    assert all(one.times == 1 for one in fate.life.truth.of(fate.account))


@_check
def healthy(fate: Fate) -> None:
    _delivered(fate)
    assert fate.codes() <= {"pending_settlement", "spent_out"}


@_check
def upgrade_missed(fate: Fate) -> None:
    _once(fate, ("pro", day(1 + 1, 10, 9, 30)))


@_check
def upgrade_late(fate: Fate) -> None:
    start = day(2, 10, 10, 30)
    assert fate.ours(None) == [("pro", start)]
    _late(fate, fate.owed("pro", start))


@_check
def late_by_three_days(fate: Fate) -> None:
    start = day(2, 17, 8)
    assert fate.ours(None) == [("starter", start)]
    _late(fate, fate.owed("starter", start))


def _late(fate: Fate, one: Owed) -> None:
    """The product's handler came after us: it found our grant, or ours was found beside its own."""
    if fate.life.hardened:
        assert one.times == 1
    else:
        assert one.times == 2
        assert {s.lane for s in fate.seen("grant_duplicate")} == {"approve"}


@_check
def webhook_twice(fate: Fate) -> None:
    assert fate.ours(None) == []
    one = fate.owed("pro", day(2, 13))
    assert len(one.by_product) == (1 if fate.life.hardened else 2)
    assert {s.lane for s in fate.seen("grant_duplicate")} == (set() if fate.life.hardened else {"approve"})
    assert not fate.seen("grant_missing", "grant_unexpected", "grant_amount_mismatch")


@_check
def upgrade_unbilled(fate: Fate) -> None:
    _once(fate, ("business", day(2, 10, 11, 30)))


@_check
def yearly_upfront(fate: Fate) -> None:
    _once(fate, ("business", day(2, 5, 10)))
    assert fate.owed("business", day(2, 5, 10)).amount == 180_000


@_check
def yearly_upfront_delivered(fate: Fate) -> None:
    _delivered(fate)


@_check
def drip_31_january(fate: Fate) -> None:
    assert fate.ours(None)[:3] == [("pro", day(1, 31)), ("pro", day(2, 28)), ("pro", day(3, 31))]
    assert len(fate.ours(None)) == len(fate.life.truth.of(fate.account))


@_check
def drip_31_january_delivered(fate: Fate) -> None:
    _delivered(fate)
    starts = [one.period.start for one in fate.life.truth.of(fate.account)]
    assert starts[:3] == [day(1, 31, 10), day(2, 28, 10), day(3, 31, 10)]


ITS_OWN_DAYS = "the product may grant on days of its own"


@_check
def calendar_drip(fate: Fate) -> None:
    assert fate.ours() == []
    for start in (day(1, 15, 12), day(2, 15, 12), day(3, 15, 12)):
        assert fate.held("pro", start, ITS_OWN_DAYS)


@_check
def calendar_drip_begun_meanwhile(fate: Fate) -> None:
    assert fate.ours() == [("pro", day(2, 15, 12))]
    assert fate.held("pro", day(3, 15, 12), ITS_OWN_DAYS)


@_check
def calendar_drip_from_the_purchase(fate: Fate) -> None:
    assert fate.ours() == []
    assert fate.held("pro", day(3, 12, 12), ITS_OWN_DAYS)


@_check
def invoice_open_for_hours(fate: Fate) -> None:
    start = day(2, 12, 10)
    _once(fate, ("starter", start))
    assert fate.seen("pending_settlement")
    assert fate.at("starter", start) >= start + 10 * HOUR


@_check
def dunning_paid_on_day_5(fate: Fate) -> None:
    start = day(2, 8, 11)
    _once(fate, ("pro", start))
    assert {s.lane for s in fate.seen("dunning")} == {"none"}
    assert start + 5 * DAY < fate.at("pro", start) < start + 6 * DAY


@_check
def dunning_delivered(fate: Fate) -> None:
    _delivered(fate)
    assert fate.seen("dunning")


@_check
def trial_converted(fate: Fate) -> None:
    _delivered(fate)


@_check
def trial_lost(fate: Fate) -> None:
    _once(fate, ("starter", day(2, 3, 16)))


@_check
def conversion_lost(fate: Fate) -> None:
    assert fate.ours() == []
    assert fate.held("starter", day(2, 17, 17), "0.9 of a cycle")
    assert fate.owed("starter", day(2, 17, 17)).times == (1 if fate.operations.decides else 0)


@_check
def resubscribed(fate: Fate) -> None:
    _delivered(fate)


@_check
def resubscribed_lost(fate: Fate) -> None:
    _once(fate, ("pro", day(2, 14, 16)))


@_check
def two_live(fate: Fate) -> None:
    _delivered(fate)
    assert {s.lane for s in fate.seen("multiple_live_subscriptions")} <= {"approve", "review"}
    assert fate.seen("multiple_live_subscriptions")


@_check
def two_live_lost(fate: Fate) -> None:
    assert fate.ours() == []
    assert fate.held("pro", day(3, 18, 14), "several subscriptions")


@_check
def downgrade_in_mid_period(fate: Fate) -> None:
    _delivered(fate)
    assert fate.seen("plan_mismatch")


@_check
def downgrade_at_renewal(fate: Fate) -> None:
    _once(fate, ("starter", day(3, 11, 10)))


@_check
def to_yearly(fate: Fate) -> None:
    _once(fate, ("pro", day(3, 17)))
    assert fate.life.truth.get((fate.account, "pro", day(2, 17))) is None


@_check
def purchase_of_an_allowance(fate: Fate) -> None:
    _once(fate, ("pro", day(2, 14)))


@_check
def on_the_boundary(fate: Fate) -> None:
    _once(fate, ("starter", day(2, 18, 6)), ("starter", day(3, 18, 6)))


@_check
def across_the_boundary(fate: Fate) -> None:
    assert fate.ours() == []
    assert fate.held("pro", day(1, 19, 12, 5), "the period is over")
    assert fate.owed("pro", day(2, 19, 12, 5)).by_us == []


@_check
def support_gave_it(fate: Fate) -> None:
    """What support gave may stand for the grant: a person's case, never nothing (semantics §5)."""
    assert fate.ours(None) == []
    assert fate.codes() & GRANTS == {"grant_missing"}
    assert fate.held("starter", day(2, 16, 7), "may stand for it")


def unexplained(life: LedgerLife, operations: LedgerOperations, now: datetime) -> Iterable[str]:
    """What is wrong after a run; nothing may be."""
    for account in life.app.unexplained():
        yield f"{operations.name_of(account)}: the balance is not the sum of its transactions"
    calendar = {who.account for who in life.customers.values() if who.calendar}
    held = {
        (s.account, s.plan, s.start)
        for s in operations.open
        if s.code in {"grant_missing", "grant_lost"} and (s.lane == "approve" or s.holds)  # none while another settles
    }
    for one in operations.overdue(now):
        if one.account in calendar or one.key in held or one.since < FIRST_RUN - 30 * DAY:
            continue
        group = life.truth.near(one)
        if life.references != "shared" and sum(o.times for o in group) + sum(o.key in held for o in group) >= len(
            group
        ):
            continue  # without the template's reference the ledger cannot tell which of them it was
        yield f"{operations.name_of(one.account)}: {one} is neither given nor held"
    doubled = {one.account for one in life.truth if one.times > 1}
    for sight in operations.open:
        name = operations.name_of(sight.account)
        if sight.code == "grant_duplicate" and sight.account not in doubled | calendar:
            yield f"{name}: {sight} and nothing was granted twice"
        if sight.code in {
            "unexplained_decrease",
            "unexplained_increase",
            "balance_ledger_mismatch",
            "grant_amount_mismatch",
        }:
            yield f"{name}: {sight}"
        if sight.code == "grant_unexpected" and sight.account not in calendar:
            yield f"{name}: {sight}"
