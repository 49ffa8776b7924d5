"""Building a walled install: by whom, again and again, over what was there, and from a script.

What each role may do is asked in `test_walled.py`.
"""

from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from credit_pipeline.adapters.install.install import Wanted, install, print_sql
from credit_pipeline.domain.errors import ConfigurationError, PlanError
from credit_pipeline_tests.adapters.products import ledger_product
from credit_pipeline_tests.adapters.products.counter_product import (
    PUBLIC,
    Product,
    an_installed_product,
    an_upgrade,
    apply_all,
    started,
)
from credit_pipeline_tests.adapters.products.walled_product import Walled, as_login, make_login
from credit_pipeline_tests.conftest import Databases

WALLED = Wanted(walled=True)
ACLS = """
SELECT format('%s %s %s %s', c.relname, a.attname, coalesce(a.attacl, c.relacl)::text, o.rolname) AS said
FROM pg_class AS c JOIN pg_roles AS o ON o.oid = c.relowner
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
WHERE c.relnamespace IN ('credit_pipeline'::regnamespace, 'public'::regnamespace) AND c.relkind = 'r'
UNION ALL
SELECT format('%s(%s) %s %s', p.proname, pg_get_function_identity_arguments(p.oid), p.proacl::text, o.rolname)
FROM pg_proc AS p JOIN pg_roles AS o ON o.oid = p.proowner WHERE p.pronamespace = 'credit_pipeline'::regnamespace
UNION ALL
SELECT format('%s %s %s', n.nspname, n.nspacl::text, o.rolname) FROM pg_namespace AS n JOIN pg_roles AS o
ON o.oid = n.nspowner WHERE n.nspname IN ('credit_pipeline', 'public')
"""


def acls(product: Product) -> set[str]:
    """Every right in both schemas, the database's own name left out."""
    [row] = product.run("SELECT current_database() AS name")
    return {found["said"].replace(row["name"], "DB") for found in product.run(ACLS)}


def test_everything_of_ours_belongs_to_a_role_that_cannot_log_in(database: str) -> None:
    walled = Walled(database)
    assert walled.report.install == "walled"
    assert [line.split()[1] for line in walled.report.logins] == [
        f'"{walled.role(word)}"' for word in ("reader", "corrector", "approver")
    ]
    owner = walled.role("owner")
    assert owner == f"credit_pipeline_{walled.database}_owner"
    rows = walled.product.run(
        "SELECT DISTINCT rolname, rolcanlogin, rolsuper FROM pg_roles JOIN (SELECT relowner AS oid FROM pg_class WHERE"
        " relnamespace = 'credit_pipeline'::regnamespace UNION SELECT proowner FROM pg_proc WHERE"
        " pronamespace = 'credit_pipeline'::regnamespace) AS owned USING (oid)"
    )
    assert rows == [{"rolname": owner, "rolcanlogin": False, "rolsuper": False}]


def test_a_plain_repeat_keeps_the_walls_and_changes_no_right(database: str) -> None:
    walled = Walled(database)
    before = acls(walled.product)
    report = install(database, PUBLIC)
    assert (report.install, report.first, report.renewed) == ("walled", False, False)
    assert acls(walled.product) == before


def test_a_single_role_install_is_walled_later_and_goes_on_where_it_was(database: str) -> None:
    product = an_installed_product(database)
    product.run("ALTER FUNCTION note_change() SECURITY DEFINER SET search_path = public")
    product.add("a", "starter", 1000)
    with product.plans() as plans:
        plan_id = started(plans, an_upgrade("a"))
    assert install(database, PUBLIC).install == "single-role"
    assert install(database, PUBLIC, None, WALLED).install == "walled"
    with product.plans() as plans:
        [outcome] = apply_all(plans, plan_id)
    assert outcome.outcome == "changed"


def test_its_rights_are_those_of_a_fresh_one(databases: Databases) -> None:
    later = an_installed_product(databases.new())
    later.run("ALTER FUNCTION note_change() SECURITY DEFINER SET search_path = public, pg_temp")
    install(later.url, PUBLIC, None, WALLED)
    assert acls(later) == acls(Walled(databases.new()).product)


