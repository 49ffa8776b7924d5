"""The facts about one subject: what billing answers, what the store holds, what we remember. No judgement here.

A counter store keeps `total` (all credits granted, spent or not) and `used`; `available = total − used`. A ledger is
read in the same words: `total` is the sum of all its transactions that are no spending, `used = total − balance`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from credit_pipeline.domain.grants.invoices import InvoiceLine
from credit_pipeline.domain.grants.ledger import Ledger
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import Plan, Resolution, Resolved
from credit_pipeline.domain.plans.periods import Cycle, Period
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.identity import Identity
from credit_pipeline.domain.subjects.ids import AccountId, BillingId


class Lookup(StrEnum):
    """How the provider answered when asked about one id."""

    ANSWERED = "answered"
    GONE = "gone"
    """The app was uninstalled: an answer, though not about a plan."""
    MISSING = "missing"
    """The provider says it knows no such id."""
    ERROR = "error"
    """No answer; nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Billing:
    """What the provider says about one subject now."""

    lookup: Lookup
    billing_id: BillingId
    status: BillingStatus | None = None
    raw_plan: str | None = None
    resolution: Resolution | None = None
    subscription_id: str | None = None
    cycle: Cycle | None = None
    period: Period | None = None
    """None where the provider sends no time to count from, or the plan's yearly mode is undeclared."""
    changed_at: datetime | None = None
    """The provider's own time of the last change, if it sends one."""
    ends_at: datetime | None = None
    auto_renews: bool | None = None
    """False: cancelled at the end of the period; live until then."""
    detail: str | None = None
    """The provider's own word for a state or a failure: `past_due`, `paused`."""
    term: Period | None = None
    """What the provider bills at once, [start, end); `period` is the part of it that one grant is for."""
    started_at: datetime | None = None
    quantity: int = 1
    items: int = 1
    """How many items of the subscription bear credits."""
    invoices: tuple[InvoiceLine, ...] = ()
    """Evidence for grants, oldest first; empty where the provider sends none."""

    @property
    def plan(self) -> Plan | None:
        """The plan, where the word for it is known."""
        return self.resolution.plan if isinstance(self.resolution, Resolved) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What the store holds, in a counter's words. A missing number is unknown, not zero."""

    label: str | None
    resolution: Resolution | None
    total: int | None
    used: int | None

    @property
    def plan(self) -> Plan | None:
        """The plan the product believes in, where its label is known."""
        return self.resolution.plan if isinstance(self.resolution, Resolved) else None

    @property
    def available(self) -> int | None:
        """Credits the user can still spend."""
        return None if self.total is None or self.used is None else self.total - self.used


class Mark(StrEnum):
    """Why we hold a period's grant to have been made by the product itself (semantics §5, adoption)."""

    ADOPTED = "adopted"
    ASSUMED = "assumed"
    """Made on the first run, without an earlier observation."""


class StateKind(StrEnum):
    """Where a remembered state comes from."""

    OBSERVED = "observed"
    BEFORE = "before"
    """The row as our own correction found it, under its lock."""
    AFTER = "after"
    """The row as our own correction left it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedState:
    """One remembered state of an account: first seen at `as_of`, still the same at `seen_until`."""

    as_of: datetime
    seen_until: datetime
    kind: StateKind = StateKind.OBSERVED
    label: str | None
    total: int
    used: int
    billed_plan: str | None
    billed_period_start: datetime | None
    billed_status: str | None
    mark: Mark | None = None
    gap: int | None = None
    """A ledger's balance less the sum of all its transactions; None for a counter and for our own corrections."""

    @property
    def available(self) -> int:
        """Credits that could be spent at that moment."""
        return self.total - self.used


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRecord:
    """A grant made by us: the key (plan, period_start) is taken for ever, also once reversed."""

    plan: str
    period_start: datetime
    credits: int
    reversed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What our last word about the product's row took back, each as (what was taken, what it put back)."""

    at: datetime
    label: tuple[str | None, str | None] | None = None
    status: tuple[str | None, str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What earlier runs left behind about one account.

    `states` are in time order and include those before and after our own corrections. `complete_runs` are the
    as-of times of the system's complete collections since the oldest state. An account never seen has no states.
    """

    states: tuple[ObservedState, ...] = ()
    complete_runs: tuple[datetime, ...] = ()
    grants: tuple[GrantRecord, ...] = ()
    open_mismatches: tuple[Mismatch, ...] = ()
    """Mismatches of earlier runs that are still open or acknowledged."""
    accepted: frozenset[str] = frozenset()
    """Fingerprints a person accepted; their findings count no more."""
    applied_keys: frozenset[str] = frozenset()
    """Keys of corrections that were applied: an event whose restore key is here is restored."""
    undone: Undone | None = None
    """None where our last word about the row was none that took something back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """The product's own row about an account's subscription: the tier and status its front end reads."""

    label: str | None
    status: str | None
    period_start: datetime | None = None
    period_end: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """All facts about one subject that a judgement may rest on."""

    account_id: AccountId
    """The store's id; a subject without a store account is named `user:<id>` or `customer:<id>`, and never written."""
    billing: Billing
    balance: Balance
    memory: Memory | None
    """None where our schema is not installed: history checks are then not evaluated."""
    ledger: Ledger | None = None
    """None for a counter."""
    identity: Identity | None = None
    """None where the store's id is the id at billing."""
    local: Local | None = None
    """None where the product has no such row, and for a counter, whose row is the balance itself."""
    subscriptions: tuple[Billing, ...] = ()
    """Every subscription of the subject; `billing` is the one it is judged on. Empty for a counter."""

    @property
    def store_id(self) -> AccountId | None:
        """The account in the store, where the subject has one."""
        return None if self.identity is not None and not self.identity.store_ids else self.account_id

    @property
    def gap(self) -> int | None:
        """A ledger's balance less the sum of all its transactions: 0 where the ledger explains the balance."""
        if self.ledger is None or self.balance.used is None:
            return None
        return self.ledger.spent - self.balance.used
