"""One site's life as a script, and the simulation that plays all scripts: what the product and billing do, and when.

The product's own rules (renew, fold) and its accidents are functions from state to state. Pure: no database, no clock.
Whose life it is, and what credit_pipeline must make of it, is told in `healthy.py` and `incidents.py`.
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
        """Credits that can still be spent; 0 where a number is missing."""
        return (self.total or 0) - (self.used or 0)


Row = tuple[str, State, datetime]
Change = Callable[[State], State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Something that happens at one moment: to the product's row, to billing, or to both."""

    at: datetime
    product: Change | None = None
    billing: Mapping[str, Any] | None = None
    renewal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The right answer about one broken site.

    `auto` is what the automatic lane makes of its row, `approve` what an approval makes of it after that; None where
    nothing is written.
    """

    code: str
    lane: str
    note: str
    secondary: tuple[str, ...] = ()
    auto: Change | None = None
    approve: Change | None = None
    steps: tuple[str, ...] = ()
    """The names of the automatic correction's steps, where they are not plain from `auto`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One site: how it stands when the watch begins, and all that happens to it until the present."""

    account_id: str
    kind: str
    start: State
    instance: Instance
    moves: tuple[Move, ...] = ()
    daily: int = 0
    """Credits it spends on an ordinary day."""
    installed: datetime | None = None
    """When the site appears, where that is after the watch began."""
    planted: Planted | None = None

    @property
    def billing_id(self) -> None:
        """Nobody here is without an account, which names the subject in a report."""
        return None


def renew(state: State) -> State:
    """The product's monthly renewal: `used` becomes zero, `total` is left alone."""
    return state._replace(used=0)


def fold(plan: Plan) -> Change:
    """The product's purchase: what is left, and the new allowance. 200 + 1,000 = 1,200."""
    return lambda state: State(plan.label, state.available + plan.credits, 0)


def relabel(label: str | None) -> Change:
    """Only the plan's label changes."""
    return lambda state: state._replace(label=label)


def give(amount: int) -> Change:
    """`total` rises or falls by an amount, for whatever reason."""
    return lambda state: state._replace(total=(state.total or 0) + amount)


def spend(amount: int) -> Change:
    """Credits are used, whether they are there or not."""
    return lambda state: state._replace(used=(state.used or 0) + amount)


def spend_all(state: State) -> State:
    """The user spends everything."""
    return state._replace(used=state.total)


@dataclass(slots=True)
class Step:
    """What happened between two moments."""

    installed: dict[str, Row] = field(default_factory=dict)
    moved: dict[str, Row] = field(default_factory=dict)
    billed: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)


class Life:
    """Plays the scripts from moment to moment. `states` is every site's row as of the last one.

    Spending comes before the moves of a step, and a site rests for two steps after its renewal: a row that was zeroed
    and then used for exactly as much as before could not be told from one that was never zeroed.
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
        """The sites that are there when the watch begins."""
        return ((account, state, self._now) for account, state in self.states.items())

    def until(self, now: datetime) -> Step:
        """Everything up to and including `now`."""
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
