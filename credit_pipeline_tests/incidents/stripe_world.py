"""One bestauth with a handful of users and its Stripe over HTTP, in real time: who bought what, which event was lost.

No assertions. What the pipeline does is asked of its commands and sensors.
"""

import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.adapters.install.install import install
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.lifecycle import sandbox_system
from credit_pipeline.sandbox.stripe.events import an_event
from credit_pipeline.sandbox.stripe.rows import Customer, Event, Invoice, Item, Line, Subscription
from credit_pipeline.services.apply import apply_plan
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline.services.plans.propose import propose
from credit_pipeline.services.reconcile.check import check
from credit_pipeline_tests.conftest import Databases
from credit_pipeline_tests.moved_clock import pin_billing

SYSTEM = sandbox_system("bestauth")
PRICE = "price_bestauth_pro_monthly"
HOUR = timedelta(hours=1)


def an_installed_ledger(databases: Databases) -> str:
    """The URL of an empty bestauth whose first plan was approved, in a database of its own."""

    def fill(url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(files("credit_pipeline.sandbox.scenarios.bestauth").joinpath("product.sql").read_bytes())
        install(url, SYSTEM)
        with BillingServer() as server, tempfile.TemporaryDirectory() as home:
            _apply_first_plan(StripeWorld(url, server), Path(home))

    return databases.new(databases.template("stripe_incidents", fill))


def _apply_first_plan(world: "StripeWorld", home: Path) -> None:
    """A person approves the first plan of the system, as one always must."""
    account = AccountId(world.signs_up("first"))
    world.buys("first", hours=40)
    now = datetime.now(UTC)
    with open_gateways(SYSTEM, home, world.environment) as gateways:
        world.pin(gateways.billing.identity())
        report = check(SYSTEM, gateways, run_id="first", now=now, accounts=[account])
        plan = propose(SYSTEM, gateways, report)
        gateways.plans.approve(plan.plan_id, Selection(lane="auto"), "eva", "the first one")
        applied = apply_plan(SYSTEM, gateways, plan.plan_id, live=True, person=True, clock=lambda: now)
        assert applied.plan.state == "applied", applied.state.failures


class StripeWorld:
    """The product's tables and Stripe's book. Times are hours before now."""

    def __init__(self, url: str, server: BillingServer) -> None:
        self.url, self.server = url, server
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.environment = {
            "BESTAUTH_DATABASE_URL": url,
            "BESTAUTH_STRIPE_URL": server.base_url,
            "BESTAUTH_STRIPE_KEY": server.credentials.stripe_key,
        }

    def pin(self, identity: Any) -> None:
        """This Stripe account is the one that answers for the database."""
        pin_billing(self.url, identity)

    def run(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def signs_up(self, name: str) -> str:
        """A user with an account on free; the account's id."""
        user, account = (str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {name}")) for kind in ("user", "account"))
        self.run("INSERT INTO bestauth_users (id, email) VALUES (%s, %s)", user, f"{name}@example.com")
        self.run("INSERT INTO user_id_mapping VALUES (%s, %s)", user, account)
        self.run("INSERT INTO subscriptions_consolidated (user_id) VALUES (%s)", account)
        self.run("SELECT add_points(%s, 100, 'bonus')", account)
        return account

    def buys(self, name: str, *, hours: float, known: bool = True) -> Event:
        """Pro, paid so long ago, and the product never heard of it. `known`: Stripe names the user."""
        at = self.now - hours * HOUR
        user = str(uuid.uuid5(uuid.NAMESPACE_URL, f"user {name}"))
        customer = Customer(id=f"cus_{name}", metadata={"user_id": user} if known else {}, created=at)
        item = Item(price_id=PRICE, period_start=at, period_end=add_months(at, 1), unit_amount=1_900)
        sold = Subscription(id=f"sub_{name}", customer=customer.id, status="active", items=(item,), created=at)
        line = Line(
            id=f"il_{name}", price_id=PRICE, amount=1_900, period_start=at, period_end=item.period_end,
            subscription=sold.id,
        )  # fmt: skip
        invoice = Invoice(
            id=f"in_{name}", customer=customer.id, subscription=sold.id, status="paid", created=at, paid_at=at,
            billing_reason="subscription_create", lines=(line,), amount_paid=1_900,
        )  # fmt: skip
        lost = an_event("invoice.paid", invoice, at)
        self.server.stripe.add(customer, sold, invoice, lost)
        return lost

    def balance(self, account: str) -> int:
        [row] = self.run("SELECT balance FROM points_balances WHERE user_id = %s", account)
        return int(row["balance"])

    def grants(self, account: str) -> list[int]:
        """Amounts granted for the plan, by whomever."""
        rows = self.run(
            "SELECT amount FROM points_transactions WHERE user_id = %s AND type = 'subscription_grant'", account
        )
        return [row["amount"] for row in rows]

    def records(self) -> dict[str, str]:
        """Event → state, oldest record first."""
        rows = self.run("SELECT event_id, state FROM credit_pipeline.webhook_event ORDER BY id")
        return {row["event_id"]: row["state"] for row in rows}
