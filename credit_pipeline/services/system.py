"""One configured system as a value: its plans, rules, and where its store and billing are. No connections, no YAML."""

from dataclasses import dataclass, field

from credit_pipeline.domain.plans import Catalogue
from credit_pipeline.domain.policy import Policy


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """When the reconcile job runs by itself."""

    cron: str = "0 */6 * * *"
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditSystem:
    """A product whose credits are reconciled. `name` is its folder's name."""

    name: str
    environment: str
    catalogue: Catalogue
    policy: Policy
    store: CounterStoreConfig
    billing: WixConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    description: str = ""

    @property
    def env_names(self) -> tuple[str, ...]:
        """The environment variables without which this system cannot be read."""
        return (self.store.url_env, self.billing.app_id_env, self.billing.app_secret_env)
