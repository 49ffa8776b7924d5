"""`init` of a ledger: what it asks of the product's tables and function, and the sentence where they do not fit."""

from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.install.install import install, print_sql
from credit_pipeline.config.store import AddFunction, FailureTable, PlanTable
from credit_pipeline.domain.errors import ConfigurationError, StoreError
from credit_pipeline_tests.adapters.install.test_install import objects
from credit_pipeline_tests.adapters.products.ledger_product import (
    ADD,
    NAMES,
    LedgerProduct,
    a_system,
    create,
    ledger_config,
)
from credit_pipeline_tests.adapters.products.ledger_writes import plans_of
from credit_pipeline_tests.conftest import Databases

PLAIN = ledger_config()
ROLE = "DO $$ BEGIN IF to_regrole('ledger_role') IS NULL THEN CREATE ROLE ledger_role LOGIN BYPASSRLS; END IF; END $$;"


@pytest.fixture
def product(databases: Databases) -> LedgerProduct:
    return LedgerProduct(databases.new(databases.template("ledger", lambda url: str(create(url)))))


def refused(product: LedgerProduct, url: str | None = None, **store: Any) -> str:
    with pytest.raises((ConfigurationError, StoreError)) as refusal:
        install(url or product.url, a_system(**store))
    assert product.run("SELECT to_regnamespace('credit_pipeline') AS schema") == [{"schema": None}]
    return str(refusal.value)


def test_a_ledger_is_installed_and_a_repeat_changes_nothing(product: LedgerProduct) -> None:
    report = install(product.url, a_system())
    assert (report.first, report.pinned) == (True, {"free": 100, "pro": 800, "business": 3000, "annual": 1500})
    before = objects(product.url)
    again = install(product.url, a_system())
    assert (again.first, again.renewed, objects(product.url)) == (False, False, before)


def test_the_printed_script_installs_the_same(product: LedgerProduct, databases: Databases) -> None:
    install(product.url, a_system())
    other = create(databases.new())
    with psycopg.connect(other.url, autocommit=True) as connection:
        connection.execute(print_sql(a_system()).encode())
    assert objects(other.url) == objects(product.url)
    assert not install(other.url, a_system()).renewed


def test_the_script_s_head_names_every_right_that_is_needed() -> None:
    head = print_sql(a_system(), billing={"provider": "stripe"}).partition("BEGIN;")[0]
    assert head == (
        "-- credit_pipeline for system bestauth, into a database where it is not installed yet.\n"
        "-- Run it as the role that the pipeline connects as (it will own the functions), which needs CREATE on the\n"
        "-- database, USAGE on the product's schema, and\n"
        '--   SELECT, INSERT, UPDATE on "public"."points_balances"\n'
        '--   SELECT on "public"."points_transactions"\n'
        '--   SELECT, INSERT, UPDATE on "public"."subscriptions_consolidated"\n'
        '--   SELECT on "public"."bestauth_users"\n'
        '--   SELECT, INSERT on "public"."user_id_mapping"\n'
        '--   SELECT, UPDATE on "public"."bestauth_subscriptions"\n'
        '--   SELECT on "public"."points_deduction_failures"\n'
        '--   EXECUTE on function "public"."add_points"; INSERT on "public"."points_transactions" too, unless it is '
        "SECURITY DEFINER\n"
    )


GRANTS = """
GRANT USAGE ON SCHEMA public TO ledger_role;
GRANT SELECT, INSERT, UPDATE ON points_balances, subscriptions_consolidated TO ledger_role;
GRANT SELECT, INSERT ON points_transactions, user_id_mapping TO ledger_role;
GRANT SELECT, UPDATE ON bestauth_subscriptions TO ledger_role;
GRANT SELECT ON bestauth_users, points_deduction_failures TO ledger_role;
GRANT EXECUTE ON FUNCTION add_points TO ledger_role;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO ledger_role', current_database()); END $$
"""


def test_the_named_rights_are_enough(product: LedgerProduct) -> None:
    product.run(ROLE + GRANTS)
    url = product.url.replace("postgres@", "ledger_role@")
    assert install(url, a_system()).first


