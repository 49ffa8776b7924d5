"""Reading a counter store on a real Postgres: what arrives, and the sentence for everything that can be wrong."""

import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from credit_pipeline.adapters.stores.counter import CounterStore
from credit_pipeline.config.store import PlanTable
from credit_pipeline.domain.errors import ConfigurationError, CreditPipelineError, StoreError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.tables import COUNTER_BALANCES
from credit_pipeline_tests.adapters.products.counter_product import MIXED_CASE, Product, a_system

FORTY_TWO = "00000000-0000-0000-0000-00000000002a"


@pytest.fixture
def product(database: str) -> Product:
    return Product(database).build()


@pytest.fixture
def as_stranger(product: Product) -> Iterator[str]:
    """The product's database as a login without any rights there; roles belong to the whole server."""
    role = f"stranger_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(product.url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        yield product.url.replace("postgres@", f"{role}@", 1)
        admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def role_of(url: str) -> str:
    return url.removeprefix("postgresql://").partition("@")[0]


def balances(url: str, **store: Any) -> list[tuple[Any, ...]]:
    table = CounterStore(a_system(**store), url).read()
    return sorted(tuple(row.values()) for row in table.to_pylist())


def refusal(read: Callable[[], object], kind: type[CreditPipelineError] = ConfigurationError) -> str:
    with pytest.raises(CreditPipelineError) as caught:
        read()
    assert type(caught.value) is kind
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def test_all_balances_arrive_in_the_ports_schema(product: Product) -> None:
    product.add("acct-1", "pro", 5000, 1200)
    product.add("acct-2", None, 100)
    table = CounterStore(a_system(), product.url).read()
    assert table.schema == COUNTER_BALANCES
    assert table.sort_by("account_id").to_pylist() == [
        {"account_id": "acct-1", "label": "pro", "total": 5000, "used": 1200},
        {"account_id": "acct-2", "label": None, "total": 100, "used": 0},
    ]


def test_names_are_quoted(database: str) -> None:
    product = Product(database, MIXED_CASE).build()
    product.add("acct-1", "pro", 5000, 7)
    assert CounterStore(MIXED_CASE, database).read().to_pylist() == [
        {"account_id": "acct-1", "label": "pro", "total": 5000, "used": 7}
    ]


def test_an_empty_store_is_an_empty_table(product: Product) -> None:
    assert CounterStore(a_system(), product.url).read() == COUNTER_BALANCES.empty_table()


def test_an_unknown_number_stays_unknown(product: Product) -> None:
    product.run("CREATE TABLE odd (id text PRIMARY KEY, plan text, total int, used smallint)")
    product.run("INSERT INTO odd VALUES ('a', 'pro', NULL, 3), ('b', 'pro', 9, NULL)")
    names = {"table": "odd", "account": "id", "label": "plan", "total": "total", "used": "used"}
    assert balances(product.url, **names) == [("a", "pro", None, 3), ("b", "pro", 9, None)]


def test_only_the_accounts_asked_for_are_read(product: Product) -> None:
    for account in ("acct-1", "acct-2", "acct-3"):
        product.add(account, "pro", 5000)
    store = CounterStore(a_system(), product.url)
    asked = [AccountId("acct-3"), AccountId("acct-1"), AccountId("nobody"), AccountId("'; DROP TABLE plans; --")]
    assert sorted(store.read(asked)["account_id"].to_pylist()) == ["acct-1", "acct-3"]
    assert store.read([]).num_rows == 0


@pytest.mark.parametrize(
    ("kind", "stored", "asked", "account"),
    [
        ("uuid", FORTY_TWO, FORTY_TWO.upper(), FORTY_TWO),
        ("int", "42", "42", "42"),
        ("bigint", "9000000000", "9000000000", "9000000000"),
        ("varchar(9)", "42", "42", "42"),
        ("numeric", "42", "42", "42"),
    ],
)
def test_accounts_of_every_type_are_text_here(
    product: Product, kind: str, stored: str, asked: str, account: str
) -> None:
    product.run(f"CREATE TABLE odd (id {kind}, plan text, total int, used int)")
    product.run(f"INSERT INTO odd VALUES ('{stored}', 'pro', 5000, 0)")
    system = a_system(table="odd", account="id", label="plan", total="total", used="used")
    wanted = [AccountId(asked), AccountId("not-an-id"), AccountId("9" * 30)]
    assert CounterStore(system, product.url).read(wanted)["account_id"].to_pylist() == [account]
    assert CounterStore(system, product.url).read()["account_id"].to_pylist() == [account]


def test_whole_numbers_of_a_fractional_type_are_credits(product: Product) -> None:
    product.run("CREATE TABLE odd (id text, plan text, total numeric, used float8)")
    product.run("INSERT INTO odd VALUES ('a', 'pro', 5000.00, 12)")
    names = {"table": "odd", "account": "id", "label": "plan", "total": "total", "used": "used"}
    assert balances(product.url, **names) == [("a", "pro", 5000, 12)]


