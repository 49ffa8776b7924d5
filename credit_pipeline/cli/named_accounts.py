"""Accounts that a person named with --account: each must be one of the store's. No command works on a misspelt id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from credit_pipeline.domain.errors import StoreError

if TYPE_CHECKING:
    from credit_pipeline.domain.ids import AccountId
    from credit_pipeline.services.ports import Gateways
    from credit_pipeline.services.system import CreditSystem


def named_accounts(system: CreditSystem, gateways: Gateways, ids: Sequence[str]) -> list[AccountId] | None:
    """The ids, each once, or None where none was named. Raises StoreError naming the first that is not in the store."""
    from credit_pipeline.domain.ids import AccountId

    if not ids:
        return None
    refuse_email(system, ids)
    wanted = [AccountId(account) for account in dict.fromkeys(ids)]
    present = set(gateways.store.read(wanted)["account_id"].to_pylist())
    absent = [account for account in wanted if account not in present]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise StoreError(
            f"{system.name}: the store has no account `{absent[0]}`{more}: compare the id with "
            f"`{system.store.table}.{system.store.account}`"
        )
    return wanted


def refuse_email(system: CreditSystem, ids: Sequence[str]) -> None:
    """An address is not repeated in a message, and this layout could not find it."""
    if any("@" in account for account in ids):
        raise StoreError(
            f"{system.name}: accounts cannot be found by e-mail, the store has no such column: give the id of "
            f"`{system.store.table}.{system.store.account}`"
        )
