"""The two functions that a product calls: what they keep, what they refuse, and who may call them."""

import threading
from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.install.install import install
from credit_pipeline_tests.adapters.products.counter_product import a_system
from credit_pipeline_tests.adapters.products.inbox_product import WithDoors, with_doors
from credit_pipeline_tests.conftest import Databases

POISON = [b"\x00", b'{"a": "\\u0000"}', b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]


@pytest.fixture
def product(databases: Databases) -> WithDoors:
    return with_doors(databases)


def requests(product: WithDoors) -> list[dict[str, Any]]:
    return product.run("SELECT account, reason, state, requested_by FROM credit_pipeline.sync_request ORDER BY id")


def test_a_failed_webhook_is_kept_as_the_bytes_that_came(product: WithDoors) -> None:
    for number, body in enumerate(POISON):
        assert product.record(f"evt_{number}", body) == "recorded"
        kept = product.event(f"evt_{number}")
        assert (bytes(kept["raw"]), kept["state"], kept["attempts"]) == (body, "failed", 0)
        assert (kept["system"], kept["provider"], kept["error"]) == ("wix_app", "wix", "boom")


def test_an_event_is_kept_once_whatever_comes_later(product: WithDoors) -> None:
    assert product.record("evt", b"first") == "recorded"
    assert product.record("evt", b"second", error="again") == "known"
    assert bytes(product.event("evt")["raw"]) == b"first"


def test_an_event_without_an_id_goes_by_its_body(product: WithDoors) -> None:
    assert [product.record(None, b"one"), product.record("", b"one"), product.record(" ", b"two")] == [
        "recorded",
        "known",
        "recorded",
    ]
    assert product.record("x" * 5000, b"long") == "recorded"
    assert product.record("x" * 5000, b"long") == "known"


def test_a_body_over_the_cap_is_not_kept_and_its_record_is_dead(product: WithDoors) -> None:
    assert product.record("fits", b"x" * 262_144) == "recorded"
    assert product.record("large", b"x" * 262_145) == "recorded"
    assert product.event("fits")["state"] == "failed"
    large = product.event("large")
    assert (large["state"], large["raw"]) == ("dead", None)
    assert "262,145 bytes" in large["last_error"]


def test_a_provider_that_bills_nothing_here_is_refused(product: WithDoors) -> None:
    with pytest.raises(psycopg.Error, match="no system billed by `stripe` is installed"):
        product.record("evt", provider="stripe")
    assert product.record("evt", provider=" WIX ") == "recorded"


def test_of_several_systems_one_must_be_named_unless_the_provider_tells(product: WithDoors) -> None:
    product.run("INSERT INTO credit_pipeline.control (system, environment, config_hash, provider)"
                " VALUES ('other', 'test', '', 'stripe')")  # fmt: skip
    assert product.record("evt") == "recorded"
    assert product.record("evt", provider="stripe") == "recorded", "of another provider, so another event"
    with pytest.raises(psycopg.Error, match=r"several systems .*other, wix_app.*name one"):
        product.ask("a")
    assert product.ask("a", system="wix_app") == "accepted"
    with pytest.raises(psycopg.Error, match="no system `nobody`"):
        product.ask("a", system="nobody")


def test_init_says_who_bills_a_system_also_where_an_older_one_did_not(product: WithDoors) -> None:
    product.run("UPDATE credit_pipeline.control SET provider = NULL")
    assert product.record("before") == "recorded", "the only system there is"
    install(product.url, product.system)
    assert product.run("SELECT provider FROM credit_pipeline.control") == [{"provider": "wix"}]


def test_a_request_is_kept_with_who_asked_and_why(product: WithDoors) -> None:
    assert product.ask("site-1", "r" * 500) == "accepted"
    [row] = requests(product)
    assert (row["account"], row["reason"], row["state"]) == ("site-1", "r" * 200, "waiting")
    assert row["requested_by"]