@pytest.mark.parametrize("broken", ["0.5", "'NaN'", "'Infinity'", "1e30"])
def test_fractions_of_a_credit_are_refused_and_not_rounded(product: Product, broken: str) -> None:
    product.run("CREATE TABLE odd (id text, plan text, total numeric, used float8)")
    product.run(
        f"INSERT INTO odd VALUES ('a', 'pro', 5000, {broken}), ('b', 'pro', 5000, {broken}), ('c', 'pro', 1, 1)"
    )
    names = {"table": "odd", "account": "id", "label": "plan", "total": "total", "used": "used"}
    assert refusal(lambda: balances(product.url, **names), StoreError) == (
        "wix_app: column `used` of table `public.odd` has 2 values that are not whole credits: "
        "correct those rows, or `store.columns.used` in defs.yaml"
    )


def test_rows_without_an_account_are_counted_and_refused(product: Product) -> None:
    product.run("CREATE TABLE odd (id text UNIQUE, plan text, total int, used int)")
    product.run("INSERT INTO odd VALUES (NULL, 'pro', 1, 1), (NULL, 'pro', 1, 1), ('c', 'pro', 1, 1)")
    names = {"table": "odd", "account": "id", "label": "plan", "total": "total", "used": "used"}
    assert refusal(lambda: balances(product.url, **names), StoreError) == (
        "wix_app: table `public.odd` has 2 rows without an account in `id`: "
        "correct those rows, or `store.columns.account` in defs.yaml"
    )


def test_accounts_with_two_rows_are_counted_and_refused(product: Product) -> None:
    product.run("CREATE TABLE odd (id text, plan text, total int, used int)")
    product.run("CREATE UNIQUE INDEX ON odd (id) WHERE total > 1; CREATE UNIQUE INDEX ON odd (id, used)")
    product.run("INSERT INTO odd VALUES ('a', 'pro', 1, 1), ('a', 'pro', 1, 2), ('c', 'pro', 1, 1)")
    names = {"table": "odd", "account": "id", "label": "plan", "total": "total", "used": "used"}
    assert "has 1 rows more than accounts in `id`" in refusal(lambda: balances(product.url, **names), StoreError)


@pytest.mark.parametrize(
    ("store", "sentence"),
    [
        (
            {"schema": "publik"},
            "wix_app: schema `publik` does not exist in this database: correct `store.schema` in defs.yaml",
        ),
        (
            {"table": "app_instance"},
            "wix_app: table `public.app_instance` does not exist (near: `app_instances`, `instance_changes`): "
            "correct `store.table` in defs.yaml",
        ),
        (
            {"total": "credits_totals"},
            "wix_app: column `credits_totals` of table `public.app_instances` does not exist "
            "(near: `credits_total`, `credits_used_month`): correct `store.columns.total` in defs.yaml",
        ),
        (
            {"used": "owner_email"},
            "wix_app: column `owner_email` of table `public.app_instances` is of type text, not a number: "
            "correct `store.columns.used` in defs.yaml",
        ),
    ],
)
def test_a_wrong_name_is_a_sentence_with_its_yaml_key(product: Product, store: dict[str, str], sentence: str) -> None:
    assert refusal(lambda: balances(product.url, **store)) == sentence


def test_missing_rights_are_named(product: Product, as_stranger: str) -> None:
    role = role_of(as_stranger)
    assert refusal(lambda: balances(as_stranger), StoreError) == (
        "wix_app: the database user may not read column `instance_id` of table `public.app_instances`: "
        "grant SELECT on it, or correct `store.columns.account` in defs.yaml"
    )
    product.run(f'GRANT SELECT (instance_id, plan_id, credits_total, credits_used_month) ON app_instances TO "{role}"')
    product.add("acct-1", "pro", 5000)
    assert balances(as_stranger) == [("acct-1", "pro", 5000, 0)]


def test_hidden_rows_are_an_error_and_not_an_empty_store(product: Product, as_stranger: str) -> None:
    product.run(f'GRANT SELECT ON app_instances TO "{role_of(as_stranger)}"')
    product.run("ALTER TABLE app_instances ENABLE ROW LEVEL SECURITY")
    assert refusal(lambda: balances(as_stranger), StoreError) == (
        "wix_app: row-level security hides rows of table `public.app_instances` from the database user: "
        "give it BYPASSRLS, or use a user that has it"
    )


def test_rows_hidden_below_a_view_are_an_error_too(product: Product, as_stranger: str) -> None:
    product.run("CREATE VIEW seen WITH (security_invoker) AS SELECT * FROM app_instances")
    product.run(f'GRANT SELECT ON app_instances, seen TO "{role_of(as_stranger)}"')
    product.run("ALTER TABLE app_instances ENABLE ROW LEVEL SECURITY")
    assert "PRODUCT_URL lacks a right" in refusal(lambda: balances(as_stranger, table="seen"), StoreError)


