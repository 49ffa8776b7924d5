"""The IdentityStore port for the ledger layout, whose users have another id than their store account.

Read-only: repeatable-read transactions that fail if row-level security hides rows.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from psycopg import sql

from credit_pipeline.adapters.postgres.connections import ArrowCursor, arrow_transaction, libpq_url
from credit_pipeline.adapters.postgres.table_columns import look_up
from credit_pipeline.adapters.stores import deductions
from credit_pipeline.adapters.stores.column_values import text
from credit_pipeline.adapters.stores.identity_rows import IdentityRows
from credit_pipeline.adapters.stores.ledger_rows import LedgerRows
from credit_pipeline.adapters.stores.price_list import price_list
from credit_pipeline.config.store import LedgerStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import StoreError
from credit_pipeline.domain.subjects.ids import AccountId, AuthId
from credit_pipeline.services.collect.ports import FailedSpend

_MARGIN = timedelta(days=2)
"""Entries are read this much further back than the look-back, because a grant may precede its period by a day and a run
judges as of its start."""
_USER = "SELECT {id} AS id FROM {table} WHERE {id} = lower(btrim($1)) OR {id} = btrim($1) OR {email} LIMIT 2"


class LedgerStore:
    """The IdentityStore of a system whose accounts have a balance, a tier and transactions."""

    def __init__(
        self, system: CreditSystem, url: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        assert isinstance(system.store, LedgerStoreConfig)
        self._system = system.name
        self._store = system.store
        self._lookback = system.policy.lookback
        self._env = system.store.url_env
        self._url = libpq_url(url, system.name, self._env)
        self._clock = clock
        self._identities: pa.Table | None = None

    def read(self, accounts: Sequence[AccountId] | None = None) -> pa.Table:
        """All accounts, or the existing ones of `accounts`, in schema LEDGER_BALANCES, with entries of the look-back.

        Raises ConfigurationError if a table or column is not as configured, StoreError if the database cannot be read,
        hides rows, or has rows without account, amount or time, or with fractional credits.
        """
        oldest = self._clock() - self._lookback - _MARGIN
        with self._transaction() as cursor:
            rows = LedgerRows(cursor, self._system, self._store)
            found = rows.read(accounts, oldest)
            if accounts is None:
                # The same database snapshot, so that a run sees the user of every account that it sees.
                self._identities = self._users(cursor, rows, found["account_id"].combine_chunks())
        return found

    def identities(self) -> pa.Table:
        """Every user in schema IDENTITIES, from the last read of all accounts if there was one, else read now.

        The result of a read is returned once; the next call reads again.
        """
        found, self._identities = self._identities, None
        if found is None:
            with self._transaction() as cursor:
                rows = LedgerRows(cursor, self._system, self._store)
                found = self._users(cursor, rows, rows.account_ids())
        return found

    def user_of(self, email_or_id: str) -> AuthId | None:
        """The user with this id or e-mail address (case and blanks are ignored), or None.

        Raises StoreError if several users have the address.
        """
        names = self._store.users
        with self._transaction() as cursor:
            table = look_up(cursor, self._system, self._store.schema, "store.users.table", names.table)
            email: sql.Composable = sql.SQL("false")
            if names.email is not None:
                column = text(table.column("store.users.email", names.email))
                email = sql.SQL("lower(btrim({})) = lower(btrim($1))").format(column)
            identifier = text(table.column("store.users.id", names.id))
            query = sql.SQL(_USER).format(id=identifier, email=email, table=table.identifier)
            cursor.execute(query.as_string(None), parameters=(email_or_id,))
            found = [row[0] for row in cursor.fetchall()]
        if len(found) > 1:
            raise StoreError(f"{self._system}: several users have this e-mail address: name the user's id instead")
        return AuthId(found[0]) if found else None

    def failed_spends(self, since: datetime) -> Sequence[FailedSpend] | None:
        """Failed deductions since `since`, newest first; None if the product keeps no such table."""
        failures = self._store.failures
        if failures is None:
            return None
        with self._transaction() as cursor:
            return deductions.failed_spends(cursor, self._system, self._store.schema, failures, since)

    def can_deduct(self, account: AccountId, *, probe: bool) -> bool | None:
        """Whether the login may execute the product's deduct function; `probe` also runs it for one credit, rolled
        back.

        None if none is configured. Raises ConfigurationError if it does not exist.
        """
        deduct = self._store.deduct
        if deduct is None:
            return None
        return deductions.can_deduct(
            self._url, self._system, self._env, self._store.schema, deduct, account, probe=probe
        )

    def catalogue(self) -> Mapping[str, int]:
        """The product's own plan table: label → credits; empty if none is configured."""
        plans = self._store.plans
        if plans is None:
            return {}
        with self._transaction() as cursor:
            return price_list(cursor, self._system, self._store.schema, plans)

    def _transaction(self) -> AbstractContextManager[ArrowCursor]:
        return arrow_transaction(self._url, self._system, self._env, read_only=True)

    def _users(self, cursor: ArrowCursor, rows: LedgerRows, accounts: pa.Array) -> pa.Table:
        return IdentityRows(cursor, self._system, self._store, uuids=rows.uuids).read(accounts)
