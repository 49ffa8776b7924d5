"""Why one account has the credits it has: the eight checks of the contract and the story behind the balance.

Assembled from the gateways' answers and the same judgement as everywhere; nothing is remembered, written or rendered.
What a layout cannot answer is null, never in order.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from credit_pipeline.domain.account import Account, Lookup
from credit_pipeline.domain.billing_status import BillingStatus
from credit_pipeline.domain.classify import Judgement, classify
from credit_pipeline.domain.codes import CODES, Direction
from credit_pipeline.domain.corrections import Lane
from credit_pipeline.domain.ids import AccountId, BillingId
from credit_pipeline.domain.plans import Unmapped
from credit_pipeline.domain.rules import Rules
from credit_pipeline.services.accounts import accounts_of
from credit_pipeline.services.ports import Gateways, Pull
from credit_pipeline.services.system import CreditSystem
from credit_pipeline.services.timeline import Entry, spoken, timeline

UNKNOWN_ROW = {"label": None, "total": None, "used": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One of the eight questions; `ok` is None where this layout, or billing's silence, leaves it open."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known of one account."""

    system: str
    account_id: str
    billing_id: str
    summary: str
    checks: tuple[Check, ...]
    timeline: tuple[Entry, ...]
    unanswered: bool

    @property
    def passed(self) -> int:
        """Checks in order."""
        return sum(1 for check in self.checks if check.ok is True)

    @property
    def failed(self) -> int:
        """Checks that are not."""
        return sum(1 for check in self.checks if check.ok is False)

    def as_json(self) -> dict[str, Any]:
        """The contract's object for `account`."""
        return {
            "system": self.system,
            "account_id": self.account_id,
            "billing_id": self.billing_id,
            "passed": self.passed,
            "failed": self.failed,
            "summary": self.summary,
            "checks": [asdict(check) for check in self.checks],
            "timeline": [asdict(entry) for entry in self.timeline],
        }


def explain(system: CreditSystem, gateways: Gateways, account_id: AccountId, *, now: datetime) -> Explanation:
    """Ask the store, billing and the memory about one account. Raises where one of them cannot be asked at all."""
    rows = gateways.store.read([account_id]).to_pylist()
    pull = gateways.billing.pull([BillingId(account_id)], now)
    installed = gateways.memory.installed()
    memory = gateways.memory if installed else None
    first_run = installed and gateways.memory.last_collection() is None
    row = {**_answer(pull, account_id), **(rows[0] if rows else UNKNOWN_ROW), "account_id": account_id}
    account = accounts_of([row], system.catalogue, memory, now)[0]
    rules = Rules(catalogue=system.catalogue, policy=system.policy, now=now, first_run=first_run)
    judgement = classify(account, rules)
    audit = list(gateways.plans.audit(account=account_id)) if installed else []
    return Explanation(
        system=system.name,
        account_id=account_id,
        billing_id=account.billing.billing_id,
        summary=_summary(system, judgement, in_store=bool(rows)),
        checks=checks(system, judgement, in_store=bool(rows)),
        timeline=tuple(timeline(judgement, audit, in_store=bool(rows), now=now)),
        unanswered=account.billing.lookup is Lookup.ERROR,
    )


def checks(system: CreditSystem, judgement: Judgement, *, in_store: bool) -> tuple[Check, ...]:
    """The eight checks, in the contract's order."""
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


def _answer(pull: Pull, account_id: AccountId) -> Mapping[str, Any]:
    found = (row for row in pull.table.to_pylist() if row["billing_id"] == account_id)
    return next(found, {**_NO_ANSWER, "billing_id": account_id, "lookup": Lookup.ERROR.value})


_NO_ANSWER: Mapping[str, Any] = dict.fromkeys(
    ("status", "raw_plan", "subscription_id", "cycle", "anchor", "changed_at", "ends_at", "auto_renews", "detail")
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
        detail = "the row has no credit numbers" if in_store else "without a row there is no balance"
        return Check(name="balance_exists", ok=False, detail=detail)
    return Check(name="balance_exists", ok=True, detail=f"{balance.total:,} granted, {balance.used:,} used")


def _balance_reasonable(judgement: Judgement, *, in_store: bool) -> Check:
    name, account = "balance_reasonable_for_plan", judgement.account
    if not in_store:
        return Check(name=name, ok=None, detail="without a row there is no balance")
    if account.billing.status is None or isinstance(account.billing.resolution, Unmapped):
        return Check(name=name, ok=None, detail="without a known plan there is nothing to compare with")
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


def _summary(system: CreditSystem, judgement: Judgement, *, in_store: bool) -> str:
    """The answer to "why does this customer have 100 credits?" in a sentence or two."""
    balance = judgement.account.balance
    if not in_store:
        return f"The store has no account of this id, and {spoken(judgement.account.billing)}."
    if balance.total is None or balance.used is None:
        return f"The account has no credit numbers, and {spoken(judgement.account.billing)}."
    held = (
        f"{balance.available:,} credits are available, {balance.total:,} granted less {balance.used:,} used, under the "
        f"label {balance.label or '(none)'}, and {spoken(judgement.account.billing)}."
    )
    return f"{held} {_verdict(system, judgement)}"


def _verdict(system: CreditSystem, judgement: Judgement) -> str:
    if judgement.primary is None:
        return "That is in order."
    codes = (judgement.primary, *judgement.secondary)
    wrong = "; ".join(f"{CODES[code].sentence} ({code})" for code in codes)
    if judgement.corrections:
        after = judgement.corrections[0].after
        lane = judgement.corrections[0].lane.value
        account = judgement.account.account_id
        mended = f"credit-pipeline fix {system.name} --account {account} would leave {after.available:,} ({lane})."
        return f"{_capital(wrong)}. {mended}"
    return f"{_capital(wrong)}. {_capital(CODES[codes[0]].recovery)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
