"""One wix_app with a handful of sites: the product's tables, billing's book, the real pipeline between them, a clock.

What a person or the schedule does is here (`check`, `fix`, `approve`, `apply`); what the product does is in `app.py`.
"""

from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import NAMESPACE_URL, uuid5

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.adapters.install.install import install
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.sandbox.billing.book_billing import BookBilling
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.lifecycle import sandbox_system
from credit_pipeline.sandbox.scenarios.wix_app.product import WixApp
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline.services.apply import Apply
from credit_pipeline.services.collect.collect import collect_balances, collect_subscriptions
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.apply_state import ApplyState
from credit_pipeline.services.plans.guard import guard
from credit_pipeline.services.plans.ports import SavedPlan, Selection
from credit_pipeline.services.plans.propose import propose
from credit_pipeline.services.plans.verify import still_broken
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline.services.report.report import Report
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.incidents.app import App
from credit_pipeline_tests.moved_clock import MovedPlans, pin_billing

SYSTEM = sandbox_system()
START = datetime(2026, 3, 10, 6, tzinfo=UTC)
WHO, WHY = "eva", "I looked at it"


def account_id(name: str) -> str:
    """The instance id of the site of that name, the same in every world."""
    return str(uuid5(NAMESPACE_URL, name))


def an_installed_product(databases: Databases) -> str:
    """The URL of an empty product with our schema installed, in a database of its own."""

    return databases.new(databases.template("incidents", install_product))


def install_product(url: str) -> None:
    """Makes the product's empty tables in an empty database, and installs our schema."""
    with WixApp(url) as app:
        app.create(SYSTEM.catalogue)
    install(url, SYSTEM)


class World:
    """`now` is the pipeline's clock and moves a minute with every run. With a server billing is asked over HTTP."""

    def __init__(
        self,
        url: str,
        home: Path,
        *,
        server: BillingServer | None = None,
        book: BillingBook | None = None,
        now: datetime = START,
        system: CreditSystem = SYSTEM,
    ) -> None:
        self.url, self.home, self.now, self.system = url, home, now, system
        self.book = server.book if server else book or BillingBook()
        self.environment = {
            "CREDIT_PIPELINE_HOME": str(home),
            "WIX_DATABASE_URL": url,
            "WIX_API_URL": server.base_url if server else "http://127.0.0.1:9",
            "WIX_APP_ID": server.credentials.app_id if server else "nobody",
            "WIX_APP_SECRET": server.credentials.app_secret if server else "nothing",
        }
        self.app = App(url)
        self._over_http = server is not None
        self._open = ExitStack()
        self._runs = 0
        self._written: dict[int, datetime] = {}
        self.report: Report | None = None
        self.gateways = self._gateways()
        pin_billing(url, self.gateways.billing.identity())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        with self.app:
            pass

    def restart(self) -> None:
        """The service stops and starts: nothing but the database and the snapshots is left."""
        self._open.close()
        self.gateways = self._gateways()

    def _gateways(self) -> Gateways:
        opened = self._open.enter_context(open_gateways(self.system, self.home, self.environment))
        plans = self._open.enter_context(closing(MovedPlans(self.url, self.system, lambda: self.now, self._written)))
        billing = opened.billing if self._over_http else BookBilling(self.book)
        return replace(opened, billing=billing, plans=plans)

    def site(self, name: str, label: str | None, total: int, used: int = 0, **billed: Any) -> str:
        """A new site in the product and at billing; the words after `used` are those of `bill`."""
        account = account_id(name)
        self.app.install(account, label, total, used)
        self.bill(account, billed.pop("billed", label if label != "free" else None), **billed)
        return account

    def bill(self, account: str, word: str | None, *, since: datetime | None = None, **instance: Any) -> None:
        """What billing says from now on: nothing bought, or the plan called `word`, bought at `since`."""
        if word is None:
            self.book.put(account, is_free=True, **instance)
        else:
            bought = since or self.now - timedelta(days=10)
            self.book.put(account, is_free=False, package_name=word, time_stamp=bought, auto_renewing=True, **instance)

    def later(self, *, hours: float = 6) -> None:
        self.now += timedelta(hours=hours)

    def check(self) -> Report:
        """Collect and judge everything, as `check` does: no settling, remembered if complete."""
        self.now += timedelta(minutes=1)
        self._runs += 1
        run_id = f"run-{self._runs}-{self.now:%Y%m%dT%H%M}"
        balances = collect_balances(self.gateways, run_id=run_id, now=self.now)
        subscriptions = collect_subscriptions(self.gateways, balances, run_id=run_id, now=self.now)
        self.report = reconcile(self.system, self.gateways, balances, subscriptions, now=self.now)
        return self.report

    def found(self, account: str) -> Mismatch:
        """What the last run said about a site that is not in order."""
        assert self.report is not None
        return next(mismatch for mismatch in self.report.mismatches if mismatch.account_id == account)

    def plan(self) -> SavedPlan:
        """`fix` without --live: the plan is saved, judged, and nothing is written."""
        plan = propose(self.system, self.gateways, self.check())
        return guard(self.system, self.gateways, plan.plan_id, live=False, person=True, now=self.now).plan

    def fix(self) -> SavedPlan:
        """`fix --live`."""
        return self.apply(propose(self.system, self.gateways, self.check()).plan_id)

    def repair(self) -> SavedPlan:
        """`fix --live` by somebody who approves the first plan and the limits; lane approve is not released."""
        plan = self.fix()
        if plan.state != "quarantined":
            return plan
        self.approve(plan)
        return self.apply(plan.plan_id)

    def approve(self, plan: SavedPlan, *, lane: str = "auto", account: str | None = None) -> int:
        """`approve`; returns how many rows it released."""
        selection = Selection(lane=lane, accounts=(account,) if account else ())
        return self.gateways.plans.approve(plan.plan_id, selection, WHO, WHY)

    @property
    def applying(self) -> Apply:
        """Production's apply, by the world's clock."""
        return Apply(system=self.system, gateways=self.gateways, clock=lambda: self.now)

    def apply(self, plan_id: str) -> SavedPlan:
        """`apply --live`: guard, confirm, canary, batches, verify, as the job's ops do."""
        begun = self.begin(plan_id)
        if not begun.go:
            return self.gateways.plans.load(plan_id)
        plan = self.carry_out(begun)
        assert still_broken(self.system, self.gateways, plan_id, now=self.now, run_id=plan_id) == ()
        return plan

    def begin(self, plan_id: str) -> ApplyState:
        """The first half of an apply: guarded, and confirmed where it may be written."""
        return self.applying.confirm(self.applying.guard(plan_id, live=True, person=True))

    def carry_out(self, begun: ApplyState) -> SavedPlan:
        """The second half: the canary, then batches, until no row is left."""
        return self.applying.finish(self.applying.rest(self.applying.canary(begun))).plan
