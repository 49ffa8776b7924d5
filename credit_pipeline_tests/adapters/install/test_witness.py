"""The witness: who lowers a balance past our functions is noted, spending and our own corrections are not."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.install.install import Wanted, install
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.services.findings.ports import Decided
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline_tests.adapters.products import ledger_product
from credit_pipeline_tests.adapters.products.counter_product import (
    PUBLIC,
    Product,
    a_correction,
    a_plan,
    an_adjustment,
    an_installed_product,
    apply_all,
)
from credit_pipeline_tests.adapters.products.walled_product import Walled, as_login, make_login

WITH, WITHOUT = Wanted(witness=True), Wanted(witness=False)
SEEN = "SELECT account, role, application_name, query, before, after FROM credit_pipeline.witness ORDER BY id"


@pytest.fixture
def product(database: str) -> Product:
    """Installed with the witness; one account of 1,200 credits, of which 200 are used."""
    made = an_installed_product(database)
    report = install(database, PUBLIC, None, WITH)
    assert report.notes[0].startswith("witness: what lowers a balance in `public.app_instances`")
    made.add("a", "starter", 1200, 200)
    return made


def seen(product: Product) -> list[dict[str, Any]]:
    return product.run(SEEN)


def test_the_job_that_resets_credits_is_found(product: Product) -> None:
    statement = "UPDATE app_instances SET credits_total = 1000 WHERE instance_id = 'a'"
    with psycopg.connect(product.url, application_name="repair-job") as connection:
        connection.execute(statement.encode())
    [row] = seen(product)
    assert (row["account"], row["role"], row["application_name"]) == ("a", "postgres", "repair-job")
    assert row["query"] == statement
    assert row["before"] == {"plan": "starter", "total": 1200, "used": 200}
    assert row["after"] == {"plan": "starter", "total": 1000, "used": 200}


@pytest.mark.parametrize(
    "change",
    [
        "credits_used_month = credits_used_month + 300",
        "credits_total = credits_total + 500",
        "credits_used_month = 0",
        "plan_id = 'free'",
        "credits_total = credits_total - 100, credits_used_month = credits_used_month - 100",
    ],
)
def test_spending_and_what_leaves_no_less_is_not_noted(product: Product, change: str) -> None:
    product.run(f"UPDATE app_instances SET {change}")
    assert seen(product) == []


def test_more_taken_than_was_spent_is_noted(product: Product) -> None:
    product.run("UPDATE app_instances SET credits_total = 1000, credits_used_month = 300")
    assert len(seen(product)) == 1


def test_a_removed_row_and_an_emptied_table_are_noted(product: Product) -> None:
    product.run("DELETE FROM app_instances")
    product.run("TRUNCATE app_instances")
    assert [(row["account"], row["after"]) for row in seen(product)] == [("a", None), ("*", None)]


def test_our_own_decrease_is_in_the_audit_and_not_here(product: Product) -> None:
    step = an_adjustment(-300, "clawback:a")
    correction = a_correction("a", step, seen=("starter", 1200, 200), lane=Lane.APPROVE)
    with product.plans() as plans:
        plan_id = plans.save(a_plan(correction)).plan_id
        plans.approve(plan_id, Selection(lane="approve"), "ann", "granted twice")
        plans.set_state(plan_id, "applying")
        assert [one.outcome for one in apply_all(plans, plan_id)] == ["changed"]
    assert product.balance("a") == ("starter", 900, 200)
    assert seen(product) == []


def test_the_products_write_goes_on_whatever_becomes_of_ours(product: Product) -> None:
    product.run("DROP TABLE credit_pipeline.witness")
    product.run("UPDATE app_instances SET credits_total = 1000")
    assert product.balance("a") == ("starter", 1000, 200)


def test_who_acts_as_another_role_is_named_with_it(product: Product) -> None:
    [row] = product.run("SELECT current_database() AS name")
    job = f"job_{row['name']}"
    make_login(product, job)
    product.run(f'GRANT SELECT, UPDATE ON app_instances TO "{job}"')
    product.run(f'GRANT INSERT ON instance_changes TO "{job}"')
    with psycopg.connect(product.url) as connection:
        connection.execute(f'SET ROLE "{job}"'.encode())
        connection.execute("UPDATE app_instances SET credits_total = 1000")
    [row] = seen(product)
    assert row["role"] == f"postgres as {job}"


def test_it_is_installed_and_removed_on_record_and_a_plain_init_keeps_it(product: Product) -> None:
    install(product.url, PUBLIC)
    product.run("UPDATE app_instances SET credits_total = 1100")
    install(product.url, PUBLIC, None, replace(WITHOUT, by=Decided(who="ann", reason="found it")))
    product.run("UPDATE app_instances SET credits_total = 1000")
    assert len(seen(product)) == 1
    rows = product.run("SELECT what, who, reason FROM credit_pipeline.act ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [
        ("witness", "postgres", "init --witness"),
        ("no_witness", "ann", "found it"),
    ]
    assert install(product.url, PUBLIC, None, WITHOUT).notes == ()


def test_in_a_walled_install_it_belongs_to_the_owner(database: str) -> None:
    walled = Walled(database)
    install(database, PUBLIC, None, WITH)
    walled.product.add("a", "starter", 1200)
    walled.product.run("UPDATE app_instances SET credits_total = 1000")
    assert len(seen(walled.product)) == 1
    [row] = walled.product.run(
        "SELECT proowner::regrole::text AS owner FROM pg_proc WHERE proname = 'witness_wix_app' AND prosecdef"
    )
    assert row["owner"].strip('"') == walled.role("owner")
    install(database, PUBLIC, None, WITHOUT)


def test_who_does_not_own_the_table_is_told_so(database: str) -> None:
    product = Product(database).build()
    [row] = product.run("SELECT current_database() AS name")
    login = f"installer_{row['name']}"
    make_login(product, login)
    product.run(
        f'GRANT CREATE ON DATABASE "{row["name"]}" TO "{login}"; GRANT SELECT, UPDATE ON app_instances TO "{login}";'
        f'GRANT SELECT ON plans TO "{login}"'
    )
    url = as_login(database, login)
    assert install(url, PUBLIC).first
    with pytest.raises(ConfigurationError, match="may not put triggers on"):
        install(url, PUBLIC, None, WITH)


def test_a_ledgers_own_deductions_are_spending(database: str) -> None:
    product = ledger_product.create(database)
    system = ledger_product.a_system()
    account = "aaaaaaaa-0000-4000-8000-000000000001"
    product.add_user(account=account, balance=800)
    install(database, system, None, WITH)
    product.run("SELECT deduct_points(%s::uuid, 100)", account)
    assert product.run("SELECT account FROM credit_pipeline.witness") == []
    product.run("UPDATE points_balances SET balance = 100")
    rows = product.run("SELECT account, before, after FROM credit_pipeline.witness")
    assert rows == [{"account": account, "before": {"balance": 700}, "after": {"balance": 100}}]