def test_the_printed_script_builds_the_same(databases: Databases) -> None:
    product = Product(databases.new()).build()
    with psycopg.connect(product.url, autocommit=True) as connection:
        connection.execute(print_sql(PUBLIC, walled=True).encode())
    assert acls(product) == acls(Walled(databases.new()).product)
    report = install(product.url, PUBLIC)
    assert (report.install, report.renewed) == ("walled", False)


def test_the_printed_script_of_a_ledger_builds_the_same(databases: Databases) -> None:
    system = ledger_product.a_system()
    printed, done = (ledger_product.create(databases.new()) for _ in range(2))
    with psycopg.connect(printed.url, autocommit=True) as connection:
        connection.execute(print_sql(system, walled=True).encode())
    assert install(done.url, system, None, WALLED).install == "walled"
    assert install(printed.url, system).renewed is False
    assert acls(Product(printed.url)) == acls(Product(done.url))


def a_dba(database: str, options: str = "CREATEROLE") -> tuple[Product, str]:
    """The product in the hands of a login that is no superuser, and that login's URL."""
    product = Product(database).build()
    name = f"dba_{database.partition('/test_')[2][:12]}"
    make_login(product, name, options=options)
    [row] = product.run("SELECT current_database() AS name")
    with psycopg.connect(database) as connection:
        for statement in (
            "ALTER DATABASE {db} OWNER TO {dba}",
            "ALTER TABLE app_instances OWNER TO {dba}",
            "ALTER TABLE plans OWNER TO {dba}",
            "ALTER TABLE instance_changes OWNER TO {dba}",
            "ALTER FUNCTION note_change() OWNER TO {dba}",
        ):
            words = {"db": sql.Identifier(row["name"]), "dba": sql.Identifier(name)}
            connection.execute(sql.SQL(statement).format(**words))  # type: ignore[arg-type]
    product.run("ALTER FUNCTION note_change() SECURITY DEFINER SET search_path = public")
    return product, as_login(database, name)


def test_a_dba_with_createrole_needs_no_superuser_and_stays_outside(database: str) -> None:
    product, url = a_dba(database)
    report = install(url, PUBLIC, None, WALLED)
    assert (report.install, report.first) == ("walled", True)
    owner = report.logins[0].split('"')[1].replace("_reader", "_owner")
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT pg_has_role(current_user, %s, 'USAGE')", (owner,)).fetchone()
        assert found == (False,)
    before = acls(product)
    assert install(url, PUBLIC).install == "walled"
    assert acls(product) == before


def test_a_dba_without_createrole_is_told_what_to_do_and_nothing_is_left(database: str) -> None:
    product, url = a_dba(database, "")
    with pytest.raises(ConfigurationError, match=r"may not build the walls .*--walled --print-sql"):
        install(url, PUBLIC, None, WALLED)
    assert product.run("SELECT to_regnamespace('credit_pipeline') AS schema") == [{"schema": None}]


def test_one_who_does_not_own_the_products_tables_is_told_too(database: str) -> None:
    product, url = a_dba(database)
    product.run("ALTER TABLE app_instances OWNER TO postgres")
    product.run(sql.SQL("GRANT SELECT ON app_instances TO {}").format(sql.Identifier(url_user(url))).as_string(None))
    with pytest.raises(
        ConfigurationError, match=r"may not give `credit_pipeline_\w+_owner` its rights on `public\.app_i"
    ):
        install(url, PUBLIC, None, WALLED)


def url_user(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["user"])


def test_another_user_cannot_renew_it(database: str) -> None:
    walled = Walled(database)
    stranger = walled.login("stranger", "corrector")
    with pytest.raises(ConfigurationError, match="the install in this database is walled, and this database user may"):
        install(stranger, PUBLIC)


