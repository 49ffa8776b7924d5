"""One configured system as a value: its plans, its rules, and where its store and billing are."""

from dataclasses import dataclass, field

from credit_pipeline.config.alerts import AlertsConfig
from credit_pipeline.config.billing import StripeConfig, WixConfig
from credit_pipeline.config.store import CounterStoreConfig, LedgerStoreConfig
from credit_pipeline.config.webhooks import WebhookTable
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.domain.policy import Policy
from credit_pipeline.domain.timetable import Timetables


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
