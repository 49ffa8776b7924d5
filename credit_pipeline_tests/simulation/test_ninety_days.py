"""Weeks of six-hourly scheduled runs against a product with known truth, on real parts but for the billing HTTP.

Promises: no automatic credit for a grant that the product made; every truly missing grant applied or open; none lost
from view. `python -m credit_pipeline_tests.simulation.test_ninety_days --seeds 20` plays more lives, of 90 days each.
"""

import argparse
import logging
import tempfile
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.adapters.history.memory import PostgresMemory
from credit_pipeline.adapters.install.install import install
from credit_pipeline.adapters.stores.counter import CounterStore
from credit_pipeline.config.billing import WixConfig
from credit_pipeline.config.store import CounterStoreConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.domain.policy import Policy, Renewal
from credit_pipeline.sandbox.billing.book_billing import BookBilling
from credit_pipeline.sandbox.wix.book import BillingBook, wire_time
from credit_pipeline.services.apply import apply_plan
from credit_pipeline.services.collect.collect import collect_balances, collect_subscriptions
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline.services.plans.propose import propose
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline.services.report.report import Report
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.moved_clock import MovedPlans, pin_billing
from credit_pipeline_tests.simulation.product import ALLOWANCE, RANK, Customer, Product, Purchase

START = datetime(2026, 1, 10, 0, 0, tzinfo=UTC)
STEP = timedelta(hours=6)
STAMPS = ["fixed", "moving at a plan change", "moving at renewal"]

SYSTEM = CreditSystem(
    name="wix_app",
    environment="simulation",
    catalogue=Catalogue(
        plans=tuple(
            Plan(name=name, credits=credits, rank=RANK[name], label=name, free=name == "free")
            for name, credits in ALLOWANCE.items()
        )
    ),
    policy=Policy(renewal=Renewal.RESET_USED, automation_apply=True),
    store=CounterStoreConfig(layout="counter", url_env="WIX_DATABASE_URL"),
    billing=WixConfig(provider="wix", app_id_env="WIX_APP_ID", app_secret_env="WIX_APP_SECRET"),
)


