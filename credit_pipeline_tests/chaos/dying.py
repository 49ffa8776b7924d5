"""A process that applies plans and is killed with 9 before or after a chosen message to Postgres.

Run as a program it reads orders from stdin, one JSON a line, and forks for each, so that nothing is imported twice.
Every message of the write path is a boundary: BEGIN, each statement, COMMIT. What must hold afterwards is the tests'.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline_tests.incidents.world import World

FINISHED = 0
FAILED = 3


class Dying:
    """The program, running; `apply` is one process's life. A context manager that ends it."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "credit_pipeline_tests.chaos.dying"]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.close()
        self._program.stdout.close()
        self._program.wait()

    def apply(self, order: dict[str, Any], boundary: int) -> bool:
        """Applies the plan until the boundary of that number. Whether there was one; else the apply came to its end."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(order | {"boundary": boundary}) + "\n")
        self._program.stdin.flush()
        status = int(self._program.stdout.readline())
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True
        assert os.WEXITSTATUS(status) == FINISHED, f"boundary {boundary}: the apply failed by itself"
        return False


def _killing_at(boundary: int) -> Callable[..., Any]:
    """psycopg's one way to wait for the server, counted: a boundary lies before it and another after it."""
    original, passed = psycopg.Connection.wait, 0

    def step() -> None:
        nonlocal passed
        passed += 1
        if passed == boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    def wait(self: psycopg.Connection[Any], *words: Any, **named: Any) -> Any:
        step()
        answer = original(self, *words, **named)
        step()
        return answer

    return wait


def _live(order: dict[str, Any]) -> int:
    home = Path(order["home"])
    book, now = BillingBook.load(Path(order["book"])), datetime.fromisoformat(order["now"])
    with World(order["url"], home, book=book, now=now) as world:
        psycopg.Connection.wait = _killing_at(order["boundary"])  # type: ignore[method-assign]
        world.apply(order["plan"])
    return FINISHED


def main() -> None:
    logging.disable(logging.ERROR)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                status = _live(json.loads(line))
            except BaseException:
                traceback.print_exc()
                status = FAILED
            os._exit(status)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
