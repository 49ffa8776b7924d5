"""One healthy paid subject of a ledger system, with the values around it. Tests override facts; nothing is judged."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.grants.ledger import Entry, EntryKind, Ledger
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.domain.plans.periods import Cycle, Period
from credit_pipeline.domain.subjects.account import (
    Account,
    Balance,
    Billing,
    GrantRecord,
    Local,
    Lookup,
    Memory,
    ObservedState,
)
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.identity import Claim, Identity, Layer, Naming
from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId
from credit_pipeline_tests.domain.builders import START, a_catalogue, a_period, a_resolution, hours_ago, seen

AUTH = AuthId("aaaaaaaa-0000-4000-8000-000000000001")
STORE = AccountId("bbbbbbbb-0000-4000-8000-000000000001")
CUSTOMER = BillingId("cus_1")
SUBSCRIPTION = "sub_1"
PAID = START + timedelta(hours=1)
"""When the current period's invoice was paid; the product grants a minute later."""

_DEFAULT: Any = object()
_WORDS = {
    BillingStatus.FREE: None,
    BillingStatus.ACTIVE: "active",
    BillingStatus.TRIALING: "trialing",
    BillingStatus.DUNNING: "past_due",
    BillingStatus.ENDED: "canceled",
}
"""The provider's own word where a test does not say which (`detail=`)."""


def a_reference(plan: str = "pro", start: datetime = START, account: AccountId = STORE) -> str:
    """What the product writes at a grant: the default policy's template, filled in."""
    return f"{account}/{plan}/{int(start.timestamp())}"


def an_entry(**overrides: Any) -> Entry:
    """The current period's Pro grant by the product itself."""
    facts: dict[str, Any] = {
        "entry_id": "txn_1",
        "at": PAID + timedelta(minutes=1),
        "amount": 5000,
        "kind": EntryKind.GRANT,
        "type": "subscription_grant",
        "reference": a_reference(),
    }
    return Entry(**(facts | overrides))


def a_ledger(**overrides: Any) -> Ledger:
    """One grant and one spend of 1,000, read back for 62 days."""
    entries = tuple(overrides.get("entries", (an_entry(),)))
    facts: dict[str, Any] = {"spent": 1000, "rows": len(entries) + 1, "since": hours_ago(24 * 62)}
    return Ledger(**(facts | overrides | {"entries": entries}))


def an_invoice(**overrides: Any) -> InvoiceLine:
    """The paid line of the current period."""
    plan = overrides.get("plan", a_catalogue().named("pro"))
    facts: dict[str, Any] = {
        "invoice_id": "in_1",
        "line_id": "il_1",
        "subscription_id": SUBSCRIPTION,
        "status": InvoiceStatus.PAID,
        "period": a_period(),
        "plan": plan,
        "raw_plan": plan.name if plan else None,
        "paid_at": PAID,
    }
    return InvoiceLine(**(facts | overrides))


def a_claim(layer: int = Layer.MAPPING, **overrides: Any) -> Claim:
    """AUTH has STORE, as one layer says."""
    sources = {1: "user_id_mapping", 2: "resolved_supabase_user_id", 3: "same id"}
    facts: dict[str, Any] = {
        "layer": Layer(layer),
        "auth_id": AUTH,
        "store_id": STORE,
        "source": sources[layer],
        "exists": True,
    }
    return Claim(**(facts | overrides))


def a_naming(**overrides: Any) -> Naming:
    """The subscription's own metadata names AUTH."""
    facts: dict[str, Any] = {
        "billing_id": CUSTOMER,
        "subscription_id": SUBSCRIPTION,
        "named": AUTH,
        "auth_id": AUTH,
        "source": "metadata.user_id",
    }
    return Naming(**(facts | overrides))


def an_identity(**overrides: Any) -> Identity:
    """One user, one account, one customer: mapped, named in the metadata, named by the subscription."""
    facts: dict[str, Any] = {
        "auth_ids": (AUTH,),
        "store_ids": (STORE,),
        "billing_ids": (CUSTOMER,),
        "claims": (a_claim(1), a_claim(2)),
        "namings": (a_naming(), a_naming(source="local row")),
    }
    return Identity(**(facts | overrides))


