"""The product's callers at the doors: what each leaves there, what its login may do, the page that tells of them."""

import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from credit_pipeline.adapters.inbox.webhook_hints import hint_of
from credit_pipeline.adapters.install.install import install
from credit_pipeline.domain.errors import ConfigurationError, StoreError
from credit_pipeline.sandbox.callers import CALLERS, DOORS, PRODUCTS, Callers, make_login
from credit_pipeline.sandbox.lifecycle import sandbox_system
from credit_pipeline.sandbox.scenarios.wix_app.product import WixApp
from credit_pipeline_tests.conftest import Databases

PAGE = (Path(__file__).parents[2] / "docs" / "doors.md").read_text()
ID = str(UUID(int=7))
BOTH = pytest.mark.parametrize("name", list(PRODUCTS))

# Everything that a role which is no superuser may do in this database, but what everybody may do in any.
_MAY = """
SELECT n.nspname || '.' || c.relname AS what, p.word
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p (word)
WHERE n.nspname IN ('public', 'credit_pipeline') AND c.relkind IN ('r', 'v', 'm', 'p')
  AND has_table_privilege(%(login)s, c.oid, p.word)
UNION ALL
SELECT n.nspname || '.' || c.relname, p.word FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p (word)
WHERE n.nspname = 'credit_pipeline' AND c.relkind IN ('r', 'v', 'm', 'p')
  AND has_any_column_privilege(%(login)s, c.oid, p.word)
UNION ALL
SELECT n.nspname || '.' || c.relname, 'sequence' FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN ('public', 'credit_pipeline')
  AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(%(login)s, c.oid, 'USAGE, SELECT, UPDATE') END
UNION ALL
SELECT n.nspname || '.' || f.proname, 'EXECUTE' FROM pg_proc AS f JOIN pg_namespace AS n ON n.oid = f.pronamespace
WHERE n.nspname IN ('public', 'credit_pipeline') AND has_function_privilege(%(login)s, f.oid, 'EXECUTE')
UNION ALL
SELECT n.nspname, p.word FROM pg_namespace AS n, unnest(ARRAY['USAGE', 'CREATE']) AS p (word)
WHERE n.nspname !~ '^(pg_|information_schema)' AND has_schema_privilege(%(login)s, n.oid, p.word)
UNION ALL
SELECT 'database', p.word FROM unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) AS p (word)
WHERE has_database_privilege(%(login)s, current_database(), p.word)
UNION ALL
SELECT 'member', r.rolname FROM pg_roles AS r
WHERE r.rolname <> %(login)s AND pg_has_role(%(login)s, r.oid, 'MEMBER')
UNION ALL
SELECT 'attribute', a.word FROM pg_roles AS r, unnest(ARRAY['super', 'createrole', 'createdb', 'replication'],
    ARRAY[r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication]) AS a (word, has)
WHERE r.rolname = %(login)s AND a.has
"""


class Product:
    """One installed product of the sandbox's, with nobody in it."""

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url

    def run(self, statement: str, words: Any = None) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), words)
            return cursor.fetchall() if cursor.description else []

    def count(self, table: str) -> int:
        [row] = self.run(f"SELECT count(*) AS n FROM {table}")
        return int(row["n"])


@pytest.fixture
def product(databases: Databases) -> Iterator[Callable[[str], Product]]:
    """A product by its name. Roles are the server's, so the logins are dropped afterwards."""
    made: list[Product] = []

    def of(name: str) -> Product:
        system = sandbox_system(name)

        def fill(url: str) -> None:
            if name == "wix_app":
                with WixApp(url) as app:
                    app.create(system.catalogue)
            else:
                with psycopg.connect(url) as connection:
                    connection.execute(
                        files("credit_pipeline.sandbox.scenarios.bestauth").joinpath("product.sql").read_bytes()
                    )
            install(url, system)

        one = Product(name, databases.new(databases.template(f"callers_{name}", fill)))
        # As a hosted database is handed out; the template's PUBLIC may still connect.
        one.run("DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()); END $$")
        made.append(one)
        return one

    yield of
    for one in made:
        for row in one.run("SELECT rolname FROM pg_roles WHERE rolname = left(current_database(), 50) || '_app'"):
            one.run(f'DROP OWNED BY "{row["rolname"]}"; DROP ROLE "{row["rolname"]}"')


@BOTH
def test_each_caller_leaves_at_its_door_what_the_pipeline_needs(product: Callable[[str], Product], name: str) -> None:
    one, other = product(name), str(uuid4())
    with Callers(one.url, name) as callers:
        assert callers.provisioned(ID) == "accepted"
        assert callers.opened(ID) == "waiting"
        assert callers.button(other) == "accepted"
        one.run("UPDATE credit_pipeline.sync_request SET state = 'done'")
        assert callers.button(other) == "limited"
        assert callers.webhook(ID) == "recorded"
    asked = one.run("SELECT account, reason, requested_by FROM credit_pipeline.sync_request ORDER BY id")
    assert [(row["account"], row["reason"]) for row in asked] == [(ID, "provisioned"), (other, "sync button")]
    assert {row["requested_by"] for row in asked} == {make_login(one.url, PRODUCTS[name])}
    [kept] = one.run("SELECT * FROM credit_pipeline.webhook_event")
    assert (kept["system"], kept["state"], kept["verified_at"] is None) == (name, "failed", False)
    assert hint_of(kept["provider"], bytes(kept["raw"])).names == (ID,)
    table, column = ("app_instances", "instance_id") if name == "wix_app" else ("points_balances", "user_id")
    assert one.run(f"SELECT {column}::text AS id FROM {table}") == [{"id": ID}]