def test_a_long_database_name_is_shortened_and_told_apart(databases: Databases) -> None:
    names = []
    for n in range(2):
        url = databases.new()
        product = Product(url).build()
        [row] = product.run("SELECT current_database() AS name")
        long = f"{row['name']}_{'long ' * 8}{n}"
        with psycopg.connect(url.replace(row["name"], "postgres"), autocommit=True) as connection:
            words = {"old": sql.Identifier(row["name"]), "new": sql.Identifier(long)}
            connection.execute(sql.SQL("ALTER DATABASE {old} RENAME TO {new}").format(**words))
        renamed = psycopg.conninfo.make_conninfo(url, dbname=long)
        report = install(renamed, PUBLIC, None, WALLED)
        names.append(report.logins[1].split('"')[1])
        with psycopg.connect(url.replace(row["name"], "postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(long)))
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 63
    assert all(name.endswith("_corrector") for name in names)


def test_row_level_security_is_overcome_by_a_superuser_alone(databases: Databases) -> None:
    product, url = a_dba(databases.new())
    product.run("ALTER TABLE app_instances ENABLE ROW LEVEL SECURITY")
    with pytest.raises(ConfigurationError, match=r"row-level security hides rows .* NOLOGIN BYPASSRLS`"):
        install(url, PUBLIC, None, WALLED)
    report = install(product.url, PUBLIC, None, WALLED)
    assert any("BYPASSRLS, which no role hands on" in note for note in report.notes)
    product.add("a", "starter", 1000)
    with product.plans() as plans:
        [outcome] = apply_all(plans, started(plans, an_upgrade("a")))
    assert outcome.outcome == "changed"


def test_a_database_that_is_closed_to_everyone_is_opened_for_the_roles(database: str) -> None:
    product, url = a_dba(database)
    [row] = product.run("SELECT current_database() AS name")
    product.run(f'REVOKE ALL ON DATABASE "{row["name"]}" FROM PUBLIC')
    report = install(url, PUBLIC, None, WALLED)
    corrector = report.logins[1].split('"')[1]
    [may] = product.run("SELECT has_database_privilege(%s, current_database(), 'CONNECT, TEMPORARY') AS may", corrector)
    assert may == {"may": True}


def test_a_trigger_that_would_run_with_our_rights_is_named(database: str) -> None:
    Product(database).build()
    report = install(database, PUBLIC, None, WALLED)
    assert [note.partition(" runs as ")[0] for note in report.notes] == ["trigger `noted` of `public.app_instances`"]


def test_whoever_may_create_in_the_products_schema_is_named(databases: Databases) -> None:
    product = Product(databases.new()).build()
    [row] = product.run("SELECT current_database() AS name")
    make_login(product, f"intruder_{row['name']}")
    product.run(f'GRANT CREATE ON SCHEMA public TO "intruder_{row["name"]}"')
    for wanted in (Wanted(), WALLED):
        with pytest.raises(
            ConfigurationError, match=rf'REVOKE CREATE ON SCHEMA "public" FROM "intruder_{row["name"]}"'
        ):
            install(product.url, PUBLIC, None, wanted)
    product.run(f'ALTER TABLE app_instances OWNER TO "intruder_{row["name"]}"')
    assert install(product.url, PUBLIC).first  # who owns the table can put a trigger on it anyway


def test_a_second_system_in_a_walled_database_is_walled_too(database: str) -> None:
    walled = Walled(database)
    second = replace(PUBLIC, name="second_app")
    report = install(database, second)
    assert (report.install, report.first) == ("walled", True)
    assert install(walled.product.url, PUBLIC).renewed is False


def test_the_other_systems_of_a_database_that_is_walled_wait_for_their_own_init(database: str) -> None:
    product = an_installed_product(database)
    second = replace(PUBLIC, name="second_app")
    report = install(database, second, None, WALLED)
    assert report.notes[-1] == (
        "wix_app is walled now too, and nothing of it is applied until `credit-pipeline init wix_app`"
    )
    with product.plans() as plans, pytest.raises(PlanError, match="run `credit-pipeline init wix_app`"):
        apply_all(plans, started(plans, an_upgrade("a")))
    assert install(database, PUBLIC).install == "walled"
