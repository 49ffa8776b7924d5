"""Which of a subject's subscriptions it is judged on, and whether the product's row agrees with it (semantics §3, §6).

For ledgers, where one user may have several subscriptions and the label is a row of its own. Its
proposals are written only where the subject's identity is not in doubt. Nothing here moves credits.
"""

from collections.abc import Sequence
from math import inf
from typing import Any

from credit_pipeline.domain.codes import Code, Severity
from credit_pipeline.domain.corrections.correction import Lane, SetPlan, SetSubscription, Step
from credit_pipeline.domain.findings import Finding, finding
from credit_pipeline.domain.plans.catalogue import Plan, Resolved, Rule, Unmapped
from credit_pipeline.domain.plans.periods import Cycle
from credit_pipeline.domain.policy import Policy
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account, Billing, Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.domain.subjects.present_state import ended_subscription, unanswered, unmapped


def the_one(subscriptions: Sequence[Billing], *, free: Plan) -> Billing:
    """The subscription a subject is judged on; with none at all it is free, since the listing was complete.

    Of several paid ones: the only one that goes on, else the highest plan, else the newest. With none paid, an answer
    that did not come is unknown and no end; then what is overdue, then the newest that ended.
    """
    paid, going_on = _paid(subscriptions), _going_on(subscriptions)
    if len(going_on) == 1:
        return going_on[0]
    if paid:
        return max(paid, key=lambda one: (_rank(one), _age(one)))
    if subscriptions:
        return max(subscriptions, key=lambda one: (_urgency(one), _age(one)))
    return Billing(
        lookup=Lookup.ANSWERED,
        billing_id=BillingId(""),
        status=BillingStatus.FREE,
        resolution=Resolved(plan=free, rule=Rule.FREE),
    )


def subscription_findings(account: Account, rules: Rules) -> list[Finding]:
    """What is wrong with the subscription or with the product's row about it. Unknowns come first and stand alone."""
    silent = _no_answer(account)
    if silent is not None:
        return [silent]
    found = [*_several(account), *_unknown_plans(account)]
    if any(f.code is Code.PLAN_UNMAPPED for f in found):
        return found
    if account.billing.status is BillingStatus.DUNNING:
        return [*found, finding(account, Code.DUNNING, evidence={"detail": account.billing.detail})]
    if _pays(account.billing):
        return [*found, *_paid_row(account, rules.policy)]
    return [*found, *_free_row(account, rules)]


def subscription_steps(account: Account, findings: Sequence[Finding], rules: Rules) -> list[tuple[Finding, Step, str]]:
    """The labels and rows that may be written, each with its finding and the reason. An end writes the label only:
    what a product lets a user do with credits that were kept may hang on the status."""
    billing = account.billing
    plan = _answered_plan(billing, rules.catalogue.free)
    steps: list[tuple[Finding, Step, str]] = []
    for found in findings:
        if plan is None or found.lane not in {Lane.AUTO, Lane.APPROVE}:
            continue
        if found.code in {Code.PLAN_MISMATCH, Code.SUBSCRIPTION_ENDED, Code.SUBSCRIPTION_MISSING_LOCALLY}:
            says = "has no row" if account.local is None else f"says {account.local.label}"
            reason = f"billing says {plan.name}, store {says}"
            steps.append((found, SetPlan(plan=plan.name, label=plan.label), reason))
        if found.code in {Code.STATUS_MISMATCH, Code.SUBSCRIPTION_MISSING_LOCALLY}:
            step = _as_billed(billing, rules.policy)
            was = account.local.status if account.local else None
            steps.append((found, step, f"billing says {step.status}, store says {was or 'nothing'}"))
    return steps


def _no_answer(account: Account) -> Finding | None:
    """An answer without a state that we know is no answer about the plan either."""
    silent = unanswered(account)
    if silent is None and account.billing.status is None:
        return finding(account, Code.SOURCE_LOOKUP_ERROR, evidence={"detail": account.billing.detail})
    return silent


def _several(account: Account) -> list[Finding]:
    """Several paid subscriptions: expected while all but one run out, otherwise the customer pays twice."""
    paid = sorted(_paid(account.subscriptions), key=lambda one: one.subscription_id or "")
    if len(paid) < 2:
        return []
    switching = len(_going_on(paid)) == 1
    shown = [
        {"subscription": one.subscription_id, "plan": one.plan.name if one.plan else None, "ending": _ending(one)}
        for one in paid
    ]
    return [
        finding(
            account,
            Code.MULTIPLE_LIVE_SUBSCRIPTIONS,
            *(one.subscription_id for one in paid),
            lane=Lane.NONE if switching else None,
            severity=Severity.INFO if switching else None,
            evidence={"subscriptions": shown, "judged_on": account.billing.subscription_id},
        )
    ]