def test_reading_cannot_write(product: Product) -> None:
    product.run(
        "CREATE FUNCTION sly() RETURNS int LANGUAGE sql AS $$"
        "INSERT INTO instance_changes VALUES ('sly', NULL, 0, ''); SELECT 1 $$"
    )
    product.run("CREATE VIEW seen AS SELECT 'a' AS instance_id, 'pro' AS plan_id, 1 AS credits_total, sly() AS used")
    assert "is read-only" in refusal(lambda: balances(product.url, table="seen", used="used"), StoreError)
    assert product.run("SELECT * FROM instance_changes") == []


def test_all_is_read_in_one_repeatable_read_transaction(product: Product) -> None:
    """The fractions are counted first; a row that commits in between must not arrive uncounted."""
    product.run("CREATE TABLE odd (id text, plan text, total numeric, used int)")
    product.run("INSERT INTO odd VALUES ('a', 'pro', 1, 0)")
    product.run(
        "CREATE FUNCTION now_and_here() RETURNS text LANGUAGE sql STABLE AS $$"
        "SELECT current_setting('transaction_isolation') $$"
    )
    product.run("CREATE VIEW seen AS SELECT id, now_and_here() AS plan, total, used FROM odd")
    names = {"table": "seen", "account": "id", "label": "plan", "total": "total", "used": "used"}
    assert balances(product.url, **names) == [("a", "repeatable read", 1, 0)]


def test_the_products_own_plan_table_is_read(product: Product) -> None:
    store = CounterStore(a_system(), product.url)
    assert store.catalogue() == {"free": 100, "starter": 1000, "pro": 5000}
    product.run("INSERT INTO plans VALUES ('huge', 0); ALTER TABLE plans ALTER monthly_credits DROP NOT NULL")
    product.run("UPDATE plans SET monthly_credits = NULL WHERE id = 'huge'")
    assert store.catalogue() == {"free": 100, "starter": 1000, "pro": 5000}
    assert CounterStore(a_system(plans=None), product.url).catalogue() == {}


def test_a_plan_table_that_contradicts_itself_is_refused(product: Product) -> None:
    product.run("CREATE VIEW twice AS SELECT 'pro' AS id, n AS monthly_credits FROM generate_series(1, 2) AS n")
    plans = PlanTable(table="twice", label="id", credits="monthly_credits")
    store = CounterStore(a_system(plans=plans), product.url)
    assert "`public.twice` gives one plan two amounts" in refusal(store.catalogue, StoreError)


def test_a_database_that_does_not_exist_is_named_by_its_variable(product: Product) -> None:
    url = product.url.replace(product.url.partition("@/")[2].partition("?")[0], "no_such_database", 1)
    assert refusal(lambda: balances(url)) == (
        "wix_app: the database of PRODUCT_URL does not have a database of this name: correct PRODUCT_URL"
    )


def test_a_server_that_is_down_is_named_by_its_variable() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = unused.getsockname()[1]
        url = f"postgresql://someone:hidden@127.0.0.1:{port}/shop"
        assert refusal(lambda: balances(url), StoreError) == (
            "wix_app: the database of PRODUCT_URL is not running where PRODUCT_URL points: "
            "start it or correct PRODUCT_URL"
        )


def test_a_wrong_password_is_named_by_its_variable_and_not_repeated(refusing_server: int) -> None:
    url = (
        f"postgres://someone:hidden@127.0.0.1:{refusing_server}/shop?sslmode=disable&gssencmode=disable&pgbouncer=true"
    )
    assert refusal(lambda: balances(url)) == (
        "wix_app: the database of PRODUCT_URL refused the user or the password: correct PRODUCT_URL"
    )


@pytest.mark.parametrize("url", ["", "mysql://someone:hidden@db/shop", "someone:hidden@db", "postgresql://x]@[hidden"])
def test_what_is_not_a_postgres_url_is_refused_without_repeating_it(url: str) -> None:
    sentence = refusal(lambda: CounterStore(a_system(), url))
    assert sentence.startswith("wix_app: PRODUCT_URL is not a Postgres URL: write it as postgresql://")
    assert "hidden" not in sentence


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_spelling_of_the_scheme_connects(product: Product, scheme: str) -> None:
    url = scheme + product.url.removeprefix("postgresql") + "&pgbouncer=true&connection_limit=1"
    product.add("acct-1", "pro", 5000)
    assert balances(url) == [("acct-1", "pro", 5000, 0)]


@pytest.fixture
def refusing_server() -> Iterator[int]:
    """The port of a server that asks for a password and refuses it, in Postgres' own protocol."""
    words = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "someone"\0\0'
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(b"R" + struct.pack("!ii", 8, 3))
                client.recv(4096)
                client.sendall(b"E" + struct.pack("!i", len(words) + 4) + words)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(timeout=10)


def test_the_answer_is_arrow_that_other_arrow_tables_join(product: Product) -> None:
    product.add("acct-1", "pro", 5000)
    table = CounterStore(a_system(), product.url).read()
    assert all(field.metadata is None for field in table.schema)
    assert pa.concat_tables([table, COUNTER_BALANCES.empty_table()]).num_rows == 1
