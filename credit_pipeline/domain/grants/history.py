"""Reading an account's remembered states: what changed since when, which grant keys are held, what moved unexplained.

Pure functions over Memory; decides nothing.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.domain.plans.periods import Period
from credit_pipeline.domain.subjects.account import Balance, Billing, Memory, ObservedState, StateKind


class KeyState(StrEnum):
    """Whether a period's grant has been made, as far as we know."""

    FREE = "free"
    TAKEN = "taken"
    NEAR = "near"
    """The same plan was granted less than 0.9 of a cycle away: one purchase, or a person's case."""


def current(billing: Billing, balance: Balance, now: datetime) -> ObservedState | None:
    """The present as an observed state, or None while a number is unknown."""
    if balance.total is None or balance.used is None:
        return None
    return ObservedState(
        as_of=now,
        seen_until=now,
        label=balance.label,
        total=balance.total,
        used=balance.used,
        billed_plan=billing.plan.name if billing.plan else None,
        billed_period_start=billing.period.start if billing.period else None,
        billed_status=billing.status.value if billing.status else None,
    )


def observed(memory: Memory) -> tuple[ObservedState, ...]:
    """What complete collections saw, oldest first."""
    return tuple(s for s in memory.states if s.kind is StateKind.OBSERVED)


def grants_held(memory: Memory) -> Iterator[tuple[str, datetime]]:
    """Every (plan, period_start) that was granted by us or adopted as the product's own."""
    for grant in memory.grants:
        yield grant.plan, grant.period_start
    for seen in memory.states:
        if seen.mark and seen.billed_plan and seen.billed_period_start:
            yield seen.billed_plan, seen.billed_period_start


def key_state(memory: Memory | None, plan: Plan, period: Period) -> KeyState:
    """Whether (plan, period) is free, taken, or so near to another grant that a person must look."""
    near = False
    for name, start in grants_held(memory) if memory else ():
        if name == plan.name:
            if start == period.start:
                return KeyState.TAKEN
            near = near or abs(start - period.start) < period.near
    return KeyState.NEAR if near else KeyState.FREE


def since_plan_change(memory: Memory, plan: Plan) -> tuple[ObservedState | None, tuple[ObservedState, ...]]:
    """(last observation under another billed plan, everything remembered since); None if no change was seen."""
    for index in range(len(memory.states) - 1, -1, -1):
        seen = memory.states[index]
        if seen.kind is StateKind.OBSERVED and seen.billed_plan != plan.name:
            return seen, memory.states[index + 1 :]
    return None, memory.states


def granted_in_this_term(memory: Memory | None, plan: Plan) -> bool:
    """Whether the plan was granted or adopted since billing last changed to it: a renewal owes a counter nothing."""
    if memory is None:
        return False
    before, since = since_plan_change(memory, plan)
    if any(s.mark for s in since if s.kind is StateKind.OBSERVED):
        return True
    mine = [grant.period_start for grant in memory.grants if grant.plan == plan.name]
    starts = [s.billed_period_start for s in since if s.billed_period_start is not None]
    if before is None or not mine:
        return bool(mine)
    return bool(starts) and max(mine) >= min(starts)  # none: the change is seen now for the first time


def billed_before(memory: Memory | None, plan: Plan, period: Period) -> bool:
    """Whether an earlier term of the plan lies so near that it may have been granted for this period already."""
    if memory is None:
        return False
    before, since = since_plan_change(memory, plan)
    earlier = memory.states[: len(memory.states) - len(since)] if before else ()
    starts = (s.billed_period_start for s in earlier if s.billed_plan == plan.name)
    return any(start is not None and abs(start - period.start) < period.near for start in starts)


def had_allowance(memory: Memory | None, plan: Plan, allowance: int) -> bool:
    """Whether the total was ever at the allowance since billing named another plan: if it is lower now, it fell."""
    for seen in reversed(memory.states if memory else ()):
        if seen.kind is StateKind.OBSERVED and seen.billed_plan not in {None, plan.name}:
            return False
        if seen.total >= allowance:
            return True
    return False


def unbroken(
    memory: Memory, start: ObservedState, links: tuple[ObservedState, ...], now: datetime, gap: timedelta
) -> bool:
    """Whether the account was looked at at least every `gap` from `start` to `now`."""
    runs = [start.seen_until, *(run for run in memory.complete_runs if start.seen_until < run < now), now]
    if any(later - earlier > gap for earlier, later in pairwise(runs)):
        return False
    seen = [s for s in (start, *links) if s.kind is StateKind.OBSERVED]
    if now - seen[-1].seen_until > gap:
        return False
    return all(later.as_of - earlier.seen_until <= gap for earlier, later in pairwise(seen))


def recent_links(memory: Memory, now: ObservedState) -> tuple[tuple[ObservedState, ObservedState], ...]:
    """Pairs of states to compare in this run: from the last observation, over our own corrections, to now.

    Our corrections' own before → after is left out: that movement is ours. A correction that the last observation
    already shows (the read began a moment after its as-of) is left out as well.
    """
    last = max((i for i, s in enumerate(memory.states) if s.kind is StateKind.OBSERVED), default=None)
    if last is None:
        return ()
    chain = list(memory.states[last:])
    while len(chain) >= 3 and _shows(chain[0], chain[2]) and not _shows(chain[0], chain[1]):
        del chain[1:3]
    chain.append(now)
    return tuple((a, b) for a, b in pairwise(chain) if not (a.kind is StateKind.BEFORE and b.kind is StateKind.AFTER))


def given_back(memory: Memory, since: datetime, catalogue: Catalogue) -> int:
    """Credits that our raises added after `since`; a restore closes what it restores.

    A whole allowance, or one that folded `used`, was a new plan's grant: it gives nothing back.
    """
    allowances = {amount for plan in catalogue.plans for amount in plan.amounts}
    gains = (
        after.total - before.total
        for before, after in pairwise(memory.states)
        if (before.kind, after.kind) == (StateKind.BEFORE, StateKind.AFTER)
        and after.as_of > since
        and after.used == before.used
    )
    return sum(gain for gain in gains if gain > 0 and gain not in allowances)


def _shows(observation: ObservedState, state: ObservedState) -> bool:
    return (observation.label, observation.total) == (state.label, state.total)
