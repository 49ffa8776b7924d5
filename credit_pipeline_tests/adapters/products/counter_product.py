"""A product with a counter table, as the write-path tests need it: its own triggers, checks and unqualified names.

Builders of corrections and plans for it stand here too. No assertions.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from credit_pipeline.adapters.install.install import install
from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.config.billing import WixConfig
from credit_pipeline.config.store import Columns, CounterStoreConfig, PlanTable
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    GrantCredits,
    GrantKey,
    Lane,
    Seen,
    SetPlan,
    Step,
)
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.domain.policy import Policy
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.services.audit.verify import verify
from credit_pipeline.services.plans.ports import PlanRow, RowOutcome, SavedPlan, Selection
from credit_pipeline_tests.conftest import Databases

START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 4, 1, tzinfo=UTC)

PRODUCT = """
CREATE SCHEMA IF NOT EXISTS {schema};
SET LOCAL search_path = {schema};
CREATE TABLE plans (id text PRIMARY KEY, monthly_credits int NOT NULL);
CREATE TABLE {table} (
    {account} text PRIMARY KEY,
    plan_id text REFERENCES plans,
    {total} int NOT NULL DEFAULT 0 CHECK ({total} >= 0),
    credits_used_month int NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT '2020-01-01',
    owner_email text,
    CONSTRAINT never_overspent CHECK (credits_used_month <= {total})
);
CREATE TABLE instance_changes (instance text, plan_id text, total int, by_role text);
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO instance_changes VALUES (NEW.{account}, NEW.plan_id, NEW.{total}, current_user);
    RETURN NEW;
