"""Corrections of a ledger, and a product that they can be applied to. No assertions."""

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from credit_pipeline.adapters.install.install import install
from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    CreateBalance,
    GrantCredits,
    GrantKey,
    Lane,
    LinkIdentity,
    SetPlan,
    SetResolvedId,
    SetSubscription,
    Step,
)
from credit_pipeline.domain.subjects.identity import Layer
from credit_pipeline.domain.subjects.ids import AccountId, AuthId
from credit_pipeline.services.plans.ports import RowOutcome
from credit_pipeline_tests.adapters.products.counter_product import END, START, a_correction, a_plan, apply_all, approve
from credit_pipeline_tests.adapters.products.ledger_product import LedgerProduct, a_system, create
from credit_pipeline_tests.conftest import Databases

A, B, C = (f"{letter * 8}-0000-4000-8000-000000000001" for letter in "abc")
"""Store accounts."""
U, V = (f"{digit * 8}-0000-4000-8000-000000000001" for digit in "12")
"""Users."""
Seen = tuple[str | None, int, int | None]


def plans_of(product: LedgerProduct, system: CreditSystem | None = None) -> "closing[PostgresPlans]":
    """A plan store of its own connection."""
    return closing(PostgresPlans(product.url, system or a_system()))


def a_copied_ledger(databases: Databases) -> LedgerProduct:
    """An installed product with the sandbox's names, copied from one that was installed once."""

    def fill(url: str) -> None:
        create(url)
        install(url, a_system())

    return LedgerProduct(databases.new(databases.template("installed ledger", fill)))


def an_installed_ledger(
    url: str, names: Mapping[str, str] | None = None, schema: str = "public", **store: Any
) -> tuple[LedgerProduct, CreditSystem]:
    """A product with other names, types or parts, installed."""
    product, system = create(url, names, schema), a_system(names, schema, **store)
    install(url, system)
    return product, system


def a_grant(
    account: str = A,
    delta: int = 800,
    *,
    plan: str = "pro",
    start: datetime = START,
    end: datetime = END,
    reference: str | None = "sub_1/1772323200",
) -> GrantCredits:
    key = GrantKey(account_id=AccountId(account), plan=plan, period_start=start)
    return GrantCredits(delta=delta, grant_key=key, period_end=end, reference=reference)


def an_adjustment(delta: int, key: str = "restore:f1", *, lower_used: bool = False) -> AdjustCredits:
    return AdjustCredits(delta=delta, correction_key=key, cause="restore", lower_used=lower_used)


def a_link(user: str = U, account: str = A, layer: Layer = Layer.METADATA) -> LinkIdentity:
    return LinkIdentity(auth_id=AuthId(user), store_id=AccountId(account), layer=layer)


def a_resolved_id(user: str = U, account: str = A) -> SetResolvedId:
    return SetResolvedId(auth_id=AuthId(user), store_id=AccountId(account))


PRO = SetPlan(plan="pro", label="pro")
ACTIVE = SetSubscription(status="active", period_start=START, period_end=END)
BALANCE = CreateBalance()


def a_change(*steps: Step, account: str = A, seen: Seen = ("pro", 100, 0), **overrides: Any) -> Correction:
    return a_correction(account, *steps, seen=seen, **overrides)


def approved(*steps: Step, **words: Any) -> Correction:
    return a_change(*steps, lane=Lane.APPROVE, **words)


def started(plans: PostgresPlans, *corrections: Correction) -> str:
    """The id of a saved plan that is being applied, both lanes released."""
    plan_id = plans.save(a_plan(*corrections, system="bestauth")).plan_id
    approve(plans, plan_id, *corrections, lanes=("auto", "approve"))
    plans.set_state(plan_id, "applying")
    return plan_id


def applied(plans: PostgresPlans, *corrections: Correction) -> list[RowOutcome]:
    return sorted(apply_all(plans, started(plans, *corrections)), key=lambda one: one.seq)


def result(plans: PostgresPlans, correction: Correction) -> tuple[str, str | None]:
    """(outcome, sentence) of one correction."""
    [one] = applied(plans, correction)
    return one.outcome, one.failure


Story = Callable[[LedgerProduct], object]
"""What the product's own code, or somebody else, does to it."""
