"""Proof before money, for a ledger: when a grant is proven missing, and why a person decides (semantics §5).

A ledger tells what was granted, so absence can be proven; what it cannot tell is what else stands for the grant.
"""

from collections.abc import Iterable
from datetime import timedelta

from credit_pipeline.domain.grants.entitlement import BEFORE, Entitlement, Settlement, horizon
from credit_pipeline.domain.grants.history import KeyState, key_state
from credit_pipeline.domain.grants.ledger import Entry, EntryKind
from credit_pipeline.domain.grants.matching import Matched, Matching
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Billing


def stand_ins(one: Entitlement, matching: Matching) -> tuple[Entry, ...]:
    """Unmatched grants and adjustments of the period that may have been given for it: at least half the allowance.

    A purchase never is: the user paid for that beside the plan.
    """
    first, last = min(one.opens, one.period.start - BEFORE), max(one.closes, one.period.end)
    return tuple(e for e in matching.left if first <= e.at <= last and 2 * e.amount >= one.allowance)


def holds(account: Account, one: Entitlement, matching: Matching, rules: Rules) -> tuple[str, ...]:
    """Why a person must decide although the grant is absent and its period is paid; empty: nobody must."""
    found = list(one.holds)
    if not one.current and not (_read_back(account, one, rules) and _caught_up(one, matching, rules)):
        found.append(
            "billing has moved to another plan or period since"
            if _same_time(one, matching)
            else "the period is over, and only the current one is granted automatically"
        )
    if key_state(account.memory, one.plan, one.period) is KeyState.NEAR or _near(one, matching):
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


def _same_time(one: Entitlement, matching: Matching) -> bool:
    present = matching.current
    return present is None or one.period.end > present.entitlement.period.start


def _near(one: Entitlement, matching: Matching) -> bool:
    """Whether another period of the plan lies nearer than a cycle: a trial, a second subscription, a new anchor."""
    return any(
        other.entitlement.plan == one.plan
        and other.entitlement.key != one.key
        and (other.entry is not None or other.entitlement.settlement is Settlement.PAID)
        and abs(other.entitlement.period.start - one.period.start) < one.period.near
        for other in matching.matched
    )


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

    A calendar drip against an anniversary anchor: were the current period granted, the product would do it again.
    """
    due = previous.entitlement
    if not previous.inside and not _granted_by_us(account, due):
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
