"""The pipeline as its schedule runs it over a simulated ledger, a person who decides, and what must hold at every run.

Between reading the store and reading billing, and between planning and writing, the product lives on.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.adapters.history.memory import PostgresMemory
from credit_pipeline.adapters.install.install import Wanted, install
from credit_pipeline.adapters.stores.ledger import LedgerStore
from credit_pipeline.config.billing import StripeConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Correction, GrantCredits, Lane, SetPlan
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.domain.policy import Policy
from credit_pipeline.sandbox.billing.book_billing import StripeBookBilling
from credit_pipeline.services.apply import apply_plan
from credit_pipeline.services.audit import verify as audit
from credit_pipeline.services.collect.collect import collect_balances, collect_identities, collect_subscriptions
from credit_pipeline.services.findings.ports import Decided
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.guard import released
from credit_pipeline.services.plans.ports import SavedPlan, Selection
from credit_pipeline.services.plans.propose import propose
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline.services.report.report import Report
from credit_pipeline_tests.adapters.products.ledger_product import ledger_config
from credit_pipeline_tests.moved_clock import MovedPlans, pin_billing
from credit_pipeline_tests.simulation.ledger_life import MINUTE, LedgerLife
from credit_pipeline_tests.simulation.ledger_truth import CATALOGUE, Owed

SYSTEM = CreditSystem(
    name="bestauth",
    environment="simulation",
    catalogue=CATALOGUE,
    policy=Policy(automation_apply=True),
    store=ledger_config(),
    billing=StripeConfig(provider="stripe", key_env="STRIPE_KEY"),
)
STEP = timedelta(hours=6)
PATIENCE = timedelta(hours=14)
"""From a grant's being owed to its being made or held: settling, the next run, and one more for a stale row."""

_OPEN = """
SELECT account, code, lane, is_event, evidence FROM credit_pipeline.mismatch WHERE state IN ('open', 'acknowledged')
"""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A grant that we made."""

    account: str
    plan: str
    start: datetime
    at: datetime
    lane: Lane


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A finding as it stood open after a run."""

    at: datetime
    account: str
    code: str
    lane: str
    plan: str | None
    start: datetime | None
    holds: tuple[str, ...]


