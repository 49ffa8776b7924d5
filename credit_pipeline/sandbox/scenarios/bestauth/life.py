"""Scripts of bestauth's subjects, and the simulation that plays them in the auth system, the points store and Stripe.

Pure: no database, no clock.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from credit_pipeline.sandbox.scenarios.bestauth.tables import Action, Changes, Product
from credit_pipeline.sandbox.scenarios.wix_app.life import Planted, State
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.rows import Row

UNKNOWN = State(None, None, None)
"""The state of a subject without an account in the store."""


class Patch(NamedTuple):
    """A change of some values of a Stripe object."""

    row_id: str
    values: Mapping[str, Any]


class Forget(NamedTuple):
    """The removal of a Stripe object."""

    row_id: str


Billed = Row | Patch | Forget


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What happens at one moment in the product, at Stripe, or in both."""

    at: datetime
    actions: tuple[Action, ...] = ()
    billed: tuple[Billed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Everything that happens to one subject until the present."""

    account_id: str
    """The store's id; `user:<id>` or `customer:<id>` for a subject without an account in the store."""
    kind: str
    moves: tuple[Move, ...]
    daily: int = 0
    """Points it spends on an ordinary day of the watch, down to `floor`."""
    floor: int = 0
    planted: Planted | None = None
    billing_id: str | None = None
    """The customer id that reports use for a subject without an account."""
    counted: bool = True
    """False for a subject without account and subscription, which is not in the population."""


@dataclass(slots=True)
class Step:
    """What happened in one step of the simulation."""

    product: Changes
    billed: list[Billed] = field(default_factory=list)


class BestauthLife:
    """Plays the scripts step by step. `product` holds every row as of the last step."""

    def __init__(self, scripts: Sequence[Script], *, seed: int, start: datetime) -> None:
        self.product = Product()
        self._random = random.Random(f"spending {seed}")  # noqa: S311 - a simulation
        self._start = self._now = start
        # Moves of one moment keep their order in the script.
        self._due = sorted((move for script in scripts for move in script.moves), key=lambda move: move.at)
        self._due.reverse()
        self._spenders = [script for script in scripts if script.daily]
        self._scripts = scripts

    @property
    def states(self) -> dict[str, State]:
        """The state of every subject now."""
        known = set(self.product.accounts())
        return {
            script.account_id: self.product.state(script.account_id) if script.account_id in known else UNKNOWN
            for script in self._scripts
        }

    def until(self, now: datetime) -> Step:
        """Plays everything up to and including `now`. The first step includes all that was before the watch."""
        billed: list[Billed] = []
        self._spend(now)
        while self._due and self._due[-1].at <= now:
            move = self._due.pop()
            billed += move.billed
            for action in move.actions:
                action(self.product, move.at)
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
    """Writes what happened at Stripe to its book, in order."""
    for change in billed:
        if isinstance(change, Patch):
            book.patch(change.row_id, **change.values)
        elif isinstance(change, Forget):
            book.remove(change.row_id)
        else:
            book.add(change)
