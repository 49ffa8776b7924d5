"""The generated write functions of one system: their names, their text, and the hash of what they were generated for.

Rendering only; `install.py` runs the text, `plan_store.py` calls the functions.
"""

import hashlib
import json
import re
from importlib.resources import files

from psycopg import sql

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.system import CounterStoreConfig, CreditSystem

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_LONGEST_SYSTEM = 63 - len("config_hash_")
_SQL = files("credit_pipeline.adapters") / "sql"


def config_hash(system: CreditSystem) -> str:
    """What the functions depend on: the store's names and the functions' own text, so that other code is noticed."""
    store = system.store
    names = [store.schema, store.table, store.account, store.label, store.total, store.used, store.updated_at]
    text = json.dumps([names, _text("apply_batch.sql"), _text("write_counter.sql")])
    return hashlib.sha256(text.encode()).hexdigest()


def render(system: CreditSystem) -> str:
    """The SQL of all write functions of this system. Raises ConfigurationError for a name that may not be one."""
    check_names(system)
    return _text("apply_batch.sql") + "\n" + _counter(system)


def check_names(system: CreditSystem) -> None:
    """Refuses names that are no plain identifiers, before any of them reaches a statement."""
    if not NAME.fullmatch(system.name) or len(system.name) > _LONGEST_SYSTEM:
        raise ConfigurationError(
            f"{system.name}: a system's folder is named by letters, digits and `_`, at most {_LONGEST_SYSTEM}: "
            "rename it"
        )
    for key, name in yaml_names(system.store).items():
        if not NAME.fullmatch(name):
            raise ConfigurationError(
                f"{system.name}: `{name}` cannot be the name of a table or column "
                f"(letters, digits and `_`, at most 63): correct `{key}` in defs.yaml"
            )


def yaml_names(store: CounterStoreConfig) -> dict[str, str]:
    """YAML key → the name it gives, for every name of the product that we use."""
    names = {"store.schema": store.schema, "store.table": store.table, **column_names(store)}
    if store.plans is not None:
        names["store.plans.table"] = store.plans.table
        names["store.plans.label"] = store.plans.label
        names["store.plans.credits"] = store.plans.credits
    return names


def column_names(store: CounterStoreConfig) -> dict[str, str]:
    """YAML key → column, of the balance table."""
    names = {
        "store.columns.account": store.account,
        "store.columns.label": store.label,
        "store.columns.total": store.total,
        "store.columns.used": store.used,
    }
    if store.updated_at is not None:
        names["store.columns.updated_at"] = store.updated_at
    return names


def _counter(system: CreditSystem) -> str:
    store = system.store
    touch: sql.Composable = sql.SQL("")
    if store.updated_at is not None:
        touch = sql.SQL(", {} = now()").format(sql.Identifier(store.updated_at))
    composed = sql.SQL(_text("write_counter.sql")).format(
        config_hash=sql.Literal(config_hash(system)),
        hash_function=sql.Identifier(f"config_hash_{system.name}"),
        lock_function=sql.Identifier(f"lock_{system.name}"),
        write_function=sql.Identifier(f"write_{system.name}"),
        schema=sql.Identifier(store.schema),
        table=sql.Identifier(store.schema, store.table),
        account=sql.Identifier(store.account),
        label=sql.Identifier(store.label),
        total=sql.Identifier(store.total),
        used=sql.Identifier(store.used),
        touch=touch,
    )
    return composed.as_string(None)


def _text(name: str) -> str:
    return (_SQL / name).read_text(encoding="utf-8")