@BOTH
def test_provisioning_twice_makes_one_account(product: Callable[[str], Product], name: str) -> None:
    one = product(name)
    with Callers(one.url, name) as callers:
        assert [callers.provisioned(ID) for _ in range(2)] == ["accepted", "waiting"]
    if name == "bestauth":
        assert one.count("user_id_mapping") == one.count("bestauth_users") == 1


@BOTH
def test_an_account_that_cannot_be_made_is_not_asked_about(product: Callable[[str], Product], name: str) -> None:
    one = product(name)
    with Callers(one.url, name) as callers, pytest.raises(StoreError, match="the product's own call was refused"):
        callers.provisioned("no id at all")
    assert one.count("credit_pipeline.sync_request") == 0


def test_a_product_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match="name one of wix_app, bestauth"):
        Callers("", "shop")


@BOTH
def test_the_login_may_call_the_doors_make_accounts_and_nothing_else(
    product: Callable[[str], Product], name: str
) -> None:
    one = product(name)
    login = make_login(one.url, PRODUCTS[name])
    install(one.url, sandbox_system(name))  # a later init leaves it so
    may = {(row["what"], row["word"]) for row in one.run(_MAY, {"login": login})}
    own = {(f"public.{table}", word) for table in PRODUCTS[name].written for word in ("SELECT", "INSERT")}
    doors = {(f"credit_pipeline.{door}", "EXECUTE") for door in DOORS}
    assert may == own | doors | {("credit_pipeline", "USAGE"), ("public", "USAGE"), ("database", "CONNECT")}
    for refused in (
        "SELECT FROM credit_pipeline.webhook_event",
        "UPDATE credit_pipeline.control SET stopped_at = NULL",
        "SELECT credit_pipeline.system_meant(NULL, NULL)",
        "CREATE TABLE credit_pipeline.mine ()",
        "CREATE TEMP TABLE mine ()",
    ):
        with (
            psycopg.connect(make_conninfo(one.url, user=login)) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(refused.encode())


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_shows_every_caller_and_its_sql_runs_as_it_stands(product: Callable[[str], Product]) -> None:
    """SQL as it is, JavaScript's statements with their own placeholders, Python as a program."""
    one = product("wix_app")
    one.run("INSERT INTO credit_pipeline.control (system, environment, config_hash, provider) "
            "SELECT 'shop', environment, config_hash, 'stripe' FROM credit_pipeline.control")  # fmt: skip
    one.run("DO $$ BEGIN EXECUTE format('CREATE ROLE %I LOGIN', left(current_database(), 50) || '_app'); END $$")
    [row] = one.run("SELECT quote_ident(left(current_database(), 50) || '_app') AS login")
    login = str(row["login"])
    (grants,) = snippets("sql")
    one.run(re.sub(r"\bapp\b", login, grants))
    one.run(re.sub(r"\bapp\b", login, "GRANT INSERT ON app_instances TO app; GRANT USAGE ON SCHEMA public TO app"))
    one.run(f"DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO {login}', current_database()); END $$")
    said = []
    with psycopg.connect(make_conninfo(one.url, user=login.strip('"')), autocommit=True) as connection:
        cursor = psycopg.RawCursor(connection)
        statements = [
            found for code in snippets("js") for found in re.findall(r'query\("(.*?)"(?:, \[(.*?)\])?\)', code)
        ]
        values = {"id": ID, "raw": b"{}", "error.name": "TypeError"}
        for statement, names in statements:
            words = [values[word.strip()] for word in names.split(",")] if names else []
            cursor.execute(_of_one(statement).encode(), words)
            said += cursor.fetchall() if cursor.description else []
    with psycopg.connect(make_conninfo(one.url, user=login.strip('"'))) as connection:
        here = {"db": _Named(connection), "account": str(uuid4()), "event": {"id": "evt_1"}, "raw": b"{}"}
        here["handle"] = lambda event: 1 / 0
        for code in snippets("python"):
            exec(code, here)
        said.append((here["said"],))
    assert len(statements) == 6
    assert said == [("accepted",), ("waiting",), ("recorded",), ("accepted",)]
    kept = one.run("SELECT provider, event_id, error FROM credit_pipeline.webhook_event ORDER BY id")
    assert [(row["provider"], row["error"]) for row in kept] == [("wix", "TypeError"), ("stripe", "ZeroDivisionError")]
    assert [row["event_id"][:7] for row in kept] == ["sha256:", "evt_1"]


def _of_one(statement: str) -> str:
    """Two systems share the database here, so that both providers are there; a request must name its own then."""
    return re.sub(r"request_sync\((.*?)\)", r"request_sync(\1, system => 'wix_app')", statement)


class _Named:
    """A connection that names the system, as `_of_one` does."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.commit, self.rollback = connection.commit, connection.rollback

    def execute(self, statement: str, words: tuple[Any, ...]) -> psycopg.Cursor[Any]:
        return self._connection.execute(_of_one(statement).encode(), words)


def test_the_page_names_what_there_is() -> None:
    assert [word for word in CALLERS if word.split("_")[0] not in PAGE.lower()] == []
    assert "undelivered_sensor" in PAGE
    for word in ("accepted", "waiting", "limited", "recorded", "known"):
        assert f"`{word}`" in PAGE
