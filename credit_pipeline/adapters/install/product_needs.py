"""What the write path needs of the product's tables, by layout: which columns, of which kind, with which rights.

Facts only; no database is asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from credit_pipeline.config.store import CounterStoreConfig, LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.config.webhooks import WebhookTable


class Kind(Enum):
    """What a column may hold, in words for a sentence."""

    ID = "text, a uuid or a whole number"
    WORD = "text, an enum, a uuid or a whole number"
    WHOLE = "a whole number"
    TIME = "a timestamp"
    JSON = "jsonb"
    NUMBER = "a number"
    ANY = "a value"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNeed:
    """One configured column. `rights` are those beside SELECT."""

    key: str
    name: str
    kind: Kind
    rights: tuple[str, ...] = ()
    one_row_each: str | None = None
    """Whose rows must be one each; None where several are fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableNeed:
    """One configured table."""

    key: str
    table: str
    columns: tuple[ColumnNeed, ...]

    @property
    def rights(self) -> tuple[str, ...]:
        """Every right that is needed on it, in the order in which GRANT is written."""
        asked = {right for column in self.columns for right in column.rights}
        return ("SELECT", *(right for right in ("INSERT", "UPDATE") if right in asked))


_UPDATE, _INSERT, _BOTH = ("UPDATE",), ("INSERT",), ("INSERT", "UPDATE")


def table_needs(store: CounterStoreConfig | LedgerStoreConfig) -> tuple[TableNeed, ...]:
    """Every table that the store's configuration names."""
    needs = _ledger(store) if isinstance(store, LedgerStoreConfig) else _counter(store)
    return (*needs, *_plans(store))


def needs_of(system: CreditSystem) -> tuple[TableNeed, ...]:
    """Every table of the product that the system's configuration names."""
    return (*table_needs(system.store), *_webhooks(system.webhooks))


def _webhooks(own: WebhookTable | None) -> Iterator[TableNeed]:
    if own is None:
        return
    told = _UPDATE if own.written_back else ()
    columns = _optional(
        "webhooks",
        ("id", own.id, Kind.ID, ()),
        ("status", own.status, Kind.WORD, told),
        ("received", own.received, Kind.TIME, ()),
        ("type", own.type, Kind.WORD, ()),
        ("account", own.account, Kind.ID, ()),
        ("body", own.body, Kind.ANY, ()),
        ("attempts", own.attempts, Kind.WHOLE, told),
        ("error", own.error, Kind.WORD, told),
    )
    yield TableNeed(key="webhooks.table", table=own.table, columns=tuple(columns))


def _counter(store: CounterStoreConfig) -> Iterator[TableNeed]:
    at = "store.columns"
    columns = [
        ColumnNeed(key=f"{at}.account", name=store.account, kind=Kind.ID, one_row_each="an account"),
        ColumnNeed(key=f"{at}.label", name=store.columns.label, kind=Kind.WORD, rights=_UPDATE),
        ColumnNeed(key=f"{at}.total", name=store.columns.total, kind=Kind.WHOLE, rights=_UPDATE),
        ColumnNeed(key=f"{at}.used", name=store.columns.used, kind=Kind.WHOLE, rights=_UPDATE),
        *_optional(at, ("updated_at", store.columns.updated_at, Kind.TIME, _UPDATE)),
    ]
    yield TableNeed(key="store.table", table=store.table, columns=tuple(columns))


def _ledger(store: LedgerStoreConfig) -> Iterator[TableNeed]:
    """We insert missing rows of balances, tiers and links; transactions are written by the product's own function."""
    balances, tiers, entries = store.balances, store.tiers, store.transactions
    users, mapping, local = store.users, store.mapping, store.subscriptions
    yield _table(
        "balances",
        balances.table,
        ("account", balances.account, Kind.ID, _INSERT),
        ("balance", balances.balance, Kind.WHOLE, _BOTH),
        ("updated_at", balances.updated_at, Kind.TIME, _BOTH),
        one_row_each="an account",
    )
    yield _table(
        "transactions",
        entries.table,
        ("id", entries.id, Kind.ANY, ()),
        ("account", entries.account, Kind.ID, ()),
        ("amount", entries.amount, Kind.WHOLE, ()),
        ("type", entries.type, Kind.WORD, ()),
        ("at", entries.at, Kind.TIME, ()),
        ("reference", entries.reference, Kind.WORD, ()),
    )
    yield _table(
        "tiers",
        tiers.table,
        ("account", tiers.account, Kind.ID, _INSERT),
        ("label", tiers.label, Kind.WORD, _BOTH),
        ("status", tiers.status, Kind.WORD, _BOTH),
        ("period_start", tiers.period_start, Kind.TIME, _BOTH),
        ("period_end", tiers.period_end, Kind.TIME, _BOTH),
        ("updated_at", tiers.updated_at, Kind.TIME, _BOTH),
        one_row_each="an account",
    )
    yield _table("users", users.table, ("id", users.id, Kind.ID, ()), ("email", users.email, Kind.ANY, ()))
    yield _table(
        "mapping",
        mapping.table,
        ("user", mapping.user, Kind.ID, _INSERT),
        ("account", mapping.account, Kind.ID, _INSERT),
        one_row_each="a user",
    )
    yield _table(
        "subscriptions",
        local.table,
        ("user", local.user, Kind.ID, ()),
        ("metadata", local.metadata, Kind.JSON, _UPDATE),
        ("billing", local.billing, Kind.ANY, ()),
        ("subscription", local.subscription, Kind.ANY, ()),
        ("updated_at", local.updated_at, Kind.TIME, _UPDATE),
        one_row_each="a user",
    )
    if store.failures is not None:
        failed = store.failures
        yield _table(
            "failures",
            failed.table,
            ("account", failed.account, Kind.ID, ()),
            ("at", failed.at, Kind.TIME, ()),
            ("amount", failed.amount, Kind.NUMBER, ()),
            ("reason", failed.reason, Kind.ANY, ()),
        )


def _plans(store: CounterStoreConfig | LedgerStoreConfig) -> Iterator[TableNeed]:
    if store.plans is not None:
        label, credits = ("label", store.plans.label, Kind.ANY, ()), ("credits", store.plans.credits, Kind.NUMBER, ())
        yield _table("plans", store.plans.table, label, credits)


_Words = tuple[str, str | None, Kind, tuple[str, ...]]


def _table(section: str, table: str, *columns: _Words, one_row_each: str | None = None) -> TableNeed:
    """A section of the YAML; `one each` refers to the first column."""
    needs = list(_optional(f"store.{section}", *columns))
    first, *others = needs
    keyed = ColumnNeed(key=first.key, name=first.name, kind=first.kind, rights=first.rights, one_row_each=one_row_each)
    return TableNeed(key=f"store.{section}.table", table=table, columns=(keyed, *others))


def _optional(at: str, *columns: _Words) -> Iterator[ColumnNeed]:
    for word, name, kind, rights in columns:
        if name is not None:
            yield ColumnNeed(key=f"{at}.{word}", name=name, kind=kind, rights=rights)
