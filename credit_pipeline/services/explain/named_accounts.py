"""Resolves the accounts that a person names. Each must be in the store, so that no command works on a misspelt id."""

from collections.abc import Sequence

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import StoreError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.ports import IdentityStore, Store
from credit_pipeline.services.explain.find_subject import accounts_named
from credit_pipeline.services.gateways import Gateways


def named_accounts(system: CreditSystem, gateways: Gateways, ids: Sequence[str]) -> list[AccountId] | None:
    """The named accounts, each once, or None if there are none. Raises StoreError for an account not in the store."""
    return accounts_in(system, gateways.store, ids) if ids else None


def accounts_in(system: CreditSystem, store: Store, ids: Sequence[str]) -> list[AccountId]:
    """The same for a store without its other gateways."""
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
    """Raises StoreError for an e-mail address if the store has no users. The message does not repeat the address."""
    if not system.ledger and any("@" in account for account in ids):
        raise StoreError(
            f"{system.name}: accounts cannot be found by e-mail, the store has no such column: give the id of "
            f"`{system.store.table}.{system.store.account}`"
        )
