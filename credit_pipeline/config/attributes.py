"""The shape of `defs.yaml` as a whole, and the CreditSystem that it describes. No files and no Dagster here."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from credit_pipeline.config.alerts import AlertsConfig
from credit_pipeline.config.billing import Billing
from credit_pipeline.config.policy import PolicySection, policy_of, without_effect
from credit_pipeline.config.schedule import ScheduleSection, declared_twice, timetables
from credit_pipeline.config.store import LedgerStoreConfig, Store
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.config.values import Count, Flag, Name, Section, Text, listed
from credit_pipeline.config.webhooks import WebhookTable
from credit_pipeline.config.yaml_text import Loc
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, YearlyMode

COMPONENT_TYPES = (
    "credit_pipeline.components.CreditReconciliation",
    "credit_pipeline.components.reconciliation.CreditReconciliation",  # as `dg scaffold` may write it
)
PROVIDERS = {"counter": "wix", "ledger": "stripe"}
"""Layout → the provider it goes with: a counter's accounts are asked for one by one, a ledger's need invoices."""


class PlanEntry(Section):
    """One plan; its place in the list is its rank."""

    name: Name
    credits: Count
    free: Flag = False
    label: Annotated[Text, Field(min_length=1)] | None = None
    provider_ids: tuple[Text, ...] = ()
    lookup_keys: tuple[Text, ...] = ()
    aliases: tuple[Text, ...] = ()
    yearly: YearlyMode | None = None


class AutomationSection(Section):
    """Whether scheduled runs may write."""

    apply: Flag = False


class SystemAttributes(Section):
    """One product: its plans, where billing and balances are, and its rules."""

    description: Text = ""
    environment: Name = "production"
    plans: tuple[PlanEntry, ...]
    aliases: dict[Text, Name] = Field(default_factory=dict)
    billing: Billing
    store: Store
    webhooks: WebhookTable | None = None
    policy: PolicySection = PolicySection()
    schedule: ScheduleSection = ScheduleSection()
    automation: AutomationSection = AutomationSection()
    alerts: AlertsConfig = AlertsConfig()


def contradictions(attributes: SystemAttributes) -> Iterator[tuple[Loc, str]]:
    """(place, sentence) of every word that does not go with another one of the file."""
    layout, provider = attributes.store.layout, attributes.billing.provider
    if PROVIDERS[layout] != provider:
        pairs = " and ".join(f"`{one}` with `{other}`" for one, other in PROVIDERS.items())
        yield ("billing", "provider"), f"a store of layout `{layout}` does not go with `{provider}`: {pairs} do"
    for key, sentence in without_effect(attributes.policy, layout):
        yield ("policy", key), sentence
    for key, sentence in declared_twice(attributes.schedule):
        yield ("schedule", key), sentence
    unread = isinstance(attributes.store, LedgerStoreConfig) and attributes.store.transactions.reference is None
    if unread and "reference" in attributes.policy.model_fields_set:
        yield (
            ("policy", "reference"),
            "`policy.reference` has no effect without `store.transactions.reference`: name that column, or remove this",
        )


def credit_system(name: str, attributes: SystemAttributes) -> CreditSystem:
    """The system these attributes describe. Raises ConfigurationError where its plans contradict each other."""
    return CreditSystem(
        name=name,
        environment=attributes.environment,
        description=attributes.description.strip(),
        catalogue=Catalogue(plans=_plans(attributes)),
        policy=policy_of(attributes.policy, automation_apply=attributes.automation.apply),
        store=attributes.store,
        billing=attributes.billing,
        schedule=timetables(attributes.schedule),
        webhooks=attributes.webhooks,
        alerts=attributes.alerts,
    )


def _plans(attributes: SystemAttributes) -> tuple[Plan, ...]:
    names = {plan.name for plan in attributes.plans}
    if all(plan.free for plan in attributes.plans):
        raise ConfigurationError("plans: a paid plan is missing: list the free plan and at least one paid one")
    for word, target in attributes.aliases.items():
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
            aliases=plan.aliases + tuple(word for word, target in attributes.aliases.items() if target == plan.name),
            yearly=plan.yearly,
        )
        for rank, plan in enumerate(attributes.plans)
    )
