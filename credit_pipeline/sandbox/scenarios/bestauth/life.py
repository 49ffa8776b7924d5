"""One user's life as a script, and the simulation that plays all scripts in three worlds: auth, points store, Stripe.

Pure: no database, no clock. Whose life it is, and what credit_pipeline must make of it, is told in the story files.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from credit_pipeline.sandbox.scenarios.bestauth.tables import Changes, Deed, Product
from credit_pipeline.sandbox.scenarios.wix_app.life import Planted, State
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.rows import Row

UNKNOWN = State(None, None, None)
"""How a subject stands that has no account in the store."""


class Patch(NamedTuple):
    """Some values of a row that Stripe knows."""

    row_id: str
    values: Mapping[str, Any]


class Forget(NamedTuple):
    """A row that Stripe no longer knows."""

    row_id: str


Billed = Row | Patch | Forget


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Something that happens at one moment: to the product, at Stripe, or in both."""

    at: datetime
    deeds: tuple[Deed, ...] = ()
    billed: tuple[Billed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One subject: all that happens to it from the first day until the present."""

    account_id: str
    """The store's id; `user:<id>` or `customer:<id>` for a subject without an account in the store."""
    kind: str
    moves: tuple[Move, ...]
    daily: int = 0
    """Points it spends on an ordinary day of the watch, as long as more than `floor` are there."""
    floor: int = 0
    planted: Planted | None = None
    billing_id: str | None = None
    """The customer, where there is no account: what a report calls the subject."""
    counted: bool = True
    """False: neither an account nor a subscription, so the population leaves it out."""


@dataclass(slots=True)
class Step:
    """What happened between two moments."""

    product: Changes
    billed: list[Billed] = field(default_factory=list)


class BestauthLife:
    """Plays the scripts from moment to moment. `product` is every row as of the last one."""

    def __init__(self, scripts: Sequence[Script], *, seed: int, start: datetime) -> None:
        self.product = Product()
        self._random = random.Random(f"spending {seed}")  # noqa: S311 - a simulation
        self._start = self._now = start
        # Of one moment the order of telling holds.
        self._due = sorted((move for script in scripts for move in script.moves), key=lambda move: move.at)
        self._due.reverse()
        self._spenders = [script for script in scripts if script.daily]
        self._scripts = scripts

    @property
    def states(self) -> dict[str, State]:
        """Every subject as it stands."""
        known = set(self.product.accounts())
        return {
            script.account_id: self.product.state(script.account_id) if script.account_id in known else UNKNOWN
            for script in self._scripts
        }

    def until(self, now: datetime) -> Step:
        """Everything up to and including `now`; the first time also all that was before the watch."""
        billed: list[Billed] = []
        self._spend(now)
        while self._due and self._due[-1].at <= now:
            move = self._due.pop()
            billed += move.billed
            for deed in move.deeds:
                deed(self.product, move.at)
        self._now = now
        return Step(product=self.product.taken(), billed=billed)

    def _spend(self, now: datetime) -> None:
        days = (now - self._now) / timedelta(days=1)
        for script in self._spenders:
            if self._random.random() < 0.5:
                continue
            amount = round(script.daily * days * self._random.uniform(0.5, 3.5))
            at = self._now + (now - self._now) * self._random.random()
            self.product.spend(script.account_id, amount, at.replace(microsecond=0), floor=script.floor)


def bill(book: StripeBook, billed: Sequence[Billed]) -> None:
    """What happened at Stripe, in its order."""
    for change in billed:
        if isinstance(change, Patch):
            book.patch(change.row_id, **change.values)
        elif isinstance(change, Forget):
            book.remove(change.row_id)
        else:
            book.add(change)
