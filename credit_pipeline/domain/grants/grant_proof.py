"""Proof before money, for a ledger: when a grant is proven missing, and why a person decides (semantics §5).

A ledger tells what was granted, so absence can be proven; what it cannot tell is what else stands for the grant.
"""

from collections.abc import Iterable
from datetime import timedelta

from credit_pipeline.domain.grants.entitlement import BEFORE, Entitlement, Settlement, horizon
from credit_pipeline.domain.grants.history import KeyState, key_state
from credit_pipeline.domain.grants.ledger import Entry, EntryKind
from credit_pipeline.domain.grants.matching import Matched, Matching
from credit_pipeline.domain.grants.movements import Movement, of_entry
from credit_pipeline.domain.plans.periods import A_MONTH, NEAR
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Billing


def may_stand_for(account: Account, one: Entitlement, matching: Matching, rules: Rules) -> tuple[Movement, ...]:
    """Gains that nobody else's payment explains and that together come to half of what is owed: was it granted so?

    From 0.9 of a cycle before the period to its end, adjustments from a day before it. A purchase never is one: the
    user paid for that beside the plan. Nor is a copy of another period's grant by its name, or a correction of ours.
    """
    far, first = one.period.start - _reach(one), min(one.opens, one.period.start - BEFORE)
    last = max(one.closes, one.period.end)
    free = rules.catalogue.free.amounts
    gains = [
        *(of_entry(entry) for entry in matching.left if _nobody_s(account, entry, one, matching)),
        *(of_entry(entry) for entry in _unbilled(account, one, matching)),
        *matching.rises,
    ]
    found = [
        gain
        for gain in gains
        if gain.within(first if gain.kind is EntryKind.ADJUSTMENT else far, last)
        if not (gain.kind is EntryKind.GRANT and gain.amount in free and 2 * gain.amount < one.allowance)
    ]
    return tuple(found) if 2 * sum(gain.amount for gain in found) >= one.allowance else ()


def _reach(one: Entitlement) -> timedelta:
    """How long before its period a grant may have been given for it; a trial or a rest of a month has the month's."""
    return max(one.period.near, A_MONTH * NEAR)


def _nobody_s(account: Account, entry: Entry, one: Entitlement, matching: Matching) -> bool:
    """Whether it is a gain that names no other entitlement, whose second grant it were, and no correction of ours."""
    ours = account.memory.applied_keys if account.memory else frozenset()
    others = (other.entitlement for other in matching.matched if other.entitlement.key != one.key)
    named = entry.reference is not None and any(entry.reference in other.known_by for other in others)
    return entry.amount > 0 and not named and entry.reference not in ours


def _unbilled(account: Account, one: Entitlement, matching: Matching) -> Iterable[Entry]:
    """Grants of the same plan that only a change without a line explains: a later line may be for them."""
    for other in matching.matched:
        due = other.entitlement
        unbilled = due.plan == one.plan and due.key != one.key and not due.judged and due.invoice_id is None
        if unbilled and other.entry is not None and not _granted_by_us(account, due):
            yield other.entry


def holds(account: Account, one: Entitlement, matching: Matching, rules: Rules) -> tuple[str, ...]:
    """Why a person must decide although the grant is absent and its period is paid; empty: nobody must."""
    found = list(one.holds)
    if not one.current and not (_read_back(account, one, rules) and _caught_up(one, matching, rules)):
        found.append(_why_not_current(one, matching))
    if _near(account, one, matching):
        found.append("this plan was granted less than 0.9 of a cycle ago")
    previous = _previous(one, matching)
    if previous is not None and _on_days_of_its_own(account, previous, matching):
        found.append(
            "the previous period's grant did not come near its payment, so the product may grant on days of its own"
        )
    if len(_going_on(account)) > 1:
        found.append("the customer pays for several subscriptions at once")
    if account.ledger is not None and account.ledger.unknown_types:
        found.append("the account has transactions of a type that defs.yaml does not map")
    if _above_what_was_billed(one, matching, rules):
        found.append("with this grant the period had more credits than its plans allow")
    return tuple(found)


def _read_back(account: Account, one: Entitlement, rules: Rules) -> bool:
    """Whether the ledger was read since before the period began: what stands in for its grant may be older."""
    return one.period.start - BEFORE >= horizon(account, rules)


def _caught_up(one: Entitlement, matching: Matching, rules: Rules) -> bool:
    """Whether the policy lets this older period be granted automatically: one of the `catch_up` newest before now."""
    present = matching.current
    if present is None or one.subscription_id != present.entitlement.subscription_id:
        return False
    until = present.entitlement.period.start
    older = {m.entitlement.period.start for m in matching.matched if m.entitlement.judged}
    newest = sorted((start for start in older if start < until), reverse=True)[: rules.policy.catch_up]
    return one.period.start in newest


