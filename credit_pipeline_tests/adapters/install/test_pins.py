"""What `init` pins: filled in where missing, never changed by a plain repeat, changed by a person on record."""

import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.adapters.install.install import Wanted, install
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError, DecisionError, PlanError
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.domain.policy import Limits
from credit_pipeline.services.findings.ports import Decided
from credit_pipeline_tests.adapters.products.counter_product import (
    CATALOGUE,
    PUBLIC,
    Product,
    a_copied_product,
    a_correction,
    a_grant,
    an_installed_product,
    an_upgrade,
    apply_all,
    started,
)
from credit_pipeline_tests.conftest import Databases

WIX, OTHER = {"provider": "wix", "app": "one"}, {"provider": "wix", "app": "two"}
BEFORE, AFTER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
ANN = Decided(who="ann", reason="moved to a new server")


def control(product: Product) -> dict[str, Any]:
    [row] = product.run("SELECT environment, pins, limits, install, four_eyes FROM credit_pipeline.control")
    return row


def acts(product: Product) -> list[dict[str, Any]]:
    return product.run("SELECT what, who, login, reason, detail FROM credit_pipeline.act ORDER BY id")


def with_limits(**limits: Any) -> CreditSystem:
    return replace(PUBLIC, policy=replace(PUBLIC.policy, limits=replace(Limits(), **limits)))


def with_four_eyes(value: bool | None, **store: Any) -> CreditSystem:
    policy = replace(PUBLIC.policy, four_eyes=value)
    return replace(PUBLIC, policy=policy, store=PUBLIC.store.model_copy(update=store))


def with_credits(**credits: int) -> CreditSystem:
    plans = tuple(replace(plan, credits=credits.get(plan.name, plan.credits)) for plan in CATALOGUE.plans)
    return replace(PUBLIC, catalogue=Catalogue(plans=plans))


def test_the_server_the_database_and_the_billing_account_are_pinned(database: str) -> None:
    product = Product(database).build()
    install(database, PUBLIC, WIX)
    [here] = product.run(
        "SELECT system_identifier::text AS server, current_database() AS name FROM pg_control_system()"
    )
    found = control(product)
    assert uuid.UUID(found["pins"].pop("install"))
    assert found["pins"] == {"system_identifier": here["server"], "database": here["name"], "billing": WIX}
    assert (found["install"], found["four_eyes"]) == ("single-role", False)
    assert found["limits"].keys() == asdict(Limits()).keys()
    assert found["limits"]["max_snapshot_age"] == Limits().max_snapshot_age.total_seconds()


def test_a_plain_repeat_fills_in_what_is_missing_and_changes_no_pin(database: str) -> None:
    product = an_installed_product(database)
    assert "billing" not in control(product)["pins"]
    assert install(database, PUBLIC, WIX).differences == ()
    before = control(product)["pins"]
    assert before["billing"] == WIX
    report = install(database, PUBLIC, OTHER)
    assert report.differences == (
        "billing: another app is pinned than the variables name: "
        "the pin stands until `credit-pipeline init wix_app --repin`",
    )
    assert control(product)["pins"] == before


def test_an_install_of_an_older_version_is_pinned_by_the_next_init(database: str) -> None:
    product = an_installed_product(database)
    product.add("a", "starter", 1000)
    product.run("UPDATE credit_pipeline.control SET pins = '{{}}', limits = '{{}}'")
    with product.plans() as plans:
        plan_id = started(plans, an_upgrade("a"))
        with pytest.raises(PlanError, match="without pins: run `credit-pipeline init wix_app`"):
            plans.apply_batch(plan_id, 10)
        install(database, PUBLIC)
        assert [one.outcome for one in apply_all(plans, plan_id)] == ["changed"]


def test_limits_are_renewed_and_two_people_are_never_made_one(database: str) -> None:
    product = an_installed_product(database)
    install(database, with_limits(rows_ceiling=7))
    assert control(product)["limits"]["rows_ceiling"] == 7
    install(database, with_four_eyes(True))
    assert control(product)["four_eyes"]
    report = install(database, with_four_eyes(False))
    assert report.four_eyes
    assert report.differences == (
        "four_eyes: pinned true, the YAML says false: the pin stands until `credit-pipeline init wix_app --repin`",
    )
    assert not install(database, with_four_eyes(False), None, Wanted(repin=ANN)).four_eyes


@pytest.mark.parametrize(
    ("declared", "url_env", "expected"),
    [(None, None, False), (None, "APPROVER_URL", True), (False, "APPROVER_URL", False), (True, None, True)],
)
def test_four_eyes_follow_the_approvers_own_login_unless_declared(
    declared: bool | None, url_env: str | None, expected: bool
) -> None:
    assert with_four_eyes(declared, approver_url_env=url_env).four_eyes is expected


