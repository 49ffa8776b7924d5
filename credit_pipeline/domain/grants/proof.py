"""Proof before money: when a counter account's grant is proven missing (semantics §5).

A low `available` proves nothing: it may have been spent. Two things prove: a total below the allowance, and an unbroken
watch over the account since billing's plan changed in which total never moved and used never fell.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from credit_pipeline.domain.grants.history import (
    KeyState,
    billed_before,
    current,
    granted_in_this_term,
    had_allowance,
    key_state,
    observed,
    since_plan_change,
    unbroken,
)
from credit_pipeline.domain.grants.movements import Movement
from credit_pipeline.domain.grants.suppressed_by_undo import taken_back
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, Resolved
from credit_pipeline.domain.plans.periods import A_MONTH, NEAR, months_of
from credit_pipeline.domain.policy import Policy
from credit_pipeline.domain.subjects.account import Account, Memory, ObservedState, StateKind


class Proof(StrEnum):
    """What shows that the period's grant is absent."""

    FLOOR = "floor"
    HISTORY = "history"
    LEDGER = "ledger"
    """The period was paid, and no transaction can be its grant."""
    NONE = "none"


class Verdict(StrEnum):
    """What the product owes an account for the billed plan."""

    NOTHING = "nothing"
    RAISE = "raise"
    """Same plan, total below the allowance."""
    UPGRADE = "upgrade"
    """A new plan whose credits never came: available + allowance."""
    LOST = "lost"
    """Granted once, and gone."""
    UNPROVEN = "unproven"
    """A new plan; whether its credits came cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """The verdict, its proof, and why a person must decide although it is proven (empty: nobody must)."""

    verdict: Verdict
    proof: Proof = Proof.NONE
    holds: tuple[str, ...] = ()
    movements: tuple[Movement, ...] = ()
    """Gains that may stand for the grant."""


def owed(
    account: Account,
    plan: Plan,
    catalogue: Catalogue,
    policy: Policy,
    now: datetime,
    *,
    losses_since: bool,
    was_missing: bool = False,
) -> Owed:
    """Judge one live paid counter account; `losses_since` tells of a loss observed since billing's plan changed.

    The order matters: a key that is taken ends the matter, so that a label lost after the grant is never paid twice.
    `was_missing`: an earlier run found the grant missing and nothing was seen to come since, so a proof that has ended
    (the product zeroed `used`, a day without a look) leaves a person's case and not silence.
    """
    total, memory, period = account.balance.total, account.memory, account.billing.period
    assert total is not None
    least = least_granted(account, plan)
    floor = total < least
    state = key_state(memory, plan, period) if period else KeyState.FREE
    if state is KeyState.TAKEN or granted_in_this_term(memory, plan):
        return Owed(verdict=Verdict.LOST if floor and not taken_back(memory, plan) else Verdict.NOTHING)
    history = credits_never_came(account, plan, catalogue, policy, now)
    label = account.balance.plan
    upgrade = label is None or label.rank < plan.rank
    if not floor and not history:
        return Owed(verdict=Verdict.UNPROVEN if upgrade or was_missing else Verdict.NOTHING)
    fell = losses_since or had_allowance(memory, plan, least)
    holds = tuple(_holds(account, plan, state, floor=floor and not history, losses_since=fell))
    gains = may_stand_for(account, plan, catalogue, now)
    if gains:
        holds += ("other credits may stand for it: " + ", ".join(gain.words for gain in gains),)
    if history and _labelled_before(account, plan, catalogue):
        holds += ("the product called the account this plan before billing did, so it may have granted before too",)
    if history and not floor and _may_hide(memory, plan, allowance_of(account, plan)):
        holds += ("a grant could have left these numbers as they are, and spending hidden it",)
    proof = Proof.NONE if gains else Proof.HISTORY if history else Proof.FLOOR
    verdict = Verdict.UPGRADE if upgrade or history else Verdict.RAISE
    return Owed(verdict=verdict, proof=proof, holds=holds, movements=gains)


def may_stand_for(account: Account, plan: Plan, catalogue: Catalogue, now: datetime) -> tuple[Movement, ...]:
    """Rises of the total that no billed plan explains and that together come to half of what is owed.

    From 0.9 of a cycle before the period on: somebody may have given the credits before billing said so.
    """
    period, memory = account.billing.period, account.memory
    if memory is None:
        return ()
    start = period.start if period else now
    since = start - max(period.near if period else A_MONTH, A_MONTH * NEAR)
    found = [rise for rise in rises(account, catalogue, now) if rise.within(since, now)]
    return tuple(found) if 2 * sum(rise.amount for rise in found) >= allowance_of(account, plan) else ()


def rises(account: Account, catalogue: Catalogue, now: datetime) -> Iterator[Movement]:
    """What raised the total between two looks, ours and the billed plan's own grant left out."""
    present = current(account.billing, account.balance, now)
    states = (*account.memory.states, present) if account.memory and present else ()
    for before, after in pairwise(states):
        if before.kind is StateKind.BEFORE and after.kind is StateKind.AFTER:
            continue
        gain = after.available - before.available + max(0, after.used - before.used)
        name = after.billed_plan or before.billed_plan  # a correction's own row does not say what was billed
        billed = catalogue.named(name) if name else None
        explained = billed is not None and not billed.free and gain <= billed.credits
        if after.total > before.total and gain > 0 and not explained:
            yield Movement(amount=gain, since=before.seen_until, until=after.as_of)