def _why_not_current(one: Entitlement, matching: Matching) -> str:
    present = matching.current
    if present is None:
        return "its subscription is overdue, paused or over"
    if one.subscription_id != present.entitlement.subscription_id:
        return "it was paid for by another subscription than the one in force"
    if one.period.end > present.entitlement.period.start:
        return "billing has moved to another plan or period since"
    return "the period is over, and only the current one is granted automatically"


def _near(account: Account, one: Entitlement, matching: Matching) -> bool:
    """Whether the plan was granted, or is owed, nearer than a cycle: a second subscription, a new anchor, a move.

    A period of the same subscription that was paid by itself and is over then stands in nobody's way: a trial, the rest
    of a month up to a fixed billing day. One that we granted or marked does, since its end is not remembered.
    """
    if key_state(account.memory, one.plan, one.period) is KeyState.NEAR:
        return True
    return any(
        other.entitlement.plan == one.plan
        and other.entitlement.key != one.key
        and (other.entry is not None or other.entitlement.settlement is Settlement.PAID)
        and abs(other.entitlement.period.start - one.period.start) < one.period.near
        and not _paid_apart(one, other.entitlement)
        for other in matching.matched
    )


def _paid_apart(one: Entitlement, other: Entitlement) -> bool:
    """Whether both are of one subscription, each with a paid line of its own, for times that do not meet."""
    apart = other.period.end <= one.period.start or one.period.end <= other.period.start
    paid = None not in {other.invoice_id, one.invoice_id} and other.invoice_id != one.invoice_id
    return other.subscription_id == one.subscription_id and apart and paid and other.settlement is Settlement.PAID


def _previous(one: Entitlement, matching: Matching) -> Matched | None:
    """The billed period before of the same plan and subscription, where its grant was due and could be seen."""
    before = [
        other
        for other in matching.matched
        if other.entitlement.plan == one.plan
        and other.entitlement.subscription_id == one.subscription_id
        and other.entitlement.judged
        and other.entitlement.period.start < one.period.start
    ]
    last = max(before, key=lambda other: other.entitlement.period.start, default=None)
    return last if last is not None and last.entitlement.owed else None


def _on_days_of_its_own(account: Account, previous: Matched, matching: Matching) -> bool:
    """Whether the product granted the period before at a time that no payment explains, alone or beside another grant.

    A calendar drip against an anniversary anchor: were the current period granted, the product would do it again. What
    was never granted at all is no drip.
    """
    due = previous.entitlement
    if previous.entry is not None and not previous.inside and not _granted_by_us(account, due):
        return True
    first, last = due.period.start - BEFORE, due.period.end
    beside = (e for e in matching.left if e.kind is EntryKind.GRANT and e.amount == due.allowance)
    nameless = (e for e in beside if e.reference not in due.known_by)  # a copy by name is a webhook that came again
    return any(first <= e.at < last and not due.opens <= e.at <= due.closes for e in nameless)


def _granted_by_us(account: Account, one: Entitlement) -> bool:
    grants = account.memory.grants if account.memory else ()
    return any((grant.plan, grant.period_start) == one.key for grant in grants)


def _going_on(account: Account) -> list[Billing]:
    return [
        one
        for one in account.subscriptions
        if one.status is not None
        and one.status.live
        and one.auto_renews is not False
        and not (one.plan is not None and one.plan.free)
    ]


def _above_what_was_billed(one: Entitlement, matching: Matching, rules: Rules) -> bool:
    """Σ granted per period ≤ Σ allowances of the distinct plans billed in it; the free plan's own credits aside."""
    beside = [
        other
        for other in matching.matched
        if other.entitlement.period.start < one.period.end and one.period.start < other.entitlement.period.end
        if other.entitlement.key != one.key
    ]
    paid = [other for other in beside if other.entitlement.settlement is Settlement.PAID]
    billed = [other.entitlement for other in paid if other.entitlement.judged or other.entry is not None]
    allowed = {e.plan.name: e.allowance for e in (*billed, one)}
    granted = sum(other.entry.amount for other in beside if other.entry is not None) + one.allowance
    return granted + _loose(one, matching.left, rules.catalogue.free.amounts) > sum(allowed.values())


def _loose(one: Entitlement, left: Iterable[Entry], free: frozenset[int]) -> int:
    first, last = one.period.start - timedelta(days=1), one.period.end
    grants = (e.amount for e in left if e.kind is EntryKind.GRANT and first <= e.at < last)
    return sum(amount for amount in grants if amount > 0 and amount not in free)
