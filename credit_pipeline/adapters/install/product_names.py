"""Every product name in the configuration, by its YAML key, checked for being a plain identifier."""

import re
from dataclasses import fields

from credit_pipeline.config.system import CounterStoreConfig, CreditSystem, LedgerStoreConfig
from credit_pipeline.domain.errors import ConfigurationError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_LONGEST_SYSTEM = 63 - len("config_hash_")
_SECTIONS = ("balances", "transactions", "tiers", "users", "mapping", "subscriptions", "failures", "plans")
_WORDS = frozenset({"grant_type", "adjustment_type"})
"""Keys of a section whose text is a value and no name."""


def check_names(system: CreditSystem) -> None:
    """Refuses names that are no plain identifiers, before any of them reaches a statement."""
    if not NAME.fullmatch(system.name) or len(system.name) > _LONGEST_SYSTEM:
        raise ConfigurationError(
            f"{system.name}: a system's folder is named by letters, digits and `_`, at most {_LONGEST_SYSTEM}: "
            "rename it"
        )
    for key, name in {**yaml_names(system.store), **_webhook_names(system)}.items():
        if not NAME.fullmatch(name):
            what = "a function or parameter" if key.split(".")[1] in {"add", "deduct"} else "a table or column"
            raise ConfigurationError(
                f"{system.name}: `{name}` cannot be the name of {what} "
                f"(letters, digits and `_`, at most 63): correct `{key}` in defs.yaml"
            )


def yaml_names(store: CounterStoreConfig | LedgerStoreConfig) -> dict[str, str]:
    """YAML key → the name it gives."""
    if isinstance(store, LedgerStoreConfig):
        return _ledger_names(store)
    names = {"store.schema": store.schema, "store.table": store.table, **column_names(store)}
    if store.plans is not None:
        names["store.plans.table"] = store.plans.table
        names["store.plans.label"] = store.plans.label
        names["store.plans.credits"] = store.plans.credits
    return names


def column_names(store: CounterStoreConfig) -> dict[str, str]:
    """YAML key → column, of a counter's table."""
    names = {
        "store.columns.account": store.account,
        "store.columns.label": store.label,
        "store.columns.total": store.total,
        "store.columns.used": store.used,
    }
    if store.updated_at is not None:
        names["store.columns.updated_at"] = store.updated_at
    return names


def _webhook_names(system: CreditSystem) -> dict[str, str]:
    """Columns and table of the product's own webhooks; its words for their states are values."""
    table, values = system.webhooks, {"repaired", "dead"}
    named = {field.name: getattr(table, field.name) for field in fields(table)} if table is not None else {}
    return {f"webhooks.{word}": name for word, name in named.items() if isinstance(name, str) and word not in values}


def _ledger_names(store: LedgerStoreConfig) -> dict[str, str]:
    names = {"store.schema": store.schema}
    for key in _SECTIONS:
        section = getattr(store, key)
        for field in fields(section) if section is not None else ():
            value = getattr(section, field.name)
            if isinstance(value, str) and field.name not in _WORDS:
                names[f"store.{key}.{field.name}"] = value
    for key, call in (("add", store.add), ("deduct", store.deduct)):
        if call is not None:
            names[f"store.{key}.function"] = call.name
            names |= {f"store.{key}.arguments.{parameter}": parameter for parameter in call.arguments}
    return names
