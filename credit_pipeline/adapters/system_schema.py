"""The shape of `defs.yaml`, key by key, and its translation into a CreditSystem. No files and no Dagster here.

Defaults of the policy are those of `domain/policy.py`; the names of a counter store default to the seed product's.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from credit_pipeline.adapters.system_values import (
    Address,
    Count,
    Cron,
    Duration,
    EnvName,
    Flag,
    Identifier,
    Name,
    Share,
    Text,
    TimeZone,
    listed,
)
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans import Catalogue, Plan, YearlyMode
from credit_pipeline.domain.policy import (
    EndLabels,
    Limits,
    OnDowngrade,
    OnEnd,
    Policy,
    Renewal,
    Shortfall,
    Trial,
)
from credit_pipeline.services.system import (
    CounterStoreConfig,
    CreditSystem,
    PlanTable,
    ScheduleConfig,
    WixConfig,
)

COMPONENT_TYPES = (
    "credit_pipeline.components.CreditReconciliation",
    "credit_pipeline.components.reconciliation.CreditReconciliation",  # as `dg scaffold` may write it
)

_POLICY = Policy()
_LIMITS = Limits()


class _Section(BaseModel):
    """One mapping of the file. Unknown keys are errors, and no input is echoed: it might be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PlanWords(_Section):
    """One plan; its place in the list is its rank."""

    name: Name
    credits: Count
    free: Flag = False
    label: Annotated[Text, Field(min_length=1)] | None = None
    provider_ids: tuple[Text, ...] = ()
    lookup_keys: tuple[Text, ...] = ()
    aliases: tuple[Text, ...] = ()
    yearly: YearlyMode | None = None


class BillingWords(_Section):
    """Where the facts come from."""

    provider: Literal["wix"]
    app_id_env: EnvName
    app_secret_env: EnvName
    base_url: Address = "https://www.wixapis.com"
    base_url_env: EnvName | None = None
    in_flight: Annotated[int, Field(strict=True, ge=1, le=64)] = 16


class ColumnWords(_Section):
    """The columns of the balance table."""

    account: Identifier = "instance_id"
    label: Identifier = "plan_id"
    total: Identifier = "credits_total"
    used: Identifier = "credits_used_month"
    updated_at: Identifier | None = None


class PlanTableWords(_Section):
    """The product's own table of plans."""

    table: Identifier = "plans"
    label: Identifier = "id"
    credits: Identifier = "monthly_credits"


class StoreWords(_Section):
    """Where the balances are."""

    layout: Literal["counter"]
    url_env: EnvName
    schema_: Identifier = Field(default="public", alias="schema")
    table: Identifier = "app_instances"
    columns: ColumnWords = ColumnWords()
    plans: PlanTableWords | None = None


class LimitWords(_Section):
    """Thresholds of the guards that refuse a whole plan."""

    rows_floor: Count = _LIMITS.rows_floor
    rows_share: Share = _LIMITS.rows_share
    rows_ceiling: Count = _LIMITS.rows_ceiling
    credits_allowances: Count = _LIMITS.credits_allowances
    credits_share: Share = _LIMITS.credits_share
    unknown_floor: Count = _LIMITS.unknown_floor
    unknown_share: Share = _LIMITS.unknown_share
    unanswered_floor: Count = _LIMITS.unanswered_floor
    unanswered_share: Share = _LIMITS.unanswered_share
    answers_ratio: Share = _LIMITS.answers_ratio


class PolicyWords(_Section):
    """The rules of this product."""

    renewal: Renewal | None = _POLICY.renewal
    shortfall: Shortfall = _POLICY.shortfall
    on_end: OnEnd = _POLICY.on_end
    end_labels: EndLabels = _POLICY.end_labels
    on_downgrade: OnDowngrade = _POLICY.on_downgrade
    trial: Trial = _POLICY.trial
    settle_time: Duration = _POLICY.settle_time
    max_gap: Duration = _POLICY.max_gap
    end_wait: Duration = _POLICY.end_wait
    aged_after: Duration = _POLICY.aged_after
    limits: LimitWords = LimitWords()


class ScheduleWords(_Section):
    """When the reconcile job runs by itself."""

    cron: Cron = "0 */6 * * *"
    timezone: TimeZone = "UTC"


class AutomationWords(_Section):
    """Whether scheduled runs may write."""

    apply: Flag = False


class SystemAttributes(_Section):
    """One product: its plans, where billing and balances are, and its rules."""

    description: Text = ""
    environment: Name = "production"
    plans: tuple[PlanWords, ...]
    aliases: dict[Text, Name] = Field(default_factory=dict)
    billing: BillingWords
    store: StoreWords
    policy: PolicyWords = PolicyWords()
    schedule: ScheduleWords = ScheduleWords()
    automation: AutomationWords = AutomationWords()


def credit_system(name: str, words: SystemAttributes) -> CreditSystem:
    """The system these attributes describe. Raises ConfigurationError where they contradict each other."""
    store, billing = words.store, words.billing
    rules = dict(words.policy)
    rules["limits"] = Limits(**dict(words.policy.limits))
    return CreditSystem(
        name=name,
        environment=words.environment,
        description=words.description.strip(),
        catalogue=Catalogue(plans=_plans(words)),
        policy=Policy(**rules, automation_apply=words.automation.apply),
        store=CounterStoreConfig(
            url_env=store.url_env,
            schema=store.schema_,
            table=store.table,
            plans=PlanTable(**dict(store.plans)) if store.plans else None,
            **dict(store.columns),
        ),
        billing=WixConfig(**{key: value for key, value in billing if key != "provider"}),
        schedule=ScheduleConfig(**dict(words.schedule)),
    )


def _plans(words: SystemAttributes) -> tuple[Plan, ...]:
    names = {plan.name for plan in words.plans}
    if all(plan.free for plan in words.plans):
        raise ConfigurationError("plans: a paid plan is missing: list the free plan and at least one paid one")
    for word, target in words.aliases.items():
        if target not in names:
            raise ConfigurationError(
                f"aliases: `{target}`, named by `{word}`, is no plan of this system: name one of {listed(names)}"
            )
    return tuple(
        Plan(
            name=plan.name,
            credits=plan.credits,
            rank=rank,
            label=plan.label or plan.name,
            free=plan.free,
            provider_ids=plan.provider_ids,
            lookup_keys=plan.lookup_keys,
            aliases=plan.aliases + tuple(word for word, target in words.aliases.items() if target == plan.name),
            yearly=plan.yearly,
        )
        for rank, plan in enumerate(words.plans)
    )
