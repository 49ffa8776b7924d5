"""Parameters of a ledger's write functions: quoted names, literals, and the call that adds credits."""

from collections.abc import Mapping

from psycopg import sql

from credit_pipeline.config.store import LedgerStoreConfig, ProductFunction
from credit_pipeline.domain.grants.ledger import EntryKind

MEANINGS = ("account", "amount", "type", "reference", "description")
"""What may be passed to the product's function; the order is that of the values in `add_call`."""
_NOTHING = sql.SQL("")


def ledger_words(store: LedgerStoreConfig) -> Mapping[str, sql.Composable]:
    """The parameters of the ledger's template, except the names of the generated functions."""
    name, literal = sql.Identifier, sql.Literal
    transactions, tiers = store.transactions, store.tiers
    spends = [word for word, kind in transactions.types.items() if kind is EntryKind.SPEND]
    return {
        "schema": name(store.schema),
        "balances": name(store.schema, store.balances.table),
        "balance_account": name(store.balances.account),
        "balance": name(store.balances.balance),
        **_touched("balance", store.balances.updated_at),
        "transactions": name(store.schema, transactions.table),
        "entry_account": name(transactions.account),
        "amount": name(transactions.amount),
        "type": name(transactions.type),
        "spends": literal(spends),
        "grant_type": literal(transactions.grant_type),
        "adjustment_type": literal(transactions.adjustment_type),
        "call": literal(add_call(store.schema, store.add).as_string(None)),
        **_references(store),
        "tiers": name(store.schema, tiers.table),
        "tier_account": name(tiers.account),
        "label": name(tiers.label),
        "status": name(tiers.status),
        **_touched("tier", tiers.updated_at),
        **_periods(store),
        "users": name(store.schema, store.users.table),
        "user_id": name(store.users.id),
        "mapping": name(store.schema, store.mapping.table),
        "mapping_user": name(store.mapping.user),
        "mapping_account": name(store.mapping.account),
        "subscriptions": name(store.schema, store.subscriptions.table),
        "local_user": name(store.subscriptions.user),
        "metadata": name(store.subscriptions.metadata),
        "keys": literal(list(store.subscriptions.keys)),
        "key": literal(store.subscriptions.keys[0]),
        "local_touch": touch(store.subscriptions.updated_at),
    }


def touch(updated_at: str | None) -> sql.Composable:
    """The end of a SET list that sets the product's timestamp column, if it has one."""
    return _NOTHING if updated_at is None else sql.SQL(", {} = now()").format(sql.Identifier(updated_at))


def add_call(schema: str, add: ProductFunction) -> sql.Composable:
    """The call as a text for SQL's `format` with the five MEANINGS as its values. They stand in it as literals without
    a type, so that the function's own parameters decide what they become."""
    arguments = (
        sql.SQL("{} => %{}$L").format(sql.Identifier(parameter), sql.SQL(str(MEANINGS.index(meaning) + 1)))
        for parameter, meaning in add.arguments.items()
    )
    return sql.SQL("SELECT {}({})").format(sql.Identifier(schema, add.function), sql.SQL(", ").join(arguments))


def keyed(store: LedgerStoreConfig) -> bool:
    """Whether the product's function stores the reference that we pass to it."""
    return store.transactions.reference is not None and "reference" in store.add.arguments.values()


def _touched(prefix: str, updated_at: str | None) -> dict[str, sql.Composable]:
    """For an UPDATE (`_touch`) and for an INSERT (`_touched` names the column, `_now` gives its value)."""
    column = _NOTHING if updated_at is None else sql.SQL(", {}").format(sql.Identifier(updated_at))
    value = _NOTHING if updated_at is None else sql.SQL(", now()")
    return {f"{prefix}_touch": touch(updated_at), f"{prefix}_touched": column, f"{prefix}_now": value}


def _references(store: LedgerStoreConfig) -> dict[str, sql.Composable]:
    transactions = store.transactions
    if transactions.reference is None or not keyed(store):
        nothing = sql.SQL("'{}'::jsonb")
        return {"reference_held": sql.SQL("false"), "wanted_reference": nothing, "found_reference": nothing}
    names: dict[str, sql.Composable] = {
        "transactions": sql.Identifier(store.schema, transactions.table),
        "account": sql.Identifier(transactions.account),
        "amount": sql.Identifier(transactions.amount),
        "type": sql.Identifier(transactions.type),
        "at": sql.Identifier(transactions.at),
        "reference": sql.Identifier(transactions.reference),
        "grant_type": sql.Literal(transactions.grant_type),
    }
    held = """EXISTS (SELECT FROM {transactions} AS t
        WHERE t.{account} = of_entry AND t.{reference}::text = reference AND t.{at} >= since)"""
    wanted = "jsonb_build_object('reference', (credit_pipeline.grant_words(c)).reference)"
    found = """jsonb_build_object('reference', (
                SELECT max(t.{reference}::text) FROM {transactions} AS t
                    WHERE t.{account} = of_entry AND t.{type}::text = {grant_type} AND t.{amount} = c.grant_credits
                      AND t.{reference}::text = (credit_pipeline.grant_words(c)).reference))"""
    return {
        "reference_held": sql.SQL(held).format(**names),
        "wanted_reference": sql.SQL(wanted),
        "found_reference": sql.SQL(found).format(**names),
    }


def _periods(store: LedgerStoreConfig) -> dict[str, sql.Composable]:
    tiers, table = store.tiers, sql.Identifier(store.schema, store.tiers.table)
    columns = {"period_start": tiers.period_start, "period_end": tiers.period_end}
    configured = [(key, column) for key, column in columns.items() if column is not None]
    declared = "\n    new_{key} {tiers}.{column}%TYPE"
    parts: Mapping[str, str] = {
        "declare_periods": declared + ";",
        "assign_periods": "\n            new_{key} := (step ->> {name})::timestamptz;",
        "wanted_periods": ", {name}, new_{key}",
        "found_periods": ", {name}, t.{column}",
        "target_periods": declared + " := target ->> {name};",
        "set_periods": ", {column} = coalesce(new_{key}, t.{column})",
        "period_names": ", {column}",
        "new_periods": ", new_{key}",
    }

    def filled(part: str) -> sql.Composable:
        return sql.Composed(
            [
                sql.SQL(part).format(
                    key=sql.SQL(key), name=sql.Literal(key), column=sql.Identifier(column), tiers=table
                )
                for key, column in configured
            ]
        )

    return {word: filled(part) for word, part in parts.items()}
