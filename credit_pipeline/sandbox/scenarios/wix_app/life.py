"""Scripts of wix_app's sites, and the simulation that plays them: what the product and billing do, and when.

The product's own rules (renew, fold) and its accidents are functions from state to state. Pure: no database, no clock.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.sandbox.wix.book import Instance


class State(NamedTuple):
    """One row of the product's table."""

    label: str | None
    total: int | None
    used: int | None

    @property
    def available(self) -> int:
        """Credits that can still be spent. A missing number counts as 0."""
        return (self.total or 0) - (self.used or 0)


Row = tuple[str, State, datetime]
Change = Callable[[State], State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What happens at one moment to the product's row, to billing, or to both."""

    at: datetime
    product: Change | None = None
    billing: Mapping[str, Any] | None = None
    renewal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The right answer for one broken subject.

    `auto` is what the automatic lane does to its row, `approve` what an approval then does to it; None if nothing is
    written.
    """

    code: str
    lane: str
    note: str
    secondary: tuple[str, ...] = ()
    auto: Change | None = None
    approve: Change | None = None
    steps: tuple[str, ...] = ()
    """The names of the automatic correction's steps, if `auto` does not determine them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One site: its state when the watch begins, and everything that happens to it until the present."""

    account_id: str
    kind: str
    start: State
    instance: Instance
    moves: tuple[Move, ...] = ()
    daily: int = 0
    """Credits it spends on an ordinary day."""
    installed: datetime | None = None
    """When the site is installed, if that is within the watch."""
    planted: Planted | None = None

    @property
    def billing_id(self) -> None:
        """None: every site has an account, which names it in reports."""
        return None


def renew(state: State) -> State:
    """The product's monthly renewal: `used` becomes zero, `total` is left alone."""
    return state._replace(used=0)


def fold(plan: Plan) -> Change:
    """The product's purchase: the credits left plus the new allowance. 200 + 1,000 = 1,200."""
    return lambda state: State(plan.label, state.available + plan.credits, 0)


def relabel(label: str | None) -> Change:
    """Changes only the plan's label."""
    return lambda state: state._replace(label=label)


def give(amount: int) -> Change:
    """Changes `total` by an amount."""
    return lambda state: state._replace(total=(state.total or 0) + amount)


def spend(amount: int) -> Change:
    """Uses credits, even more than there are."""
    return lambda state: state._replace(used=(state.used or 0) + amount)


def spend_all(state: State) -> State:
    """The user spends everything."""
    return state._replace(used=state.total)


@dataclass(slots=True)
class Step:
    """What happened in one step of the simulation."""

    installed: dict[str, Row] = field(default_factory=dict)
    moved: dict[str, Row] = field(default_factory=dict)
    billed: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)


class Life:
    """Plays the scripts step by step. `states` holds every site's row as of the last step.

    Spending comes before the moves of a step. A site spends nothing for two steps after its renewal: if it used exactly
    as much as before, the renewed row would look like one that was never zeroed.
    """

    def __init__(self, scripts: Sequence[Script], *, seed: int, start: datetime) -> None:
        self._scripts = {script.account_id: script for script in scripts}
        self._random = random.Random(f"spending {seed}")  # noqa: S311 - a simulation
        self._now = start
        self._due = sorted(
            ((move.at, script.account_id, move) for script in scripts for move in script.moves),
            key=lambda due: (due[0], due[1]),
            reverse=True,
        )
        self._coming = sorted(
            ((s.installed, s.account_id) for s in scripts if s.installed), key=lambda due: due, reverse=True
        )
        self._spenders = [script for script in scripts if script.daily]
        self._resting: tuple[set[str], set[str]] = (set(), set())
        self.states = {script.account_id: script.start for script in scripts if not script.installed}

    def first(self) -> Iterable[Row]:
        """The sites that exist when the watch begins."""
        return ((account, state, self._now) for account, state in self.states.items())

    def until(self, now: datetime) -> Step:
        """Plays everything up to and including `now`."""
        step = Step()
        while self._coming and self._coming[-1][0] <= now:
            at, account = self._coming.pop()
            self.states[account] = self._scripts[account].start
            step.installed[account] = (account, self.states[account], at)
        self._spend(now, step)
        renewed = set()
        while self._due and self._due[-1][0] <= now:
            at, account, move = self._due.pop()
            if move.billing is not None:
                step.billed.append((account, move.billing))
            if move.product is not None:
                self._put(account, move.product(self.states[account]), at, step)
            if move.renewal:
                renewed.add(account)
        self._resting = (renewed, self._resting[0])
        self._now = now
        return step

    def _spend(self, now: datetime, step: Step) -> None:
        days = (now - self._now) / timedelta(days=1)
        for script in self._spenders:
            account = script.account_id
            if self._random.random() < 0.5 or any(account in resting for resting in self._resting):
                continue
            state = self.states.get(account)
            amount = round(script.daily * days * self._random.uniform(0.5, 3.5))
            if state is not None and (amount := min(amount, state.available)) > 0:
                self._put(account, spend(amount)(state), now, step)

    def _put(self, account: str, state: State, at: datetime, step: Step) -> None:
        self.states[account] = state
        rows = step.installed if account in step.installed else step.moved
        rows[account] = (account, state, at)
