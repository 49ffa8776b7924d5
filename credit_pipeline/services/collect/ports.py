"""What is read from the outside: billing, the product's store, and the archive of what they said. Only the archive is
written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

import pyarrow as pa

from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId

Progress = Callable[[int, int], None]
"""Called with (done, total); the terminal draws it, Dagster logs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """The result of a billing pull, and how well it is proven to be complete.

    `enumerated` is False where the provider's listing did not end by its own end mark, or the pull was given up.
    `problems` are sentences for a person, already without secrets.
    """

    table: pa.Table
    level: str
    enumerated: bool
    asked: int
    unanswered: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One immutable Parquet file: what a source said, when, and how well it is proven to be complete.

    `as_of` is when the read began, `finished_at` when it ended (the age guard counts from there).
    """

    system: str
    noun: str
    run_id: str
    path: str
    sha256: str
    rows: int
    as_of: datetime
    finished_at: datetime
    level: str = "L3"
    enumerated: bool = True
    asked: int = 0
    unanswered: int = 0
    problems: tuple[str, ...] = ()
    audit_seq: int = 0
    """The head of the audit chain before the read began: our later corrections are not in it."""


class Snapshots(Protocol):
    """The archive of snapshots. Files are never overwritten."""

    def write(
        self,
        table: pa.Table,
        *,
        noun: str,
        run_id: str,
        as_of: datetime,
        finished_at: datetime,
        pull: Pull | None = None,
        audit_seq: int = 0,
    ) -> Snapshot:
        """Stores the table and returns its reference, with the pull's completeness where there is one."""
        ...

    def read(self, snapshot: Snapshot) -> pa.Table:
        """The table, after its hash was verified. Raises StoreError where the file was changed or is gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedSpend:
    """One deduction that the product could not make."""

    account_id: AccountId
    at: datetime
    amount: int | None
    reason: str | None


class Billing(Protocol):
    """A billing provider, read-only by construction."""

    provider: str
    lists: bool
    """Whether the provider can list its subscriptions; False means one look-up per known id (`store_only`)."""

    def pull(self, ids: Sequence[BillingId] | None, now: datetime, progress: Progress | None = None) -> Pull:
        """The state of every id; None means all there are, where the provider lists them.

        A provider without a list answers one row an id (SUBSCRIPTIONS), one with a list a row a subscription
        (LISTED_SUBSCRIPTIONS), all of a customer's, and a row of lookup `missing` or `error` for a customer without
        any answer. Raises SourceError where nothing at all can be learnt.
        """
        ...

    def identity(self) -> Mapping[str, str]:
        """Identifies the account at the provider, as names and values without a secret: account, livemode, app
        id, host, a digest of the key. `init` pins it. Raises SourceError if the provider does not say.
        """
        ...


class Store(Protocol):
    """The product's balances, read-only."""

    def read(self, accounts: Sequence[AccountId] | None = None) -> pa.Table:
        """All balances (or those asked for) in one repeatable-read transaction; hidden rows are an error."""
        ...

    def catalogue(self) -> Mapping[str, int]:
        """The product's own plan table, label → credits; empty where none is configured."""
        ...


@runtime_checkable
class IdentityStore(Store, Protocol):
    """A ledger's store, whose users have an id of their own. Read-only."""

    def identities(self) -> pa.Table:
        """Every user of the authentication system with what each layer says (schema IDENTITIES)."""
        ...

    def user_of(self, email_or_id: str) -> AuthId | None:
        """The user of that e-mail address (blanks and case do not matter) or id; None where there is none."""
        ...

    def failed_spends(self, since: datetime) -> Sequence[FailedSpend] | None:
        """Deductions that failed since then, newest first; None where the product keeps no such table."""
        ...

    def can_deduct(self, account: AccountId, *, probe: bool) -> bool | None:
        """Whether the product's deduct function may be executed; `probe` also runs it for one credit and rolls back.
        None where no such function is configured."""
        ...
