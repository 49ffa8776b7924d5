"""The sandbox comes up, is left alone while it is there, comes back after a stop, and is made again if half made."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox import billing_process, lifecycle
from credit_pipeline.sandbox.billing_book import BillingBook
from credit_pipeline.sandbox.postgres import EmbeddedPostgres

ACCOUNTS = 60


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A working folder with a sandbox, with a blank in its name."""
    with tempfile.TemporaryDirectory(prefix="a sandbox ") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another account
        try:
            lifecycle.up(Path(folder), accounts=ACCOUNTS, seed=5)
            yield Path(folder)
        finally:
            lifecycle.down(Path(folder))
            EmbeddedPostgres(Path(folder)).remove()


def _planted_at(home: Path) -> str:
    return str(lifecycle.truth(home)["as_of"])


def _sites(home: Path) -> int:
    with psycopg.connect(lifecycle.environment(home)["WIX_DATABASE_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM app_instances").fetchone()
    assert row is not None
    return int(row[0])


def test_up_again_keeps_what_is_there(home: Path) -> None:
    before = _planted_at(home), lifecycle.environment(home)
    told: list[int] = []
    exported = lifecycle.up(home, accounts=ACCOUNTS, seed=5, progress=lambda done, _: told.append(done))
    assert (_planted_at(home), exported) == before
    assert told == []
    assert _sites(home) == ACCOUNTS


def test_the_system_is_installed_and_pinned(home: Path) -> None:
    with psycopg.connect(lifecycle.environment(home)["WIX_DATABASE_URL"]) as connection:
        pinned = connection.execute("SELECT system, environment, first_applied FROM credit_pipeline.control").fetchall()
    assert pinned == [("wix_app", "sandbox", None)]


def test_nobody_but_the_owner_may_use_the_product_tables(home: Path) -> None:
    granted = "SELECT count(*) FROM information_schema.table_privileges WHERE grantee = 'PUBLIC' "
    granted += "AND table_schema = 'public'"
    with psycopg.connect(lifecycle.environment(home)["WIX_DATABASE_URL"]) as connection:
        assert connection.execute(granted.encode()).fetchone() == (0,)


def test_billing_knows_every_site(home: Path) -> None:
    assert len(BillingBook.load(home / "sandbox" / "billing_book.json")) == ACCOUNTS


def test_after_a_stop_the_same_data_comes_back_also_on_another_port(home: Path) -> None:
    before, exported = _planted_at(home), lifecycle.environment(home)
    assert lifecycle.down(home)
    assert not lifecycle.down(home)
    with pytest.raises(ConfigurationError, match="not running"):
        lifecycle.environment(home)
    again = lifecycle.up(home, accounts=ACCOUNTS, seed=5)
    assert _planted_at(home) == before
    same = {name: value for name, value in again.items() if name != "WIX_API_URL"}
    assert same == {name: value for name, value in exported.items() if name != "WIX_API_URL"}
    running = billing_process.running(home / "sandbox")
    assert running is not None
    assert again["WIX_API_URL"] == running.base_url


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
    after = json.loads((home / "sandbox" / "truth.json").read_text())
    assert after["seed"] == 6
    assert not before & {account["account_id"] for account in after["accounts"]}