def _tables(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE app_instances (instance_id text PRIMARY KEY, plan_id text, credits_total bigint NOT NULL,"
            " credits_used_month bigint NOT NULL)"
        )
    install(url, SYSTEM)


class Operations:
    """The pipeline as its schedule runs it, and a person who approves limits when asked."""

    def __init__(self, url: str, folder: Path, product: Product) -> None:
        self.product = product
        self.book = BillingBook()
        self.memory = PostgresMemory(SYSTEM, url)
        self.now = START
        self.plans = MovedPlans(url, SYSTEM, lambda: self.now)
        self.gateways = Gateways(
            billing=BookBilling(self.book),
            store=CounterStore(SYSTEM, url),
            memory=self.memory,
            plans=self.plans,
            snapshots=ParquetSnapshots(SYSTEM.name, folder),
        )
        pin_billing(url, self.gateways.billing.identity())
        self.automatic: list[tuple[Customer, str, datetime]] = []
        """(customer, plan, when) of every automatic grant that was applied."""

    def run(self, now: datetime) -> Report:
        self._bill()
        run_id = f"run-{now:%Y%m%dT%H%M}"
        balances = collect_balances(self.gateways, run_id=run_id, now=now)
        subscriptions = collect_subscriptions(self.gateways, balances, run_id=run_id, now=now)
        report = reconcile(SYSTEM, self.gateways, balances, subscriptions, now=now, settle=True)
        assert not report.refusals
        if report.corrections:
            self._apply(report, now)
        return report

    def _bill(self) -> None:
        for customer in self.product.customers:
            paid = customer.plan != "free"
            self.book.put(
                customer.name,
                is_free=not paid,
                package_name=customer.plan if paid else None,
                billing_cycle="MONTHLY" if paid else None,
                time_stamp=wire_time(customer.stamp) if paid else None,
            )

    def _apply(self, report: Report, now: datetime) -> None:
        self.now = now
        plan = propose(SYSTEM, self.gateways, report)
        applied = apply_plan(SYSTEM, self.gateways, plan.plan_id, live=True, clock=lambda: now)
        if applied.plan.state == "quarantined":
            self.gateways.plans.approve(plan.plan_id, Selection(lane="auto"), "simulation", "limits reviewed")
            applied = apply_plan(SYSTEM, self.gateways, plan.plan_id, live=True, clock=lambda: now)
        assert not applied.state.failures, applied.state.failures
        for row in applied.plan.rows:
            grant = row.correction.grant
            if row.outcome == "changed" and grant:
                customer = next(c for c in self.product.customers if c.name == row.correction.account_id)
                self.automatic.append((customer, grant.grant_key.plan, now))


def _bought(customer: Customer, plan: str, when: datetime) -> Purchase:
    """The newest purchase of that plan: what an automatic grant of it was for."""
    return max((p for p in customer.purchases if p.plan == plan and p.at <= when), key=lambda p: p.at)


def _same_period(customer: Customer, purchase: Purchase) -> list[Purchase]:
    """That plan's purchases less than 0.9 of a cycle apart: they are granted once together."""
    return [p for p in customer.purchases if p.plan == purchase.plan and abs(p.at - purchase.at) < timedelta(days=25)]


def _check(product: Product, operations: Operations, last: Report, ended: datetime) -> dict[str, int]:
    """The promises, against the truth; returns counts so that the test can see that something happened."""
    counts = {"owed": 0, "given by product": 0, "granted": 0, "open": 0}
    in_view = {m.account_id: {m.code, *m.secondary} for m in last.mismatches}
    granted: set[int] = set()
    for customer, plan, when in operations.automatic:
        once = _same_period(customer, _bought(customer, plan, when))
        given = [p.at for p in once if p.given_by_product and p.given_by_product < when]
        assert not given, f"{customer.name}: {plan} bought {given} was given by the product and again by us at {when}"
        assert not granted & set(map(id, once)), f"{customer.name}: {plan} was granted twice by us, again at {when}"
        granted |= set(map(id, once))
    for customer in product.customers:
        for purchase in customer.purchases:
            visible = (purchase.until or ended) - purchase.at >= 3 * STEP and ended - purchase.at >= 3 * STEP
            if not purchase.owed or not visible:
                continue
            counts["owed"] += 1
            if any(p.given_by_product for p in _same_period(customer, purchase)):
                counts["given by product"] += 1
            elif id(purchase) in granted:
                counts["granted"] += 1
            else:
                codes = in_view.get(customer.name, set())
                assert codes, f"{customer.name}: {purchase} was lost from view"
                counts["open"] += 1
    return counts


def play(databases: Databases, folder: Path, *, stamps: str, seed: int, days: int = 90) -> dict[str, int]:
    """One life of a product with 40 accounts."""
    url = databases.new(databases.template("simulation", _tables))
    with ExitStack() as opened:
        product = Product(url, seed=seed, stamps=stamps, accounts=40, start=START)
        opened.enter_context(closing(product.database))
        operations = Operations(url, folder, product)
        opened.enter_context(closing(operations.memory))
        opened.enter_context(closing(operations.plans))
        return _live(product, operations, days)


def _live(product: Product, operations: Operations, days: int) -> dict[str, int]:
    now, ended = START, START + timedelta(days=days)
    report = operations.run(now)
    while now < ended:
        product.live(now, now + STEP)
        now += STEP
        report = operations.run(now)
    return _check(product, operations, report, now)


@pytest.mark.parametrize("stamps", STAMPS)
def test_six_weeks_of_a_careless_product(databases: Databases, tmp_path: Path, stamps: str) -> None:
    """The suite's share."""
    counts = play(databases, tmp_path, stamps=stamps, seed=20261121, days=42)
    print(f"stamps {stamps}, seed 20261121: {counts}")
    assert counts["granted"] >= 5
    assert counts["given by product"] >= 20
    assert counts["open"] >= 1


def main() -> None:
    """More lives than the suite plays."""
    from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres

    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1)
    asked = parser.parse_args()
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home))
        server.start()
        try:
            databases = Databases(server)
            for seed in range(asked.first, asked.first + asked.seeds):
                for stamps in STAMPS:
                    with tempfile.TemporaryDirectory() as folder:
                        print(seed, stamps, play(databases, Path(folder), stamps=stamps, seed=seed), flush=True)
        finally:
            server.remove()


if __name__ == "__main__":
    main()
