"""Servers that commands start and stop: the sandbox's, and the embedded Postgres for Dagster's own storage.

They are used only if the environment names no others. Servers started by `sandbox up` keep running; servers started by
a command are stopped by the last command that uses them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from credit_pipeline.domain.errors import MissingExtra, StoreError, missing_extra

if TYPE_CHECKING:
    from credit_pipeline.config.system import CreditSystem

DAGSTER_URL = "CREDIT_PIPELINE_DAGSTER_URL"
DATABASE = "dagster"


class Command(Protocol):
    """What this module needs from the command that uses a server."""

    @property
    def home(self) -> Path:
        """The working folder."""
        ...

    def private_folder(self, name: str) -> Path:
        """A folder inside the working folder that only its owner can read."""
        ...

    def say(self, sentence: str) -> None:
        """Print one line to stderr."""
        ...


@contextlib.contextmanager
def dagster_storage(session: Command) -> Iterator[str]:
    """The URL of Dagster's own storage: from the environment, else a database of the embedded server."""
    url = os.environ.get(DAGSTER_URL)
    if url:
        with _environment({}, "DAGSTER_HOME", DAGSTER_URL):
            yield url
        return
    try:
        from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None
    server = EmbeddedPostgres(session.home)
    with _environment({}, "DAGSTER_HOME", DAGSTER_URL), _running(session, server.start):
        server.create_database(DATABASE)
        yield server.url(DATABASE)


@contextlib.contextmanager
def history_server(session: Command) -> Iterator[Callable[[], str | None]]:
    """A function that returns the URL of Dagster's server, which keeps the history of products without our schema.

    Its first call starts the server. It returns None if the server does not start; reports then have no history.
    """
    with contextlib.ExitStack() as stack:

        def url() -> str | None:
            try:
                return stack.enter_context(dagster_storage(session))
            except (StoreError, MissingExtra) as error:
                session.say(f"No history is kept: {error}")
                return None

        yield url


@contextlib.contextmanager
def sandbox_for(session: Command, system: CreditSystem) -> Iterator[None]:
    """Runs the sandbox's servers and sets its variables, if the sandbox stands in for the system's sources."""
    if not may_use_sandbox(session, system):
        yield
        return
    from credit_pipeline.sandbox import lifecycle

    home = session.home
    found = lifecycle.Sandbox.read(home)
    assert found is not None
    with _running(session, lambda: lifecycle.up(home, accounts=found.accounts, seed=found.seed)):
        session.say(f"{system.name}: none of its variables is set, so the sandbox in {home} is used.")
        with _environment(lifecycle.environment(home)):
            yield


def may_use_sandbox(session: Command, system: CreditSystem) -> bool:
    """Whether the working folder's sandbox holds this system, and none of the system's variables is set."""
    if any(os.environ.get(name) for name in system.env_names) or not (session.home / "sandbox").is_dir():
        return False
    from credit_pipeline.sandbox import lifecycle

    if system.name not in lifecycle.planted(session.home):
        return False
    return system.env_names == lifecycle.sandbox_system(system.name).env_names


def keep_running(home: Path) -> None:
    """From now on no command stops the servers at its end."""
    _started_mark(home).unlink(missing_ok=True)


@contextlib.contextmanager
def _running(session: Command, start: Callable[[], object]) -> Iterator[None]:
    """Starts servers. Stops them at the end if a command started them and no other command uses them.

    Each user holds a shared lock, which is released even if its process is killed.
    """
    from credit_pipeline.sandbox import lifecycle
    from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres

    home = session.home
    session.private_folder("logs")  # refuses a folder that cannot be written
    with (home / "servers.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            if not EmbeddedPostgres(home).is_running():
                _started_mark(home).touch()
            start()
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _started_mark(home).exists():
                    lifecycle.down(home)
                    _started_mark(home).unlink()


def _started_mark(home: Path) -> Path:
    return home / "servers.borrowed"


@contextlib.contextmanager
def _environment(variables: Mapping[str, str], *also: str) -> Iterator[None]:
    """Sets variables. At the end, restores them and those in `also`."""
    before = {name: os.environ.get(name) for name in (*variables, *also)}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
