"""The shape of `defs.yaml` as a whole, and its translation into a CreditSystem. No files and no Dagster here.

The keys of `store`, `billing` and `policy` stand in `schema_store.py`, `schema_billing.py` and `schema_policy.py`.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from credit_pipeline.config.alerts import AlertsWords, alerts_config
from credit_pipeline.config.billing import BillingWords, billing_config
from credit_pipeline.config.policy import PolicyWords, policy_of, without_effect
from credit_pipeline.config.schedule import ScheduleWords, declared_twice, timetables
from credit_pipeline.config.store import LedgerWords, StoreWords, store_config
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.config.values import Count, Flag, Name, Section, Text, listed
from credit_pipeline.config.webhooks import WebhookWords, webhook_table
from credit_pipeline.config.yaml_text import Loc
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, YearlyMode

COMPONENT_TYPES = (
    "credit_pipeline.components.CreditReconciliation",
    "credit_pipeline.components.reconciliation.CreditReconciliation",  # as `dg scaffold` may write it
)
PROVIDERS = {"counter": "wix", "ledger": "stripe"}
"""Layout → the provider it goes with: a counter's accounts are asked for one by one, a ledger's need invoices."""


class PlanWords(Section):
    """One plan; its place in the list is its rank."""

    name: Name
    credits: Count
    free: Flag = False
    label: Annotated[Text, Field(min_length=1)] | None = None
    provider_ids: tuple[Text, ...] = ()
    lookup_keys: tuple[Text, ...] = ()
    aliases: tuple[Text, ...] = ()
    yearly: YearlyMode | None = None


class AutomationWords(Section):
    """Whether scheduled runs may write."""

    apply: Flag = False


class SystemAttributes(Section):
    """One product: its plans, where billing and balances are, and its rules."""

    description: Text = ""
    environment: Name = "production"
    plans: tuple[PlanWords, ...]
    aliases: dict[Text, Name] = Field(default_factory=dict)
    billing: BillingWords
    store: StoreWords
    webhooks: WebhookWords | None = None
    policy: PolicyWords = PolicyWords()
    schedule: ScheduleWords = ScheduleWords()
    automation: AutomationWords = AutomationWords()
    alerts: AlertsWords = AlertsWords()


def contradictions(words: SystemAttributes) -> Iterator[tuple[Loc, str]]:
    """(place, sentence) of every word that does not go with another one of the file."""
    layout, provider = words.store.layout, words.billing.provider
    if PROVIDERS[layout] != provider:
        pairs = " and ".join(f"`{one}` with `{other}`" for one, other in PROVIDERS.items())
        yield ("billing", "provider"), f"a store of layout `{layout}` does not go with `{provider}`: {pairs} do"
    for key, sentence in without_effect(words.policy, layout):
        yield ("policy", key), sentence
    for key, sentence in declared_twice(words.schedule):
        yield ("schedule", key), sentence
    unread = isinstance(words.store, LedgerWords) and words.store.transactions.reference is None
    if unread and "reference" in words.policy.model_fields_set:
        yield (
            ("policy", "reference"),
            "`policy.reference` has no effect without `store.transactions.reference`: name that column, or remove this",
        )


def credit_system(name: str, words: SystemAttributes) -> CreditSystem:
    """The system these attributes describe. Raises ConfigurationError where its plans contradict each other."""
    return CreditSystem(
        name=name,
        environment=words.environment,
        description=words.description.strip(),
        catalogue=Catalogue(plans=_plans(words)),
        policy=policy_of(words.policy, automation_apply=words.automation.apply),
        store=store_config(words.store),
        billing=billing_config(words.billing),
        schedule=timetables(words.schedule),
        webhooks=webhook_table(words.webhooks) if words.webhooks else None,
        alerts=alerts_config(words.alerts),
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
