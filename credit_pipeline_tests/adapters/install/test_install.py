"""`init`: what it puts into a product's database, what it refuses, and that repeating it changes no pin."""

import threading
from dataclasses import replace
from importlib.resources import files
from typing import Any

import psycopg
import pytest

from credit_pipeline.adapters.install.install import install, print_sql
from credit_pipeline.adapters.install.write_functions import config_hash
from credit_pipeline.config.store import PlanTable
from credit_pipeline.domain.errors import ConfigurationError, StoreError
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline_tests.adapters.products.counter_product import (
    CATALOGUE,
    MIXED_CASE,
    PUBLIC,
    Product,
    a_system,
    an_installed_product,
    an_upgrade,
    apply_all,
    started,
)

MIGRATIONS = files("credit_pipeline.adapters.install.migrations") / "sql"
NEWEST = max(file.name[:4] for file in MIGRATIONS.iterdir() if file.name[0] == "0")
OBJECTS = """
SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name
FROM pg_proc AS p WHERE p.pronamespace = 'credit_pipeline'::regnamespace
UNION ALL SELECT 'relation ' || c.relname FROM pg_class AS c WHERE c.relnamespace = 'credit_pipeline'::regnamespace
UNION ALL SELECT 'row ' || k::text FROM (SELECT system, environment, config_hash FROM credit_pipeline.control) AS k
UNION ALL SELECT 'row ' || k::text FROM (SELECT system, plan, label, credits, rank FROM credit_pipeline.catalogue) AS k
UNION ALL SELECT 'version ' || version_num FROM credit_pipeline.schema_version
"""


def objects(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute(OBJECTS)}


def test_the_first_install_pins_environment_hash_and_catalogue(database: str) -> None:
    product = Product(database).build()
    report = install(database, PUBLIC)
    assert report.first
    assert not report.renewed
    assert report.schema_version == NEWEST
    assert report.pinned == {"free": 100, "starter": 1000, "pro": 5000}
    assert report.differences == ()
    assert product.run("SELECT system, environment, config_hash FROM credit_pipeline.control") == [
        {"system": "wix_app", "environment": "test", "config_hash": config_hash(PUBLIC)}
    ]


def test_a_repeat_changes_nothing(database: str) -> None:
    an_installed_product(database)
    before = objects(database)
    report = install(database, PUBLIC)
    assert not report.first
    assert not report.renewed
    assert objects(database) == before


def test_a_changed_allowance_is_reported_and_the_pin_stands(database: str) -> None:
    an_installed_product(database)
    dearer = Catalogue(
        plans=tuple(replace(plan, credits=50_000) if plan.name == "pro" else plan for plan in CATALOGUE.plans)
    )
    report = install(database, replace(PUBLIC, catalogue=dearer))
    assert report.pinned["pro"] == 5000
    assert report.differences == (
        "pro: pinned at 5,000 credits, the YAML says 50,000: "
        "the pin stands until `credit-pipeline init wix_app --accept-catalogue`",
    )


def test_a_plan_added_later_is_pinned_and_one_removed_is_reported(database: str) -> None:
    an_installed_product(database)
    plans = (*CATALOGUE.plans[:2], Plan(name="team", credits=9000, rank=3, label="team"))
    report = install(database, replace(PUBLIC, catalogue=Catalogue(plans=plans)))
    assert report.pinned == {"free": 100, "starter": 1000, "pro": 5000, "team": 9000}
    assert [difference.partition(":")[0] for difference in report.differences] == ["pro"]


def test_another_environment_is_refused(database: str) -> None:
    an_installed_product(database)
    with pytest.raises(ConfigurationError, match="pinned to environment `test`, but the YAML says `production`"):
        install(database, replace(PUBLIC, environment="production"))
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT environment FROM credit_pipeline.control").fetchone() == ("test",)


