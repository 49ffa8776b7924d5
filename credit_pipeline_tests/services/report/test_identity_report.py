"""Every user falls into one layer and one state, and what belongs to nobody is named."""

from typing import Any

import pyarrow as pa
import pytest

from credit_pipeline.services.collect.tables import IDENTITIES, LEDGER_BALANCES, LISTED_SUBSCRIPTIONS
from credit_pipeline.services.report.identity_report import IdentityReport, identity_report

ACCOUNT: dict[str, Any] = {"local": True, "spent": 0, "rows": 0, "unknown_types": [], "entries": []}


def user(auth_id: str, **overrides: Any) -> dict[str, Any]:
    """Mapped to s-<id>, with metadata that agrees, and a local subscription row."""
    account = auth_id.replace("a-", "s-")
    healthy = {
        "auth_id": auth_id,
        "mapped": [account],
        "metadata": [{"key": "resolved_supabase_user_id", "value": account}],
        "local": True,
        "same_id": False,
    }
    return healthy | overrides


def subscription(customer: str, named: str | None, **overrides: Any) -> dict[str, Any]:
    subjects = [{"source": "metadata.user_id", "id": named}] if named else []
    row = {
        "billing_id": customer,
        "lookup": "answered",
        "status": "active",
        "subscription_id": f"sub_{customer}",
        "quantity": 1,
        "items": 1,
        "subjects": subjects,
        "invoices": [],
    }
    return row | overrides


def report_of(
    users: list[dict[str, Any]], accounts: list[str], subscriptions: list[dict[str, Any]] | None = None
) -> IdentityReport:
    return identity_report(
        "bestauth",
        pa.Table.from_pylist([ACCOUNT | {"account_id": account} for account in accounts], schema=LEDGER_BALANCES),
        pa.Table.from_pylist(users, schema=IDENTITIES),
        pa.Table.from_pylist(subscriptions or [], schema=LISTED_SUBSCRIPTIONS),
        as_of="2026-03-15T12:00:00+00:00",
    )


def metadata(value: str) -> list[dict[str, str]]:
    return [{"key": "supabase_user_id", "value": value}]


@pytest.mark.parametrize(
    ("overrides", "layer", "state"),
    [
        ({}, "mapping", "mapped"),
        ({"metadata": [], "local": False}, "mapping", "mapped"),
        ({"metadata": []}, "mapping", "metadata_missing"),
        ({"mapped": []}, "metadata", "link_missing"),
        ({"mapped": [], "metadata": metadata("s-nowhere")}, "metadata", "unknown_account"),
        ({"metadata": metadata("s-2")}, "mapping", "conflict"),
        ({"same_id": True}, "mapping", "conflict"),
        ({"mapped": [], "metadata": [], "same_id": True}, "same_id", "guess"),
        ({"mapped": [], "metadata": []}, "none", "unmapped"),
    ],
)
def test_a_user_falls_into_one_layer_and_state(overrides: dict[str, Any], layer: str, state: str) -> None:
    found = report_of([user("a-1", **overrides)], ["s-1", "s-2", "a-1"])
    assert {name: count for name, count in found.by_layer.items() if count} == {layer: 1}
    assert found.by_state == {state: 1}
    assert found.users == sum(found.by_layer.values()) == sum(found.by_state.values()) == 1


def test_the_same_id_says_nothing_about_an_account_that_is_somebody_elses() -> None:
    owner = user("a-2", mapped=["a-1"], metadata=[], local=False)
    found = report_of([user("a-1", same_id=True), owner], ["s-1", "a-1"])
    assert found.by_state == {"mapped": 2}


def test_two_users_of_one_account_are_both_shared() -> None:
    found = report_of([user("a-1"), user("a-2", mapped=["s-1"], metadata=[], local=False)], ["s-1"])
    assert found.by_state == {"shared": 2}
    assert found.summary()["shared"] == 2


def test_paying_users_without_a_mapping_come_first() -> None:
    users = [user("a-1", mapped=[], metadata=[]), user("a-2", mapped=[], metadata=[])]
    found = report_of(users, [], [subscription("cus_2", "a-2")])
    assert [(one.auth_id, one.paying) for one in found.problems] == [("a-2", True), ("a-1", False)]
    assert found.paying_unmapped == 1
    assert found.coverage == 0


def test_a_row_of_the_product_names_a_customer_as_well() -> None:
    users = [user("a-1", billing_id="cus_1"), user("a-2", mapped=[], metadata=[], subscription_id="sub_cus_2")]
    found = report_of(users, ["s-1"], [subscription("cus_1", None), subscription("cus_2", None)])
    assert found.orphan_customers == 0
    assert found.paying_unmapped == 1


def test_orphans_of_both_sides_are_named_and_the_address_only_suggests() -> None:
    users = [user("a-1", email_hash="same")]
    live = subscription("cus_9", "a-unknown", email_hash="same")
    ended = subscription("cus_8", None, status="ended")
    found = report_of(users, ["s-1", "s-lost"], [live, ended])
    named = [(one.what, one.id, one.suggestion) for one in found.orphans]
    assert named == [("account", "s-lost", None), ("customer", "cus_9", "a-1")]


def test_the_frame_has_its_columns_when_everybody_is_mapped() -> None:
    frame = report_of([user("a-1")], ["s-1"]).frame()
    assert frame.empty
    assert list(frame.columns) == ["auth_id", "account_id", "layer", "state", "paying", "claimed"]
