"""The balances of a counter store, read from the product's own table as Arrow at COPY speed (port Store).

Read only: one repeatable-read transaction that fails where rows would be hidden from it. What can be wrong with the
configured names is told in `table_columns`; what the numbers mean is the domain's.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
from psycopg import sql

from credit_pipeline.adapters.postgres.connections import arrow_transaction, libpq_url
from credit_pipeline.adapters.postgres.table_columns import look_up
from credit_pipeline.adapters.stores.column_values import among, check_one_row_each, fetch, text, whole
from credit_pipeline.adapters.stores.price_list import price_list
from credit_pipeline.config.system import CounterStoreConfig, CreditSystem
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.tables import COUNTER_BALANCES

_BALANCES = """
SELECT {account} AS account_id, {label} AS label, {total} AS total, {used} AS used FROM {table} WHERE {among}
"""


class CounterStore:
    """The Store of one system whose accounts are rows with a plan label, credits granted and credits used."""

    def __init__(self, system: CreditSystem, url: str) -> None:
        assert isinstance(system.store, CounterStoreConfig)
        self._system = system.name
        self._store = system.store
        self._env = system.store.url_env
        self._url = libpq_url(url, system.name, self._env)

    def read(self, accounts: Sequence[AccountId] | None = None) -> pa.Table:
        """All balances, or those asked for, in schema COUNTER_BALANCES. An unknown number is null, not zero.

        Raises ConfigurationError where a table or column is not as configured, StoreError where the database cannot
        be read, hides rows, or holds accounts without an id, twice, or with fractions of a credit.
        """
        store = self._store
        with arrow_transaction(self._url, self._system, self._env, read_only=True) as cursor:
            table = look_up(cursor, self._system, store.schema, "store.table", store.table)
            account = table.column("store.columns.account", store.account)
            total = table.number("store.columns.total", store.total)
            used = table.number("store.columns.used", store.used)
            condition, bound = among(account, accounts)
            query = sql.SQL(_BALANCES).format(
                account=text(account),
                label=text(table.column("store.columns.label", store.label)),
                total=whole(cursor, table, total),
                used=whole(cursor, table, used),
                table=table.identifier,
                among=condition,
            )
            found = fetch(cursor, query, bound)
        check_one_row_each(table, account, found["account_id"])
        return found.cast(COUNTER_BALANCES)

    def catalogue(self) -> Mapping[str, int]:
        """The product's own plan table, label → credits; a plan without a label or an amount says nothing."""
        plans = self._store.plans
        if plans is None:
            return {}
        with arrow_transaction(self._url, self._system, self._env, read_only=True) as cursor:
            return price_list(cursor, self._system, self._store.schema, plans)
