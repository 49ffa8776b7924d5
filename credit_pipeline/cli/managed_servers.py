"""Servers a command borrows for its length: the sandbox's, and the embedded Postgres for Dagster's own storage.

Used only where the person set nothing else. Servers that `sandbox up` left running go on; those that a command
started are stopped by the last command that uses them, whichever began first.
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
    """What a server needs of the command that uses it."""

    @property
    def home(self) -> Path:
        """The working folder."""
        ...

    def private_folder(self, name: str) -> Path:
        """A folder of the working folder that only its owner can read."""
        ...

    def say(self, sentence: str) -> None:
        """One line for the person, on stderr."""
        ...


@contextlib.contextmanager
def dagster_storage(session: Command) -> Iterator[str]:
    """The URL of Dagster's own storage: the person's, else a database of the embedded server."""
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
    with _environment({}, "DAGSTER_HOME", DAGSTER_URL), _borrowed(session, server.start):
        server.create_database(DATABASE)
        yield server.url(DATABASE)


@contextlib.contextmanager
def history_server(session: Command) -> Iterator[Callable[[], str | None]]:
    """Gives the server that keeps the history of products without our schema: Dagster's, started when first asked for.

    None where it does not start; then there is a report all the same, only without history.
    """
    with contextlib.ExitStack() as while_used:

        def url() -> str | None:
            try:
                return while_used.enter_context(dagster_storage(session))
            except (StoreError, MissingExtra) as error:
                session.say(f"Nothing is remembered: {error}")
                return None

        yield url


@contextlib.contextmanager
def sandbox_for(session: Command, system: CreditSystem) -> Iterator[None]:
    """The sandbox's servers and variables, where the working folder has one and none of the system's is set."""
    if not may_use_sandbox(session, system):
        yield
        return
    from credit_pipeline.sandbox import lifecycle

    home = session.home
    found = lifecycle.Sandbox.read(home)
    assert found is not None
    with _borrowed(session, lambda: lifecycle.up(home, accounts=found.accounts, seed=found.seed)):
        session.say(f"{system.name}: none of its variables is set, so the sandbox in {home} is used.")
        with _environment(lifecycle.environment(home)):
            yield


def may_use_sandbox(session: Command, system: CreditSystem) -> bool:
    """Whether the sandbox holds this system and the person named no other sources, not even one of them."""
    if any(os.environ.get(name) for name in system.env_names) or not (session.home / "sandbox").is_dir():
        return False
    from credit_pipeline.sandbox import lifecycle

    if system.name not in lifecycle.planted(session.home):
        return False
    return system.env_names == lifecycle.sandbox_system(system.name).env_names


def keep_running(home: Path) -> None:
    """The servers are the person's now: no command stops them at its end."""
    _mark(home).unlink(missing_ok=True)


@contextlib.contextmanager
def _borrowed(session: Command, start: Callable[[], object]) -> Iterator[None]:
    """Start, and at the end stop if nobody else uses the servers and a command started them.

    Who uses them holds a shared lock, which a killed process cannot leave behind.
    """
    from credit_pipeline.sandbox import lifecycle
    from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres

    home = session.home
    session.private_folder("logs")  # the first refusal of a folder that cannot be written
    with (home / "servers.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            if not EmbeddedPostgres(home).is_running():
                _mark(home).touch()
            start()
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _mark(home).exists():
                    lifecycle.down(home)
                    _mark(home).unlink()


def _mark(home: Path) -> Path:
    return home / "servers.borrowed"


@contextlib.contextmanager
def _environment(variables: Mapping[str, str], *also: str) -> Iterator[None]:
    """Set variables for a while; those and `also` are afterwards as they were."""
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
