"""One subject of a ledger by any of its names: an account, a user, an e-mail address, a customer at billing.

Reads the store and billing for that subject alone where they can be asked so. Nothing is remembered or judged here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import StoreError
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId
from credit_pipeline.services.collect.collect import customers_of
from credit_pipeline.services.collect.ports import IdentityStore
from credit_pipeline.services.collect.tables import IDENTITIES, OBSERVATIONS
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.plan_words import PlanWords
from credit_pipeline.services.reconcile.screen_ledger import screen_ledger
from credit_pipeline.services.reconcile.subjects import subjects_of


def subject_named(
    system: CreditSystem, gateways: Gateways, store: IdentityStore, asked: str, *, now: datetime
) -> Account:
    """Everything known of the subject that `asked` names, in reports also as `user:ID` or `customer:ID`.

    Raises StoreError where it names none.
    """
    asked = asked.removeprefix("user:").removeprefix("customer:")
    identities = store.identities()
    users = _users(store, identities, asked) or _payers(gateways, identities, asked, now)
    accounts = _accounts(users, asked)
    balances = store.read(accounts)
    customers = customers_of(identities, accounts) if balances.num_rows else None
    pull = gateways.billing.pull(customers, now)
    if not users and not balances.num_rows and asked not in pull.table["billing_id"].to_pylist():
        raise _unknown(system)
    # A user without any account is a subject by what is billed; then nobody else's identity matters.
    whose = identities if balances.num_rows else pa.Table.from_pylist(list(users), schema=IDENTITIES)
    installed = gateways.memory.installed()
    memory = gateways.memory if installed else None
    names = {*accounts, *(f"user:{user['auth_id']}" for user in users), f"customer:{asked}"}
    screened = screen_ledger(
        balances,
        whose,
        pull.table,
        OBSERVATIONS.empty_table(),
        catalogue=system.catalogue,
        policy=system.policy,
        now=now,
        first_run=False,
        watched=[AccountId(name) for name in names],
        complete=pull.enumerated,
        partial=bool(balances.num_rows),
    )
    words = PlanWords.spoken_in(system.catalogue, pull.table)
    since = now - system.policy.lookback
    found = subjects_of(screened.suspects, words, memory, now, since=since, complete=pull.enumerated)
    mine = [subject for subject in found if _is(subject, asked, users)]
    if not mine:
        raise StoreError(
            f"{system.name}: this user has neither a store account nor a live subscription, so there is nothing to tell"
        )
    return mine[0]


def accounts_named(system: CreditSystem, store: IdentityStore, asked: str) -> list[AccountId]:
    """The store accounts of the one that `asked` names. Raises StoreError where it names nobody with an account."""
    if store.read([AccountId(asked)]).num_rows:
        return [AccountId(asked)]
    users = _users(store, store.identities(), asked)
    accounts = [account for account in _accounts(users, asked) if account != asked] if users else []
    if not accounts:
        raise _unknown(system)
    return accounts


def _users(store: IdentityStore, identities: pa.Table, asked: str) -> list[Mapping[str, Any]]:
    """The users that `asked` is, or that claim it as their account or customer."""
    user = store.user_of(asked)
    return [row for row in identities.to_pylist() if user == row["auth_id"] or asked in _names(row)]


def _payers(gateways: Gateways, identities: pa.Table, asked: str, now: datetime) -> list[Mapping[str, Any]]:
    """The users whom the subscriptions of the customer `asked` name."""
    rows = gateways.billing.pull([BillingId(asked)], now).table.to_pylist()
    named = {subject["id"] for row in rows for subject in row["subjects"]}
    return [row for row in identities.to_pylist() if row["auth_id"] in named] if named else []


def _names(row: Mapping[str, Any]) -> set[str]:
    return {row["auth_id"], row["billing_id"] or "", *row["mapped"], *(named["value"] for named in row["metadata"])}


def _accounts(users: Sequence[Mapping[str, Any]], asked: str) -> list[AccountId]:
    claimed = [
        account
        for row in users
        for account in (
            *row["mapped"],
            *(named["value"] for named in row["metadata"]),
            *([row["auth_id"]] if row["same_id"] else []),
        )
    ]
    return [AccountId(account) for account in dict.fromkeys([asked, *claimed])]


def _is(subject: Account, asked: str, users: Sequence[Mapping[str, Any]]) -> bool:
    identity = subject.identity
    if identity is None:
        return False
    mine = {AuthId(row["auth_id"]) for row in users}
    return bool(mine & set(identity.auth_ids)) or asked in {*identity.store_ids, *identity.billing_ids}


def _unknown(system: CreditSystem) -> StoreError:
    return StoreError(
        f"{system.name}: no account, user or customer goes by what was asked: compare it with "
        f"`{system.store.table}.{system.store.account}` or the user's e-mail address"
    )
