"""SQL that makes a product's own grants idempotent: printed for its DBA to read and run, never executed here.

A unique index over the references of grants, and a keyed function around the product's own.
"""

from importlib.resources import files

from psycopg import sql

from credit_pipeline.adapters.install.ledger_sql import MEANINGS, add_call
from credit_pipeline.adapters.install.product_names import check_names
from credit_pipeline.config.store import LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError

_SQL = files("credit_pipeline.adapters.install") / "sql" / "hardening.sql"
_FIELDS = {
    "account": "the account's id in the store",
    "plan": "the plan's name in defs.yaml",
    "period_start": (
        "the start of the period that the credits are for, in whole seconds since 1970, UTC\n"
        "--   (of a year that is granted by the month, that month; for an upgrade, the period it falls in)"
    ),
    "subscription": "the subscription's id at billing",
    "invoice": "the id of the paid invoice",
}
_LONGEST = 63


def hardening_sql(system: CreditSystem) -> str | None:
    """The script for a ledger; None for a counter, which has no transactions to tell apart.

    Raises ConfigurationError where the product's transactions carry no reference.
    """
    check_names(system)
    store = system.store
    if not isinstance(store, LedgerStoreConfig):
        return None
    transactions = store.transactions
    taken: dict[str, str] = {meaning: name for name, meaning in store.add.arguments.items()}
    if transactions.reference is None or "reference" not in taken:
        key = "store.transactions.reference" if transactions.reference is None else "store.add.arguments"
        raise ConfigurationError(
            f"{system.name}: a grant can only be told from another by its reference, and `{key}` names none: "
            "add a column and a parameter for one to the product, then name them in defs.yaml"
        )
    if not all(f"{{{word}}}" in system.policy.reference for word in ("plan", "period_start")):
        raise ConfigurationError(
            f"{system.name}: one grant would keep another from being made, because `policy.reference` is the same for "
            "both: add `{plan}` and `{period_start}` to it in defs.yaml, and to the product's handler"
        )
    name, literal = sql.Identifier, sql.Literal
    entries = name(store.schema, transactions.table)
    once = name(store.schema, _short(store.add.function, "_once"))
    variables = {meaning: name(taken.get(meaning, f"p_{meaning}")) for meaning in MEANINGS}
    words: dict[str, sql.Composable] = {
        "system": sql.SQL(system.name),
        "transactions": entries,
        "transactions_shown": entries,
        "add_shown": name(store.schema, store.add.function),
        "template": sql.SQL(_comment(system.policy.reference)),
        "fields": sql.SQL(_fields(system.policy.reference)),
        "example": sql.SQL("SELECT {}({})").format(once, _example(variables)),
        "index": name(_short(transactions.table, "_granted_once")),
        "once": once,
        "account": name(transactions.account),
        "amount": name(transactions.amount),
        "type": name(transactions.type),
        "reference": name(transactions.reference),
        "grant_type": literal(transactions.grant_type),
        "balances": name(store.schema, store.balances.table),
        "balance_account": name(store.balances.account),
        "call": literal(add_call(store.schema, store.add).as_string(None)),
    }
    columns = {"account": transactions.account, "amount": transactions.amount, "reference": transactions.reference}
    parameters = [
        sql.SQL("{} {}.{}%TYPE").format(variables[meaning], entries, name(column))
        for meaning, column in columns.items()
    ]
    parameters.append(sql.SQL("{} text DEFAULT NULL").format(variables["description"]))
    words["parameters"] = sql.SQL(", ").join(parameters)
    words |= {f"p_{meaning}": variable for meaning, variable in variables.items()}
    return sql.SQL(_SQL.read_text(encoding="utf-8")).format(**words).as_string(None)


def _short(name: str, end: str) -> str:
    return name[: _LONGEST - len(end)] + end


def _comment(text: str) -> str:
    """The template on one line: after a line break the rest would be executed instead of being a comment."""
    return " ".join(text.split())


def _fields(template: str) -> str:
    used = [word for word in _FIELDS if f"{{{word}}}" in template]
    return "\n".join(f"-- {{{word}}}: {_FIELDS[word]}" for word in used) or "-- (it has no fields: correct it)"


def _example(variables: dict[str, sql.Identifier]) -> sql.Composable:
    """The call by name, as a handler would write it."""
    shown = {"account": "...", "amount": "...", "reference": "..."}
    return sql.SQL(", ").join(
        sql.SQL("{} => {}").format(variables[meaning], sql.SQL(value)) for meaning, value in shown.items()
    )