def test_other_columns_renew_the_functions_and_old_code_is_refused_until_it_is_renewed(database: str) -> None:
    product = an_installed_product(database)
    product.run("ALTER TABLE app_instances ADD COLUMN gained int NOT NULL DEFAULT 7000")
    product.add("a", "starter", 1000)
    other = a_system(total="gained")
    assert install(database, other).renewed
    with product.plans() as plans:
        plan_id = started(plans, an_upgrade("a"))
        with pytest.raises(Exception, match=r"changed since init: run `credit-pipeline init wix_app`"):
            plans.apply_batch(plan_id, 10)
    assert product.balance("a") == ("starter", 1000, 0)
    product.system = other
    with product.plans() as plans:
        [outcome] = apply_all(plans, plan_id)
    assert outcome.outcome == "stale_skipped"  # the total it saw is another column's
    assert outcome.before == {"plan": "starter", "total": 7000, "used": 0, "available": 7000}


def test_installs_at_the_same_time_take_turns(database: str) -> None:
    Product(database).build()
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def one() -> None:
        try:
            start.wait()
            install(database, PUBLIC)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert f"version {NEWEST}" in objects(database)


def test_a_database_of_the_first_version_is_upgraded_and_keeps_what_it_holds(database: str, databases: Any) -> None:
    product = Product(database).build()
    product.run("CREATE SCHEMA credit_pipeline; REVOKE ALL ON SCHEMA credit_pipeline FROM PUBLIC")
    with psycopg.connect(database) as connection:
        connection.execute((MIGRATIONS / "0001_schema.sql").read_text().encode())
        connection.execute(
            "CREATE TABLE credit_pipeline.schema_version (version_num varchar(32) NOT NULL,"
            " CONSTRAINT schema_version_pkc PRIMARY KEY (version_num));"
            "INSERT INTO credit_pipeline.schema_version VALUES ('0001');"
            "INSERT INTO credit_pipeline.control (system, environment, config_hash) VALUES ('wix_app', 'test', 'old');"
            "INSERT INTO credit_pipeline.observation (system, account, total, used, as_of)"
            " VALUES ('wix_app', 'a', 5, 2, '2026-03-01Z');"
            # functions of that version: one that returned less, and a door that nobody may be left to walk through
            "CREATE FUNCTION credit_pipeline.expected(c credit_pipeline.correction, OUT label text, OUT total bigint)"
            " LANGUAGE sql AS 'SELECT NULL::text, 1::bigint';"
            "CREATE FUNCTION credit_pipeline.write_wix_app(text, text, bigint, bigint, bigint, boolean) RETURNS void"
            " LANGUAGE sql AS ''"
        )
    report = install(database, PUBLIC)
    assert (report.schema_version, report.first, report.renewed) == (NEWEST, False, True)
    assert product.run("SELECT account, total, used, gap FROM credit_pipeline.observation") == [
        {"account": "a", "total": 5, "used": 2, "gap": None}
    ]
    assert objects(database) == objects(an_installed_product(databases.new()).url)


def test_two_systems_share_a_database(database: str) -> None:
    an_installed_product(database)
    second = replace(MIXED_CASE, name="other_app")
    product = Product(database, second).build()
    install(database, second)
    assert {row["system"] for row in product.run("SELECT system FROM credit_pipeline.control")} == {
        "wix_app",
        "other_app",
    }


def test_the_printed_script_installs_the_same(database: str, databases: Any) -> None:
    an_installed_product(database)
    other = databases.new()
    Product(other).build()
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute(print_sql(PUBLIC).encode())
    assert objects(other) == objects(database)
    assert not install(other, PUBLIC).renewed


def test_no_function_may_be_called_by_everyone_and_each_is_pinned_to_a_path(database: str) -> None:
    product = an_installed_product(database)
    functions = product.run(
        "SELECT proname, proconfig, prosecdef, "
        "EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) AS x WHERE x.grantee = 0) AS open "
        "FROM pg_proc WHERE pronamespace = 'credit_pipeline'::regnamespace"
    )
    assert len(functions) >= 10
    assert [one["proname"] for one in functions if one["open"]] == []
    assert {one["proname"] for one in functions if one["prosecdef"]} == {
        *("apply_batch", "note_apply", "decide", "inherit"),  # what roles without rights on the tables may call
        *("request_sync", "record_webhook"),  # the product's doors
        "tell_of_dead_webhook",  # a trigger, whoever has the webhook die
    }
    paths = {one["proname"]: [c for c in one["proconfig"] if c.startswith("search_path=")] for one in functions}
    assert paths.pop("write_wix_app") == ["search_path=public, pg_temp"]
    assert set(map(tuple, paths.values())) == {("search_path=pg_catalog, pg_temp",)}


