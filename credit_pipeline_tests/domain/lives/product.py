"""A product with known truth, for random lives: it grants, folds, resets, spends, and loses webhooks and labels.

The truth is per term (one unbroken time on one plan): whether the product granted it, and whether an observer could
have known that it did not.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from credit_pipeline.domain.plans.periods import period_at
from credit_pipeline.domain.subjects.account import Lookup, StateKind
from credit_pipeline_tests.domain.lives.life import Life

ALLOWANCE = {"free": 100, "starter": 1000, "pro": 5000, "pro_plus": 15_000}
PLANS = list(ALLOWANCE)


class GrantsBy(StrEnum):
    """What the product's upgrade does to its counter."""

    FOLD = "fold"
    """total := available + allowance, used := 0"""
    ADD = "add"
    """total += allowance"""
    SET = "set"
    """total := max(allowance, nothing of the past), used := 0"""


class Stamp(StrEnum):
    """What the provider does to its timeStamp."""

    FIXED = "fixed"
    AT_CHANGE = "moves at a plan change"
    AT_RENEWAL = "moves at a plan change and at renewal"


class Delivery(StrEnum):
    """What becomes of the webhook of a plan change."""

    NOW = "now"
    LATE = "late"
    LOST = "lost"
    LABEL_ONLY = "label only"
    CREDITS_ONLY = "credits only"


@dataclass(kw_only=True)
class Term:
    """One unbroken time on one plan, and the truth about its grant."""

    plan: str
    owed: bool
    granted: bool = False
    by_us: bool = False
    late: bool = False
    looked_at: bool = False
    knowable: bool = True
    had_key: bool = False
    """An earlier term held the same grant key (a fixed timeStamp, the plan bought twice): one key, one grant."""


@dataclass(kw_only=True)
class Product:
    """The store's and the provider's side of one life."""

    life: Life
    grants_by: GrantsBy
    stamp: Stamp
    clock: datetime
    terms: list[Term] = field(default_factory=list)
    keys: set[tuple[str, datetime]] = field(default_factory=set)
    losses: int = 0
    last_period: datetime | None = None

    @property
    def term(self) -> Term:
        return self.terms[-1]

    def spend(self, share: float) -> None:
        self.life.used += int(max(0, self.life.available) * share)

    def change_plan(self, plan: str, delivery: Delivery) -> None:
        """Billing changes at once; what the product makes of it is the delivery's."""
        life = self.life
        up = PLANS.index(plan) > PLANS.index(life.billed)
        if plan != "free" and (life.anchor is None or self.stamp is not Stamp.FIXED):
            life.anchor = self.clock
        life.billed = plan
        self.terms.append(Term(plan=plan, owed=up))
        self.last_period = None
        if plan != "free" and life.anchor:
            key = (plan, period_at(life.anchor, 1, self.clock).start)
            marked = {(s.billed_plan, s.billed_period_start) for s in life.states if s.mark}
            self.term.had_key = key in self.keys or key in marked
        if delivery is Delivery.LATE:
            self.term.late = True
        elif delivery in {Delivery.NOW, Delivery.CREDITS_ONLY} and up:
            self._grant()
        if delivery in {Delivery.NOW, Delivery.LABEL_ONLY}:
            life.label = plan

    def deliver_late(self) -> None:
        """The handler: same plan, no-op; it reads the label we may have written meanwhile."""
        if self.term.late:
            self.term.late = False
            if self.life.label != self.life.billed:
                if self.term.owed:
                    self._grant()
                self.life.label = self.life.billed

    def lose_label(self) -> None:
        self.life.label = "free"

    def lose_credits(self, share: float) -> None:
        """Somebody's SET lowers the total; what was spent stays."""
        lost = int(max(0, self.life.available) * share)
        self.life.total -= lost
        self.losses += lost

    def pass_time(self, hours: int, *, resets: bool) -> None:
        """Time goes by; at renewal the product zeroes `used`, unless that fails as well."""
        self.clock += timedelta(hours=hours)
        if self.life.billed == "free" or self.life.anchor is None:
            return
        start = period_at(self.life.anchor, 1, self.clock).start
        if self.last_period is not None and start != self.last_period:
            if resets:
                self.life.used = 0
            if self.stamp is Stamp.AT_RENEWAL:
                self.life.anchor = start
        self.last_period = start

    def look(self, *, live: bool, settle: bool) -> None:
        """One run over the account."""
        life = self.life
        if life.lookup is Lookup.ANSWERED and not self.term.looked_at:
            self.term.looked_at = True
            self.term.knowable = self._could_be_known()
        before = len(life.grants)
        life.at(self.clock, live=live, settle=settle)
        for grant in life.grants[before:]:
            assert not self.term.granted, "an automatic credit for a grant that the product made"
            assert not self.term.by_us, "an automatic credit twice in one term"
            assert grant.plan == self.term.plan
            self.term.by_us = True
            self.keys.add((grant.plan, grant.period_start))

    def _could_be_known(self) -> bool:
        """With the new label in place only an unbroken watch from before the change can tell.

        A time on another plan that no run saw cannot be known at all: it looks like a renewal.
        """
        life, plan = self.life, self.term.plan
        seen = [s for s in life.states if s.kind is StateKind.OBSERVED]
        if seen and seen[-1].billed_plan == plan:
            return False
        if life.label is None or PLANS.index(life.label) < PLANS.index(plan) or life.total < ALLOWANCE[plan]:
            return True
        if not seen or seen[-1].billed_plan is None or not life.states[-1].billed_plan:
            return False
        last = seen[-1]
        return (
            PLANS.index(last.billed_plan or "free") < PLANS.index(plan)
            and (last.total == life.total and last.used <= life.used)
            and self.clock - last.seen_until <= timedelta(hours=24)
        )

    def _grant(self) -> None:
        life, credits = self.life, ALLOWANCE[self.life.billed]
        if self.grants_by is GrantsBy.FOLD:
            life.total, life.used = life.available + credits, 0
        elif self.grants_by is GrantsBy.ADD:
            life.total += credits
        else:
            life.total, life.used = credits, 0
        self.term.granted = True
        if life.anchor:
            self.keys.add((life.billed, period_at(life.anchor, 1, self.clock).start))
