"""What a database user may do with an install, and the missing right in one sentence, asked as real logins."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.adapters.install.install import install
from credit_pipeline.adapters.install.rights import Rights, rights_of
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC, Product, an_installed_product
from credit_pipeline_tests.adapters.products.walled_product import FOUR_EYES, Walled, as_login, make_login

READS = 'GRANT SELECT ON app_instances, plans TO "{login}"'


def a_stranger(product: Product, *grants: str) -> str:
    """The URL of a login that has these rights only."""
    [row] = product.run("SELECT current_database() AS name")
    login = f"stranger_{row['name']}"
    make_login(product, login)
    for grant in grants:
        product.run(grant.replace("{login}", login).replace("{database}", row["name"]))
    return as_login(product.url, login)


def test_who_installed_it_may_do_everything(database: str) -> None:
    product = Product(database).build()
    assert rights_of(PUBLIC, database) == Rights(install=None)
    install(database, PUBLIC)
    assert rights_of(PUBLIC, database) == Rights(install="single-role", four_eyes=False)
    assert rights_of(replace(PUBLIC, name="second_app"), database) == Rights(install=None)
    product.run("UPDATE credit_pipeline.control SET failed_applies = 2")
    assert rights_of(PUBLIC, database).failed_applies == 2


def test_without_a_schema_and_the_right_to_make_one_it_is_report_only(database: str) -> None:
    product = Product(database).build()
    found = rights_of(PUBLIC, a_stranger(product, READS))
    [row] = product.run("SELECT current_database() AS name")
    assert found.install == "report-only"
    assert found.missing == (
        "wix_app: report-only, because the database user of PRODUCT_URL may not create the schema credit_pipeline: "
        f'as the database\'s owner run `GRANT CREATE ON DATABASE "{row["name"]}" TO` that user, '
        "then `credit-pipeline init wix_app`"
    )


@pytest.mark.parametrize("grants", [(), ("GRANT USAGE ON SCHEMA credit_pipeline TO {quoted}",)])
def test_with_a_schema_that_it_may_not_use_it_is_report_only_and_can_still_be_read(
    database: str, tmp_path: Path, grants: tuple[str, ...]
) -> None:
    product = an_installed_product(database)
    product.add("a", "starter", 1000)
    url = a_stranger(product, READS, *(grant.replace("{quoted}", '"{login}"') for grant in grants))
    found = rights_of(PUBLIC, url)
    assert found.install == "report-only"
    assert found.missing is not None
    assert "may not save and apply plans: use the user that ran init, or" in found.missing
    environ = {"PRODUCT_URL": url, "APP_ID": "app", "APP_SECRET": "hidden"}
    with open_gateways(PUBLIC, tmp_path, environ) as gateways:
        assert gateways.store.read()["account_id"].to_pylist() == ["a"]
        assert not gateways.memory.installed()


def test_in_a_walled_install_the_missing_role_is_named(database: str) -> None:
    walled = Walled(database, FOUR_EYES)
    reader, approver = walled.login("reader", "reader"), walled.login("approver", "approver")
    for url in (reader, approver):
        found = rights_of(walled.system, url)
        assert found.install == "report-only"
        assert found.missing is not None
        assert found.missing.endswith(f'as a superuser run `GRANT "{walled.role("corrector")}" TO` that user')
    assert rights_of(walled.system, walled.login("corrector", "corrector")) == Rights(install="walled", four_eyes=True)


def test_reading_and_writing_go_through_their_own_logins(database: str, tmp_path: Path) -> None:
    walled = Walled(database)
    store = PUBLIC.store.model_copy(update={"reader_url_env": "READER_URL", "corrector_url_env": "CORRECTOR_URL"})
    system = replace(PUBLIC, store=store)
    environ = {
        "READER_URL": walled.login("reader", "reader"),
        "CORRECTOR_URL": walled.login("corrector", "corrector"),
        "APP_ID": "app",
        "APP_SECRET": "hidden",
    }
    walled.product.add("a", "starter", 1000)
    with open_gateways(system, tmp_path, environ) as gateways:
        assert gateways.store.read()["account_id"].to_pylist() == ["a"]
        assert gateways.memory.installed()
        assert list(gateways.memory.remembered([AccountId("a")], datetime.now(UTC))) == ["a"]
        assert gateways.plans.pinned()["pro"] == 5000
    users = walled.product.run("SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()")
    assert {"reader", "corrector"}.isdisjoint(row["usename"] for row in users)  # closed at the end
