"""Accounts that a person named with --account: each must be one of the store's. No command works on a misspelt id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from credit_pipeline.domain.errors import StoreError

if TYPE_CHECKING:
    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.domain.subjects.ids import AccountId
    from credit_pipeline.services.collect.ports import Store
    from credit_pipeline.services.gateways import Gateways


def named_accounts(system: CreditSystem, gateways: Gateways, ids: Sequence[str]) -> list[AccountId] | None:
    """The ids, each once, or None where none was named. Raises StoreError naming the first that is not in the store."""
    return accounts_in(system, gateways.store, ids) if ids else None


def accounts_in(system: CreditSystem, store: Store, ids: Sequence[str]) -> list[AccountId]:
    """The same where only the store is open."""
    from credit_pipeline.domain.subjects.ids import AccountId
    from credit_pipeline.services.collect.ports import IdentityStore
    from credit_pipeline.services.explain.find_subject import accounts_named

    refuse_email(system, ids)
    wanted = [AccountId(account) for account in dict.fromkeys(ids)]
    if isinstance(store, IdentityStore):
        wanted = [account for asked in wanted for account in accounts_named(system, store, asked)]
    present = set(store.read(wanted)["account_id"].to_pylist())
    absent = [account for account in wanted if account not in present]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise StoreError(
            f"{system.name}: the store has no account `{absent[0]}`{more}: compare the id with "
            f"`{system.store.table}.{system.store.account}`"
        )
    return wanted


def refuse_email(system: CreditSystem, ids: Sequence[str]) -> None:
    """An address is not repeated in a message, and a store without users could not find it."""
    if not system.ledger and any("@" in account for account in ids):
        raise StoreError(
            f"{system.name}: accounts cannot be found by e-mail, the store has no such column: give the id of "
            f"`{system.store.table}.{system.store.account}`"
        )
