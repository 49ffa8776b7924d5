"""The eight checks of `account` for one account of a counter. Pure over a judgement.

What a counter cannot answer is null, never in order.
"""

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.codes import CODES, Direction
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.plans.catalogue import Unmapped
from credit_pipeline.domain.subjects.account import Account, Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.services.explain.explanation import Check
from credit_pipeline.services.explain.timeline import spoken


def counter_checks(system: CreditSystem, judgement: Judgement, *, in_store: bool) -> tuple[Check, ...]:
    """The eight checks, as `account` shows them."""
    account = judgement.account
    where = f"{system.store.table}.{system.store.account}"
    exists = "the store has this account" if in_store else f"no row of {where} has this id"
    mapping = "this layout has no mapping: the account's id is the id at billing"
    metadata = "this provider keeps no user id with a subscription"
    ledger = "a counter keeps no ledger: the timeline shows what was observed"
    return (
        Check(name="user_exists", ok=in_store, detail=exists),
        Check(name="mapping_exists", ok=None, detail=mapping),
        _subscription_exists(account),
        Check(name="metadata_resolved", ok=None, detail=metadata),
        _balance_exists(account, in_store=in_store),
        _balance_reasonable(judgement, in_store=in_store),
        Check(name="ledger_explains_balance", ok=None, detail=ledger),
        _can_deduct(account),
    )


def _subscription_exists(account: Account) -> Check:
    billing, label = account.billing, account.balance.plan
    says = spoken(billing)
    if billing.lookup is Lookup.ERROR:
        return Check(name="subscription_exists", ok=None, detail=says)
    if billing.status in {None, BillingStatus.ENDED}:
        return Check(name="subscription_exists", ok=False, detail=says)
    if billing.status is BillingStatus.FREE:
        if label is not None and not label.free:
            return Check(name="subscription_exists", ok=False, detail=f"{says}, but the store says {label.name}")
        return Check(name="subscription_exists", ok=None, detail=f"{says}: none exists and none is needed")
    return Check(name="subscription_exists", ok=True, detail=says)


def _balance_exists(account: Account, *, in_store: bool) -> Check:
    balance = account.balance
    if balance.total is None or balance.used is None:
        detail = "the row has no credit numbers" if in_store else "there is no row, so there is no balance"
        return Check(name="balance_exists", ok=False, detail=detail)
    return Check(name="balance_exists", ok=True, detail=f"{balance.total:,} granted, {balance.used:,} used")


def _balance_reasonable(judgement: Judgement, *, in_store: bool) -> Check:
    name, account = "balance_reasonable_for_plan", judgement.account
    if not in_store:
        return Check(name=name, ok=None, detail="there is no row, so there is no balance")
    if account.billing.status is None or isinstance(account.billing.resolution, Unmapped):
        return Check(name=name, ok=None, detail="the plan is unknown, so the balance cannot be judged")
    wrong = [
        f for f in judgement.findings if f.lane is not Lane.NONE and CODES[f.code].direction is not Direction.NEUTRAL
    ]
    if wrong:
        return Check(name=name, ok=False, detail="; ".join(f"{f.code}: {CODES[f.code].sentence}" for f in wrong))
    return Check(name=name, ok=True, detail=_reasonable(account))


def _reasonable(account: Account) -> str:
    plan, total = account.billing.plan, account.balance.total
    if plan is None or total is None or total == plan.credits:
        return f"total is the allowance of {plan.name}" if plan else "nothing contradicts it"
    if total > plan.credits:
        return f"{total - plan.credits:,} more than the {plan.credits:,} of {plan.name}: carried over, and kept"
    return f"less than the {plan.credits:,} of {plan.name}, and nothing is owed"


def _can_deduct(account: Account) -> Check:
    available = account.balance.available
    how = "the application counts in the row itself: this layout has no deduct function to ask"
    if available is None:
        return Check(name="can_deduct", ok=None, detail=f"the number available is unknown; {how}")
    return Check(name="can_deduct", ok=available >= 1, detail=f"{available:,} available; {how}")