def a_local(**overrides: Any) -> Local:
    """The product's row, agreeing with billing."""
    facts: dict[str, Any] = {
        "label": "pro",
        "status": "active",
        "period_start": a_period().start,
        "period_end": a_period().end,
    }
    return Local(**(facts | overrides))


def a_stripe_billing(billed: str | None = "pro", *, catalogue: Catalogue | None = None, **overrides: Any) -> Billing:
    """A live monthly subscription in its first period, with its paid invoice. `billed`: the provider's plan word."""
    resolution = a_resolution(billed, catalogue or a_catalogue())
    period: Period | None = overrides.get("period", a_period())
    facts: dict[str, Any] = {
        "lookup": Lookup.ANSWERED,
        "billing_id": CUSTOMER,
        "status": BillingStatus.ACTIVE,
        "raw_plan": billed,
        "resolution": resolution,
        "subscription_id": SUBSCRIPTION,
        "cycle": Cycle.MONTHLY,
        "period": period,
        "term": period,
        "ends_at": period.end if period else None,
        "auto_renews": True,
        "detail": _WORDS[overrides.get("status") or BillingStatus.ACTIVE],
        "started_at": period.start if period else START,
    }
    invoices = (an_invoice(plan=getattr(resolution, "plan", None), period=period),) if period else ()
    return Billing(**(facts | {"invoices": invoices} | overrides))


def a_user(
    *,
    label: str | None = "pro",
    local: Local | None = _DEFAULT,
    billed: str | None = "pro",
    billing: Billing | None = None,
    subscriptions: Iterable[Billing] | None = None,
    identity: Identity | None = None,
    ledger: Ledger | None = None,
    entries: Iterable[Entry] = _DEFAULT,
    older: int = 0,
    spent: int = 1000,
    gap: int = 0,
    total: int | None = _DEFAULT,
    used: int | None = _DEFAULT,
    states: Iterable[ObservedState] | None = None,
    runs: Iterable[datetime] = (),
    grants: Iterable[GrantRecord] = (),
    open_mismatches: Iterable[Mismatch] = (),
    accepted: Iterable[str] = (),
    applied_keys: Iterable[str] = (),
    installed: bool = True,
    account_id: str = STORE,
    catalogue: Catalogue | None = None,
    **subscription: Any,
) -> Account:
    """A Pro customer in good order: mapped, billed, paid, granted once by the product, 1,000 of 5,000 spent.

    Every other word is a fact of its subscription (`status=`, `auto_renews=`, `invoices=`, …). The balance follows from
    the ledger: total = `older` (before the ledger's window) + the entries, used = `spent` − `gap`; `used=None` is a
    missing balance row. Seen six hours ago without a mark, so that no key is taken.
    """
    plans = catalogue or a_catalogue()
    billing = billing or a_stripe_billing(billed, catalogue=plans, **subscription)
    moved = ledger or a_ledger(spent=spent, **({} if entries is _DEFAULT else {"entries": tuple(entries)}))
    all_in = older + sum(entry.amount for entry in moved.entries) if total is _DEFAULT else total
    left_out = moved.spent - gap if used is _DEFAULT else used
    row = (None if label is None else a_local(label=label)) if local is _DEFAULT else local
    tier = row.label if row else None
    before = (replace(seen(total=all_in or 0, used=left_out or 0, label=tier), gap=gap),)
    memory = Memory(
        states=before if states is None else tuple(states),
        complete_runs=tuple(runs),
        grants=tuple(grants),
        open_mismatches=tuple(open_mismatches),
        accepted=frozenset(accepted),
        applied_keys=frozenset(applied_keys),
    )
    return Account(
        account_id=AccountId(account_id),
        billing=billing,
        balance=Balance(label=tier, resolution=plans.resolve_label(tier), total=all_in, used=left_out),
        memory=memory if installed else None,
        ledger=moved,
        identity=identity or an_identity(),
        local=row,
        subscriptions=(billing,) if subscriptions is None else tuple(subscriptions),
    )