END $$;
CREATE TRIGGER noted AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION note_change();
INSERT INTO plans VALUES ('free', 100), ('starter', 1000), ('pro', 5000);
"""

CATALOGUE = Catalogue(
    plans=(
        Plan(name="free", credits=100, rank=0, label="free", free=True),
        Plan(name="starter", credits=1000, rank=1, label="starter"),
        Plan(name="pro", credits=5000, rank=2, label="pro"),
    )
)


def a_system(**store: Any) -> CreditSystem:
    """The seed product in schema public; `store` overrides its names."""
    columns = {name: store.pop(name) for name in Columns.model_fields if name in store}
    names: dict[str, Any] = {
        "layout": "counter",
        "url_env": "PRODUCT_URL",
        "table": "app_instances",
        "columns": Columns.model_construct(**({"updated_at": "updated_at"} | columns)),
        "plans": PlanTable(),
        "schema_": store.pop("schema", "public"),
    }
    return CreditSystem(
        name="wix_app",
        environment="test",
        catalogue=CATALOGUE,
        policy=Policy(),
        store=CounterStoreConfig.model_construct(**(names | store)),
        billing=WixConfig(provider="wix", app_id_env="APP_ID", app_secret_env="APP_SECRET"),
    )


PUBLIC = a_system()
MIXED_CASE = a_system(schema="App", table="AppInstances", account="InstanceId", total="select")


class Product:
    """The product's database and what its own code does there."""

    def __init__(self, url: str, system: CreditSystem = PUBLIC) -> None:
        self.url = url
        self.system = system
        store = system.store
        self._names = {
            "schema": sql.Identifier(store.schema),
            "table": sql.Identifier(store.table),
            "account": sql.Identifier(store.account),
            "total": sql.Identifier(store.columns.total),
        }

    def build(self) -> "Product":
        """Creates the product's tables and triggers."""
        self.run(PRODUCT)
        return self

    def run(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """One transaction of the product; `{schema}`, `{table}`, `{account}`, `{total}` are its names."""
        query = sql.SQL(statement).format(**self._names)  # type: ignore[arg-type]
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            cursor = connection.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def add(self, account: str, label: str | None, total: int, used: int = 0) -> None:
        self.run(
            "INSERT INTO {schema}.{table} ({account}, plan_id, {total}, credits_used_month, owner_email)"
            " VALUES (%s, %s, %s, %s, 'someone@example.com')",
            account, label, total, used,
        )  # fmt: skip

    def balance(self, account: str) -> tuple[str | None, int, int]:
        """(label, total, used) as they stand."""
        [row] = self.run(
            "SELECT plan_id, {total} AS total, credits_used_month AS used FROM {schema}.{table} WHERE {account} = %s",
            account,
        )
        return row["plan_id"], row["total"], row["used"]

    def plans(self) -> "closing[PostgresPlans]":
        """A plan store of its own connection."""
        return closing(PostgresPlans(self.url, self.system))


def an_installed_product(url: str, system: CreditSystem = PUBLIC) -> Product:
    product = Product(url, system).build()
    install(url, system)
    return product


def a_copied_product(databases: Databases, system: CreditSystem = PUBLIC) -> Product:
    """An installed product in a database of its own, copied from one that was installed once."""

    def fill(url: str) -> None:
        an_installed_product(url, system)

    template = databases.template(f"product_{system.store.schema.lower()}", fill)
    return Product(databases.new(template), system)


def a_grant(account: str, delta: int, *, plan: str = "pro", start: datetime = START, fold: bool = True) -> GrantCredits:
    key = GrantKey(account_id=AccountId(account), plan=plan, period_start=start)
    return GrantCredits(delta=delta, grant_key=key, period_end=start + (END - START), reset_used=fold)


def an_adjustment(delta: int, key: str, *, lower_used: bool = False) -> AdjustCredits:
    return AdjustCredits(delta=delta, correction_key=key, cause="restore", lower_used=lower_used)


def a_correction(account: str, *steps: Step, seen: tuple[str | None, int, int | None], **overrides: Any) -> Correction:
    label, total, used = seen
    healthy = Correction(
        account_id=AccountId(account),
        billing_id=BillingId(account),
        lane=Lane.AUTO,
        codes=("grant_missing",),
        steps=steps,
        reasons=("upgrade",),
        seen=Seen(label=label, total=total, used=used),
        billed_plan="pro",
    )
    return replace(healthy, **overrides)


def an_upgrade(
    account: str, *, seen: tuple[str | None, int, int] = ("starter", 1000, 0), **overrides: Any
) -> Correction:
    """starter → pro, proven: available + 5,000."""
    steps = (a_grant(account, 5000), SetPlan(plan="pro", label="pro"))
    return a_correction(account, *steps, seen=seen, **overrides)


def a_plan(*corrections: Correction, **overrides: Any) -> SavedPlan:
    """A proposed plan, not yet saved."""
    now = datetime.now(UTC)
    proposed = SavedPlan(
        plan_id="",
        system="wix_app",
        digest="",
        state="proposed",
        as_of=now - timedelta(minutes=1),
        created_at=now,
        run_id="run-1",
        population=len(corrections),
        entitlements=0,
        facts={"asked": len(corrections), "enumerated": True},
        failures=(),
        rows=tuple(PlanRow(seq=n, correction=correction) for n, correction in enumerate(corrections, 1)),
    )
    return replace(proposed, **overrides)


def approve(plans: PostgresPlans, plan_id: str, *corrections: Correction, lanes: Iterable[str] = ("auto",)) -> None:
    """Ann approves these lanes, where there are rows of them."""
    for lane in lanes:
        if any(correction.lane.value == lane for correction in corrections):
            plans.approve(plan_id, Selection(lane=lane), "ann", "reviewed")


def started(plans: PostgresPlans, *corrections: Correction, lanes: Iterable[str] = ("auto",)) -> str:
    """The id of a saved plan that is being applied. Its automatic rows are approved: it may be the first plan."""
    plan_id = plans.save(a_plan(*corrections)).plan_id
    approve(plans, plan_id, *corrections, lanes=lanes)
    plans.set_state(plan_id, "applying")
    return plan_id


def apply_all(plans: PostgresPlans, plan_id: str, size: int = 200) -> list[RowOutcome]:
    outcomes: list[RowOutcome] = []
    while batch := plans.apply_batch(plan_id, size):
        outcomes += batch
    return outcomes


def chain_faults(plans: PostgresPlans, system: str = "wix_app") -> list[str]:
    """What is wrong with the audit; empty when every row verifies and agrees with grants, keys and corrections."""
    with plans.audit_snapshot() as snapshot:
        return [fault.sentence for fault in verify(system, snapshot).faults]


def names_of(outcomes: Iterable[RowOutcome]) -> list[str]:
    """The outcomes alone, in the order of the rows."""
    return [one.outcome for one in sorted(outcomes, key=lambda one: one.seq)]