@pytest.mark.parametrize(
    ("revoked", "sentence"),
    [
        (
            "INSERT ON points_balances",
            'may not write column `user_id`: as the table\'s owner run `GRANT SELECT, INSERT, UPDATE ON "public".'
            '"points_balances" TO` that role',
        ),
        ("UPDATE ON subscriptions_consolidated", "may not write column `tier`: as the table's owner run `GRANT"),
        (
            "INSERT ON user_id_mapping",
            'run `GRANT SELECT, INSERT ON "public"."user_id_mapping" TO` that role',
        ),
        ("UPDATE ON bestauth_subscriptions", 'run `GRANT SELECT, UPDATE ON "public"."bestauth_subscriptions" TO`'),
        (
            "INSERT ON points_transactions",
            "`public.add_points` runs with its caller's rights, and the database role may not insert into "
            '`public.points_transactions`: as the table\'s owner run `GRANT SELECT, INSERT ON "public".'
            '"points_transactions" TO` that role',
        ),
        (
            "EXECUTE ON FUNCTION add_points",
            "may not execute `public.add_points`: as the function's owner run "
            "`GRANT EXECUTE ON FUNCTION add_points(uuid,integer,text,text,text) TO` that role",
        ),
        ("SELECT ON bestauth_users", "may not read column `id` of table `public.bestauth_users`"),
    ],
)
def test_a_right_that_is_missing_is_named_with_its_grant(product: LedgerProduct, revoked: str, sentence: str) -> None:
    product.run(f"{ROLE}{GRANTS}; REVOKE {revoked} FROM ledger_role, PUBLIC")
    said = refused(product, product.url.replace("postgres@", "ledger_role@"))
    assert said.startswith("bestauth: ")
    assert sentence in said.replace("public.add_points(", "add_points(")


def test_a_function_of_its_owner_s_rights_needs_none_of_ours_on_its_tables(product: LedgerProduct) -> None:
    product.run(ROLE + GRANTS + "; REVOKE INSERT ON points_transactions FROM ledger_role")
    product.run("ALTER FUNCTION add_points SECURITY DEFINER")
    assert install(product.url.replace("postgres@", "ledger_role@"), a_system()).first


def test_rows_hidden_from_the_role_are_no_empty_store(product: LedgerProduct) -> None:
    product.run(
        "DO $$ BEGIN IF to_regrole('hidden_from') IS NULL THEN CREATE ROLE hidden_from LOGIN; END IF; END $$;"
        + GRANTS.replace("ledger_role", "hidden_from")
    )
    said = refused(product, product.url.replace("postgres@", "hidden_from@"))
    assert "row-level security hides rows of table `public.points_balances` from the database user" in said


def an_add(**arguments: str) -> dict[str, Any]:
    return {"add": AddFunction.model_construct(function="add_points", arguments=arguments)}


