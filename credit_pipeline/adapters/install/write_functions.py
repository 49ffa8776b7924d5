"""The generated write functions of one system: their text, and the hash of what they were generated for.

Rendering only; `install.py` runs the text, `plan_store.py` calls the functions. What a ledger's functions are filled in
with is in `ledger_words.py`.
"""

import hashlib
from collections.abc import Mapping
from importlib.resources import files

from psycopg import sql

from credit_pipeline.adapters.install.ledger_sql import ledger_words, touch
from credit_pipeline.adapters.install.product_names import check_names
from credit_pipeline.adapters.install.webhook_functions import webhook_functions
from credit_pipeline.config.system import CounterStoreConfig, CreditSystem, LedgerStoreConfig

_SQL = files("credit_pipeline.adapters.install") / "sql"
# Every function is closed to PUBLIC; who may call which is in roles.sql, and in a single-role install nobody else does.
_CLOSED = "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA credit_pipeline FROM PUBLIC;\n"
_SHARED = ("admission.sql", "guards.sql", "apply_batch.sql", "invariants.sql", "undo.sql", "decide.sql", "doors.sql")
_FUNCTIONS = ("lock", "held", "check", "touched", "write")


def config_hash(system: CreditSystem) -> str:
    """Of the functions' whole text: whatever name, word or line of code is another one, it is noticed."""
    return hashlib.sha256(_text(system, "").encode()).hexdigest()


def render(system: CreditSystem) -> str:
    """The SQL of all write functions of this system. Raises ConfigurationError for a name that may not be one."""
    check_names(system)
    return _text(system, config_hash(system))


def _text(system: CreditSystem, hashed: str) -> str:
    store = system.store
    file, words = (
        ("write_ledger.sql", ledger_words(store))
        if isinstance(store, LedgerStoreConfig)
        else ("write_counter.sql", _counter_words(store))
    )
    functions = {f"{word}_function": sql.Identifier(f"{word}_{system.name}") for word in _FUNCTIONS}
    composed = sql.SQL((_SQL / file).read_text(encoding="utf-8")).format(
        hash_function=sql.Identifier(f"config_hash_{system.name}"),
        config_hash=sql.Literal(hashed),
        **functions,
        **words,
    )
    shared = ((_SQL / name).read_text(encoding="utf-8") for name in _SHARED)
    return "\n".join((*shared, composed.as_string(None), *webhook_functions(system), _CLOSED))


def _counter_words(store: CounterStoreConfig) -> Mapping[str, sql.Composable]:
    return {
        "schema": sql.Identifier(store.schema),
        "table": sql.Identifier(store.schema, store.table),
        "account": sql.Identifier(store.account),
        "label": sql.Identifier(store.label),
        "total": sql.Identifier(store.total),
        "used": sql.Identifier(store.used),
        "touch": touch(store.updated_at),
    }