def test_one_request_waits_at_most_and_one_a_minute_is_made(product: WithDoors) -> None:
    assert [product.ask("a"), product.ask("a"), product.ask("b")] == ["accepted", "waiting", "accepted"]
    product.run("UPDATE credit_pipeline.sync_request SET state = 'done'")
    assert product.ask("a") == "limited"
    product.wait("61 seconds", "sync_request")
    assert product.ask("a") == "accepted"


def test_five_requests_a_day_are_made_for_an_account(product: WithDoors) -> None:
    said = []
    for _ in range(7):
        said.append(product.ask("a"))
        product.run("UPDATE credit_pipeline.sync_request SET state = 'done'")
        product.wait("2 minutes", "sync_request")
    assert said == ["accepted"] * 5 + ["limited"] * 2
    assert product.ask("b") == "accepted"
    product.wait("24 hours", "sync_request")
    assert product.ask("a") == "accepted"


def test_presses_at_the_same_moment_make_one_request(product: WithDoors) -> None:
    said: list[str] = []
    threads = [threading.Thread(target=lambda: said.append(product.ask("a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["accepted"] + ["waiting"] * 7
    assert len(requests(product)) == 1


@pytest.mark.parametrize("account", ["", "  ", "x" * 201])
def test_a_request_names_an_account(product: WithDoors, account: str) -> None:
    with pytest.raises(psycopg.Error, match="needs the id of an account"):
        product.ask(account)


def test_the_products_role_may_knock_and_nothing_else(product: WithDoors) -> None:
    product.run("CREATE ROLE door_app LOGIN")
    try:
        product.run("GRANT USAGE ON SCHEMA credit_pipeline TO door_app")
        calls = (
            "SELECT credit_pipeline.request_sync('a')",
            "SELECT credit_pipeline.record_webhook('wix','e','',now(),'')",
        )
        with psycopg.connect(product.url, autocommit=True) as connection:
            connection.execute("SET ROLE door_app")
            for call in calls:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(call)
            connection.execute("RESET ROLE")
            names = "credit_pipeline.request_sync, credit_pipeline.record_webhook"
            connection.execute(f"GRANT EXECUTE ON FUNCTION {names} TO door_app")
            install(product.url, product.system)  # a later init leaves that as it is
            connection.execute("SET ROLE door_app")
            assert [connection.execute(call).fetchone() for call in calls] == [("accepted",), ("recorded",)]
            for table in ("sync_request", "webhook_event", "control", "audit"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"SELECT FROM credit_pipeline.{table}")
    finally:
        product.run("DROP OWNED BY door_app")
        product.run("DROP ROLE door_app")


def test_the_callers_path_and_objects_are_not_used(product: WithDoors) -> None:
    """A function that ran with its caller's path was once hijacked and ran as postgres."""
    with psycopg.connect(product.url) as connection:
        connection.execute("CREATE SCHEMA evil")
        connection.execute("CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 1/0 || '' $$")
        connection.execute("CREATE TEMP TABLE control (system text, provider text)")
        connection.execute("SET search_path = evil, pg_temp, pg_catalog")
        row = connection.execute("SELECT credit_pipeline.record_webhook('wix', 'e', 'x'::bytea, now(), '')").fetchone()
        assert row == ("recorded",)


def test_every_function_with_its_owners_rights_has_a_path_of_its_own(product: WithDoors) -> None:
    found = product.run(
        "SELECT p.proname FROM pg_proc AS p WHERE p.pronamespace = 'credit_pipeline'::regnamespace AND p.prosecdef"
        " AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c (word) WHERE c.word LIKE 'search_path=%%')"
    )
    assert found == []


def test_two_systems_of_one_provider_share_no_events(product: WithDoors) -> None:
    assert a_system().name == "wix_app"
    product.run("INSERT INTO credit_pipeline.control (system, environment, config_hash, provider)"
                " VALUES ('twin', 'test', '', 'wix')")  # fmt: skip
    with pytest.raises(psycopg.Error, match="several systems"):
        product.record("evt")
    assert [product.record("evt", system=name) for name in ("wix_app", "twin", "twin")] == [
        "recorded",
        "recorded",
        "known",
    ]
