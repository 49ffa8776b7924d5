"""Balances over time, of a whole system and of one account, read from the memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.domain.subjects.account import ObservedState, StateKind
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.ports import MemoryStore

WINDOW = timedelta(days=31)
POINTS = 124
"""A month of comparisons, six hours apart."""
VERSIONS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """What an account held from `at` on, in credits. `corrected` if our own correction changed it."""

    at: datetime
    available: int
    total: int
    corrected: bool = False


def system_history(memory: MemoryStore, now: datetime) -> Sequence[BalancePoint]:
    """The last month of a system; empty without history. Raises StoreError if the query takes too long."""
    return memory.balances_at(memory.collections(now - WINDOW, POINTS)) if memory.installed() else ()


def account_histories(
    gateways: Gateways, accounts: Sequence[AccountId], now: datetime
) -> dict[AccountId, list[AccountState]]:
    """What each account held, oldest first, and what it holds now. History goes back 62 days or 400 states.

    A list is empty if neither the memory nor the store knows the account.
    """
    known = gateways.memory.remembered(accounts, now) if gateways.memory.installed() else {}
    states = {account: _states(known[account].states) if account in known else [] for account in accounts}
    for row in gateways.store.read(accounts).select(["account_id", "total", "used"]).to_pylist():
        total, used = row["total"], row["used"]
        if total is not None and used is not None:
            states[AccountId(row["account_id"])].append(AccountState(at=now, available=total - used, total=total))
    return states


def _states(states: Sequence[ObservedState]) -> list[AccountState]:
    return [
        AccountState(at=one.as_of, available=one.available, total=one.total, corrected=one.kind is StateKind.AFTER)
        for one in states[-VERSIONS:]
    ]
