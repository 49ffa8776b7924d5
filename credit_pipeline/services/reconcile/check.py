"""`check`: collect from both sides and reconcile, with the memory read meanwhile. No plan is made."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.collect import collect_balances, collect_identities, collect_subscriptions
from credit_pipeline.services.collect.ports import Progress, Snapshot
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline.services.report.report import Report


def check(
    system: CreditSystem,
    gateways: Gateways,
    *,
    run_id: str,
    now: datetime,
    accounts: Sequence[AccountId] | None = None,
    progress: Progress | None = None,
    keep_all: bool = False,
    subscriptions: Snapshot | None = None,
) -> Report:
    """The mismatch report as of `now`. It is remembered if the whole population was read.

    With `subscriptions`, an earlier pull from the archive is taken and billing is not asked.
    """
    with ThreadPoolExecutor(1) as beside:
        balances = collect_balances(gateways, run_id=run_id, now=now, accounts=accounts)
        identities = collect_identities(gateways, run_id=run_id, now=now)
        observations = beside.submit(gateways.memory.observations) if gateways.memory.installed() else None
        if subscriptions is None:
            subscriptions = collect_subscriptions(
                gateways, balances, identities, run_id=run_id, now=now, accounts=accounts, progress=progress
            )
        return reconcile(
            system,
            gateways,
            balances,
            subscriptions,
            identities=identities,
            now=now,
            accounts=accounts,
            keep_all=keep_all,
            observations=observations.result if observations else None,
        )
