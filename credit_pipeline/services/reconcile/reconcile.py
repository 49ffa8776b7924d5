"""Compares two snapshots with the memory: the mismatch report, and what is remembered of it.

Screen, then judge: the set-based screen drops the provably healthy, the pure classify() judges the rest. What was
seen is remembered only after a complete collection of the whole population.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.ports import Snapshot
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.decision_log import DecisionLog
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.accounts import accounts_of
from credit_pipeline.services.reconcile.in_force import in_force, not_in_force
from credit_pipeline.services.reconcile.plan_words import PlanWords
from credit_pipeline.services.reconcile.ports import MemoryStore
from credit_pipeline.services.reconcile.remember import findings_of, observations_of
from credit_pipeline.services.reconcile.screen import Screened, screen
from credit_pipeline.services.reconcile.screen_ledger import screen_ledger
from credit_pipeline.services.reconcile.subjects import read_since, subjects_of
from credit_pipeline.services.report.assemble import Run
from credit_pipeline.services.report.report import Report


def reconcile(
    system: CreditSystem,
    gateways: Gateways,
    balances: Snapshot,
    subscriptions: Snapshot,
    *,
    identities: Snapshot | None = None,
    now: datetime,
    settle: bool = False,
    accounts: Sequence[AccountId] | None = None,
    keep_all: bool = False,
    observations: Callable[[], pa.Table] | None = None,
) -> Report:
    """Compare, judge, remember. With `accounts` only those are judged and nothing is remembered.

    A ledger needs `identities`. `observations` returns them if they are already being read.
    """
    log = DecisionLog(system.name)
    log.started()
    written, system = system, in_force(system, gateways)
    memory = gateways.memory if gateways.memory.installed() else None
    last = memory.last_collection() if memory else None
    first_run = memory is not None and last is None
    look = _Look(
        system=system,
        gateways=gateways,
        memory=memory,
        balances=balances,
        subscriptions=subscriptions,
        observations=(observations or memory.observations)() if memory else OBSERVATIONS.empty_table(),
        now=now,
        first_run=first_run,
        keep_all=keep_all,
    )
    if system.ledger:
        assert identities is not None, f"{system.name}: a ledger is judged with its identities"
        screened, suspects = look.of_ledger(identities, partial=accounts is not None)
    else:
        screened, suspects = look.of_counter()
    rules = Rules(catalogue=system.catalogue, policy=system.policy, now=now, settle=settle, first_run=first_run)
    judged = [classify(account, rules) for account in suspects]
    for judgement in judged:
        log.judged(judgement)
    run = Run(
        system=system,
        gateways=gateways,
        balances=balances,
        subscriptions=subscriptions,
        identities=identities,
        now=now,
        memory=memory,
        last=last,
        screened=screened,
        judged=judged,
        partial=accounts is not None,
        halted=tuple(not_in_force(written, system, gateways)),
    )
    if memory and accounts is None and not run.refusals:
        memory.record(
            run.record,
            changed=pa.concat_tables([screened.changed, observations_of(judged, now, last)]),
            mismatches=[row for judgement in judged for row in findings_of(judgement, now)],
            closed=[end for judgement in judged for end in judgement.closed],
        )
    report = run.report()
    if not report.mismatches and not report.refusals:
        log.all_correct(report.population)
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What both layouts are screened with; each answers with what it screened, and the suspects to be judged."""

    system: CreditSystem
    gateways: Gateways
    memory: MemoryStore | None
    balances: Snapshot
    subscriptions: Snapshot
    observations: pa.Table
    now: datetime
    first_run: bool
    keep_all: bool

    def of_counter(self) -> tuple[Screened, list[Account]]:
        """Accounts, whose id is the id at billing."""
        screened = screen(
            self.gateways.snapshots.read(self.balances),
            self.gateways.snapshots.read(self.subscriptions),
            self.observations,
            catalogue=self.system.catalogue,
            policy=self.system.policy,
            now=self.now,
            first_run=self.first_run,
            watched=self.memory.watched() if self.memory else (),
            exempt=self.memory.exempt(self.now) if self.memory else (),
            keep_all=self.keep_all,
        )
        return screened, accounts_of(screened.suspects, self.system.catalogue, self.memory, self.now)

    def of_ledger(self, identities: Snapshot, *, partial: bool) -> tuple[Screened, list[Account]]:
        """Subjects, joined from users, store accounts and customers."""
        billed = self.gateways.snapshots.read(self.subscriptions)
        complete = self.subscriptions.enumerated
        screened = screen_ledger(
            self.gateways.snapshots.read(self.balances),
            self.gateways.snapshots.read(identities),
            billed,
            self.observations,
            catalogue=self.system.catalogue,
            policy=self.system.policy,
            now=self.now,
            first_run=self.first_run,
            watched=self.memory.watched() if self.memory else (),
            exempt=self.memory.exempt(self.now) if self.memory else (),
            complete=complete,
            partial=partial,
            keep_all=self.keep_all,
        )
        words = PlanWords.spoken_in(self.system.catalogue, billed)
        since = read_since(self.system.policy, self.now)
        suspects = subjects_of(screened.suspects, words, self.memory, self.now, since=since, complete=complete)
        return screened, suspects
