"""Whether the product's own function that adds credits can be called as configured. Nothing is called here."""

from dataclasses import dataclass

from credit_pipeline.adapters.install.ledger_sql import MEANINGS
from credit_pipeline.adapters.postgres.transactions import Cursor, Row
from credit_pipeline.config.store import LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError

# Leans on pg_proc_proname_args_nsp_index. The last pronargdefaults of the pronargs input parameters have defaults.
_FUNCTIONS = """
SELECT p.pronargs AS inputs, p.pronargdefaults AS defaults, p.proargnames AS names, p.proargmodes::text[] AS modes,
       p.prosecdef AS as_owner, pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AS allowed,
       p.oid::regprocedure::text AS signature
FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.proname = %s AND n.nspname = %s AND p.prokind = 'f'
"""
_MAY_INSERT = "SELECT pg_catalog.has_table_privilege(pg_catalog.format('%%I.%%I', %s::text, %s::text), 'INSERT') AS may"
_NEEDED = ("account", "amount", "type")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overload:
    """One overload of the configured function: its input parameters, and which have no default."""

    parameters: tuple[str, ...]
    required: frozenset[str]
    row: Row


def check_add(cursor: Cursor, system: CreditSystem, store: LedgerStoreConfig) -> None:
    """Raises ConfigurationError where no single function fits `store.add`, or the role may not run it."""
    name, schema, passed = store.add.function, store.schema, set(store.add.arguments)
    missing = [word for word in _NEEDED if word not in store.add.arguments.values()]
    if missing:
        raise ConfigurationError(
            f"{system.name}: `store.add.arguments` passes no {' and no '.join(missing)}: name the parameters of "
            f"`{name}` that take {' and '.join(f'`{word}`' for word in MEANINGS)}"
        )
    overloads = [_overload(row) for row in cursor.execute(_FUNCTIONS, (name, schema)).fetchall()]
    if not overloads:
        raise ConfigurationError(
            f"{system.name}: function `{schema}.{name}` does not exist in this database: "
            "correct `store.add.function` in defs.yaml"
        )
    fitting = [one for one in overloads if one.required <= passed <= set(one.parameters)]
    if not fitting:
        raise ConfigurationError(_misfit(system, f"{schema}.{name}", passed, overloads[0]))
    if len(fitting) > 1:
        raise ConfigurationError(
            f"{system.name}: {len(fitting)} functions `{schema}.{name}` take these parameters: "
            "pass one more that tells them apart in `store.add.arguments`, or drop the others"
        )
    function = fitting[0].row
    if not function["allowed"]:
        raise ConfigurationError(
            f"{system.name}: the database role may not execute `{schema}.{name}`: as the function's owner run "
            f"`GRANT EXECUTE ON FUNCTION {function['signature']} TO` that role"
        )
    if not function["as_owner"]:
        _check_insert(cursor, system, store)


def _overload(row: Row) -> _Overload:
    names = row["names"] or [""] * row["inputs"]
    modes = row["modes"] or ["i"] * len(names)
    inputs = tuple(name for name, mode in zip(names, modes, strict=True) if mode in {"i", "b", "v"})
    return _Overload(parameters=inputs, required=frozenset(inputs[: row["inputs"] - row["defaults"]]), row=row)


def _misfit(system: CreditSystem, name: str, passed: set[str], function: _Overload) -> str:
    unknown = sorted(passed - set(function.parameters))
    if unknown:
        has = ", ".join(f"`{one}`" for one in function.parameters if one) or "none with a name"
        return (
            f"{system.name}: function `{name}` has no parameter `{unknown[0]}` (it has {has}): "
            f"correct `store.add.arguments.{unknown[0]}` in defs.yaml"
        )
    wanted = sorted(function.required - passed)
    return (
        f"{system.name}: function `{name}` needs its parameter `{wanted[0]}`: "
        "pass it in `store.add.arguments` in defs.yaml, or give it a default"
    )


def _check_insert(cursor: Cursor, system: CreditSystem, store: LedgerStoreConfig) -> None:
    """A SECURITY INVOKER function inserts the transaction with our rights."""
    table, function = store.transactions.table, f"{store.schema}.{store.add.function}"
    row = cursor.execute(_MAY_INSERT, (store.schema, table)).fetchone()
    if row is None or not row["may"]:
        raise ConfigurationError(
            f"{system.name}: `{function}` runs with its caller's rights, and the database role "
            f"may not insert into `{store.schema}.{table}`: as the table's owner run "
            f'`GRANT SELECT, INSERT ON "{store.schema}"."{table}" TO` that role'
        )
