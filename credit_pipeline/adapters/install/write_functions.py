"""SQL text of one system's write functions, and the hash of what it was generated for.

Renders only; nothing is executed here.
"""

import hashlib
from collections.abc import Mapping
from importlib.resources import files

from psycopg import sql

from credit_pipeline.adapters.install.ledger_sql import ledger_words, touch
from credit_pipeline.adapters.install.product_names import check_names
from credit_pipeline.adapters.install.webhook_functions import webhook_functions, webhook_parameters
from credit_pipeline.config.store import CounterStoreConfig, LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem

_SQL = files("credit_pipeline.adapters.install") / "sql"
# Every function is closed to PUBLIC; who may call which is in roles.sql, and in a single-role install nobody else does.
_CLOSED = "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA credit_pipeline FROM PUBLIC;\n"
_SHARED = ("admission.sql", "guards.sql", "apply_batch.sql", "invariants.sql", "undo.sql", "decide.sql", "doors.sql")
WRITE_PATH = (*_SHARED, "write_counter.sql", "write_ledger.sql", "webhook_table.sql", "webhook_told.sql")
"""The files of the write path."""
_FUNCTIONS = ("lock", "held", "check", "touched", "write")


WRITE_PATH_VERSION = 1
"""Of all generated functions together. Raised with any change of what they do; comments and blanks do not count."""


def config_hash(system: CreditSystem) -> str:
    """SHA-256 of what the functions are generated for: the version, and every configured name and literal.

    A database whose functions were generated for something else refuses to apply until `init` is run.
    """
    _, parameters = _template(system)
    parameters = {**parameters, **webhook_parameters(system)}
    given = "".join(f"{name}={value.as_string(None)}\n" for name, value in sorted(parameters.items()))
    return hashlib.sha256(f"version {WRITE_PATH_VERSION}\n{given}".encode()).hexdigest()


def render(system: CreditSystem) -> str:
    """The SQL of all write functions of this system. Raises ConfigurationError for a name that may not be one."""
    check_names(system)
    file, parameters = _template(system)
    functions = {f"{word}_function": sql.Identifier(f"{word}_{system.name}") for word in _FUNCTIONS}
    composed = sql.SQL(template_text(file)).format(
        hash_function=sql.Identifier(f"config_hash_{system.name}"),
        config_hash=sql.Literal(config_hash(system)),
        **functions,
        **parameters,
    )
    shared = (template_text(name) for name in _SHARED)
    return "\n".join((*shared, composed.as_string(None), *webhook_functions(system), _CLOSED))


def template_text(name: str) -> str:
    """The text of one file of the write path."""
    return (_SQL / name).read_text(encoding="utf-8")


def _template(system: CreditSystem) -> tuple[str, Mapping[str, sql.Composable]]:
    """The layout's file, and what it is filled in with."""
    store = system.store
    if isinstance(store, LedgerStoreConfig):
        return "write_ledger.sql", ledger_words(store)
    return "write_counter.sql", _counter_words(store)


def _counter_words(store: CounterStoreConfig) -> Mapping[str, sql.Composable]:
    return {
        "schema": sql.Identifier(store.schema),
        "table": sql.Identifier(store.schema, store.table),
        "account": sql.Identifier(store.account),
        "label": sql.Identifier(store.columns.label),
        "total": sql.Identifier(store.columns.total),
        "used": sql.Identifier(store.columns.used),
        "touch": touch(store.columns.updated_at),
    }