@pytest.mark.parametrize(
    ("store", "sentence"),
    [
        (
            {"balances": PLAIN.balances.model_copy(update={"table": "point_balances"})},
            "bestauth: table `public.point_balances` does not exist (near: `points_balances`, "
        ),
        (
            {"transactions": PLAIN.transactions.model_copy(update={"amount": "amounts"})},
            "bestauth: column `amounts` of table `public.points_transactions` does not exist (near: `amount`): "
            "correct `store.transactions.amount` in defs.yaml",
        ),
        (
            {"balances": PLAIN.balances.model_copy(update={"balance": "updated_at"})},
            "bestauth: column `updated_at` is of type timestamptz, where a whole number that can be written is needed: "
            "correct `store.balances.balance` in defs.yaml",
        ),
        (
            {"transactions": PLAIN.transactions.model_copy(update={"amount": "type"})},
            "bestauth: column `type` is of type text, where a whole number is needed: "
            "correct `store.transactions.amount` in defs.yaml",
        ),
        (
            {"tiers": PLAIN.tiers.model_copy(update={"period_end": "status"})},
            "bestauth: column `status` is of type text, where a timestamp that can be written is needed: "
            "correct `store.tiers.period_end` in defs.yaml",
        ),
        (
            {"subscriptions": PLAIN.subscriptions.model_copy(update={"metadata": "stripe_customer_id"})},
            "bestauth: column `stripe_customer_id` is of type text, where jsonb that can be written is needed: "
            "correct `store.subscriptions.metadata` in defs.yaml",
        ),
        (
            {"mapping": PLAIN.mapping.model_copy(update={"user": "supabase_user_id", "account": "bestauth_user_id"})},
            "bestauth: column `supabase_user_id` of `public.user_id_mapping` has no unique index, so a user could have "
            "several rows: add one, or correct `store.mapping.user` in defs.yaml",
        ),
        (
            {"users": PLAIN.users.model_copy(update={"id": "uid"})},
            "bestauth: column `uid` of table `public.bestauth_users` does not exist",
        ),
        (
            {"failures": FailureTable(table="failures", account="user_id", at="created_at")},
            "correct `store.failures.table` in defs.yaml",
        ),
        (
            {"plans": PlanTable(table="points_transactions", label="type", credits="type")},
            "not a number: correct `store.plans.credits` in defs.yaml",
        ),
        (
            {"balances": PLAIN.balances.model_copy(update={"balance": 'x"; drop table plans'})},
            "cannot be the name of a table or column (letters, digits and `_`, at most 63): "
            "correct `store.balances.balance` in defs.yaml",
        ),
        (
            {"add": ADD.model_copy(update={"function": "grant_points"})},
            "bestauth: function `public.grant_points` does not exist in this database: "
            "correct `store.add.function` in defs.yaml",
        ),
        (
            an_add(p_user="account", p_amount="amount", p_type="type"),
            "bestauth: function `public.add_points` has no parameter `p_user` (it has `p_user_id`, `p_amount`, "
            "`p_type`, `p_description`, `p_reference`): correct `store.add.arguments.p_user` in defs.yaml",
        ),
        (
            an_add(p_user_id="account", p_amount="amount"),
            "bestauth: `store.add.arguments` passes no type: name the parameters of `add_points` that take `account` "
            "and `amount` and `type` and `reference` and `description`",
        ),
        (
            {"add": AddFunction.model_construct(function="add_points", arguments={**ADD.arguments, "p type": "type"})},
            "`p type` cannot be the name of a function or parameter",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence_with_its_key_and_nothing_is_installed(
    product: LedgerProduct, store: dict[str, Any], sentence: str
) -> None:
    assert sentence in refused(product, **store)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "CREATE FUNCTION add_points(p_user_id text, p_amount integer, p_type text, p_description text,"
            " p_reference text) RETURNS void LANGUAGE sql AS ''",
            "bestauth: 2 functions `public.add_points` take these parameters: "
            "pass one more that tells them apart in `store.add.arguments`, or drop the others",
        ),
        (
            "DROP FUNCTION add_points; CREATE FUNCTION add_points(p_user_id uuid, p_amount integer, p_type text,"
            " p_description text, p_reference text, p_source text) RETURNS void LANGUAGE sql AS ''",
            "bestauth: function `public.add_points` needs its parameter `p_source`: "
            "pass it in `store.add.arguments` in defs.yaml, or give it a default",
        ),
        (
            "DROP FUNCTION add_points; CREATE FUNCTION add_points(uuid, integer, text) RETURNS void LANGUAGE sql AS ''",
            "has no parameter `p_amount` (it has none with a name)",
        ),
        (
            "DROP FUNCTION add_points; CREATE PROCEDURE add_points(p_user_id uuid, p_amount integer, p_type text)"
            " LANGUAGE sql AS ''",
            "function `public.add_points` does not exist",
        ),
        (
            "ALTER TABLE subscriptions_consolidated DROP CONSTRAINT subscriptions_consolidated_pkey",
            "column `user_id` of `public.subscriptions_consolidated` has no unique index, so an account could have "
            "several rows: add one, or correct `store.tiers.account` in defs.yaml",
        ),
        (
            "ALTER TABLE bestauth_subscriptions DROP CONSTRAINT bestauth_subscriptions_pkey",
            "so a user could have several rows: add one, or correct `store.subscriptions.user` in defs.yaml",
        ),
        (
            "ALTER TABLE points_balances RENAME TO b; CREATE VIEW points_balances AS SELECT * FROM b",
            "`public.points_balances` is not a table that can be locked and written: correct `store.balances.table`",
        ),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", 'run `REVOKE CREATE ON SCHEMA "public" FROM PUBLIC`'),
    ],
)
def test_a_product_that_is_made_otherwise_is_one_sentence(product: LedgerProduct, change: str, sentence: str) -> None:
    product.run(change)
    assert sentence in refused(product)


def test_users_may_be_a_view(product: LedgerProduct) -> None:
    """Some hosts keep users in a schema of their own and show them."""
    product.run(
        "ALTER TABLE bestauth_users RENAME TO hosted; CREATE VIEW bestauth_users AS SELECT id, email FROM hosted"
    )
    assert install(product.url, a_system()).first


def test_reserved_and_mixed_case_names_are_quoted(databases: Databases) -> None:
    names = {word: name for word, name in NAMES.items() if name != "E Mail"}
    product = create(databases.new(), names, "Other")
    assert install(product.url, a_system(names, "Other")).first


def test_another_call_of_the_function_renews_the_functions(product: LedgerProduct) -> None:
    install(product.url, a_system())
    arguments = {name: value for name, value in ADD.arguments.items() if value != "description"}
    quieter = a_system(add=AddFunction.model_construct(function="add_points", arguments=arguments))
    with plans_of(product, quieter) as plans, pytest.raises(Exception, match=r"there is no such plan|changed since"):
        plans.apply_batch("bestauth-none", 10)
    assert install(product.url, quieter).renewed


def test_no_function_may_be_called_by_everyone_and_each_is_pinned_to_a_path(product: LedgerProduct) -> None:
    install(product.url, a_system())
    functions = product.run(
        "SELECT proname, proconfig, "
        "EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) AS x WHERE x.grantee = 0) AS open "
        "FROM pg_proc WHERE pronamespace = 'credit_pipeline'::regnamespace"
    )
    assert [one["proname"] for one in functions if one["open"]] == []
    paths = {one["proname"]: [c for c in one["proconfig"] if c.startswith("search_path=")] for one in functions}
    assert paths.pop("write_bestauth") == ["search_path=public, pg_temp"]
    assert set(map(tuple, paths.values())) == {("search_path=pg_catalog, pg_temp",)}
