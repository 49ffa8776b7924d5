"""Asks billing again about the rows about to be written, and holds those about which it no longer says the same."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.plans.catalogue import Resolved
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.confirm_ledger import Answers, Doubt, customers_of_rows
from credit_pipeline.services.plans.ports import PlanRow, SavedPlan
from credit_pipeline.services.reconcile.accounts import accounts_of


def hold_unconfirmed(
    system: CreditSystem, gateways: Gateways, plan: SavedPlan, rows: Sequence[PlanRow], *, now: datetime
) -> frozenset[int]:
    """Ask billing about these rows again; hold those it does not confirm, and return their numbers."""
    if plan.undoes is not None:
        return frozenset()  # the audit is its reason, whatever billing says now
    pinned = gateways.plans.pinned()
    held: dict[int, tuple[str, str]] = {}
    doubt_of = _doubts(system, gateways, plan, rows, now)
    for row in rows:
        moved = _moved_amount(system, row.correction, pinned)
        doubt = ("blocked_by_guard", moved) if moved else doubt_of(row.correction)
        if doubt:
            held[row.seq] = doubt
    if held:
        gateways.plans.hold(plan.plan_id, held)
    return frozenset(held)


def _doubts(
    system: CreditSystem, gateways: Gateways, plan: SavedPlan, rows: Sequence[PlanRow], now: datetime
) -> Callable[[Correction], Doubt | None]:
    """Asks billing once about all these rows; the returned function judges one correction by the answers."""
    if system.ledger:
        pull = gateways.billing.pull(customers_of_rows(row.correction for row in rows), now)
        return Answers(system, pull, as_of=plan.as_of, now=now).doubt
    pull = gateways.billing.pull([row.correction.billing_id for row in rows], now)
    answers = {answer["billing_id"]: answer for answer in _as_screened(pull.table.to_pylist())}
    return lambda correction: _doubt(system, correction, answers, now)


def _as_screened(answers: Iterable[dict[str, object]]) -> Iterator[dict[str, object]]:
    for answer in answers:
        yield {**answer, "account_id": answer["billing_id"], "label": None, "total": None, "used": None}


def _doubt(
    system: CreditSystem, correction: Correction, answers: dict[object, dict[str, object]], now: datetime
) -> Doubt | None:
    answer = answers.get(correction.billing_id)
    if answer is None or answer["lookup"] == Lookup.ERROR:
        return "blocked_by_guard", "billing did not confirm this account: run again when it answers"
    billing = accounts_of([answer], system.catalogue, None, now)[0].billing
    says = billing.resolution.plan.name if isinstance(billing.resolution, Resolved) else billing.lookup.value
    if says != correction.billed_plan or billing.status in {BillingStatus.DUNNING, BillingStatus.ENDED}:
        return "stale_skipped", f"billing now says {says}, the plan was made for {correction.billed_plan}"
    grant = correction.grant
    automatic = correction.lane is Lane.AUTO
    if grant and automatic and (billing.period is None or billing.period.start != grant.grant_key.period_start):
        return "stale_skipped", "billing's period rolled over since the plan was made"
    return None


def _moved_amount(system: CreditSystem, correction: Correction, pinned: Mapping[str, int]) -> str | None:
    """Why grants of this plan are halted: its amount in defs.yaml is not the pinned one."""
    grant = correction.grant
    plan = system.catalogue.named(grant.grant_key.plan) if grant else None
    if plan is None or pinned.get(plan.name) == plan.credits:
        return None
    was = pinned.get(plan.name)
    if was is None:
        return f"{plan.name} is new in defs.yaml and not pinned: its grants are halted until init {system.name} is run"
    return f"{plan.name} gives {plan.credits} credits in defs.yaml, {was} when pinned at init: its grants are halted"
