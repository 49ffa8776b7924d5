"""Counters around a changed amount: what was sold before it is judged by the old one, and nobody looks robbed."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.corrections.correction import AdjustCredits
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.plans.catalogue import Amount, Catalogue, Plan, Resolution, Resolved
from credit_pipeline.domain.policy import OnDowngrade, OnEnd
from credit_pipeline.domain.subjects.account import Account, Billing
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline_tests.domain.builders import NOW, START, a_catalogue, an_account, hours_ago, rules, seen

CHANGED = START + timedelta(days=3)


def since_changed(name: str, credits: int, was: int, *, at: datetime = CHANGED) -> Catalogue:
    """The catalogue after a person accepted another amount of one plan."""

    def of(plan: Plan) -> Plan:
        return replace(plan, credits=credits, former=(Amount(until=at, credits=was),)) if plan.name == name else plan

    return Catalogue(plans=tuple(of(plan) for plan in a_catalogue().plans))


def judged(catalogue: Catalogue, **facts: Any) -> Judgement:
    """One account, its plans as accounts_of gives them: those of the period that billing names."""
    policy = {name: facts.pop(name) for name in ("on_end", "on_downgrade") if name in facts}
    account = an_account(catalogue=catalogue, **facts)
    start = account.billing.period.start if account.billing.period else None

    def then(found: Resolution | None) -> Any:
        return replace(found, plan=found.plan.as_of(start)) if isinstance(found, Resolved) else found

    billing: Billing = replace(account.billing, resolution=then(account.billing.resolution))
    balance = replace(account.balance, resolution=then(account.balance.resolution))
    return classify(
        Account(**{**_fields(account), "billing": billing, "balance": balance}), rules(catalogue=catalogue, **policy)
    )


def _fields(account: Account) -> dict[str, Any]:
    return {name: getattr(account, name) for name in Account.__slots__}


def codes(judgement: Judgement) -> list[str]:
    return [found.code.value for found in judgement.findings]


def test_a_plan_that_ended_does_not_date_the_free_plan() -> None:
    ended = {"label": "free", "used": 0, "billed": "pro", "status": BillingStatus.ENDED, "states": ()}
    assert codes(judged(since_changed("free", 50, 100), total=50, **ended)) == []
    assert codes(judged(since_changed("free", 200, 100), total=100, **ended)) == []


def test_a_forfeit_leaves_the_largest_amount_that_free_ever_had() -> None:
    looks = (seen(60, billed="free", total=900, used=0), seen(6, billed="free", total=900, used=0))
    for now, was in ((200, 100), (100, 200)):
        found = judged(
            since_changed("free", now, was),
            billed="free",
            total=900,
            used=0,
            states=looks,
            on_end=OnEnd.FORFEIT,
        )
        steps = [step for one in found.corrections for step in one.steps if isinstance(step, AdjustCredits)]
        assert [step.delta for step in steps] == [-700]


def test_a_product_that_ends_a_plan_with_the_free_amount_of_today_took_what_it_may() -> None:
    before = seen(6, total=5_000, used=0)
    for now, was, total in ((200, 100, 200), (100, 200, 100)):
        found = judged(
            since_changed("free", now, was),
            label="free",
            billed="free",
            total=total,
            used=0,
            states=(before,),
            on_end=OnEnd.FORFEIT,
        )
        assert codes(found) == []


def test_a_downgrade_in_mid_period_may_bring_the_amount_of_today_or_of_the_period() -> None:
    before = seen(6, total=5_000, used=0)
    for total, loss in ((2_000, []), (1_000, []), (1_500, ["unexplained_decrease"])):
        found = judged(
            since_changed("starter", 2_000, 1_000),
            label="starter",
            billed="starter",
            total=total,
            used=0,
            states=(before,),
            on_downgrade=OnDowngrade.SET_TO_ALLOWANCE,
        )
        assert codes(found) == loss
    assert hours_ago(6) > CHANGED
    assert START < CHANGED < NOW