def least_granted(account: Account, plan: Plan) -> int:
    """The smallest grant that may stand in the total, in credits.

    A renewal owes a counter nothing, so a plan bought before its amount was raised has the old one still.
    """
    began, memory = account.billing.started_at, account.memory
    seen = since_plan_change(memory, plan)[1] if memory else ()
    starts = [began, *(s.billed_period_start for s in seen if s.billed_plan == plan.name)]
    least = min([plan.credits, *(plan.credits_from(start) for start in starts if start is not None)])
    return least * months_of(plan, account.billing.cycle)


def allowance_of(account: Account, plan: Plan) -> int:
    """What a new subscription of that plan is granted, in credits: of a year granted up front twelve months'."""
    return plan.credits * months_of(plan, account.billing.cycle)


def _holds(account: Account, plan: Plan, state: KeyState, *, floor: bool, losses_since: bool) -> list[str]:
    found = []
    if state is KeyState.NEAR:
        found.append("this plan was granted less than 0.9 of a cycle ago")
    elif account.billing.period and billed_before(account.memory, plan, account.billing.period):
        found.append("this plan was billed less than 0.9 of a cycle ago as well, and may have been granted then")
    if account.billing.period is None:
        found.append("billing sent no time to count the period from, or the plan's yearly mode is undeclared")
    if floor and losses_since:
        found.append("credits vanished since the plan changed, so a low total does not prove a missing grant")
    return found


def credits_never_came(account: Account, plan: Plan, catalogue: Catalogue, policy: Policy, now: datetime) -> bool:
    """History proof: billing moved up to this plan, and since the last look before that no credit arrived.

    A total that fell is no proof either: a product may fold what is left into a new total (6,000 used 5,400 becomes
    5,600 used 0), and a burst of spending right after would look just like it.
    """
    memory = account.memory
    present = current(account.billing, account.balance, now)
    if memory is None or present is None:
        return False
    start, links = since_plan_change(memory, plan)
    former = catalogue.named(start.billed_plan) if start and start.billed_plan else None
    if start is None or former is None or former.rank >= plan.rank:
        return False
    if not unbroken(memory, start, links, now, policy.max_gap):
        return False
    return all(_nothing_came(a, b) for a, b in pairwise((start, *links, present)))


def _may_hide(memory: Memory | None, plan: Plan, allowance: int) -> bool:
    """Whether a grant would have left the total as it is: 6,000 used 5,000 folds into 6,000, 5,000 set is 5,000."""
    start, links = since_plan_change(memory, plan) if memory else (None, ())
    return start is not None and any(allowance in {seen.total, seen.used} for seen in (start, *links))


def _labelled_before(account: Account, plan: Plan, catalogue: Catalogue) -> bool:
    """Whether the product changed the label while billing still named a lower plan; one left over says nothing."""
    start = since_plan_change(account.memory, plan)[0] if account.memory else None
    earlier = [s for s in observed(account.memory) if start and s.as_of <= start.as_of] if account.memory else []
    for seen in reversed(earlier):
        label = catalogue.resolve_label(seen.label)
        if not isinstance(label, Resolved) or label.plan.rank < plan.rank:
            return seen is not start
        billed = catalogue.named(seen.billed_plan) if seen.billed_plan else None
        if billed and billed.rank >= plan.rank:
            return False
    return bool(earlier)


def _nothing_came(earlier: ObservedState, later: ObservedState) -> bool:
    if earlier.kind is StateKind.BEFORE and later.kind is StateKind.AFTER:
        return True  # our own correction; had it been this grant, the key would be taken
    return later.total == earlier.total and later.used >= earlier.used
