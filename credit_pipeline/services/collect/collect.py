"""Reads the store and billing once and keeps both as immutable snapshots. Nothing is judged here."""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import pyarrow as pa

from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.services import table_sql
from credit_pipeline.services.collect.ports import IdentityStore, Progress, Snapshot
from credit_pipeline.services.gateways import Gateways


def collect_balances(
    gateways: Gateways, *, run_id: str, now: datetime, accounts: Sequence[AccountId] | None = None
) -> Snapshot:
    """The product's balances, all of them or those asked for, as of `now`."""
    began = time.monotonic()
    audit_seq = gateways.plans.audit_head()[0] if gateways.memory.installed() else 0
    table = gateways.store.read(accounts)
    return gateways.snapshots.write(
        table, noun="balances", run_id=run_id, as_of=now, finished_at=now + _since(began), audit_seq=audit_seq
    )


def collect_identities(gateways: Gateways, *, run_id: str, now: datetime) -> Snapshot | None:
    """All users of the authentication system, even for a few accounts: who owns an account depends on other users'
    claims.

    None for a store whose ids are the ids at billing.
    """
    if not isinstance(gateways.store, IdentityStore):
        return None
    began = time.monotonic()
    table = gateways.store.identities()
    return gateways.snapshots.write(table, noun="identities", run_id=run_id, as_of=now, finished_at=now + _since(began))


def collect_subscriptions(
    gateways: Gateways,
    balances: Snapshot,
    identities: Snapshot | None = None,
    *,
    run_id: str,
    now: datetime,
    accounts: Sequence[AccountId] | None = None,
    progress: Progress | None = None,
) -> Snapshot:
    """What billing says: everything, where the provider has a list, else the answer about each account that was read.

    With `accounts`, only their customers are listed, if all of them are known.
    """
    began = time.monotonic()
    ids: Sequence[BillingId] | None
    if not gateways.billing.lists:
        ids = gateways.snapshots.read(balances)["account_id"].to_pylist()
    elif accounts is None or identities is None:
        ids = None
    else:
        ids = customers_of(gateways.snapshots.read(identities), accounts)
    pull = gateways.billing.pull(ids, now, progress)
    return gateways.snapshots.write(
        pull.table, noun="subscriptions", run_id=run_id, as_of=now, finished_at=now + _since(began), pull=pull
    )


CUSTOMERS = """
-- Set-based, for the identities are always those of all users. A user's own id may be an account's as well.
WITH claim AS (
    SELECT unnest(list_concat(mapped, list_transform(metadata, lambda m: m.value), [auth_id])) AS account, billing_id
    FROM identities
)
SELECT DISTINCT c.billing_id FROM wanted AS w LEFT JOIN claim AS c USING (account)
"""


def customers_of(identities: pa.Table, accounts: Iterable[AccountId]) -> list[BillingId] | None:
    """The customers of these accounts, by the local rows of all users that any layer maps to them.

    None if a user or account has no customer: then only the whole list shows whether somebody pays for it.
    """
    wanted = pa.table({"account": pa.array(list(dict.fromkeys(accounts)), pa.string())})
    with table_sql.over({"identities": identities, "wanted": wanted}) as db:
        found: list[str | None] = [row[0] for row in db.execute(CUSTOMERS).fetchall()]
    return None if None in found else [BillingId(one) for one in found if one is not None]


def _since(began: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - began)
