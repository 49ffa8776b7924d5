"""One configured system as a value: its plans, rules, and where its store and billing are. No connections, no YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.domain.policy import Policy
from credit_pipeline.domain.timetable import Timetables


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTable:
    """The product's own list of plans and their credits; a disagreement with ours is a finding."""

    table: str
    label: str
    credits: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterStoreConfig:
    """A store that counts per account: one row with a plan label, credits granted, credits used."""

    url_env: str
    schema: str
    table: str
    account: str
    label: str
    total: str
    used: str
    updated_at: str | None = None
    plans: PlanTable | None = None
    reader_url_env: str | None = None
    corrector_url_env: str | None = None
    approver_url_env: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """One of the product's own functions: parameter → what we pass (account, amount, type, reference, description)."""

    name: str
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceTable:
    """One row an account: what it can spend."""

    table: str = "points_balances"
    account: str = "user_id"
    balance: str = "balance"
    updated_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionTable:
    """Every movement of credits. Amounts are signed, or their sign follows from the type's kind (`by_type`)."""

    types: Mapping[str, EntryKind]
    """The product's types; any other type is a finding."""
    grant_type: str
    adjustment_type: str
    table: str = "points_transactions"
    id: str = "id"
    account: str = "user_id"
    amount: str = "amount"
    type: str = "type"
    at: str = "created_at"
    reference: str | None = "reference"
    by_type: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TierTable:
    """The product's row about an account's subscription: what its front end reads. By the store's id."""

    table: str = "subscriptions_consolidated"
    account: str = "user_id"
    label: str = "tier"
    status: str = "status"
    period_start: str | None = None
    period_end: str | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTable:
    """The users of the authentication system."""

    table: str = "bestauth_users"
    id: str = "id"
    email: str | None = "email"


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingTable:
    """Layer 1: which store account a user has."""

    table: str = "user_id_mapping"
    user: str = "bestauth_user_id"
    account: str = "supabase_user_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSubscriptionTable:
    """Layer 2: a user's subscription as the authentication system keeps it. By the user's id."""

    table: str = "bestauth_subscriptions"
    user: str = "user_id"
    metadata: str = "metadata"
    keys: tuple[str, ...] = ("resolved_supabase_user_id", "supabase_user_id", "original_userId")
    """Keys of the metadata that name a store account, most trusted first; the first is the one written."""
    billing: str | None = None
    subscription: str | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureTable:
    """Deductions that the product could not make."""

    table: str
    account: str
    at: str
    amount: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStoreConfig:
    """A store that keeps a ledger, for users whose id is another one than their account's."""

    url_env: str
    schema: str
    transactions: TransactionTable
    add: FunctionCall
    balances: BalanceTable = field(default_factory=BalanceTable)
    tiers: TierTable = field(default_factory=TierTable)
    users: UserTable = field(default_factory=UserTable)
    mapping: MappingTable = field(default_factory=MappingTable)
    subscriptions: LocalSubscriptionTable = field(default_factory=LocalSubscriptionTable)
    deduct: FunctionCall | None = None
    deduct_probe: bool = False
    failures: FailureTable | None = None
    plans: PlanTable | None = None
    reader_url_env: str | None = None
    corrector_url_env: str | None = None
    approver_url_env: str | None = None

    @property
    def table(self) -> str:
        """The table whose rows are the accounts, for a reader."""
        return self.balances.table

    @property
    def account(self) -> str:
        """Its column of the account's id."""
        return self.balances.account


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeConfig:
    """Stripe: subscriptions, customers and invoices are listed. The key is named by environment variable."""

    key_env: str
    base_url: str = "https://api.stripe.com"
    base_url_env: str | None = None
    version: str = "2026-10-28.endive"
    subject: tuple[str, ...] = ("metadata.user_id", "customer.metadata.user_id")
    """Paths of a subscription that name the product's user; all are read and compared."""
    plan: tuple[str, ...] = ("price.metadata.plan",)
    """Paths of an item that name the plan, asked after the price's id and lookup key."""
    per_second: int = 20

    @property
    def provider(self) -> str:
        """The provider's name."""
        return "stripe"

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variable → what it holds."""
        return {self.key_env: "a restricted, read-only Stripe key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WixConfig:
    """A Wix app: one token and one GET per instance. Secrets are named by environment variable, never held."""

    app_id_env: str
    app_secret_env: str
    base_url: str = "https://www.wixapis.com"
    base_url_env: str | None = None
    """A variable that, where set, replaces `base_url`; the sandbox uses it."""
    in_flight: int = 16
    per_minute_per_instance: int = 200

    @property
    def provider(self) -> str:
        """The provider's name."""
        return "wix"

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variable → what it holds."""
        return {self.app_id_env: "the Wix app's id", self.app_secret_env: "the Wix app's secret"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTable:
    """The product's own table of the webhooks it could not handle, in the store's schema. Whose a row is says its
    account or, where there is none, its body."""

    table: str
    failed: tuple[str, ...]
    """The words of `status` that ask for a repair."""
    repaired: str | None = None
    """What is written there afterwards; None: nothing is."""
    dead: str | None = None
    """What is written where it was given up; None: nothing is."""
    id: str = "id"
    status: str = "status"
    received: str = "received_at"
    type: str | None = None
    account: str | None = None
    body: str | None = None
    attempts: str | None = None
    error: str | None = None

    @property
    def told(self) -> bool:
        """Whether the product's table is told what became of its rows."""
        return self.repaired is not None or self.dead is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAlerts:
    """An address that takes Slack's JSON; it is a secret, so the file names its variable."""

    url_env: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailAlerts:
    """Mail through the server whose URL the variable holds."""

    smtp_url_env: str
    sender: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsConfig:
    """Where people are told."""

    log: bool = True
    webhook: WebhookAlerts | None = None
    email: EmailAlerts | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that say where."""
        webhook = (self.webhook.url_env,) if self.webhook else ()
        return (*webhook, *((self.email.smtp_url_env,) if self.email else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditSystem:
    """A product whose credits are reconciled. `name` is its folder's name."""

    name: str
    environment: str
    catalogue: Catalogue
    policy: Policy
    store: CounterStoreConfig | LedgerStoreConfig
    billing: WixConfig | StripeConfig
    schedule: Timetables = field(default_factory=Timetables)
    webhooks: WebhookTable | None = None
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    description: str = ""

    @property
    def env_names(self) -> tuple[str, ...]:
        """The environment variables that say where this system's sources are. The roles' own need not all be set."""
        store = self.store
        own = (store.reader_url_env, store.corrector_url_env, store.approver_url_env)
        return (store.url_env, *(name for name in own if name is not None), *self.billing.variables)

    @property
    def four_eyes(self) -> bool:
        """Whether a plan is approved by another database user than the one that made it."""
        declared = self.policy.four_eyes
        return self.store.approver_url_env is not None if declared is None else declared

    @property
    def ledger(self) -> bool:
        """Whether the store is a ledger (else a counter)."""
        return isinstance(self.store, LedgerStoreConfig)
