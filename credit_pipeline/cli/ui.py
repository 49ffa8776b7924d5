"""`ui`: runs the Dagster webserver and daemon on loopback, with everything they need, until the command ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from credit_pipeline.cli.exit_codes import COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import DEFS_ENV, HOME_ENV, Session
from credit_pipeline.domain.errors import ConfigurationError, CreditPipelineError

HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 120, 20


@click.command(cls=Command)
@click.option("--write", is_flag=True, help="Let the UI launch runs. It has no login: anybody on this machine can.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port on loopback.")
@click.pass_obj
def ui(session: Session, write: bool, port: int) -> int:
    """Open the Dagster UI and run the schedules.

    On loopback, read-only unless --write. Ctrl-C stops everything it started. A system without variables uses the
    sandbox of the working folder, if there is one.
    """
    _refuse_taken(port)
    url = f"http://{HOST}:{port}"
    with contextlib.ExitStack() as servers:
        _sources(session, servers)
        folder = _dagster_home(session, servers)
        processes = servers.enter_context(_processes(session, folder, port, write=write))
        _wait_until_answers(session, url, processes)
        session.show({"url": url, "write": write, "dagster_home": str(folder)}, lambda: [_opened(url, write)])
        with contextlib.suppress(KeyboardInterrupt):
            return _watch(session, processes)
    session.say("stopped")
    return NOTHING


def _opened(url: str, write: bool) -> str:
    mode = "runs can be launched from it" if write else "read-only; --write lets it launch runs"
    return f"Dagster UI on {url} ({mode}). Ctrl-C stops it."


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise ConfigurationError(f"Port {port} is taken on this machine: choose another with --port.") from None


def _sources(session: Session, servers: contextlib.ExitStack) -> None:
    """Opens the sandbox for systems that use it. Runs of a system without sources fail with a sentence."""
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.config.loader import load_systems

    for system in load_systems(session.folder):
        servers.enter_context(sandbox_for(session, system))
        missing = [name for name in system.env_names if not os.environ.get(name)]
        if missing:
            session.say(f"{system.name}: set {', '.join(missing)}; until then its runs fail and say so.")


def _dagster_home(session: Session, servers: contextlib.ExitStack) -> Path:
    from credit_pipeline.cli.managed_servers import dagster_storage
    from credit_pipeline.orchestration.instance import prepare_home

    return prepare_home(session.home, servers.enter_context(dagster_storage(session)))


@contextlib.contextmanager
def _processes(
    session: Session, folder: Path, port: int, *, write: bool
) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """Starts webserver and daemon in sessions of their own, so that Ctrl-C reaches this process only."""
    from credit_pipeline.orchestration.instance import workspace_file

    code = ["-w", str(workspace_file())]
    web = ["dagster_webserver", "-h", HOST, "-p", str(port), *code, *([] if write else ["--read-only"])]
    daemon = ["dagster._daemon", "run", *code]
    environment = (
        os.environ | {HOME_ENV: str(session.home)} | ({DEFS_ENV: str(session.folder)} if session.folder else {})
    )
    logs = session.private_folder("logs")
    started: list[subprocess.Popen[bytes]] = []
    # A child inherits an ignored signal, and Dagster could not be stopped; a handled one becomes default.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for arguments in (web, daemon):
            log = logs / f"{arguments[0].strip('_').replace('.', '')}.log"
            with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
                started.append(
                    subprocess.Popen(  # noqa: S603 (our own interpreter, fixed arguments)
                        [sys.executable, "-m", *arguments],
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=file,
                        cwd=folder,
                        env=environment,
                        start_new_session=True,
                    )
                )
        yield started
    finally:
        _stop(started)
        signal.signal(signal.SIGINT, before)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminates each process, waits, and kills what is left of its session, including code servers."""
    for process in processes:
        process.terminate()
    end = time.monotonic() + STOP_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, end - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_answers(session: Session, url: str, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + START_SECONDS
    with session.waiting("starting the Dagster UI"):
        while time.monotonic() < end:
            ended = _ended(session, processes)
            if ended:
                raise CreditPipelineError(ended)
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/server_info", timeout=5):  # noqa: S310
                return
            time.sleep(0.2)
    raise CreditPipelineError(f"The Dagster UI did not answer within {START_SECONDS} s: read {session.home / 'logs'}.")


def _watch(session: Session, processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Runs until Ctrl-C, or until a server ends by itself."""
    while True:
        ended = _ended(session, processes)
        if ended:
            session.say(ended)
            return COULD_NOT_TELL
        time.sleep(0.5)


def _ended(session: Session, processes: Sequence[subprocess.Popen[bytes]]) -> str | None:
    if all(process.poll() is None for process in processes):
        return None
    return f"A Dagster server ended by itself: the last lines of its log in {session.home / 'logs'} say why."
