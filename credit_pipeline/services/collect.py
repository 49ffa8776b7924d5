"""Collecting: reads the store and billing once and keeps both as immutable snapshots. Nothing is judged here."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from credit_pipeline.domain.ids import AccountId
from credit_pipeline.services.ports import Gateways, Progress, Snapshot


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


def collect_subscriptions(
    gateways: Gateways, balances: Snapshot, *, run_id: str, now: datetime, progress: Progress | None = None
) -> Snapshot:
    """What billing says about every account of the balances snapshot; a provider without a list is asked one by one."""
    began = time.monotonic()
    ids = gateways.snapshots.read(balances)["account_id"].to_pylist()
    pull = gateways.billing.pull(ids, now, progress)
    return gateways.snapshots.write(
        pull.table, noun="subscriptions", run_id=run_id, as_of=now, finished_at=now + _since(began), pull=pull
    )


def _since(began: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - began)
