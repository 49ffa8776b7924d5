"""The eight checks of `account` for one subject of a ledger: ids, subscription, balance, ledger, the power to deduct.

Pure over a judgement. What the subject leaves open is null, never in order.
"""

from credit_pipeline.domain.codes import CODES, Code, Direction
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.plans.catalogue import Unmapped
from credit_pipeline.domain.subjects.account import Account, Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.identity import Claim, Layer
from credit_pipeline.services.explain.explanation import Check
from credit_pipeline.services.explain.timeline import spoken


def ledger_checks(judgement: Judgement, *, executable: bool | None) -> tuple[Check, ...]:
    """The eight checks, as `account` shows them. `executable`: whether the deduct function may be run, if known."""
    account = judgement.account
    return (
        _user_exists(account),
        _mapping_exists(judgement),
        _subscription_exists(account),
        _metadata_resolved(account),
        _balance_exists(account),
        _balance_reasonable(judgement),
        _ledger_explains(account),
        _can_deduct(account, executable),
    )


def _user_exists(account: Account) -> Check:
    users = account.identity.auth_ids if account.identity else ()
    if not users:
        return Check(name="user_exists", ok=False, detail="no user of the authentication system is behind this")
    detail = f"user {users[0]}" if len(users) == 1 else f"{len(users)} users: {', '.join(users)}"
    return Check(name="user_exists", ok=True, detail=detail)


def _mapping_exists(judgement: Judgement) -> Check:
    identity, name = judgement.account.identity, "mapping_exists"
    claims = identity.claims if identity else ()
    trouble = [f.code for f in judgement.findings if f.code in {Code.ID_CONFLICT, Code.ID_SHARED}]
    told = "; ".join(_told(claim) for claim in sorted(claims, key=lambda one: (one.layer, one.store_id)))
    if trouble:
        return Check(name=name, ok=False, detail=f"{CODES[trouble[0]].sentence}: {told}")
    if any(claim.layer is Layer.MAPPING for claim in claims):
        return Check(name=name, ok=True, detail=told)
    return Check(name=name, ok=False, detail=f"the mapping table has no row; {told}" if told else "no layer maps it")


def _told(claim: Claim) -> str:
    absent = "" if claim.exists else ", which the store does not have"
    match claim.layer:
        case Layer.MAPPING:
            return f"the mapping table names {claim.store_id}{absent}"
        case Layer.METADATA:
            return f"the metadata key {claim.source} names {claim.store_id}{absent}"
        case Layer.SAME_ID:
            return f"the store has an account of the user's own id, {claim.store_id}: a guess"


def _subscription_exists(account: Account) -> Check:
    billing, label, name = account.billing, account.balance.plan, "subscription_exists"
    says = spoken(billing)
    if billing.lookup is Lookup.ERROR:
        return Check(name=name, ok=None, detail=says)
    if billing.status is BillingStatus.FREE:
        if label is not None and not label.free:
            return Check(name=name, ok=False, detail=f"{says}, but the store says {label.name}")
        return Check(name=name, ok=None, detail=f"{says}: none exists and none is needed")
    if billing.status in {None, BillingStatus.ENDED}:
        return Check(name=name, ok=False, detail=says)
    if account.local is None:
        return Check(name=name, ok=False, detail=f"{says}, but the product has no row for it")
    return Check(name=name, ok=True, detail=says)


def _metadata_resolved(account: Account) -> Check:
    identity, name = account.identity, "metadata_resolved"
    named = [claim for claim in identity.claims if claim.layer is Layer.METADATA] if identity else []
    if identity and identity.without_metadata:
        return Check(name=name, ok=False, detail="the local subscription row names no store account")
    if named:
        return Check(name=name, ok=all(claim.exists for claim in named), detail="; ".join(map(_told, named)))
    return Check(name=name, ok=None, detail="there is no local subscription row")


def _balance_exists(account: Account) -> Check:
    if account.store_id is None or account.balance.used is None:
        return Check(name="balance_exists", ok=False, detail="the store has no balance row for this user")
    return Check(name="balance_exists", ok=True, detail=f"{account.balance.available:,} credits")


def _balance_reasonable(judgement: Judgement) -> Check:
    name, account = "balance_reasonable_for_plan", judgement.account
    if account.store_id is None or account.balance.used is None:
        return Check(name=name, ok=None, detail="there is no balance row to compare")
    if account.billing.status is None or isinstance(account.billing.resolution, Unmapped):
        return Check(name=name, ok=None, detail="the plan is unknown, so the balance cannot be judged")
    wrong = [
        f for f in judgement.findings if f.lane is not Lane.NONE and CODES[f.code].direction is not Direction.NEUTRAL
    ]
    if wrong:
        return Check(name=name, ok=False, detail="; ".join(f"{f.code}: {CODES[f.code].sentence}" for f in wrong))
    pending = [f for f in judgement.findings if f.code is Code.PENDING_SETTLEMENT]
    if pending or judgement.pending:
        return Check(name=name, ok=None, detail=CODES[Code.PENDING_SETTLEMENT].sentence)
    plan = account.billing.plan
    paid = plan is not None and not plan.free and account.billing.status.live
    detail = f"the period's grant of {plan.name} stands in the ledger" if plan and paid else "nothing contradicts it"
    return Check(name=name, ok=True, detail=detail)


def _ledger_explains(account: Account) -> Check:
    name, ledger, gap = "ledger_explains_balance", account.ledger, account.gap
    if ledger is None or gap is None:
        return Check(name=name, ok=None, detail="there is no balance row to explain")
    if ledger.unknown_types:
        words = ", ".join(ledger.unknown_types)
        return Check(name=name, ok=None, detail=f"the YAML does not map these transaction types: {words}")
    if gap:
        return Check(name=name, ok=False, detail=f"the balance is {gap:+,} off the sum of {ledger.rows:,} transactions")
    return Check(name=name, ok=True, detail=f"{ledger.rows:,} transactions add up to it")


def _can_deduct(account: Account, executable: bool | None) -> Check:
    name, available = "can_deduct", account.balance.available
    if available is None:
        return Check(name=name, ok=None, detail="there is no balance row to deduct from")
    if executable is None:
        detail = f"{available:,} available; no deduct function is configured to ask"
        return Check(name=name, ok=None if available >= 1 else False, detail=detail)
    detail = f"{available:,} available; the deduct function {'may' if executable else 'may NOT'} be executed"
    return Check(name=name, ok=available >= 1 and executable, detail=detail)
