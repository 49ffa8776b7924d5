"""Why one account has the credits it has: its eight checks and the story behind the balance.

Assembled from the gateways' answers and the same judgement as everywhere; nothing is remembered, written or rendered.
What a layout cannot answer is null, never in order.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from credit_pipeline.config.store import LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import CODES
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.services.collect.ports import IdentityStore, Pull
from credit_pipeline.services.explain.counter_checks import counter_checks
from credit_pipeline.services.explain.explanation import Check, Explanation
from credit_pipeline.services.explain.find_subject import subject_named
from credit_pipeline.services.explain.ledger_checks import ledger_checks
from credit_pipeline.services.explain.timeline import spoken, timeline
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.accounts import accounts_of
from credit_pipeline.services.reconcile.in_force import in_force

UNKNOWN_ROW = {"label": None, "total": None, "used": None}


def explain(system: CreditSystem, gateways: Gateways, asked: str, *, now: datetime) -> Explanation:
    """Ask the store, billing and the memory about one account; a ledger's users are found by their e-mail as well.

    Raises where one of them cannot be asked at all, or where nobody is known by that name.
    """
    system = in_force(system, gateways)
    if isinstance(gateways.store, IdentityStore):
        return _of_ledger(system, gateways, gateways.store, asked, now)
    account_id = AccountId(asked)
    rows = gateways.store.read([account_id]).to_pylist()
    pull = gateways.billing.pull([BillingId(account_id)], now)
    row = {**_answer(pull, account_id), **(rows[0] if rows else UNKNOWN_ROW), "account_id": account_id}
    memory = gateways.memory if gateways.memory.installed() else None
    account = accounts_of([row], system.catalogue, memory, now)[0]
    judgement = classify(account, rules_now(system, gateways, now))
    in_store = bool(rows)
    return _told(
        system, gateways, judgement, counter_checks(system, judgement, in_store=in_store), in_store=in_store, now=now
    )


def rules_now(system: CreditSystem, gateways: Gateways, now: datetime) -> Rules:
    """How one account is judged when a person asks: nothing settles."""
    first_run = gateways.memory.installed() and gateways.memory.last_collection() is None
    return Rules(catalogue=system.catalogue, policy=system.policy, now=now, first_run=first_run)


def _of_ledger(
    system: CreditSystem, gateways: Gateways, store: IdentityStore, asked: str, now: datetime
) -> Explanation:
    assert isinstance(system.store, LedgerStoreConfig)
    judgement = classify(subject_named(system, gateways, store, asked, now=now), rules_now(system, gateways, now))
    account = judgement.account.store_id
    executable = store.can_deduct(account, probe=system.store.deduct_probe) if account else None
    checks = ledger_checks(judgement, executable=executable)
    in_store = account is not None and judgement.account.balance.used is not None
    return _told(system, gateways, judgement, checks, in_store=in_store, now=now)


def _told(
    system: CreditSystem,
    gateways: Gateways,
    judgement: Judgement,
    checks: tuple[Check, ...],
    *,
    in_store: bool,
    now: datetime,
) -> Explanation:
    account = judgement.account
    installed = gateways.memory.installed()
    audit = list(gateways.plans.audit(account=account.account_id)) if installed else []
    return Explanation(
        system=system.name,
        account_id=account.store_id,
        billing_id=account.billing.billing_id or None,
        summary=_summary(system, judgement, in_store=in_store),
        checks=checks,
        timeline=tuple(timeline(judgement, audit, in_store=in_store, now=now)),
        unanswered=account.billing.lookup is Lookup.ERROR,
    )


def _answer(pull: Pull, account_id: AccountId) -> Mapping[str, Any]:
    found = (row for row in pull.table.to_pylist() if row["billing_id"] == account_id)
    return next(found, {**_NO_ANSWER, "billing_id": account_id, "lookup": Lookup.ERROR.value})


_NO_ANSWER: Mapping[str, Any] = dict.fromkeys(
    ("status", "raw_plan", "subscription_id", "cycle", "anchor", "changed_at", "ends_at", "auto_renews", "detail")
)


def _summary(system: CreditSystem, judgement: Judgement, *, in_store: bool) -> str:
    """The answer to "why does this customer have 100 credits?" in a sentence or two."""
    balance = judgement.account.balance
    if not in_store:
        known = f" {_verdict(system, judgement)}" if judgement.account.identity else ""
        return f"The store has no balance under this id, and {spoken(judgement.account.billing)}.{known}"
    if balance.total is None or balance.used is None:
        return f"The account has no credit numbers, and {spoken(judgement.account.billing)}."
    held = (
        f"{balance.available:,} credits are available, {balance.total:,} granted less {balance.used:,} used, under the "
        f"label {balance.label or '(none)'}, and {spoken(judgement.account.billing)}."
    )
    return f"{held} {_verdict(system, judgement)}"


def _verdict(system: CreditSystem, judgement: Judgement) -> str:
    memory = judgement.account.memory
    if judgement.primary is None and memory is not None and memory.accepted:
        name = judgement.account.account_id
        shows = f"credit-pipeline mismatches {system.name} list --state accepted --account {name} shows it"
        return f"Nothing else is open than what a person accepted as it is: {shows}."
    if judgement.primary is None:
        return "That is in order."
    codes = (judgement.primary, *judgement.secondary)
    wrong = "; ".join(f"{CODES[code].sentence} ({code})" for code in codes)
    if judgement.corrections:
        after = judgement.corrections[0].after.available
        lane = judgement.corrections[0].lane.value
        left = "would mend it" if after is None else f"would leave {after:,}"
        mended = f"credit-pipeline fix {system.name} --account {judgement.account.account_id} {left} ({lane})."
        return f"{_capital(wrong)}. {mended}"
    return f"{_capital(wrong)}. {_capital(CODES[codes[0]].recovery)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
