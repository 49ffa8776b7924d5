"""Every product name in the configuration, by its YAML key, checked for being a plain identifier."""

import re

from credit_pipeline.config.store import CounterStoreConfig, LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_LONGEST_SYSTEM = 63 - len("config_hash_")
_SECTIONS = ("balances", "transactions", "tiers", "users", "mapping", "subscriptions", "failures", "plans")
_WORDS = frozenset({"grant_type", "adjustment_type", "amounts"})
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
        "store.columns.label": store.columns.label,
        "store.columns.total": store.columns.total,
        "store.columns.used": store.columns.used,
    }
    if store.columns.updated_at is not None:
        names["store.columns.updated_at"] = store.columns.updated_at
    return names


def _webhook_names(system: CreditSystem) -> dict[str, str]:
    """Table and columns of the product's own webhooks."""
    section = system.webhooks
    columns = {} if section is None else {key: getattr(section, key) for key in type(section).model_fields}
    return {f"webhooks.{key}": name for key, name in columns.items() if isinstance(name, str)}


def _ledger_names(store: LedgerStoreConfig) -> dict[str, str]:
    names = {"store.schema": store.schema}
    for key in _SECTIONS:
        section = getattr(store, key)
        for name in type(section).model_fields if section is not None else ():
            value = getattr(section, name)
            if isinstance(value, str) and name not in _WORDS:
                names[f"store.{key}.{name}"] = value
    for key, call in (("add", store.add), ("deduct", store.deduct)):
        if call is not None:
            names[f"store.{key}.function"] = call.function
            names |= {f"store.{key}.arguments.{parameter}": parameter for parameter in call.arguments}
    return names
