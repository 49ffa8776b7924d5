"""The jobs about single accounts on the real parts, for the ledger: sandbox, Postgres, Stripe over HTTP, Dagster."""

import json
from collections.abc import Sequence
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg.rows import dict_row

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.config.loader import load_system
from credit_pipeline.domain.errors import NotInstalled
from credit_pipeline.orchestration.runs.account_runs import repair_run, sync_run
from credit_pipeline.orchestration.runs.system_runs import apply_run, reconcile_run
from credit_pipeline.sandbox import lifecycle
from credit_pipeline.services.plans.ports import Selection
from credit_pipeline_tests.orchestration.conftest import Sandbox

SYSTEM = load_system("bestauth", environ={})


def rows(sandbox: Sandbox, query: str, *parameters: Any) -> list[dict[str, Any]]:
    with psycopg.connect(sandbox.environment["BESTAUTH_DATABASE_URL"], row_factory=dict_row) as connection:
        cursor = connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def balance(sandbox: Sandbox, account: str) -> int:
    [row] = rows(sandbox, "SELECT balance FROM points_balances WHERE user_id = %s", account)
    return int(row["balance"])


def customer(sandbox: Sandbox, account: str) -> str:
    [row] = rows(
        sandbox,
        "SELECT s.stripe_customer_id AS id FROM bestauth_subscriptions AS s"
        " JOIN user_id_mapping AS m ON m.bestauth_user_id = s.user_id WHERE m.supabase_user_id = %s",
        account,
    )
    return str(row["id"])


@pytest.fixture(scope="module")
def short(sandbox: Sandbox, dagster_instance: dg.DagsterInstance) -> Sequence[str]:
    """Accounts whose grant never came, after the first plan of the system was approved for another one."""
    dry = reconcile_run(SYSTEM, dagster_instance).plan["rows"]
    # A year's credits at once are more than a plan of one row may move without a person.
    granted = [row["account_id"] for row in dry if row["lane"] == "auto" and 0 < row["delta"] <= 3_000]
    names = [
        row["id"]
        for row in rows(
            sandbox,
            "SELECT m.supabase_user_id::text AS id FROM user_id_mapping AS m"
            " JOIN bestauth_subscriptions AS s ON s.user_id = m.bestauth_user_id"
            " JOIN points_balances AS b ON b.user_id = m.supabase_user_id"
            " WHERE m.supabase_user_id::text = ANY (%s) AND s.stripe_customer_id IS NOT NULL",
            granted,
        )
    ]
    first, *others = sorted(names)
    plan = reconcile_run(SYSTEM, dagster_instance, accounts=[first]).plan_id
    assert plan is not None
    with open_gateways(SYSTEM, sandbox.home, sandbox.environment) as gateways:
        gateways.plans.approve(plan, Selection(lane="auto"), "ann", "the first one")
    assert apply_run(SYSTEM, dagster_instance, plan, attended=True).plan["outcomes"] == {"changed": 1}
    assert len(others) >= 2, lifecycle.truth(sandbox.home, "bestauth")["planted"]
    return others


def test_a_failed_event_of_stripe_is_repaired_by_the_customers_present_state(
    sandbox: Sandbox, dagster_instance: dg.DagsterInstance, short: Sequence[str]
) -> None:
    account = short[0]
    had = balance(sandbox, account)
    for number, type_ in enumerate(("customer.subscription.deleted", "invoice.paid")):
        thing = {"object": "subscription", "customer": customer(sandbox, account)}
        body = json.dumps({"id": f"evt_{number}", "type": type_, "data": {"object": thing}}).encode()
        said = rows(
            sandbox, "SELECT credit_pipeline.record_webhook('stripe', %s, %s, now(), 'x')", f"evt_{number}", body
        )
        assert list(said[0].values()) == ["recorded"]
    dry = repair_run(SYSTEM, dagster_instance, (), live=False)
    assert dry["states"] == {"failed": 2}
    assert balance(sandbox, account) == had
    rows(sandbox, "UPDATE credit_pipeline.webhook_event SET next_attempt_at = now()")
    live = repair_run(SYSTEM, dagster_instance, (), live=True)
    assert live["states"] == {"repaired": 1, "superseded": 1}, live["accounts"]
    [changed] = live["accounts"]
    assert (changed["account_id"], changed["outcome"]) == (account, "changed")
    assert balance(sandbox, account) == had + changed["delta"] > had


def test_sync_corrects_by_the_users_id_once(
    sandbox: Sandbox, dagster_instance: dg.DagsterInstance, short: Sequence[str]
) -> None:
    account = short[1]
    had = balance(sandbox, account)
    assert sync_run(SYSTEM, dagster_instance, [account], live=False)["outcomes"] == {"would_change": 1}
    live = sync_run(SYSTEM, dagster_instance, [account], live=True)
    assert live["outcomes"] == {"changed": 1}
    assert balance(sandbox, account) == had + live["totals"]["credits"]
    assert sync_run(SYSTEM, dagster_instance, [account], live=True)["outcomes"] == {"in_order": 1}


def test_a_repair_without_its_table_fails_with_what_to_run(
    sandbox: Sandbox, dagster_instance: dg.DagsterInstance, short: Sequence[str]
) -> None:
    rows(sandbox, "DROP TABLE credit_pipeline.webhook_event")
    with pytest.raises(NotInstalled, match="run credit-pipeline init bestauth"):
        repair_run(SYSTEM, dagster_instance, (), live=False)
