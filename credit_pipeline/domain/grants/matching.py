"""Which transaction is which grant: entries matched one-to-one to entitlements (semantics §5, ledger).

By reference first; then by time, the exact amount first.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

from credit_pipeline.domain.grants.entitlement import Entitlement, Settlement, horizon
from credit_pipeline.domain.grants.ledger import Entry, EntryKind
from credit_pipeline.domain.grants.movements import Movement, gap_rises
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.domain.plans.periods import Cycle, months_of
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account

TOGETHER = timedelta(hours=1)
"""The longest time between the parts of one grant that share no reference."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)

Fits = Callable[[Entitlement, Entry], bool]
Pairs = dict[tuple[str, datetime], Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """One entitlement and its grant, or None."""

    entitlement: Entitlement
    entry: Entry | None

    @property
    def exact(self) -> bool:
        """Whether the amount is the allowance."""
        return self.entry is not None and self.entry.amount in self.entitlement.amounts

    @property
    def inside(self) -> bool:
        """Whether it came inside its window; one that came at another time says nothing about when the next is due."""
        return self.entry is not None and _in_window(self.entitlement, self.entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """All entitlements in their order, and the transactions since the horizon that are no entitlement's grant."""

    matched: tuple[Matched, ...]
    left: tuple[Entry, ...]
    """Grants and adjustments, of any sign, oldest first."""
    rises: tuple[Movement, ...] = ()
    """What raised the balance without a transaction."""

    @property
    def current(self) -> Matched | None:
        """The grant of what billing names now."""
        return next((one for one in self.matched if one.entitlement.current), None)

    def of(self, plan: str, period_start: datetime) -> Matched | None:
        """The entitlement of that grant key."""
        return next((one for one in self.matched if one.entitlement.key == (plan, period_start)), None)


def match(account: Account, entitlements: Sequence[Entitlement], rules: Rules) -> Matching:
    """Match an account's grants. Purchases and spends are never grants; an adjustment may stand in for one.

    The exact amount at any time of the period is matched last: it is the period's grant, though not in its window.
    """
    entries = account.ledger.entries if account.ledger else ()
    single = [entry for entry in entries if entry.kind is EntryKind.GRANT and entry.amount > 0]
    parts = _in_parts(entitlements, single, rules.catalogue)
    split = {entry.entry_id for several in parts.values() for entry in several}
    grants = [*(entry for entry in single if entry.entry_id not in split), *parts]
    pairs = _by_reference(entitlements, grants)
    nameless = _nameless(account, entitlements, grants)
    held = _held_since(account)

    def exactly(one: Entitlement, entry: Entry) -> bool:
        return entry.amount in one.amounts and _in_window(one, entry)

    def roughly(one: Entitlement, entry: Entry) -> bool:
        if one.anywhere or one.settlement is Settlement.PENDING:
            return False  # neither says when a grant was due
        if entry.at > held.get(one.key, entry.at):
            return False  # the grant was there already: what came later is something else
        return entry.amount not in _allowances_beside(one.plan, rules.catalogue) and _in_window(one, entry)

    def late(one: Entitlement, entry: Entry) -> bool:
        return entry.amount in one.amounts and one.period.start <= entry.at < one.period.end

    amounts = sorted({entry.amount for entry in nameless})
    for fits in (exactly, roughly, late):
        waiting = [one for one in entitlements if one.key not in pairs]
        taken = {entry.entry_id for entry in pairs.values()}
        free = [entry for entry in nameless if entry.entry_id not in taken]
        groups = [free] if fits is roughly else [[e for e in free if e.amount == amount] for amount in amounts]
        for group in groups:
            pairs |= _aligned(waiting, group, fits)
    taken = {one.entry_id for entry in pairs.values() for one in parts.get(entry, (entry,))}
    since, kinds = horizon(account, rules), {EntryKind.GRANT, EntryKind.ADJUSTMENT}
    return Matching(
        matched=tuple(Matched(entitlement=one, entry=pairs.get(one.key)) for one in entitlements),
        left=tuple(e for e in entries if e.kind in kinds and e.at >= since and e.entry_id not in taken),
        rises=gap_rises(account, rules.now),
    )


def _in_parts(
    entitlements: Sequence[Entitlement], grants: Sequence[Entry], catalogue: Catalogue
) -> dict[Entry, tuple[Entry, ...]]:
    """Grants given in two or three entries, as one entry each, and their parts.

    The parts have one reference or lie within an hour, and none is a plan's allowance by itself.
    """
    whole = {amount * months_of(plan, cycle) for plan in catalogue.plans for amount in plan.amounts for cycle in Cycle}
    small = sorted((entry for entry in grants if entry.amount not in whole), key=lambda e: (e.at, e.entry_id))
    found: dict[Entry, tuple[Entry, ...]] = {}
    used: set[str] = set()
    for one in entitlements:
        own = [e for e in small if _in_window(one, e) and (e.reference is None or e.reference in one.known_by)]
        for several in (*combinations(own, 2), *combinations(own, 3)):
            together = sum(e.amount for e in several) in one.amounts and not used.intersection(
                e.entry_id for e in several
            )
            named = len({e.reference for e in several}) == 1 and several[0].reference is not None
            if together and (named or several[-1].at - several[0].at <= TOGETHER):
                used |= {e.entry_id for e in several}
                name = "+".join(e.entry_id for e in several)
                amount = sum(e.amount for e in several)
                found[replace(several[0], entry_id=name, amount=amount)] = several
    return found


def _held_since(account: Account) -> dict[tuple[str, datetime], datetime]:
    """Grant keys that are taken, with the look at which the product's own grant was first held to be there.

    Of a key that we granted the amount is known, so that nothing of another amount is taken for it.
    """
    memory = account.memory
    if memory is None:
        return {}
    held = {
        (seen.billed_plan, seen.billed_period_start): seen.as_of
        for seen in reversed(memory.states)
        if seen.mark and seen.billed_plan and seen.billed_period_start
    }
    return held | {(grant.plan, grant.period_start): _LONG_AGO for grant in memory.grants}


def _in_window(one: Entitlement, entry: Entry) -> bool:
    return one.opens <= entry.at <= one.closes


def _allowances_beside(plan: Plan, catalogue: Catalogue) -> set[int]:
    """What the other plans grant: such an amount is another plan's grant, never a wrong one of this plan."""
    cycles = (Cycle.MONTHLY, Cycle.YEARLY)
    others = [other for other in catalogue.plans if other != plan]
    return {amount * months_of(other, cycle) for other in others for amount in other.amounts for cycle in cycles}


def _by_reference(entitlements: Sequence[Entitlement], grants: Iterable[Entry]) -> Pairs:
    """A reference that names several entitlements (one invoice for two plans) names none."""
    times = Counter(word for one in entitlements for word in one.known_by)
    pairs: Pairs = {}
    for one in entitlements:
        words = {word for word in one.known_by if times[word] == 1}
        named = [entry for entry in grants if entry.reference in words]
        if named:
            pairs[one.key] = min(
                named, key=lambda e: (e.amount not in one.amounts, abs(e.at - one.instant), e.entry_id)
            )
    return pairs


def _nameless(account: Account, entitlements: Sequence[Entitlement], grants: Iterable[Entry]) -> list[Entry]:
    """Grants that may be anybody's: not those that name one entitlement, or a grant key of another period."""
    times = Counter(word for one in entitlements for word in one.known_by)
    key = re.compile(re.escape(account.account_id) + r"/[^/]+/\d+")
    return [e for e in grants if e.reference is None or (times[e.reference] != 1 and not key.fullmatch(e.reference))]


def _aligned(waiting: Iterable[Entitlement], grants: Iterable[Entry], fits: Fits) -> Pairs:
    """As many pairs as can be in the order of time, and of those the nearest to their instants.

    Nearest first, one by one, would leave a late trial grant's own entitlement without it when the first paid month's
    grant comes late as well.
    """
    ones = sorted(waiting, key=lambda one: (one.instant, one.plan.rank))
    entries = sorted(grants, key=lambda entry: (entry.at, entry.entry_id))
    best: list[list[tuple[int, float, tuple[tuple[int, int], ...]]]]
    best = [[(0, 0.0, ())] * (len(entries) + 1) for _ in range(len(ones) + 1)]
    for i in reversed(range(len(ones))):
        for j in reversed(range(len(entries))):
            choice = max(best[i + 1][j], best[i][j + 1], key=lambda found: found[:2])
            if fits(ones[i], entries[j]):
                count, nearness, rest = best[i + 1][j + 1]
                far = abs(entries[j].at - ones[i].instant).total_seconds()
                choice = max((count + 1, nearness - far, ((i, j), *rest)), choice, key=lambda found: found[:2])
            best[i][j] = choice
    return {ones[i].key: entries[j] for i, j in best[0][0][2]}