def test_a_copy_of_the_database_is_not_written_until_a_person_pins_it(databases: Databases) -> None:
    product = a_copied_product(databases)
    product.add("a", "starter", 1000)
    product.run('UPDATE credit_pipeline.control SET pins = pins || \'{{"database": "elsewhere"}}\'')
    with product.plans() as plans:
        plan_id = started(plans, an_upgrade("a"))
        with pytest.raises(PlanError, match="--repin --as YOU --reason WHY"):
            plans.apply_batch(plan_id, 10)
        assert "database: `elsewhere` of another place is pinned" in install(product.url, PUBLIC).differences[0]
        assert install(product.url, PUBLIC, OTHER, Wanted(repin=ANN)).differences == ()
        assert [one.outcome for one in apply_all(plans, plan_id)] == ["changed"]
    [act] = acts(product)
    assert (act["what"], act["who"], act["login"], act["reason"]) == ("repin", "ann", "postgres", ANN.reason)
    assert act["detail"]["was"]["pins"]["database"] == "elsewhere"
    assert act["detail"]["now"]["pins"]["billing"] == OTHER
    assert act["detail"]["since"]


def test_another_environment_is_pinned_by_a_person_alone(database: str) -> None:
    product = an_installed_product(database)
    production = replace(PUBLIC, environment="production")
    with pytest.raises(ConfigurationError, match="run init wix_app --repin --as YOU --reason WHY"):
        install(database, production)
    assert install(database, production, None, Wanted(repin=ANN)).environment == "production"
    assert control(product)["environment"] == "production"
    assert acts(product)[0]["detail"]["was"]["environment"] == "test"


def test_a_changed_amount_is_accepted_by_a_person_and_since_when_is_kept(database: str) -> None:
    product = an_installed_product(database)
    system = with_credits(pro=8000)
    assert install(database, system).pinned["pro"] == 5000
    report = install(database, system, None, Wanted(accept_catalogue=ANN))
    assert (report.pinned["pro"], report.differences) == (8000, ())
    [act] = acts(product)
    assert act["what"] == "accept_catalogue"
    assert act["detail"]["plans"] == {"pro": {"was": 5000, "now": 8000}}
    assert act["detail"]["since"]
    rows = product.run("SELECT plan FROM credit_pipeline.catalogue WHERE pinned_at > (SELECT min(pinned_at) FROM"
                       " credit_pipeline.catalogue)")  # fmt: skip
    assert rows == [{"plan": "pro"}]


@pytest.mark.parametrize(
    ("start", "credits", "outcome"),
    [(BEFORE, 8000, "blocked_by_guard"), (BEFORE, 5000, "changed"), (AFTER, 8000, "changed")],
)
def test_an_accepted_amount_counts_for_periods_that_start_after_it(
    databases: Databases, start: datetime, credits: int, outcome: str
) -> None:
    product = a_copied_product(databases)
    product.add("a", "pro", 1000)
    dearer = with_credits(pro=8000)
    install(product.url, dearer, None, Wanted(accept_catalogue=ANN))
    step = a_grant("a", credits, start=start, fold=False)
    with product.plans() as plans:
        [made] = apply_all(plans, started(plans, a_correction("a", step, seen=("pro", 1000, 0))))
    assert made.outcome == outcome
    if outcome == "blocked_by_guard":
        assert made.failure == (
            "a grant of 8000 credits is above the 5000 pinned for plan pro when this period started: "
            "what was accepted since counts from the next one"
        )


@pytest.mark.parametrize(
    ("days", "outcome"),
    [(1, "changed"), (-40, "blocked_by_guard"), (-15, "blocked_by_guard"), (40, "blocked_by_guard")],
)
def test_an_upgrade_in_mid_period_has_the_amount_of_the_day_it_was_bought(
    databases: Databases, days: int, outcome: str
) -> None:
    """Its period began 20 days ago, and Pro was made dearer a moment ago."""
    product = a_copied_product(databases)
    product.add("a", "pro", 1000)
    install(product.url, with_credits(pro=8000), None, Wanted(accept_catalogue=ANN))
    now = datetime.now(UTC).replace(microsecond=0)
    step = a_grant("a", 8000, start=now - timedelta(days=20), fold=False)
    step = replace(step, sold_at=now + timedelta(days=days))
    with product.plans() as plans:
        [made] = apply_all(plans, started(plans, a_correction("a", step, seen=("pro", 1000, 0))))
    assert made.outcome == outcome


def test_a_plan_that_is_gone_is_accepted_as_gone(database: str) -> None:
    an_installed_product(database)
    system = replace(PUBLIC, catalogue=Catalogue(plans=CATALOGUE.plans[:2]))
    assert len(install(database, system).differences) == 1
    report = install(database, system, None, Wanted(accept_catalogue=ANN))
    assert (report.pinned, report.differences) == ({"free": 100, "starter": 1000}, ())


@pytest.mark.parametrize("made", [Decided(who=" ", reason="x"), Decided(who="x", reason="")])
def test_a_pin_is_not_changed_without_a_name_and_a_reason(database: str, made: Decided) -> None:
    product = an_installed_product(database)
    for wanted in (Wanted(repin=made), Wanted(accept_catalogue=made)):
        with pytest.raises(DecisionError, match="needs a name and a reason"):
            install(database, PUBLIC, OTHER, wanted)
    assert "billing" not in control(product)["pins"]
