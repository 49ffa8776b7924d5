"""Reading a ledger store on a real Postgres: sums, entries, tiers and identities, and what is refused."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.adapters.stores.ledger import LedgerStore
from credit_pipeline.config.store import DeductFunction, PlanTable
from credit_pipeline.domain.errors import ConfigurationError, CreditPipelineError, StoreError
from credit_pipeline.domain.subjects.email_digest import email_digest
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.ports import IdentityStore
from credit_pipeline.services.collect.tables import IDENTITIES, LEDGER_BALANCES
from credit_pipeline_tests.adapters.products.ledger_product import (
    DEDUCT,
    NAMES,
    LedgerProduct,
    a_system,
    create,
    ledger_config,
)
from credit_pipeline_tests.conftest import Databases

A, B, C, D = (f"{letter * 8}-0000-4000-8000-000000000001" for letter in "abcd")
"""Store accounts."""
U, V = (f"{digit * 8}-0000-4000-8000-000000000001" for digit in "12")
"""Users."""
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def product(databases: Databases) -> LedgerProduct:
    return LedgerProduct(databases.new(databases.template("ledger", lambda url: str(create(url)))))


def store(product: LedgerProduct, **parts: Any) -> LedgerStore:
    return LedgerStore(a_system(**parts), product.url)


def by_type(**transactions: Any) -> dict[str, Any]:
    return {"transactions": ledger_config().transactions.model_copy(update={**transactions})}


def accounts(of: LedgerStore, *ids: str) -> dict[str, dict[str, Any]]:
    table = of.read([AccountId(one) for one in ids] or None)
    assert table.schema == LEDGER_BALANCES
    return {row["account_id"]: row for row in table.to_pylist()}


def users(of: LedgerStore) -> dict[str, dict[str, Any]]:
    table = of.identities()
    assert table.schema == IDENTITIES
    return {row["auth_id"]: row for row in table.to_pylist()}


def refusal(read: Callable[[], object], kind: type[CreditPipelineError] = StoreError) -> str:
    with pytest.raises(CreditPipelineError) as caught:
        read()
    assert type(caught.value) is kind
    return str(caught.value)


def test_it_is_the_port_that_the_services_look_for(product: LedgerProduct) -> None:
    assert isinstance(store(product), IdentityStore)


def test_a_ledger_is_read_in_a_counters_words(product: LedgerProduct) -> None:
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    granted = datetime.now(UTC) - timedelta(days=3)
    product.add_points(A, 800, reference="ref-1", at=granted)
    assert product.deduct(A, 300)
    product.set_tier(A, "pro", start=start, end=end)
    [row] = accounts(store(product)).values()
    [entry] = row.pop("entries")
    assert row == {
        "account_id": A,
        "label": "pro",
        "total": 800,
        "used": 300,
        "status": "active",
        "local": True,
        "period_start": start,
        "period_end": end,
        "spent": 300,
        "rows": 2,
        "unknown_types": [],
    }
    assert uuid.UUID(entry.pop("entry_id"))
    assert entry == {
        "at": granted,
        "amount": 800,
        "kind": "grant",
        "type": "subscription_grant",
        "reference": "ref-1",
    }


def test_every_account_that_any_table_names_exists(product: LedgerProduct) -> None:
    product.set_balance(A, 5)
    product.set_tier(B, "pro")
    product.transaction(C, 7, "purchase")
    product.add_user(U, account=D)
    found = accounts(store(product))
    assert {one: (row["total"], row["used"], row["local"], row["rows"]) for one, row in found.items()} == {
        A: (0, -5, False, 0),
        B: (0, None, True, 0),
        C: (7, None, False, 1),
        D: (0, None, False, 0),
    }
    assert list(found) == sorted(found)


def test_an_empty_store_is_two_empty_tables(product: LedgerProduct) -> None:
    of = store(product)
    assert of.read() == LEDGER_BALANCES.empty_table()
    assert of.identities() == IDENTITIES.empty_table()
    assert of.identities() == IDENTITIES.empty_table()


def test_sums_are_of_the_whole_ledger_and_entries_of_the_lookback(product: LedgerProduct) -> None:
    for days in (1, 30, 63, 70, 900):
        product.transaction(A, days, "purchase", at=NOW - timedelta(days=days))
        product.transaction(A, -1, "usage", at=NOW - timedelta(days=days))
    of = LedgerStore(a_system(), product.url, clock=lambda: NOW)
    row = accounts(of)[A]
    assert (row["total"], row["spent"], row["rows"]) == (1 + 30 + 63 + 70 + 900, 5, 10)
    assert [entry["amount"] for entry in row["entries"]] == [63, 30, 1]  # oldest first, two days of margin


def test_each_account_has_its_own_entries(product: LedgerProduct) -> None:
    for account, amounts in ((A, [1, 2, 3]), (C, [4]), (D, [5, 6])):
        for hours, amount in enumerate(reversed(amounts)):
            product.transaction(account, amount, "bonus", at=datetime.now(UTC) - timedelta(hours=hours))
    product.set_balance(B, 1)
    found = accounts(store(product))
    assert {one: [e["amount"] for e in row["entries"]] for one, row in found.items()} == {
        A: [1, 2, 3],
        B: [],
        C: [4],
        D: [5, 6],
    }


def test_kinds_follow_the_map_and_an_unknown_type_counts_as_stored(product: LedgerProduct) -> None:
    for amount, kind in ((100, "bonus"), (-40, "adjustment"), (7, "gift"), (-3, "leak"), (2, "gift"), (-10, "usage")):
        product.transaction(A, amount, kind)
    product.transaction(B, 1, "Usage")
    found = accounts(store(product))
    assert (found[A]["total"], found[A]["spent"]) == (100 - 40 + 7 - 3 + 2, 10)
    assert found[A]["unknown_types"] == ["gift", "leak"]
    assert {(e["type"], e["kind"]) for e in found[A]["entries"]} == {
        ("bonus", "adjustment"),
        ("adjustment", "adjustment"),
        ("gift", "unknown"),
        ("leak", "unknown"),
    }
    assert found[B]["unknown_types"] == ["Usage"]


def test_spending_may_be_stored_without_its_sign(product: LedgerProduct) -> None:
    product.transaction(A, 800, "subscription_grant")
    product.transaction(A, 300, "usage")
    product.transaction(A, -50, "usage")
    product.transaction(A, -20, "adjustment")
    words = ("signed", "by_type")
    signed, unsigned = (accounts(store(product, **by_type(amounts=word)))[A] for word in words)
    assert (signed["total"], signed["spent"]) == (780, -250)
    assert (unsigned["total"], unsigned["spent"]) == (780, 350)


def test_no_type_at_all_is_an_unknown_type(product: LedgerProduct) -> None:
    product.run("ALTER TABLE points_transactions ALTER type DROP NOT NULL")
    product.run("INSERT INTO points_transactions (user_id, amount) VALUES (%s, 5)", A)
    row = accounts(store(product))[A]
    assert (row["unknown_types"], row["total"]) == ([""], 5)
    assert [(e["type"], e["kind"]) for e in row["entries"]] == [("", "unknown")]


def test_only_the_accounts_asked_for_are_read(product: LedgerProduct) -> None:
    product.add_user(U, account=A, balance=800)
    product.add_user(V, account=B, balance=100)
    product.set_tier(C, "pro")
    asked = [A.upper(), C, D, "nobody", "'; DROP TABLE points_balances; --"]
    found = accounts(store(product), *asked)
    assert set(found) == {A, C}
    assert found[A]["entries"] == accounts(store(product))[A]["entries"]
    assert store(product).read([]).num_rows == 0


@pytest.mark.parametrize("kind", ["text", "uuid"])
def test_every_name_can_be_another(database: str, kind: str) -> None:
    names = NAMES | {"uuid": kind}
    product = create(database, names, "BestAuth")
    product.add_user(U, account=A, balance=800, email="One@Example.com")
    product.subscribe(U, customer="cus_1", subscription="sub_1", metadata={"supabase_user_id": A})
    product.set_tier(A, "pro")
    assert product.deduct(A, 1)
    assert not product.deduct(A, 9_000)
    of = LedgerStore(a_system(names, "BestAuth"), database)
    row = accounts(of)[A]
    assert (row["label"], row["total"], row["used"], row["spent"], len(row["entries"])) == ("pro", 800, 1, 1, 1)
    assert users(of)[U]["mapped"] == [A]
    assert accounts(of, A)[A] == row
    assert of.user_of("one@example.com") == of.user_of(U) == U
    assert of.can_deduct(AccountId(A), probe=True) is True
    failed = of.failed_spends(NOW - timedelta(days=3650))
    assert failed is not None
    assert [(one.account_id, one.amount) for one in failed] == [(A, 9_000)]


def test_optional_columns_may_be_left_out(product: LedgerProduct) -> None:
    product.add_user(U, account=A, balance=800)
    product.subscribe(U, customer="cus_1", metadata={"supabase_user_id": A})
    product.set_tier(A, "pro", start=NOW, end=NOW)
    config = ledger_config()
    of = store(
        product,
        tiers=config.tiers.model_copy(update={"period_start": None, "period_end": None, "updated_at": None}),
        transactions=config.transactions.model_copy(update={"reference": None}),
        users=config.users.model_copy(update={"email": None}),
        subscriptions=config.subscriptions.model_copy(
            update={"billing": None, "subscription": None, "updated_at": None}
        ),
        failures=None,
        deduct=None,
    )
    row, user = accounts(of)[A], users(of)[U]
    assert (row["period_start"], row["period_end"], row["entries"][0]["reference"]) == (None, None, None)
    assert (user["billing_id"], user["subscription_id"], user["email_hash"]) == (None, None, None)
    assert of.user_of(f"{U}@example.com") is None
    assert of.failed_spends(NOW) is None
    assert of.can_deduct(AccountId(A), probe=False) is None


def test_times_without_a_zone_are_utc(database: str) -> None:
    product = create(database, {"timestamptz": "timestamp"})
    product.run(
        "ALTER DATABASE {} SET timezone = 'Asia/Tokyo'".format(product.run("SELECT current_database() AS d")[0]["d"])
    )
    for hours in (1, -7):
        at = NOW - timedelta(days=64, hours=hours)  # the lookback and its margin end in between
        product.run(
            "INSERT INTO points_transactions (user_id, amount, type, created_at) VALUES (%s, %s, 'bonus', %s)",
            A, 8 + hours, at.replace(tzinfo=None),
        )  # fmt: skip
    product.run("INSERT INTO subscriptions_consolidated VALUES (%s, 'pro', 'active', '2026-11-01', 'infinity')", A)
    row = accounts(LedgerStore(a_system(), database, clock=lambda: NOW))[A]
    assert [(e["amount"], e["at"]) for e in row["entries"]] == [(1, NOW - timedelta(days=64, hours=-7))]
    assert row["period_start"] == datetime(2026, 11, 1, tzinfo=UTC)
    assert row["period_end"] is None


@pytest.mark.parametrize("broken", ["0.5", "'NaN'", "'Infinity'", "1e30"])
@pytest.mark.parametrize(
    ("table", "column", "key"),
    [
        ("points_balances", "balance", "store.balances.balance"),
        ("points_transactions", "amount", "store.transactions.amount"),
    ],
)
def test_fractions_of_a_credit_are_refused(database: str, table: str, column: str, key: str, broken: str) -> None:
    product = create(database, {"integer": "numeric"})
    product.add_points(A, 800)
    assert accounts(store(product))[A]["total"] == 800
    product.run(f"UPDATE {table} SET {column} = {broken}")
    assert refusal(lambda: store(product).read()) == (
        f"bestauth: column `{column}` of table `public.{table}` has 1 values that are not whole credits: "
        f"correct those rows, or `{key}` in defs.yaml"
    )


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        (
            "user_id",
            "NULL",
            "1 rows without an account in `user_id`: correct those rows, or `store.transactions.account`",
        ),
        ("amount", "NULL", "1 rows without amount: correct those rows, or `store.transactions.amount` in defs.yaml"),
        ("created_at", "NULL", "1 rows without time: correct those rows, or `store.transactions.at` in defs.yaml"),
        ("created_at", "'infinity'", "1 rows without time"),
    ],
)
def test_a_transaction_that_cannot_be_placed_is_refused(
    product: LedgerProduct, column: str, value: str, sentence: str
) -> None:
    """It might be the grant that is missed elsewhere."""
    product.transaction(A, 800, "subscription_grant")
    product.transaction(B, 800, "subscription_grant")
    product.run(f"ALTER TABLE points_transactions ALTER {column} DROP NOT NULL")
    product.run(f"UPDATE points_transactions SET {column} = {value} WHERE user_id = %s", B)
    assert sentence in refusal(lambda: store(product).read())


@pytest.mark.parametrize("table", ["points_balances", "subscriptions_consolidated"])
def test_two_rows_of_one_account_are_refused(product: LedgerProduct, table: str) -> None:
    product.run(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
    product.run(f"INSERT INTO {table} (user_id) VALUES (%s), (%s), (%s)", A, A, B)
    assert f"`public.{table}` has 1 rows more than accounts in `user_id`" in refusal(lambda: store(product).read())


def test_a_wrong_name_is_a_sentence_with_its_yaml_key(product: LedgerProduct) -> None:
    config = ledger_config()
    wrong = {
        "store.balances.table": {"balances": config.balances.model_copy(update={"table": "points_balance"})},
        "store.tiers.label": {"tiers": config.tiers.model_copy(update={"label": "teir"})},
        "store.transactions.at": {"transactions": config.transactions.model_copy(update={"at": "type"})},
        "store.mapping.user": {"mapping": config.mapping.model_copy(update={"user": "bestauth_user"})},
        "store.users.email": {"users": config.users.model_copy(update={"email": "mail"})},
        "store.subscriptions.metadata": {"subscriptions": config.subscriptions.model_copy(update={"metadata": "meta"})},
    }
    for key, part in wrong.items():
        assert f"correct `{key}` in defs.yaml" in refusal(lambda: store(product, **part).read(), ConfigurationError)  # noqa: B023


def test_hidden_rows_are_an_error_and_not_an_empty_store(product: LedgerProduct) -> None:
    role = f"stranger_{uuid.uuid4().hex[:8]}"
    product.run(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA public TO {role}")
    product.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        of = LedgerStore(a_system(), product.url.replace("postgres@", f"{role}@", 1))
        assert "row-level security hides rows" in refusal(of.read)
        assert "row-level security hides rows" in refusal(of.identities)
    finally:
        product.run(f"DROP OWNED BY {role}; DROP ROLE {role}")


# --- identities


def test_every_layer_is_read_and_none_is_preferred(product: LedgerProduct) -> None:
    product.add_user(U, account=A, email=" Someone@Example.COM ")
    product.subscribe(
        U,
        customer="cus_1",
        subscription="sub_1",
        metadata={"original_userId": C, "supabase_user_id": B.upper(), "resolved_supabase_user_id": A, "other": D},
    )
    product.set_balance(U, 0)
    assert users(store(product)) == {
        U: {
            "auth_id": U,
            "mapped": [A],
            "metadata": [
                {"key": "resolved_supabase_user_id", "value": A},
                {"key": "supabase_user_id", "value": B},
                {"key": "original_userId", "value": C},
            ],
            "local": True,
            "same_id": True,
            "billing_id": "cus_1",
            "subscription_id": "sub_1",
            "email_hash": email_digest("bestauth", "someone@example.com"),
        }
    }


def test_a_user_of_whom_nothing_is_known_is_there_too(product: LedgerProduct) -> None:
    product.add_user(U)
    product.add_user(V, account=A)
    found = users(store(product))
    assert list(found) == [U, V]
    assert {key: found[U][key] for key in ("mapped", "metadata", "local", "same_id", "billing_id")} == {
        "mapped": [],
        "metadata": [],
        "local": False,
        "same_id": False,
        "billing_id": None,
    }


@pytest.mark.parametrize("kind", ["jsonb", "json", "text"])
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", []),
        (f'{{"supabase_user_id": "{A}"}}', [A]),
        (f'{{"supabase_user_id": " {A.upper()} "}}', [A]),
        (f'{{"supabase_user_id": "{A.replace("-", "")}"}}', [A]),
        (f'"{{\\"supabase_user_id\\": \\"{A}\\"}}"', [A]),  # JSON written into JSON as text
        (f'{{"supabase_user_id": "{{{A}}}"}}', []),
        ('{"supabase_user_id": "not-a-uuid"}', []),
        ('{"supabase_user_id": ""}', []),
        ('{"supabase_user_id": null}', []),
        ('{"supabase_user_id": 42}', []),
        (f'{{"supabase_user_id": ["{A}"]}}', []),
        (f'{{"SUPABASE_USER_ID": "{A}"}}', []),
        (f'["{A}"]', []),
        (f'"{A}"', []),
        ("null", []),
    ],
)
def test_metadata_counts_where_a_known_key_holds_a_uuid(
    product: LedgerProduct, kind: str, written: str, expected: list[str]
) -> None:
    product.run("ALTER TABLE bestauth_subscriptions ALTER metadata DROP DEFAULT")
    product.run(f"ALTER TABLE bestauth_subscriptions ALTER metadata TYPE {kind} USING metadata::{kind}")
    product.add_user(U)
    product.run(f"INSERT INTO bestauth_subscriptions (user_id, metadata) VALUES (%s, %s::{kind})", U, written)
    user = users(store(product))[U]
    assert [claim["value"] for claim in user["metadata"]] == expected
    assert user["local"]


@pytest.mark.parametrize(
    "written", [None, "", "{", '{"supabase_user_id": ', "[" * 100_000, '{"a": ' + "9" * 5000 + "}"]
)
def test_broken_json_is_no_metadata(product: LedgerProduct, written: str | None) -> None:
    product.run("ALTER TABLE bestauth_subscriptions ALTER metadata DROP DEFAULT, ALTER metadata DROP NOT NULL")
    product.run("ALTER TABLE bestauth_subscriptions ALTER metadata TYPE text USING metadata::text")
    product.add_user(U)
    product.run("INSERT INTO bestauth_subscriptions (user_id, metadata) VALUES (%s, %s)", U, written)
    user = users(store(product))[U]
    assert (user["metadata"], user["local"]) == ([], True)


def test_ids_that_are_no_uuids_are_any_text(database: str) -> None:
    product = create(database, {"uuid": "text"})
    product.add_user("User-1", account="acct-1")
    product.add_user("acct-2")
    product.subscribe("User-1", metadata={"supabase_user_id": " Acct-9 ", "original_userId": 42})
    product.set_balance("acct-2", 1)
    found = users(LedgerStore(a_system(), database))
    assert found["User-1"]["mapped"] == ["acct-1"]
    assert [claim["value"] for claim in found["User-1"]["metadata"]] == ["Acct-9", "42"]
    assert [found[one]["same_id"] for one in ("User-1", "acct-2")] == [False, True]


def test_a_uuid_in_a_column_of_text_is_read_whatever_its_case(product: LedgerProduct) -> None:
    product.run("ALTER TABLE user_id_mapping ALTER supabase_user_id TYPE text, ALTER bestauth_user_id TYPE text")
    product.add_user(U)
    product.set_balance(A, 800)
    product.map(U.upper(), f" {A.upper()}")
    of = store(product)
    assert list(accounts(of)) == [A]
    assert users(of)[U]["mapped"] == [A]
    assert list(accounts(of, A)) == [A]


def test_a_user_may_be_mapped_twice_and_have_several_rows(product: LedgerProduct) -> None:
    product.run("ALTER TABLE user_id_mapping DROP CONSTRAINT user_id_mapping_pkey")
    product.run("ALTER TABLE bestauth_subscriptions DROP CONSTRAINT bestauth_subscriptions_pkey")
    product.add_user(U, account=B)
    for account in (A, B):
        product.map(U, account)
    product.subscribe(U, customer="cus_old", subscription="sub_old", metadata={"supabase_user_id": A})
    product.run("UPDATE bestauth_subscriptions SET updated_at = now() - interval '1 day'")
    product.subscribe(U, customer="cus_new", subscription="sub_new", metadata={"supabase_user_id": B})
    user = users(store(product))[U]
    assert user["mapped"] == [A, B]
    assert [claim["value"] for claim in user["metadata"]] == [B, A]
    assert (user["billing_id"], user["subscription_id"]) == ("cus_new", "sub_new")


def test_a_row_about_nobody_makes_no_user(product: LedgerProduct) -> None:
    product.map(V, A)
    of = store(product)
    assert users(of) == {}
    assert list(accounts(of)) == [A]


def test_identities_are_of_the_same_moment_as_the_last_whole_read(product: LedgerProduct) -> None:
    of = store(product)
    product.add_user(U, account=A, balance=800)
    of.read()
    product.add_user(V, account=B, balance=800)
    assert set(users(of)) == {U}
    assert set(users(of)) == {U, V}  # nothing is kept for a second call
    of.read([AccountId(A)])
    product.run("DELETE FROM bestauth_users WHERE id = %s", V)
    assert set(users(of)) == {U}


@pytest.mark.parametrize("named", [f"  {U.upper()} ", U, "Some.One@example.com", " some.one@EXAMPLE.com\n".strip("\n")])
def test_a_user_is_found_by_id_or_address(product: LedgerProduct, named: str) -> None:
    product.add_user(U, email=" some.One@Example.com")
    product.add_user(V)
    assert store(product).user_of(named) == U


@pytest.mark.parametrize("named", ["", "nobody@example.com", A, "%", "' OR true --"])
def test_nobody_is_found_by_what_is_nobodys(product: LedgerProduct, named: str) -> None:
    product.add_user(U)
    assert store(product).user_of(named) is None


def test_an_address_of_several_users_names_none(product: LedgerProduct) -> None:
    product.add_user(U, email="one@example.com")
    product.add_user(V, email="ONE@example.com")
    sentence = refusal(lambda: store(product).user_of("one@example.com"))
    assert sentence == "bestauth: several users have this e-mail address: name the user's id instead"


# --- deductions


def test_failed_deductions_come_newest_first(product: LedgerProduct) -> None:
    product.run(
        "INSERT INTO points_deduction_failures (user_id, amount, reason, created_at) VALUES"
        " (%s, 5, 'old', '2026-11-01Z'), (%s, 7, %s, '2026-11-21Z'), (%s, 6, 'new', '2026-11-20Z')",
        A, B, "x" * 900, A,
    )  # fmt: skip
    failed = store(product).failed_spends(datetime(2026, 11, 10, tzinfo=UTC))
    assert failed is not None
    assert [(one.account_id, one.amount, one.reason) for one in failed] == [(B, 7, "x" * 200), (A, 6, "new")]
    assert failed[0].at == datetime(2026, 11, 21, tzinfo=UTC)
    assert store(product).failed_spends(NOW) == ()


def test_a_probe_spends_nothing(product: LedgerProduct) -> None:
    product.add_points(A, 1)
    of = store(product)
    assert of.can_deduct(AccountId(A), probe=True) is True
    assert (product.balance(A), len(product.transactions(A))) == (1, 1)


@pytest.mark.parametrize(
    ("account", "probe", "expected"), [(A, False, True), (A, True, False), (B, True, False), ("no-uuid", True, False)]
)
def test_only_a_probe_notices_that_there_is_nothing_to_deduct(
    product: LedgerProduct, account: str, probe: bool, expected: bool
) -> None:
    product.set_balance(A, 0)
    assert store(product).can_deduct(AccountId(account), probe=probe) is expected
    assert product.run("SELECT * FROM points_deduction_failures") == []


def test_a_function_that_fails_cannot_deduct(product: LedgerProduct) -> None:
    product.add_points(A, 5)
    product.run("ALTER TABLE points_transactions RENAME TO moved_away")
    assert store(product).can_deduct(AccountId(A), probe=False) is True
    assert store(product).can_deduct(AccountId(A), probe=True) is False


def test_a_function_that_may_not_be_executed_cannot_deduct(product: LedgerProduct) -> None:
    role = f"stranger_{uuid.uuid4().hex[:8]}"
    product.run(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA public TO {role}")
    product.run("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
    try:
        of = LedgerStore(a_system(), product.url.replace("postgres@", f"{role}@", 1))
        assert of.can_deduct(AccountId(A), probe=True) is False
    finally:
        product.run(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    "arguments", [{"p_user": "account", "p_amount": "amount"}, {"p_user_id": "account"}, {"p_amount": "amount"}]
)
def test_a_function_with_other_parameters_is_a_mistake_in_the_file(
    product: LedgerProduct, arguments: dict[str, str]
) -> None:
    of = store(product, deduct=DeductFunction.model_construct(function="deduct_points", arguments=arguments))
    sentence = refusal(lambda: of.can_deduct(AccountId(A), probe=False), ConfigurationError)
    assert sentence.startswith("bestauth: a function `public.deduct_points` with parameters `p_")
    assert sentence.endswith("does not exist: correct `store.deduct` in defs.yaml")


def test_a_function_that_exists_twice_is_told(product: LedgerProduct) -> None:
    product.run(
        "CREATE FUNCTION deduct_points(p_user_id text, p_amount integer) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
    )
    of = store(product, deduct=DEDUCT)
    assert "exists 2 times" in refusal(lambda: of.can_deduct(AccountId(A), probe=False), ConfigurationError)


def test_the_products_own_plan_table_is_read(product: LedgerProduct) -> None:
    product.run("CREATE TABLE plans (id text, points integer); INSERT INTO plans VALUES ('free', 100), ('pro', 800)")
    plans = PlanTable(table="plans", label="id", credits="points")
    assert store(product, plans=plans).catalogue() == {"free": 100, "pro": 800}
    assert store(product).catalogue() == {}
