"""A history outside of the product's database, asked for as a login that may only read there."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.adapters.findings.lifecycle import PostgresLifecycle
from credit_pipeline.adapters.history.home import DAGSTER_URL, Place, left_behind, open_history
from credit_pipeline.adapters.history.memory import PostgresMemory
from credit_pipeline.adapters.install.install import install
from credit_pipeline.adapters.open_alerts import open_outbox
from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.domain.errors import CreditPipelineError, NotInstalled, StoreError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.alerts.alerts import drain
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.findings.ports import Chosen, Decided
from credit_pipeline.services.reconcile.ports import CollectionRecord
from credit_pipeline_tests.adapters.alerts.alert_product import Listener, a_finding
from credit_pipeline_tests.adapters.install.test_rights import READS, a_stranger
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC, Product, a_plan, an_upgrade
from credit_pipeline_tests.adapters.products.walled_product import as_login, make_login
from credit_pipeline_tests.conftest import Databases

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WORD = "THE_SERVER"


@pytest.fixture
def product(database: str) -> Product:
    """A product without our schema."""
    return Product(database).build()


@pytest.fixture
def looks(product: Product) -> str:
    """The URL of a login that may SELECT there, and nothing else."""
    return a_stranger(product, READS)


@pytest.fixture
def server(databases: Databases) -> Iterator[str]:
    """The URL of a database of the server that keeps histories; those of the tests are dropped afterwards."""
    url = databases.new()
    before = set(histories(url))
    yield url
    with psycopg.connect(url, autocommit=True) as connection:
        for name in set(histories(url)) - before:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def histories(server: str) -> list[str]:
    with psycopg.connect(server) as connection:
        return [row[0] for row in connection.execute("SELECT datname FROM pg_database WHERE datname ~ '^history_'")]


def name_for(url: str, system: str = "wix_app") -> str | None:
    with closing(PostgresMemory(replace(PUBLIC, name=system), url)) as memory:
        return memory.absent()


def opened(server: str, looks: str) -> Place:
    name = name_for(looks)
    assert name is not None
    return open_history(PUBLIC, server, name, WORD)


def a_collection(run_id: str = "run-1", as_of: datetime = NOW) -> CollectionRecord:
    return CollectionRecord(run_id=run_id, as_of=as_of, answered=0, population=0, audit_seq=0, files={})


def test_memory_decisions_and_plans_are_kept_and_the_product_is_left_alone(
    product: Product, looks: str, server: str, tmp_path: Path
) -> None:
    environ = {"PRODUCT_URL": looks, "APP_ID": "app", "APP_SECRET": "hidden", DAGSTER_URL: server}
    with open_gateways(PUBLIC, tmp_path, environ) as gateways:
        assert gateways.at_home
        assert gateways.memory.installed()
        assert gateways.memory.last_collection() is None
        gateways.memory.record(a_collection(), changed=OBSERVATIONS.empty_table(), mismatches=[], closed=[])
        plan = gateways.plans.save(a_plan(an_upgrade("a")))
    place, url = opened(server, looks)
    with closing(PostgresLifecycle(url, place)) as lifecycle:
        lifecycle.exempt([AccountId("a")], Decided(who="eva", reason="staff"), until=None)
    with open_gateways(PUBLIC, tmp_path, environ) as gateways:
        last = gateways.memory.last_collection()
        assert last is not None
        assert last.run_id == "run-1"
        assert gateways.memory.exempt(NOW) == {"a"}
        assert gateways.plans.load(plan.plan_id).digest == plan.digest
        assert gateways.plans.audit_head()[0] == 0
    assert product.run("SELECT FROM pg_namespace WHERE nspname = 'credit_pipeline'") == []


def test_nothing_can_be_applied_from_there(looks: str, server: str) -> None:
    place, url = opened(server, looks)
    with closing(PostgresPlans(url, place)) as plans:
        saved = plans.save(a_plan(an_upgrade("a")))
        assert plans.pins() == {}  # the guard that compares them lets no live run pass
        plans.set_state(saved.plan_id, "applying")
        with pytest.raises(CreditPipelineError, match="run `credit-pipeline init wix_app`"):
            plans.apply_batch(saved.plan_id, 1)
    with psycopg.connect(url) as connection:
        functions = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'credit_pipeline'::regnamespace AND prorettype <> "
            "'trigger'::regtype"
        )
        assert [row[0] for row in functions] == ["inherit"]


def test_each_database_and_system_has_a_history_of_its_own(databases: Databases, looks: str) -> None:
    assert name_for(looks) == name_for(looks)
    other = Product(databases.new()).build()
    assert len({name_for(looks), name_for(other.url), name_for(looks, "second_app")}) == 3


def test_where_the_cluster_does_not_say_which_it_is_its_address_does(product: Product, looks: str) -> None:
    known = name_for(looks)
    product.run("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    unknown = name_for(looks)
    assert unknown is not None
    assert unknown != known
    assert unknown == name_for(looks)


def test_the_products_own_schema_comes_first(product: Product, looks: str) -> None:
    assert name_for(product.url) is not None
    install(product.url, PUBLIC)
    assert name_for(product.url) is None
    assert name_for(product.url, "second_app") is not None  # of another system nothing is there
    assert name_for(looks) is None, "there may be corrections, which a second history would take for losses"


def test_many_first_looks_at_once_make_one_history(looks: str, server: str) -> None:
    before = len(histories(server))

    def look(number: int) -> bool:
        place, url = opened(server, looks)
        with closing(PostgresMemory(place, url)) as memory:
            return memory.installed()

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(look, range(4)))
    assert len(histories(server)) == before + 1


def test_first_looks_of_several_systems_at_once_make_a_whole_history_each(looks: str, server: str) -> None:
    def look(number: int) -> tuple[int, int]:
        system = replace(PUBLIC, name=f"system_{number}")
        name = name_for(looks, system.name)
        assert name is not None
        place, url = open_history(system, server, name, WORD)
        with closing(PostgresMemory(place, url)) as memory, psycopg.connect(url) as connection:
            memory.record(a_collection(), changed=OBSERVATIONS.empty_table(), mismatches=[a_finding()], closed=[])
            row = connection.execute(
                "SELECT count(*) FROM pg_class WHERE relnamespace = 'credit_pipeline'::regnamespace"
            )
            return number, row.fetchone()[0]  # type: ignore[index]

    with ThreadPoolExecutor(4) as threads:
        made = dict(threads.map(look, range(4)))
    assert made.keys() == {0, 1, 2, 3}
    assert len(set(made.values())) == 1


def test_one_of_an_older_program_is_renewed_and_keeps_what_it_knows(looks: str, server: str) -> None:
    place, url = opened(server, looks)
    with closing(PostgresMemory(place, url)) as memory:
        memory.record(a_collection(), changed=OBSERVATIONS.empty_table(), mismatches=[], closed=[])
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE credit_pipeline.control SET config_hash = 'older'")
        connection.execute("DROP FUNCTION credit_pipeline.inherit(text)")
    assert opened(server, looks) == (place, url)
    with closing(PostgresPlans(url, place)) as plans, closing(PostgresMemory(place, url)) as memory:
        plans.save(a_plan(an_upgrade("a")))
        last = memory.last_collection()
    assert last is not None
    assert last.run_id == "run-1"


def test_a_server_that_lets_nothing_be_made_is_one_sentence(product: Product, looks: str, server: str) -> None:
    login = f"no_maker_{psycopg.conninfo.conninfo_to_dict(server)['dbname']}"
    make_login(product, login)
    with pytest.raises(StoreError) as refused:
        opened(as_login(server, login), looks)
    assert str(refused.value).startswith("wix_app: the database user of THE_SERVER lacks a right (permission denied")


def test_what_init_leaves_behind_is_found_and_only_where_it_is(product: Product, looks: str, server: str) -> None:
    assert left_behind(PUBLIC, product.url, lambda: server, WORD) is None
    assert left_behind(PUBLIC, product.url, lambda: None, WORD) is None
    kept = opened(server, looks)
    install(product.url, PUBLIC)
    assert left_behind(PUBLIC, product.url, lambda: server, WORD) == kept


def test_the_kill_switch_is_the_products_alone(looks: str, server: str) -> None:
    from credit_pipeline.adapters.database_only import open_lifecycle

    environ = {"PRODUCT_URL": looks, DAGSTER_URL: server}
    with open_lifecycle(PUBLIC, environ) as lifecycle, pytest.raises(NotInstalled):
        lifecycle.stop(Decided(who="eva", reason="a drill"))
    with open_lifecycle(PUBLIC, environ, server=lambda: server) as lifecycle:
        assert lifecycle.counts(Chosen()) == {}


def test_alerts_of_a_product_without_our_schema_wait_at_home_and_are_delivered_from_there(
    looks: str, server: str, tmp_path: Path
) -> None:
    environ = {"PRODUCT_URL": looks, "APP_ID": "app", "APP_SECRET": "hidden", DAGSTER_URL: server}
    with open_gateways(PUBLIC, tmp_path, environ) as gateways:
        nothing = OBSERVATIONS.empty_table()
        gateways.memory.record(a_collection(), changed=nothing, mismatches=[a_finding()], closed=[])
        assert gateways.outbox is not None
        assert gateways.outbox.unheard().waiting == 1
    listener = Listener("log")
    with open_outbox(PUBLIC, environ) as outbox:
        drain(PUBLIC, outbox, [listener], by="test")
    assert listener.titles[0] == "wix_app: 1 finding to act on: 1 new"
    with open_outbox(PUBLIC, {"PRODUCT_URL": looks}) as outbox:
        assert not outbox.installed(), "nobody keeps a history"
