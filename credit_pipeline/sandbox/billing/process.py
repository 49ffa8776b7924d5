"""Starts, finds and stops the billing process of a home.

The process has its own session, writes its log into the home, and outlives the command that started it.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from credit_pipeline.domain.errors import SourceError
from credit_pipeline.sandbox.billing.state import ServerState

START_S = 30.0
STOP_S = 5.0


def state_path(home: Path) -> Path:
    """The file in which a home's billing process describes itself."""
    return home / "billing_server.json"


def log_path(home: Path) -> Path:
    """The file of its log."""
    return home / "billing_server.log"


def running(home: Path) -> ServerState | None:
    """The home's billing process, if it runs."""
    state = ServerState.read(state_path(home))
    return state if state is not None and state.process() is not None else None


def start_process(home: Path, book_path: Path, *, stripe_book: Path | None = None, port: int = 0) -> ServerState:
    """Starts the home's billing process for Wix's and, if given, Stripe's book. Keeps one that serves the same."""
    earlier = running(home)
    if earlier is not None and earlier.serves(book_path, stripe_book):
        return earlier
    stop_process(home)
    home.mkdir(parents=True, exist_ok=True)
    pid = _spawn(home, book_path, stripe_book, port)
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        state = ServerState.read(state_path(home))
        if state is not None and state.pid == pid:
            return state
        if _ended(pid):
            break
        time.sleep(0.02)
    raise SourceError(f"sandbox: the billing server did not start: read {log_path(home)}")


def stop_process(home: Path) -> bool:
    """Stops the home's billing process and waits for its end. Returns whether there was one."""
    state = ServerState.read(state_path(home))
    process = state.process() if state is not None else None
    if process is None:
        return False
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(STOP_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)
    return True


def _spawn(home: Path, book_path: Path, stripe_book: Path | None, port: int) -> int:
    """Starts the process without a handle: it outlives us, which subprocess would warn about."""
    log = os.open(log_path(home), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    command = [sys.executable, "-m", "credit_pipeline.sandbox.billing.server"]
    options = ["--book", str(book_path), "--state", str(state_path(home)), "--port", str(port)]
    if stripe_book is not None:
        options += ["--stripe-book", str(stripe_book)]
    try:
        return os.posix_spawn(
            sys.executable,
            command + options,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
        )
    finally:
        os.close(log)
        os.close(nothing)


def _ended(pid: int) -> bool:
    """Whether our child ended; reaps it if so."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
