"""The use case of the house: two snapshots and the memory → the mismatch report, and the memory of it.

Screen, then judge: the set-based screen drops the provably healthy, the pure classify() judges the rest. What was
seen is remembered only after a complete collection of the whole population.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import pyarrow as pa

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.ids import AccountId
from credit_pipeline.domain.rules import Rules
from credit_pipeline.services.accounts import accounts_of
from credit_pipeline.services.assemble_report import Run
from credit_pipeline.services.decision_log import DecisionLog
from credit_pipeline.services.ports import OBSERVATIONS, Gateways, Snapshot
from credit_pipeline.services.remember import findings_of, observations_of
from credit_pipeline.services.report import Report
from credit_pipeline.services.screen import screen
from credit_pipeline.services.system import CreditSystem


def reconcile(
    system: CreditSystem,
    gateways: Gateways,
    balances: Snapshot,
    subscriptions: Snapshot,
    *,
    now: datetime,
    settle: bool = False,
    accounts: Sequence[AccountId] | None = None,
    keep_all: bool = False,
    observations: Callable[[], pa.Table] | None = None,
) -> Report:
    """Compare, judge, remember. With `accounts` only those are judged and nothing is remembered.

    `observations` is where they come from if somebody is reading them already.
    """
    log = DecisionLog(system.name)
    log.started()
    memory = gateways.memory if gateways.memory.installed() else None
    last = memory.last_collection() if memory else None
    screened = screen(
        gateways.snapshots.read(balances),
        gateways.snapshots.read(subscriptions),
        (observations or memory.observations)() if memory else OBSERVATIONS.empty_table(),
        catalogue=system.catalogue,
        policy=system.policy,
        now=now,
        first_run=memory is not None and last is None,
        watched=memory.watched() if memory else (),
        exempt=memory.exempt(now) if memory else (),
        keep_all=keep_all,
    )
    rules = Rules(
        catalogue=system.catalogue,
        policy=system.policy,
        now=now,
        settle=settle,
        first_run=memory is not None and last is None,
    )
    suspects = accounts_of(screened.suspects, system.catalogue, memory, now)
    judged = [classify(account, rules) for account in suspects]
    for judgement in judged:
        log.judged(judgement)
    run = Run(
        system=system,
        gateways=gateways,
        balances=balances,
        subscriptions=subscriptions,
        now=now,
        memory=memory,
        last=last,
        screened=screened,
        judged=judged,
        partial=accounts is not None,
    )
    if memory and accounts is None and not run.refusals:
        memory.record(
            run.record,
            changed=pa.concat_tables([screened.changed, observations_of(judged, now, last)]),
            mismatches=[row for judgement in judged for row in findings_of(judgement)],
            closed=[end for judgement in judged for end in judgement.closed],
        )
    report = run.report()
    if not report.mismatches and not report.refusals:
        log.all_correct(report.population)
    return report
