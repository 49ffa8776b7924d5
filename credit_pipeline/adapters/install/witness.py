"""The opt-in witness: triggers on the product's balance table that record who lowers a balance outside our functions.

People read `credit_pipeline.witness`. It helps to find a faulty job; it is no security measure.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import LiteralString

import psycopg
from psycopg import sql

from credit_pipeline.adapters.install.pins import note_act
from credit_pipeline.adapters.install.roles import become_owner, step_back
from credit_pipeline.adapters.postgres.transactions import Cursor
from credit_pipeline.config.store import CounterStoreConfig, LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.findings.ports import Decided

_SQL = files("credit_pipeline.adapters.install") / "sql" / "witness.sql"
_SET = "SELECT to_regprocedure(%s) IS NOT NULL AS is_set"
# Only what falls reaches the function, so that the product's other writes cost nothing.
_TRIGGERS = """
CREATE TRIGGER {trigger} AFTER UPDATE ON {table} FOR EACH ROW
    WHEN ({falls}) EXECUTE FUNCTION credit_pipeline.{function}();
CREATE TRIGGER {removed} AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION credit_pipeline.{function}();
CREATE TRIGGER {emptied} AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION credit_pipeline.{function}();
"""
_COUNTER_FALLS = "OLD.{total} - OLD.{used} - (NEW.{total} - NEW.{used}) > greatest(0, NEW.{used} - OLD.{used})"
# Who called is told by the stack of functions: nobody but the owner can make one in our schema.
_OURS = r"PL/pgSQL function credit_pipeline\.write_"
_DROP = "DROP TRIGGER IF EXISTS {} ON {}"
_ENDINGS = {"trigger": "", "removed": "_removed", "emptied": "_emptied"}


def set_witness(
    cursor: Cursor, system: CreditSystem, wanted: bool | None, by: Decided | None, *, owner: str | None
) -> tuple[str, ...]:
    """Installs (True), removes (False) or renews where there is one (None); `owner` is a walled install's.

    Returns what to know about it. Raises ConfigurationError where this user may not put triggers on the table.
    """
    row = cursor.execute(_SET, (f'credit_pipeline."{_name(system)}"()',)).fetchone()
    there = row is not None and row["is_set"]
    if not there and not wanted:
        return ()
    words = _words(system)
    if wanted is False:
        _as_table_owner(cursor, system, words, "")
        _as_owner(cursor, system, owner, sql.SQL("DROP FUNCTION credit_pipeline.{}()").format(words["function"]))
    else:
        body = sql.SQL(_SQL.read_text(encoding="utf-8")).format(**words)
        _as_owner(cursor, system, owner, body)
        if wanted:
            _as_table_owner(cursor, system, words, _TRIGGERS)
    if wanted is not None:
        what = "witness" if wanted else "no_witness"
        note_act(cursor, system, what, by or _this_user(cursor, what), {"table": system.store.table})
    if wanted is False:
        return ()
    table = f"{system.store.schema}.{system.store.table}"
    return (f"witness: what lowers a balance in `{table}` past our functions is noted in credit_pipeline.witness",)


def _words(system: CreditSystem) -> Mapping[str, sql.Composable]:
    store = system.store
    words: dict[str, sql.Composable] = {
        **{key: sql.Identifier(_name(system) + ending) for key, ending in _ENDINGS.items()},
        "function": sql.Identifier(_name(system)),
        "system": sql.Literal(system.name),
        "table": sql.Identifier(store.schema, store.table),
        "account": sql.Identifier(store.account),
        "before": _row(store, "OLD"),
        "after": _row(store, "NEW"),
    }
    if isinstance(store, CounterStoreConfig):
        names = {"total": sql.Identifier(store.columns.total), "used": sql.Identifier(store.columns.used)}
        return words | {
            "what_is_spending": sql.SQL("what `used` rose by is taken off what available fell by."),
            "falls": sql.SQL(_COUNTER_FALLS).format(**names),
            "ours": sql.Literal(_OURS),
        }
    spends = "" if store.deduct is None else rf'|function (\S+\.)?"?{re.escape(store.deduct.function)}"?[( ]'
    return words | {
        "what_is_spending": sql.SQL("what the product's own `store.deduct` does is left out."),
        "falls": sql.SQL("NEW.{b} < OLD.{b}").format(b=sql.Identifier(store.balances.balance)),
        "ours": sql.Literal(_OURS + spends),
    }


def _row(store: CounterStoreConfig | LedgerStoreConfig, row: str) -> sql.Composable:
    """The row in readable columns. A ledger's balance row only holds what is available."""
    names = (
        {"plan": store.columns.label, "total": store.columns.total, "used": store.columns.used}
        if isinstance(store, CounterStoreConfig)
        else {"balance": store.balances.balance}
    )
    parts = [sql.SQL("{}, {}.{}").format(key, sql.SQL(row), sql.Identifier(name)) for key, name in names.items()]
    return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(parts))


def _name(system: CreditSystem) -> str:
    return f"witness_{system.name}"


def _as_owner(cursor: Cursor, system: CreditSystem, owner: str | None, statement: sql.Composed) -> None:
    if owner is not None:
        become_owner(cursor, system, owner)
    cursor.execute(statement)
    if owner is not None:
        step_back(cursor)


def _as_table_owner(
    cursor: Cursor, system: CreditSystem, words: Mapping[str, sql.Composable], make: LiteralString
) -> None:
    """Act as the table's owner: creating and removing triggers both need it."""
    try:
        with cursor.connection.transaction():
            for key in _ENDINGS:
                cursor.execute(sql.SQL(_DROP).format(words[key], words["table"]))
            if make:
                cursor.execute(sql.SQL(make).format(**words))
    except psycopg.errors.InsufficientPrivilege:
        table = words["table"].as_string(None)
        raise ConfigurationError(
            f"{system.name}: this database user may not put triggers on {table}: run init as the table's owner"
        ) from None


def _this_user(cursor: Cursor, what: str) -> Decided:
    row = cursor.execute("SELECT session_user AS login").fetchone()
    assert row is not None
    return Decided(who=str(row["login"]), reason=f"init --{what.replace('_', '-')}")