@pytest.mark.parametrize(
    ("store", "sentence"),
    [
        (
            {"table": "app_instance"},
            "wix_app: table `public.app_instance` does not exist (near: `app_instances`",
        ),
        ({"schema": "publik"}, "wix_app: schema `publik` does not exist in this database: correct `store.schema`"),
        (
            {"total": "credit_total"},
            "wix_app: column `credit_total` of table `public.app_instances` does not exist (near: `credits_total`",
        ),
        ({"used": "owner_email"}, "column `owner_email` is of type text, where a whole number"),
        ({"updated_at": "plan_id"}, "column `plan_id` is of type text, where a timestamp"),
        ({"account": "plan_id", "label": "instance_id"}, "`plan_id` of `public.app_instances` has no unique index"),
        ({"table": 'x"; drop table plans'}, "cannot be the name of a table or column"),
        (
            {"plans": PlanTable(table="plans", label="id", credits="credits")},
            "column `credits` of table `public.plans` does not exist",
        ),
    ],
)
def test_names_that_do_not_fit_the_database_are_one_sentence_and_nothing_is_installed(
    database: str, store: dict[str, Any], sentence: str
) -> None:
    product = Product(database).build()
    with pytest.raises(ConfigurationError) as refusal:
        install(database, a_system(**store))
    assert sentence in str(refusal.value)
    assert "in defs.yaml" in str(refusal.value)
    assert product.run("SELECT to_regnamespace('credit_pipeline') AS schema") == [{"schema": None}]


def test_a_view_is_not_a_table_one_can_lock(database: str) -> None:
    product = Product(database).build()
    product.run("CREATE VIEW seen AS SELECT * FROM app_instances")
    with pytest.raises(ConfigurationError, match="is not a table that can be locked and written"):
        install(database, a_system(table="seen"))


def test_a_schema_where_anyone_may_create_functions_is_refused(database: str) -> None:
    product = Product(database).build()
    product.run("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with pytest.raises(ConfigurationError, match='run `REVOKE CREATE ON SCHEMA "public" FROM PUBLIC`'):
        install(database, PUBLIC)


def test_a_role_that_may_only_read_is_told_the_grant(database: str) -> None:
    product = Product(database).build()
    product.run(
        "DO $$ BEGIN IF to_regrole('reader_only') IS NULL THEN CREATE ROLE reader_only LOGIN; END IF; END $$;"
        "GRANT SELECT ON app_instances, plans TO reader_only"
    )
    with pytest.raises(ConfigurationError, match=r'run `GRANT SELECT, UPDATE ON "public"\."app_instances" TO`'):
        install(database.replace("postgres@", "reader_only@"), PUBLIC)


def test_a_generated_total_cannot_be_written(database: str) -> None:
    product = Product(database).build()
    product.run("ALTER TABLE app_instances ADD COLUMN twice int GENERATED ALWAYS AS (credits_total * 2) STORED")
    with pytest.raises(ConfigurationError, match="column `twice` is a generated column"):
        install(database, a_system(total="twice"))


def test_a_server_that_does_not_answer_is_a_sentence_without_the_url() -> None:
    with pytest.raises(StoreError) as refusal:
        install("postgresql://somebody:secret@127.0.0.1:1/credits", PUBLIC)
    assert str(refusal.value) == (
        "wix_app: the database of PRODUCT_URL is not running where PRODUCT_URL points: start it or correct PRODUCT_URL"
    )


def test_mixed_case_and_reserved_names_are_quoted(database: str) -> None:
    product = an_installed_product(database, MIXED_CASE)
    product.add("a", "starter", 1200, 200)
    with product.plans() as plans:
        [outcome] = apply_all(plans, started(plans, an_upgrade("a", seen=("starter", 1200, 200))))
    assert outcome.outcome == "changed"
    assert product.balance("a") == ("pro", 6000, 0)
