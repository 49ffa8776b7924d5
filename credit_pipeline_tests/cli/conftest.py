"""The command line as a person meets it: arguments in, exit status, stdout and stderr out, on a planted sandbox."""

import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from credit_pipeline.cli.main import main
from credit_pipeline.sandbox import lifecycle
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline.sandbox.scenarios.wix_app.product import WixApp
from credit_pipeline.sandbox.scenarios.worlds import WORLDS
from credit_pipeline_tests.conftest import in_memory

OURS = ("CREDIT_PIPELINE_", "WIX_", "DAGSTER_")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        assert self.out.count("\n") == 1, self.out
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def sentence(self) -> str:
        """The refusal: nothing on stdout, one line on stderr, no traceback, no secret."""
        assert self.out == ""
        assert "Traceback" not in self.err
        assert "?host=" not in self.err
        (line,) = self.err.splitlines()
        return line


Run = Callable[..., Ended]


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A planted sandbox: where it is, what to export, and what is right."""

    home: Path
    environment: dict[str, str]
    truth: dict[str, Any]

    def accounts(self, code: str) -> list[str]:
        """All accounts planted with this primary code, whatever their stories; their order differs from day to day."""
        return [found["account_id"] for found in self.truth["accounts"] if found["code"] == code]

    def of_kind(self, kind: str, system: str = "wix_app") -> str:
        """An account planted by that story: the same story on every day, though never the same id."""
        truth = self.truth if system == self.truth["system"] else lifecycle.truth(self.home, system)
        return next(str(found["account_id"]) for found in truth["accounts"] if found["kind"] == kind)

    @property
    def healthy(self) -> list[str]:
        """Accounts in order."""
        return [account for accounts in self.truth["healthy"].values() for account in accounts]

    def rows(self) -> list[tuple[Any, ...]]:
        """The product's table and the number of saved plans: what a refused command leaves as it was."""
        with psycopg.connect(self.environment["WIX_DATABASE_URL"]) as connection:
            product = connection.execute("SELECT *, xmin::text FROM app_instances ORDER BY instance_id").fetchall()
            return product + connection.execute("SELECT count(*) FROM credit_pipeline.correction_plan").fetchall()


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of ours is set, the working folder is the test's own, and the terminal is 80 columns wide."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CREDIT_PIPELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; anything that reaches the real stdout or stderr counts."""

    def command(*arguments: str) -> Ended:
        capfd.readouterr()
        status = main(list(arguments))
        told = capfd.readouterr()
        return Ended(status=status, out=told.out, err=told.err)

    return command


@pytest.fixture(scope="session")
def planted() -> Iterator[Sandbox]:
    """120 accounts with five weeks of past, for all tests of this folder."""
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_tests-", dir=in_memory()) as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another account
        home = Path(folder) / "home"
        try:
            environment = lifecycle.up(home, accounts=120, seed=5)
            yield Sandbox(home=home, environment=environment, truth=lifecycle.truth(home))
        finally:
            lifecycle.down(home)


@pytest.fixture(scope="module")
def as_planted(planted: Sandbox) -> Sandbox:
    """The products as they were planted, whatever the module before this one applied to them."""
    server = EmbeddedPostgres(planted.home)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        known = {name for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()}
        for name in WORLDS:
            kept = f"{name}_as_planted"
            if kept in known:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            new, old = (name, kept) if kept in known else (kept, name)
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (new, old))))
    return planted


@pytest.fixture
def sandbox(as_planted: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The planted sandbox, exported."""
    for name, value in as_planted.environment.items():
        monkeypatch.setenv(name, value)
    return as_planted


@pytest.fixture
def systems_folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder of systems with the packaged wix_app in it, some words of its file replaced."""

    def made(*replacements: tuple[str, str], name: str = "wix_app") -> Path:
        source = Path(lifecycle.PACKAGED) / "wix_app" / "defs.yaml"
        text = source.read_text()
        for old, new in replacements:
            assert old in text, old
            text = text.replace(old, new)
        folder = tmp_path / "systems"
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "defs.yaml").write_text(text)
        return folder

    return made


@pytest.fixture
def product(planted: Sandbox) -> Iterator[str]:
    """The URL of an empty copy of the product's database, on the sandbox's server, without our schema."""
    server = EmbeddedPostgres(planted.home)
    name = f"empty_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    with WixApp(server.url(name)) as app:
        app.create(lifecycle.sandbox_system().catalogue)
    try:
        yield server.url(name)
    finally:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