def _unknown_plans(account: Account) -> list[Finding]:
    """Why billing's plan or the store's label cannot be told. What an ended subscription was called matters no more."""
    billing, balance = account.billing, account.balance
    found = []
    if _pays(billing) or billing.status is BillingStatus.DUNNING:
        if isinstance(billing.resolution, Unmapped):
            found.append(unmapped(account, "billing", billing.resolution))
        for reason, shown in _not_one_plan(billing):
            evidence: dict[str, Any] = {"where": "billing", "raw": billing.raw_plan, "reason": reason}
            found.append(finding(account, Code.PLAN_UNMAPPED, "billing", reason, evidence=evidence | shown))
    if balance.label is not None and isinstance(balance.resolution, Unmapped):
        found.append(unmapped(account, "store", balance.resolution))
    return found


def _not_one_plan(billing: Billing) -> list[tuple[str, dict[str, Any]]]:
    """The plan is known by name, and how many credits it comes to is not."""
    reasons: list[tuple[str, dict[str, Any]]] = []
    if billing.quantity != 1:
        reasons.append(("quantity", {"quantity": billing.quantity}))
    if billing.items > 1:
        reasons.append(("items", {"items": billing.items}))
    if billing.plan is not None and billing.period is None:
        undeclared = billing.cycle is Cycle.YEARLY and billing.plan.yearly is None
        reasons.append(("yearly mode undeclared" if undeclared else "period unknown", {"plan": billing.plan.name}))
    return reasons


def _paid_row(account: Account, policy: Policy) -> list[Finding]:
    """Billing is paid: the product's row must exist, with the plan's label and the state's word."""
    billing, local, plan = account.billing, account.local, account.balance.plan
    billed = billing.plan
    if account.store_id is None or billed is None:
        return []  # no account that could have a row
    facts: dict[str, Any] = {"label": account.balance.label, "to_plan": billed.name}
    if plan is None or plan.free:
        facts["effect"] = "free_limits"
    if local is None:
        return [finding(account, Code.SUBSCRIPTION_MISSING_LOCALLY, evidence=facts)]
    found = [] if plan == billed else [finding(account, Code.PLAN_MISMATCH, evidence=facts)]
    if local.status is None or policy.statuses.get(local.status) is not _state(billing, policy):
        strange = local.status is not None and local.status not in policy.statuses
        evidence = {"status": local.status, "to_status": _as_billed(billing, policy).status}
        lane = Lane.REVIEW if strange else None  # it may be a lock of the product's own
        found.append(finding(account, Code.STATUS_MISMATCH, lane=lane, evidence=evidence))
    return found


def _free_row(account: Account, rules: Rules) -> list[Finding]:
    """Billing says ended, free, or nothing at all. A product without a row for a free account is in order."""
    plan = account.balance.plan
    if account.local is None:
        return []
    if plan is None:
        return [finding(account, Code.PLAN_MISMATCH, evidence={"to_plan": rules.catalogue.free.name})]
    if plan.free:
        return []
    if not account.subscriptions:
        evidence = {"label": account.local.label, "reason": "no_subscription"}
        return [finding(account, Code.SUBSCRIPTION_MISSING_AT_SOURCE, evidence=evidence)]
    return [ended_subscription(account, rules)]


def _answered_plan(billing: Billing, free: Plan) -> Plan | None:
    """The plan whose label may be written; free only where billing answered so."""
    if _pays(billing):
        return billing.plan
    undecided = billing.lookup is not Lookup.ANSWERED or billing.status in {None, BillingStatus.DUNNING}
    return None if undecided else free


def _as_billed(billing: Billing, policy: Policy) -> SetSubscription:
    """The product's row as billing has it; the provider's own word where the product uses it for the same state."""
    state = _state(billing, policy)
    words = [word for word, means in policy.statuses.items() if means is state]
    word = billing.detail if billing.detail in words else next(iter(words), state.value)
    term = billing.term or billing.period
    return SetSubscription(
        status=word,
        period_start=term.start if term else None,
        period_end=term.end if term else None,
    )


def _state(billing: Billing, policy: Policy) -> BillingStatus:
    """The state the product's row should tell: a product without a word for trials calls them active."""
    status = billing.status
    return status if status is not None and status in policy.statuses.values() else BillingStatus.ACTIVE


def _pays(one: Billing) -> bool:
    """Whether the subscription is live and of no plan known to be free; an unknown plan may be a paid one."""
    return one.status is not None and one.status.live and not (one.plan is not None and one.plan.free)


def _paid(subscriptions: Sequence[Billing]) -> list[Billing]:
    return [one for one in subscriptions if _pays(one)]


def _ending(one: Billing) -> bool:
    return one.auto_renews is False


def _going_on(subscriptions: Sequence[Billing]) -> list[Billing]:
    return [one for one in _paid(subscriptions) if not _ending(one)]


def _rank(one: Billing) -> float:
    """An unknown plan may be the highest: judged on it, nothing is granted."""
    return one.plan.rank if one.plan is not None else inf


def _age(one: Billing) -> tuple[float, str]:
    """Orders by the start, newest last; the id decides between equals, so that every run says the same."""
    return (one.started_at.timestamp() if one.started_at else -inf, one.subscription_id or "")


def _urgency(one: Billing) -> int:
    if one.lookup is Lookup.ANSWERED:
        return 3 if one.status is None else 1 if one.status is BillingStatus.DUNNING else 0
    return 3 if one.lookup is Lookup.ERROR else 2
