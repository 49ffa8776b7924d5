"""The second system at the command line: identities, the health monitor, an account by any of its names, a bad list."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from credit_pipeline.sandbox import lifecycle
from credit_pipeline.sandbox.billing import process as billing_process
from credit_pipeline.sandbox.billing.control import CONTROL_HEADER
from credit_pipeline_tests.cli.conftest import Run, Sandbox
from credit_pipeline_tests.cli.shapes import ACCOUNT, CHECK, EIGHT, HEALTH, differences

TABLES = ("points_balances", "points_transactions", "user_id_mapping", "subscriptions_consolidated")


@pytest.fixture
def truth(sandbox: Sandbox) -> dict[str, Any]:
    """What is right about bestauth."""
    return lifecycle.truth(sandbox.home, "bestauth")


@pytest.fixture
def spoil(sandbox: Sandbox) -> Iterator[Callable[..., None]]:
    """Make the billing server answer wrongly; it is itself again afterwards."""
    server = billing_process.running(sandbox.home / "sandbox")
    assert server is not None

    def tell(told: dict[str, Any]) -> None:
        headers = {CONTROL_HEADER: server.control_token}
        httpx.post(f"{server.base_url}/_sandbox/faults", json=told, headers=headers).raise_for_status()

    yield lambda kind, **words: tell({"add": [{"kind": kind, **words}]})
    tell({"clear": True})


def product(sandbox: Sandbox) -> list[tuple[Any, ...]]:
    with psycopg.connect(sandbox.environment["BESTAUTH_DATABASE_URL"]) as connection:
        return [
            row
            for table in TABLES
            for row in connection.execute(f"SELECT *, xmin::text FROM {table} ORDER BY 1").fetchall()
        ]


def account_of(truth: dict[str, Any], kind: str) -> str:
    return next(str(found["account_id"]) for found in truth["accounts"] if found["kind"] == kind)


def test_check_finds_what_was_planted_and_covers_all_users(run: Run, sandbox: Sandbox, truth: dict[str, Any]) -> None:
    before = product(sandbox)
    ended = run("check", "bestauth", "--format", "json")
    found = ended.json
    assert ended.status == 1
    assert differences(found, CHECK) == []
    assert found["classes"] == truth["planted"]
    assert found["in_sync"] + found["exempt"] + sum(found["classes"].values()) == found["population"]
    assert Counter(mismatch["code"] for mismatch in found["mismatches"]) == found["classes"]
    assert found["direction"] == "both"
    identities = found["identities"]
    assert sum(identities["by_layer"].values()) == identities["users"]
    assert all(identities[name] for name in ("conflicts", "unmapped", "shared"))
    nameless = [mismatch for mismatch in found["mismatches"] if mismatch["account_id"] is None]
    assert nameless, "a subject without a store account has none in the report"
    assert {mismatch["code"] for mismatch in nameless} == {"id_unmapped"}
    assert product(sandbox) == before, "check writes nothing"


def test_the_text_tells_the_coverage_by_layer(run: Run, sandbox: Sandbox) -> None:
    told = run("check", "bestauth").out
    lines = [line.split() for line in told.splitlines()]
    assert ["identities", "users", "share"] in lines
    assert any(line[:2] == ["mapping", "table"] and line[-1].endswith("%") for line in lines)
    assert max(len(line) for line in told.splitlines()) <= 80


def test_health_has_the_contracts_shape_and_ends_with_1_where_something_is_untrue(run: Run, sandbox: Sandbox) -> None:
    ended = run("health", "bestauth", "--format", "json")
    assert ended.status == 1
    assert differences(ended.json, HEALTH) == []
    assert ended.json["healthy"] is False
    failing = {check["name"] for check in ended.json["checks"] if check["count"]}
    assert {"no_paid_account_without_its_grant", "every_user_is_mapped", "ledger_explains_balance"} <= failing
    assert run("health", "bestauth").out.startswith("bestauth: NOT healthy (critical): ")


def test_a_counter_is_monitored_too_and_leaves_open_what_it_cannot_tell(run: Run, sandbox: Sandbox) -> None:
    checks = {check["name"]: check["count"] for check in run("health", "wix_app", "--format", "json").json["checks"]}
    assert checks["every_user_is_mapped"] is checks["ledger_explains_balance"] is None
    assert checks["no_paid_account_on_free_limits"]


def test_an_account_goes_by_its_id_its_user_its_address_and_its_customer(
    run: Run, sandbox: Sandbox, truth: dict[str, Any]
) -> None:
    account = account_of(truth, "renewal_missed")
    with psycopg.connect(sandbox.environment["BESTAUTH_DATABASE_URL"]) as connection:
        (row,) = connection.execute(
            "SELECT u.id::text, u.email, s.stripe_customer_id FROM bestauth_users AS u "
            "JOIN user_id_mapping AS m ON m.bestauth_user_id = u.id "
            "LEFT JOIN bestauth_subscriptions AS s ON s.user_id = u.id WHERE m.supabase_user_id = %s",
            (account,),
        )
    names = [account, row[0], f"  {row[1].upper()}", *([row[2]] if row[2] else [])]
    told = [run("account", "bestauth", name, "--format", "json") for name in names]
    assert {ended.json["account_id"] for ended in told} == {account}
    assert {ended.status for ended in told} == {1}
    first = told[0].json
    assert differences(first, ACCOUNT) == []
    assert [check["name"] for check in first["checks"]] == EIGHT
    assert {check["name"]: check["ok"] for check in first["checks"]}["balance_reasonable_for_plan"] is False
    assert "@" not in json.dumps([ended.json for ended in told]), "no address is ever shown"


@pytest.mark.parametrize("kind", ["same_id_only", "nobody"])
def test_a_subject_without_verified_evidence_is_explained_and_offered_nothing(
    run: Run, sandbox: Sandbox, truth: dict[str, Any], kind: str
) -> None:
    ended = run("account", "bestauth", account_of(truth, kind), "--format", "json")
    assert ended.status == 1
    assert "id_unmapped" in ended.json["summary"]
    assert "would leave" not in ended.json["summary"]


@pytest.mark.parametrize("name", ["nobody@example.com", "not-an-id", "cus_unknown", "user:none"])
def test_who_is_not_known_is_one_sentence_without_the_address(run: Run, sandbox: Sandbox, name: str) -> None:
    ended = run("account", "bestauth", name)
    assert ended.status == 2
    assert ended.sentence.startswith("bestauth: no account, user or customer goes by what was asked")
    assert name not in ended.err


@pytest.mark.parametrize("kind", ["repeated_rows", "changed_rows", "lost_page"])
def test_a_doubtful_list_is_reported_and_corrects_nothing(
    run: Run, sandbox: Sandbox, spoil: Callable[..., None], kind: str
) -> None:
    before = product(sandbox)
    spoil(kind, endpoint="subscriptions", times=10_000)
    ended = run("check", "bestauth", "--format", "json")
    assert ended.status == 2
    assert ended.json["source"]["complete"] is False
    assert ended.json["population"], "the report goes as far as it can"
    fixed = run("fix", "bestauth", "--live", "--format", "json")
    assert fixed.status == 2
    assert product(sandbox) == before