class LedgerOperations:
    """Six-hourly runs. With `decides`, a person approves what the truth says is right, a third of it at each run."""

    def __init__(self, url: str, folder: Path, life: LedgerLife, *, decides: bool) -> None:
        self.life = life
        self.system = SYSTEM
        self._url = url
        self.decides = decides
        self.memory = PostgresMemory(SYSTEM, url)
        self.now = life.now
        self.plans = MovedPlans(url, SYSTEM, lambda: self.now)
        self.gateways = Gateways(
            billing=StripeBookBilling.of(life.stripe.book, SYSTEM),
            store=LedgerStore(SYSTEM, url, clock=lambda: life.now),
            memory=self.memory,
            plans=self.plans,
            snapshots=ParquetSnapshots(SYSTEM.name, folder),
        )
        pin_billing(url, self.gateways.billing.identity())
        self.given: list[Given] = []
        self.sights: list[Sight] = []
        self.open: list[Sight] = []
        """Those of the last run."""
        self.outcomes: Counter[str] = Counter()
        self._database = psycopg.connect(url, autocommit=True, row_factory=dict_row)

    def close(self) -> None:
        for opened in (self.memory, self.plans, self._database):
            opened.close()

    def accept(self, catalogue: Catalogue, at: datetime) -> None:
        """`init --accept-catalogue` at that moment: from then on plans give what this catalogue says."""
        self.system = replace(self.system, catalogue=catalogue)
        install(self._url, self.system, None, Wanted(accept_catalogue=Decided(who="eva", reason="another price")))
        with psycopg.connect(self._url) as connection:
            connection.execute("SET LOCAL session_replication_role = replica")  # append-only, and its clock real
            connection.execute(
                "UPDATE credit_pipeline.act SET at = %s WHERE id = (SELECT max(id) FROM credit_pipeline.act)", (at,)
            )

    def run(self, now: datetime) -> Report:
        """One scheduled run that begins at `now` and ends ten minutes later."""
        run_id = f"run-{now:%Y%m%dT%H%M}"
        self.life.live(now)
        balances = collect_balances(self.gateways, run_id=run_id, now=now)
        identities = collect_identities(self.gateways, run_id=run_id, now=now)
        self.life.live(now + MINUTE)
        subscriptions = collect_subscriptions(self.gateways, balances, identities, run_id=run_id, now=now)
        report = reconcile(
            self.system, self.gateways, balances, subscriptions, identities=identities, now=now, settle=True
        )
        assert not report.refusals, report.refusals
        assert report.in_sync + report.exempt + sum(report.classes.values()) == report.population
        self._look(now)
        plan = propose(self.system, self.gateways, report) if report.corrections else None
        if plan is not None and self.decides:
            plan = self._decide(plan)
        self.life.live(now + 10 * MINUTE)
        if plan is not None and released(plan):
            self._apply(plan, now + 10 * MINUTE)
        return report

    def verified(self) -> tuple[int, tuple[Any, ...]]:
        """How many rows the audit has, and its faults."""
        with self.plans.audit_snapshot() as snapshot:
            found = audit.verify(self.system.name, snapshot)
        return found.rows, found.faults

    def _look(self, now: datetime) -> None:
        self.open = [
            Sight(
                at=now,
                account=row["account"],
                code=row["code"],
                lane=row["lane"],
                plan=row["evidence"].get("plan"),
                start=_instant(row["evidence"].get("period_start")),
                holds=tuple(row["evidence"].get("holds", ())),
            )
            for row in self._database.execute(_OPEN)
        ]
        self.sights += self.open

    def _decide(self, plan: SavedPlan) -> SavedPlan:
        for row in plan.rows:
            waits = row.correction.lane is Lane.APPROVE and not row.approved
            if waits and self._right(row.correction) and self.life.random.random() < 0.3:
                account = row.correction.account_id
                self.plans.approve(plan.plan_id, Selection(lane="approve", accounts=(account,)), "a person", "owed")
        return self.plans.load(plan.plan_id)

    def _right(self, correction: Correction) -> bool:
        """What a person who knows the truth would let pass: a grant that is owed and nothing else beside it."""
        grant = correction.grant
        if grant is None or len(correction.steps) > 1:
            return bool(correction.steps) and all(isinstance(step, SetPlan) for step in correction.steps)
        key = grant.grant_key
        one = self.life.truth.get((key.account_id, key.plan, key.period_start))
        return one is not None and one.owed and not one.settled

    def _apply(self, plan: SavedPlan, now: datetime) -> None:
        self.now = now
        applied = apply_plan(self.system, self.gateways, plan.plan_id, live=True, clock=lambda: now)
        if applied.plan.state == "quarantined":
            self.plans.approve(plan.plan_id, Selection(lane="auto"), "simulation", "limits reviewed")
            applied = apply_plan(self.system, self.gateways, plan.plan_id, live=True, clock=lambda: now)
        assert not applied.state.failures, applied.state.failures
        for row in applied.plan.rows:
            if row.outcome is not None:
                self.outcomes[row.outcome] += 1
                assert row.outcome != "failed", row
                if row.outcome == "changed":
                    self._changed(row.correction, now)

    def _changed(self, correction: Correction, now: datetime) -> None:
        automatic = correction.lane is Lane.AUTO
        assert correction.delta >= 0, f"we took credits: {correction}"
        for step in correction.steps:
            if isinstance(step, GrantCredits):
                self._granted(correction, step, now)
            elif isinstance(step, SetPlan) and automatic:
                who = next(c for c in self.life.customers.values() if c.account == correction.account_id)
                judged = who.judged
                assert judged is not None, f"{who.name}: {step} and nothing is billed"
                assert judged.plan == step.plan, f"{who.name}: {step}, billed is {judged.plan}"

    def _granted(self, correction: Correction, step: GrantCredits, now: datetime) -> None:
        """What must hold whenever we grant."""
        key = step.grant_key
        one = self.life.truth.get((key.account_id, key.plan, key.period_start))
        told = f"{self.name_of(key.account_id)}: {step} at {now:%d %b %H:%M}, lane {correction.lane}"
        assert one is not None, f"{told}: nobody owes it"
        assert one.owed, f"{told}: it is not owed"
        assert one.since <= now, f"{told}: owed only from {one.since}"
        assert not one.by_us, f"{told}: we granted it before at {one.by_us}"
        assert not one.by_hand, f"{told}: support gave it"
        assert step.delta == one.amount, f"{told}: {one.amount} are owed"
        group = [one] if self.life.references == "shared" else self.life.truth.near(one)
        given = sum(min(1, other.times) for other in group)  # one that came after ours as well is told as a duplicate
        assert given < len(group), f"{told}: given before by the product at {[o.by_product for o in group]}"
        self.given.append(
            Given(account=key.account_id, plan=key.plan, start=key.period_start, at=now, lane=correction.lane)
        )
        one.by_us.append(now)
        beside = self.life.truth.beside(one)
        allowed = sum({other.plan: other.amount for other in beside}.values())
        inside = [o for o in beside if o.period == one.period]
        assert sum(o.amount * min(1, o.times) for o in inside) <= allowed, f"{told}: above the period's allowances"

    def name_of(self, account: str) -> str:
        """The customer's name."""
        return next(c.name for c in self.life.customers.values() if c.account == account)

    def overdue(self, now: datetime) -> Iterator[Owed]:
        """What is owed for so long that it must be given or held by now."""
        for one in self.life.truth:
            if one.owed and not one.settled and now - one.since >= PATIENCE:
                yield one


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
