"""Opening one system's gateways: what must be in the environment, and that nothing is contacted before it is used."""

from dataclasses import replace
from pathlib import Path

import pytest

from credit_pipeline.adapters.connect import Role, billing_identity, database_of, open_gateways
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError, StoreError
from credit_pipeline.services.collect.ports import IdentityStore
from credit_pipeline_tests.adapters.products import ledger_product
from credit_pipeline_tests.adapters.products.counter_product import a_copied_product, a_system
from credit_pipeline_tests.conftest import Databases

NOWHERE = {"PRODUCT_URL": "postgresql://nobody@127.0.0.1:1/nothing", "APP_ID": "app", "APP_SECRET": "hidden"}


def refusal(tmp_path: Path, environ: dict[str, str], system: CreditSystem | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught, open_gateways(system or a_system(), tmp_path, environ):
        pass
    return str(caught.value)


def test_a_missing_variable_is_named_with_what_to_set_it_to(tmp_path: Path) -> None:
    assert refusal(tmp_path, NOWHERE | {"PRODUCT_URL": " "}) == (
        "wix_app: set PRODUCT_URL to the credit store's Postgres URL"
    )


def test_all_missing_variables_are_named_at_once(tmp_path: Path) -> None:
    assert refusal(tmp_path, {}) == (
        "wix_app: set PRODUCT_URL to the credit store's Postgres URL and APP_ID to the Wix app's id "
        "and APP_SECRET to the Wix app's secret"
    )


def test_a_value_that_is_no_url_is_not_repeated(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, NOWHERE | {"PRODUCT_URL": "hidden"})
    assert sentence.startswith("wix_app: PRODUCT_URL is not a Postgres URL")
    assert "hidden" not in sentence


def test_nothing_is_contacted_or_made_before_it_is_used(tmp_path: Path) -> None:
    with open_gateways(a_system(), tmp_path, NOWHERE) as gateways:
        assert gateways.billing.provider == "wix"
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(StoreError):
            gateways.store.read()


def test_a_variable_may_replace_the_billing_address(tmp_path: Path) -> None:
    system = a_system()
    system = replace(system, billing=system.billing.model_copy(update={"base_url_env": "BILLING_URL"}))
    with open_gateways(system, tmp_path, NOWHERE) as gateways:
        assert "www.wixapis.com" in repr(gateways.billing)
    with open_gateways(system, tmp_path, NOWHERE | {"BILLING_URL": "http://127.0.0.1:9"}) as gateways:
        assert "127.0.0.1" in repr(gateways.billing)


def test_store_memory_and_plans_share_one_database(tmp_path: Path, databases: Databases) -> None:
    product = a_copied_product(databases)
    product.add("acct-1", "pro", 5000)
    with open_gateways(a_system(), tmp_path, NOWHERE | {"PRODUCT_URL": product.url}) as gateways:
        assert gateways.store.read()["account_id"].to_pylist() == ["acct-1"]
        assert gateways.memory.installed()
        assert gateways.plans.pinned() == {"free": 100, "starter": 1000, "pro": 5000}


LEDGER = {"PRODUCT_URL": NOWHERE["PRODUCT_URL"], "STRIPE_KEY": "rk_hidden"}


def test_a_ledgers_variables_are_named_too(tmp_path: Path) -> None:
    assert refusal(tmp_path, {}, ledger_product.a_system()) == (
        "bestauth: set PRODUCT_URL to the credit store's Postgres URL "
        "and STRIPE_KEY to a restricted, read-only Stripe key"
    )


def test_a_ledger_is_opened_with_stripe_and_nothing_is_contacted(tmp_path: Path) -> None:
    with open_gateways(ledger_product.a_system(), tmp_path, LEDGER) as gateways:
        assert (gateways.billing.provider, gateways.billing.lists) == ("stripe", True)
        assert "api.stripe.com" in repr(gateways.billing)
        assert isinstance(gateways.store, IdentityStore)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(StoreError):
            gateways.store.identities()


def test_a_variable_may_replace_stripes_address(tmp_path: Path) -> None:
    system = ledger_product.a_system()
    system = replace(system, billing=system.billing.model_copy(update={"base_url_env": "BILLING_URL"}))
    with open_gateways(system, tmp_path, LEDGER | {"BILLING_URL": "http://127.0.0.1:9"}) as gateways:
        assert "127.0.0.1" in repr(gateways.billing)


def test_a_ledger_is_read_through_its_gateway(tmp_path: Path, database: str) -> None:
    product = ledger_product.create(database)
    user = product.add_user(account="aaaaaaaa-0000-4000-8000-000000000001", balance=800)
    with open_gateways(ledger_product.a_system(), tmp_path, LEDGER | {"PRODUCT_URL": database}) as gateways:
        assert isinstance(gateways.store, IdentityStore)
        assert gateways.store.read()["total"].to_pylist() == [800]
        assert gateways.store.identities()["auth_id"].to_pylist() == [user]


ROLES = {"reader_url_env": "READER_URL", "corrector_url_env": "CORRECTOR_URL", "approver_url_env": "APPROVER_URL"}
HERE = {name: f"postgresql://{name.lower()}@127.0.0.1:1/nothing" for name in ("PRODUCT_URL", *ROLES.values())}


@pytest.mark.parametrize(
    ("role", "set_ones", "expected"),
    [
        (Role.READER, HERE, "READER_URL"),
        (Role.CORRECTOR, HERE, "CORRECTOR_URL"),
        (Role.APPROVER, HERE, "APPROVER_URL"),
        (Role.READER, ["PRODUCT_URL"], "PRODUCT_URL"),
        (Role.CORRECTOR, ["PRODUCT_URL", "READER_URL"], "PRODUCT_URL"),
        (Role.APPROVER, ["PRODUCT_URL", "READER_URL"], "PRODUCT_URL"),
        (Role.READER, ["CORRECTOR_URL"], "CORRECTOR_URL"),
        (Role.CORRECTOR, ["READER_URL"], "READER_URL"),
        (Role.APPROVER, ["CORRECTOR_URL"], "CORRECTOR_URL"),
    ],
)
def test_each_role_has_its_own_url_and_one_is_enough(role: Role, set_ones: list[str], expected: str) -> None:
    system = a_system(**ROLES)
    found, url = database_of(system, {name: HERE[name] for name in set_ones}, role)
    assert (found.store.url_env, url) == (expected, HERE[expected])


def test_the_approvers_login_alone_is_no_door_for_a_pipeline(tmp_path: Path) -> None:
    environ = {**NOWHERE, "PRODUCT_URL": "", "APPROVER_URL": HERE["APPROVER_URL"]}
    assert refusal(tmp_path, environ, a_system(**ROLES)) == (
        "wix_app: set PRODUCT_URL to the credit store's Postgres URL"
    )


def test_the_identity_of_an_account_holds_no_secret() -> None:
    environ = {"STRIPE_KEY": "rk_live_hidden", "APP_ID": "app", "APP_SECRET": "hidden"}
    assert billing_identity(a_system(), environ) == {"provider": "wix", "app": "app", "host": "www.wixapis.com"}
    stripe = billing_identity(ledger_product.a_system(), environ)
    assert stripe is not None
    assert "hidden" not in str(stripe)
    assert (stripe["provider"], stripe["mode"], stripe["host"]) == ("stripe", "live", "api.stripe.com")
    other = billing_identity(ledger_product.a_system(), environ | {"STRIPE_KEY": "rk_live_other"})
    assert other is not None
    assert other["key"] != stripe["key"]
    assert billing_identity(ledger_product.a_system(), {}) is None
