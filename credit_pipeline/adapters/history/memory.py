"""The MemoryStore port: what earlier runs recorded in our own schema of the product's database.

Only transactions, no session state, so that a connection pooler may stand in between.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import pyarrow as pa

from credit_pipeline.adapters.history import balances as balance_history
from credit_pipeline.adapters.history import home as home_history
from credit_pipeline.adapters.history import recall as memory_recall
from credit_pipeline.adapters.history import record as memory_record
from credit_pipeline.adapters.history import waiting as memory_waiting
from credit_pipeline.adapters.postgres.connections import arrow_transaction, libpq_url, remember_setting
from credit_pipeline.adapters.postgres.system_database import SystemDatabase, has_table
from credit_pipeline.adapters.postgres.transactions import Cursor
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import YearlyMode
from credit_pipeline.domain.subjects.account import Memory
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.reconcile.ports import CollectionRecord

# Times are returned in UTC whatever the database's time zone, because fingerprints and evidence contain their text.
_READING = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone = 'UTC'"

# Runs as COPY, which takes no parameters: the system's name is passed as a setting.
_OBSERVATIONS = """
SELECT account, label, total, used, billed_plan, billed_period_start, billed_status, mark, as_of,
       unanswered_since, gap
FROM credit_pipeline.observation WHERE system = (SELECT current_setting('credit_pipeline.system'))
"""
# Uses snapshot_pkey in reverse.
_LAST = """
SELECT run_id, as_of, answered, population, audit_seq, files FROM credit_pipeline.snapshot
WHERE system = %s ORDER BY as_of DESC LIMIT 1
"""
# Uses mismatch_open, mismatch_until and audit_pkey. Corrections since the last collection are found by the audit
# chain's sequence, not by clocks; a temporary acceptance may have expired.
_WATCHED = """
SELECT account FROM credit_pipeline.mismatch WHERE system = %(system)s AND state IN ('open', 'acknowledged')
UNION
SELECT account FROM credit_pipeline.mismatch
WHERE system = %(system)s AND state = 'accepted' AND accepted_until IS NOT NULL
UNION
SELECT account FROM credit_pipeline.audit
WHERE system = %(system)s AND seq > (
    SELECT coalesce(max(audit_seq), 0) FROM credit_pipeline.snapshot WHERE system = %(system)s)
"""
_EXEMPT = "SELECT account FROM credit_pipeline.exemption WHERE system = %s AND (until IS NULL OR until > %s)"


class PostgresMemory(SystemDatabase):
    """The MemoryStore of one system. Connects on first use.

    Collections are recorded through `recorder`, a system and its URL, if reading has its own login.
    """

    def __init__(self, system: CreditSystem, url: str, *, recorder: tuple[CreditSystem, str] | None = None) -> None:
        super().__init__(url, system)
        self._env = system.store.url_env
        self._upfront = [plan.name for plan in system.catalogue.plans if plan.yearly is YearlyMode.UPFRONT]
        self._url = libpq_url(url, system.name, self._env)
        writing, writable = recorder or (system, url)
        self._recorder = libpq_url(writable, system.name, writing.store.url_env), writing.store.url_env

    def installed(self) -> bool:
        """Whether `init` has been run for this system."""
        with self._reading() as cursor:
            return has_table(cursor, self._system, "control")

    def absent(self) -> str | None:
        """The name of this database's history on the history server; None if our schema is in this database."""
        with self._reading() as cursor:
            return home_history.database_for(cursor, self._system)

    def observations(self) -> pa.Table:
        """The current observation of every account (schema OBSERVATIONS)."""
        with arrow_transaction(self._url, self._system, self._env, read_only=True) as cursor:
            remember_setting(cursor, "credit_pipeline.system", self._system)
            cursor.execute(_OBSERVATIONS)
            return cursor.fetch_arrow_table().cast(OBSERVATIONS)

    def last_collection(self) -> CollectionRecord | None:
        """The newest complete collection."""
        with self._reading() as cursor:
            row = cursor.execute(_LAST, (self._system,)).fetchone()
        return CollectionRecord(**row) if row else None

    def remembered(self, accounts: Sequence[AccountId], now: datetime) -> Mapping[AccountId, Memory]:
        """Account → Memory, for every account given."""
        with self._reading() as cursor:
            return memory_recall.recall(cursor, self._system, accounts, now, self._upfront)

    def watched(self) -> frozenset[AccountId]:
        """Accounts to judge even if unchanged: with open findings, or corrected since the last collection."""
        with self._reading() as cursor:
            return frozenset(row["account"] for row in cursor.execute(_WATCHED, {"system": self._system}))

    def exempt(self, now: datetime) -> frozenset[AccountId]:
        """Accounts that a person exempted, as of `now`."""
        with self._reading() as cursor:
            return frozenset(row["account"] for row in cursor.execute(_EXEMPT, (self._system, now)))

    def waiting(self, now: datetime) -> list[Mismatch]:
        """Open and acknowledged findings that no correction since the last collection addressed."""
        with self._reading() as cursor:
            last = cursor.execute(_LAST, (self._system,)).fetchone()
            return memory_waiting.waiting(cursor, self._system, now, last["audit_seq"] if last else 0)

    def collections(self, since: datetime, most: int) -> list[datetime]:
        """Times (UTC) of complete collections since `since`, oldest first; at most `most`, always with the newest."""
        with self._reading() as cursor:
            return balance_history.collections(cursor, self._system, since, most)

    def balances_at(self, times: Sequence[datetime]) -> list[BalancePoint]:
        """The sums of all accounts' credits at these collection times, in order."""
        with self._reading() as cursor:
            return balance_history.balances_at(cursor, self._system, times)

    def record(
        self,
        collection: CollectionRecord,
        *,
        changed: pa.Table,
        mismatches: Sequence[Mismatch],
        closed: Sequence[tuple[str, str]],
    ) -> None:
        """Records a complete collection in one transaction; recording the same one again changes nothing.

        Raises StoreError if it was read before the last recorded one, NotInstalled before `init`.
        """
        url, env = self._recorder
        with arrow_transaction(url, self._system, env, read_only=False) as cursor:
            memory_record.record(cursor, self._system, collection, changed, mismatches, closed)

    @contextmanager
    def _reading(self) -> Iterator[Cursor]:
        with self._transactions.begin() as cursor:
            cursor.execute(_READING)
            yield cursor
