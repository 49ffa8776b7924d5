"""What an installation is pinned to: the configured names and the version of the write path, and no comment."""

import hashlib
import re
from dataclasses import replace

import pytest

from credit_pipeline.adapters.install import write_functions
from credit_pipeline.adapters.install.install import install
from credit_pipeline.adapters.install.write_functions import WRITE_PATH, WRITE_PATH_VERSION, config_hash, template_text
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.config.webhooks import WebhookTable
from credit_pipeline.sandbox.lifecycle import sandbox_system
from credit_pipeline_tests.adapters.products.counter_product import (
    PUBLIC,
    a_plan,
    a_system,
    an_installed_product,
    an_upgrade,
    apply_all,
    approve,
    chain_faults,
    started,
)

NOTED = {1: "3d1b453d4fe730528ae847bc795c1090fe5bfb7cb19d360bb9ab5c405c1514de"}
"""Version -> digest of the write path's statements."""
KEPT = {
    "plans": "SELECT plan_id, state, digest FROM credit_pipeline.correction_plan ORDER BY 1",
    "approvals": "SELECT id, plan_id, lane, row_digests FROM credit_pipeline.approval ORDER BY 1",
    "grants": 'SELECT account, plan, period_start, credits FROM credit_pipeline."grant" ORDER BY 1, 2, 3',
    "audit": "SELECT seq, hash FROM credit_pipeline.audit ORDER BY 1",
    "observations": "SELECT account, total, used FROM credit_pipeline.observation ORDER BY 1",
    "mismatches": "SELECT fingerprint, state FROM credit_pipeline.mismatch ORDER BY 1",
}


def statements(text: str) -> str:
    """SQL without comments and with single blanks; quoted text stays."""
    pattern = re.compile(r"'(?:[^']|'')*'|--[^\n]*")
    bare = pattern.sub(lambda found: found[0] if found[0].startswith("'") else " ", text)
    return " ".join(bare.split())


def test_a_change_of_the_write_path_raises_its_version() -> None:
    digest = hashlib.sha256("\n".join(statements(template_text(name)) for name in WRITE_PATH).encode()).hexdigest()
    assert NOTED.get(WRITE_PATH_VERSION) == digest, (
        "the write path changed: raise WRITE_PATH_VERSION and note the new digest here"
    )


def test_comments_and_blanks_are_no_change() -> None:
    assert statements("SELECT 1 -- one's own\n  ,  'a -- b'") == "SELECT 1 , 'a -- b'"


@pytest.mark.parametrize(
    "system", [PUBLIC, sandbox_system("bestauth"), sandbox_system("wix_app")], ids=lambda s: s.name
)
def test_the_hash_follows_names_and_version_and_no_text(system: CreditSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    before = config_hash(system)
    monkeypatch.setattr(write_functions, "template_text", lambda name: template_text(name) + "\n-- a remark\n")
    assert config_hash(system) == before
    monkeypatch.setattr(write_functions, "WRITE_PATH_VERSION", WRITE_PATH_VERSION + 1)
    assert config_hash(system) != before


def test_another_column_is_another_hash() -> None:
    assert config_hash(a_system(total="gained")) != config_hash(a_system())
    one, other = (
        replace(PUBLIC, webhooks=WebhookTable(table="failed_webhooks", account=account))
        for account in ("instance", "site")
    )
    assert len({config_hash(PUBLIC), config_hash(one), config_hash(other)}) == 3


def test_an_installation_of_the_last_release_is_renewed_by_init_and_loses_nothing(database: str) -> None:
    """The last release pinned the text of the functions: another hash, so that nothing is applied until `init`."""
    product = an_installed_product(database)
    product.add("applied", "starter", 1000)
    product.add("waiting", "starter", 1000)
    with product.plans() as plans:
        applied = started(plans, an_upgrade("applied"))
        apply_all(plans, applied)
        plans.set_state(applied, "applied")
        waiting = plans.save(a_plan(an_upgrade("waiting"))).plan_id
        approve(plans, waiting, an_upgrade("waiting"))
        plans.set_state(waiting, "applying")
    product.run(
        "INSERT INTO credit_pipeline.observation (system, account, total, used, as_of)"
        " VALUES ('wix_app', 'applied', 6000, 0, now())"
    )
    product.run(
        "CREATE OR REPLACE FUNCTION credit_pipeline.config_hash_wix_app() RETURNS text LANGUAGE sql IMMUTABLE"
        " SET search_path = pg_catalog, pg_temp AS $$ SELECT 'of the text'::text $$;"
        "UPDATE credit_pipeline.control SET config_hash = 'of the text'"
    )
    held = {name: product.run(query) for name, query in KEPT.items()}
    assert held["grants"]
    assert held["approvals"]
    with (
        product.plans() as plans,
        pytest.raises(Exception, match="changed since init: run `credit-pipeline init wix_app`"),
    ):
        plans.apply_batch(waiting, 10)
    assert install(database, PUBLIC).renewed
    assert {name: product.run(query) for name, query in KEPT.items()} == held
    with product.plans() as plans:
        assert [one.outcome for one in apply_all(plans, waiting)] == ["changed"]
        again = started(plans, an_upgrade("applied", seen=("pro", 6000, 0)))
        assert [one.outcome for one in apply_all(plans, again)] == ["noop_already_applied"]
        assert chain_faults(plans) == []
    assert product.balance("applied") == ("pro", 6000, 0)
