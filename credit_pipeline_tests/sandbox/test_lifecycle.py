"""The sandbox comes up, is left alone while it is there, comes back after a stop, and is made again if half made."""

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox import lifecycle
from credit_pipeline.sandbox.billing import process as billing_process
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline_tests.conftest import in_memory

ACCOUNTS = 60
DATABASES = [("wix_app", "WIX_DATABASE_URL"), ("bestauth", "BESTAUTH_DATABASE_URL")]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A working folder with a sandbox, with a blank in its name."""
    with tempfile.TemporaryDirectory(prefix="a sandbox ", dir=in_memory()) as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another account
        try:
            lifecycle.up(Path(folder), accounts=ACCOUNTS, seed=5)
            yield Path(folder)
        finally:
            lifecycle.down(Path(folder))
            EmbeddedPostgres(Path(folder)).remove()


def _planted_at(home: Path) -> str:
    return str(lifecycle.truth(home)["as_of"])


def _count(home: Path, variable: str, table: str) -> int:
    with psycopg.connect(lifecycle.environment(home)[variable]) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def _sites(home: Path) -> int:
    return _count(home, "WIX_DATABASE_URL", "app_instances")


def test_up_again_keeps_what_is_there(home: Path) -> None:
    before = _planted_at(home), lifecycle.environment(home)
    told: list[int] = []
    exported = lifecycle.up(home, accounts=ACCOUNTS, seed=5, progress=lambda done, _: told.append(done))
    assert (_planted_at(home), exported) == before
    assert told == []
    assert _sites(home) == ACCOUNTS


@pytest.mark.parametrize(("name", "variable"), DATABASES)
def test_each_system_is_installed_and_pinned_in_its_own_database(home: Path, name: str, variable: str) -> None:
    with psycopg.connect(lifecycle.environment(home)[variable]) as connection:
        pinned = connection.execute("SELECT system, environment, first_applied FROM credit_pipeline.control").fetchall()
    assert pinned == [(name, "sandbox", None)]


@pytest.mark.parametrize(("name", "variable"), DATABASES)
def test_nobody_but_the_owner_may_use_the_product_tables(home: Path, name: str, variable: str) -> None:
    granted = "SELECT count(*) FROM information_schema.table_privileges WHERE grantee = 'PUBLIC' "
    granted += "AND table_schema = 'public'"
    with psycopg.connect(lifecycle.environment(home)[variable]) as connection:
        assert connection.execute(granted.encode()).fetchone() == (0,), name


def test_both_systems_are_planted_with_so_many_accounts_each(home: Path) -> None:
    assert lifecycle.planted(home) == ("wix_app", "bestauth")
    assert [lifecycle.truth(home, name)["population"] for name in lifecycle.planted(home)] == [ACCOUNTS, ACCOUNTS]
    assert {lifecycle.truth(home, name)["as_of"] for name in lifecycle.planted(home)} == {_planted_at(home)}


def test_stripe_knows_the_subscriptions_and_answers_with_the_exported_key(home: Path) -> None:
    exported = lifecycle.environment(home)
    with open_gateways(lifecycle.sandbox_system("bestauth"), home, exported) as gateways:
        pull = gateways.billing.pull(None, datetime.now(UTC))
    assert pull.enumerated
    assert pull.table.num_rows == len(StripeBook.load(home / "sandbox" / "bestauth" / "billing_book.json")) > 30


def test_a_sandbox_of_an_older_program_is_planted_again(home: Path) -> None:
    record = home / "sandbox" / "sandbox.json"
    before, kept = _planted_at(home), json.loads(record.read_text())
    record.write_text(json.dumps(kept | {"planting": kept["planting"] - 1}))
    assert lifecycle.planted(home) == ()
    lifecycle.up(home, accounts=ACCOUNTS, seed=5)
    assert _planted_at(home) > before


def test_a_planting_that_fails_in_one_system_ends_the_other_and_is_not_there(home: Path) -> None:
    told: list[int] = []

    def fail(done: int, _of: int) -> None:
        told.append(done)
        if done == 3:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        lifecycle.up(home, accounts=ACCOUNTS, seed=5, fresh=True, progress=fail)
    assert max(told) < 10
    assert lifecycle.planted(home) == ()
    lifecycle.up(home, accounts=ACCOUNTS, seed=5)


def test_billing_knows_every_site(home: Path) -> None:
    assert len(BillingBook.load(home / "sandbox" / "wix_app" / "billing_book.json")) == ACCOUNTS


def test_after_a_stop_the_same_data_comes_back_also_on_another_port(home: Path) -> None:
    before, exported = _planted_at(home), lifecycle.environment(home)
    assert lifecycle.down(home)
    assert not lifecycle.down(home)
    with pytest.raises(ConfigurationError, match="not running"):
        lifecycle.environment(home)
    again = lifecycle.up(home, accounts=ACCOUNTS, seed=5)
    assert _planted_at(home) == before
    moved = {"WIX_API_URL", "BESTAUTH_STRIPE_URL"}
    same = {name: value for name, value in again.items() if name not in moved}
    assert same == {name: value for name, value in exported.items() if name not in moved}
    running = billing_process.running(home / "sandbox")
    assert running is not None
    assert {again[name] for name in moved} == {running.base_url}


def test_running_stops_only_what_it_started(home: Path) -> None:
    with lifecycle.running(home):
        pass
    assert EmbeddedPostgres(home).is_running()
    lifecycle.down(home)
    with lifecycle.running(home) as exported:
        assert exported["WIX_API_URL"].startswith("http://127.0.0.1:")
        assert _sites(home) == ACCOUNTS
    assert not EmbeddedPostgres(home).is_running()
    assert billing_process.running(home / "sandbox") is None


def test_a_sandbox_killed_half_way_is_made_again(home: Path) -> None:
    before = _planted_at(home)
    (home / "sandbox" / "sandbox.json").unlink()  # it is written last, so this is how a killed one looks
    assert lifecycle.planted(home) == ()
    with pytest.raises(ConfigurationError, match="nothing is planted"):
        lifecycle.truth(home)
    lifecycle.up(home, accounts=ACCOUNTS, seed=5)
    assert _planted_at(home) > before
    assert _sites(home) == ACCOUNTS


def test_another_seed_plants_anew(home: Path) -> None:
    before = {account["account_id"] for account in lifecycle.truth(home)["accounts"]}
    lifecycle.up(home, accounts=ACCOUNTS, seed=6)
    after = json.loads((home / "sandbox" / "wix_app" / "truth.json").read_text())
    assert after["seed"] == 6
    assert not before & {account["account_id"] for account in after["accounts"]}
