"""The Store port for the counter layout: balances read from the product's own table as Arrow, by COPY.

Read-only: one repeatable-read transaction that fails if row-level security hides rows.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
from psycopg import sql

from credit_pipeline.adapters.postgres.connections import arrow_transaction, libpq_url
from credit_pipeline.adapters.postgres.table_columns import look_up
from credit_pipeline.adapters.stores.column_values import among, check_one_row_each, fetch, text, whole
from credit_pipeline.adapters.stores.price_list import price_list
from credit_pipeline.config.store import CounterStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.tables import COUNTER_BALANCES

_BALANCES = """
SELECT {account} AS account_id, {label} AS label, {total} AS total, {used} AS used FROM {table} WHERE {among}
"""


class CounterStore:
    """The Store of a system with one row per account: plan label, credits granted, credits used."""

    def __init__(self, system: CreditSystem, url: str) -> None:
        assert isinstance(system.store, CounterStoreConfig)
        self._system = system.name
        self._store = system.store
        self._env = system.store.url_env
        self._url = libpq_url(url, system.name, self._env)

    def read(self, accounts: Sequence[AccountId] | None = None) -> pa.Table:
        """All balances, or those of `accounts`, in schema COUNTER_BALANCES (credits). Unknown numbers are null, not 0.

        Raises ConfigurationError if a table or column is not as configured, StoreError if the database cannot be read,
        hides rows, or has rows without an account, duplicate accounts or fractional credits.
        """
        store = self._store
        with arrow_transaction(self._url, self._system, self._env, read_only=True) as cursor:
            table = look_up(cursor, self._system, store.schema, "store.table", store.table)
            account = table.column("store.columns.account", store.account)
            total = table.number("store.columns.total", store.columns.total)
            used = table.number("store.columns.used", store.columns.used)
            condition, bound = among(account, accounts)
            query = sql.SQL(_BALANCES).format(
                account=text(account),
                label=text(table.column("store.columns.label", store.columns.label)),
                total=whole(cursor, table, total),
                used=whole(cursor, table, used),
                table=table.identifier,
                among=condition,
            )
            found = fetch(cursor, query, bound)
        check_one_row_each(table, account, found["account_id"])
        return found.cast(COUNTER_BALANCES)

    def catalogue(self) -> Mapping[str, int]:
        """The product's own plan table: label → credits; empty if none is configured. Incomplete rows are skipped."""
        plans = self._store.plans
        if plans is None:
            return {}
        with arrow_transaction(self._url, self._system, self._env, read_only=True) as cursor:
            return price_list(cursor, self._system, self._store.schema, plans)
