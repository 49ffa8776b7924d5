"""The entry point of the command line: finds a command by its name, runs it and returns its exit status.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import click

from credit_pipeline.cli.exit_codes import exit_status
from credit_pipeline.cli.options import SHARED
from credit_pipeline.cli.session import Session

COMMANDS = {
    "demo": "credit_pipeline.cli.sandbox",
    "sandbox": "credit_pipeline.cli.sandbox",
    "systems": "credit_pipeline.cli.systems",
    "init": "credit_pipeline.cli.init",
    "check": "credit_pipeline.cli.check",
    "fix": "credit_pipeline.cli.fix",
    "plans": "credit_pipeline.cli.plans",
    "approve": "credit_pipeline.cli.plans",
    "reject": "credit_pipeline.cli.plans",
    "apply": "credit_pipeline.cli.fix",
    "undo": "credit_pipeline.cli.fix",
    "sync": "credit_pipeline.cli.sync",
    "webhooks": "credit_pipeline.cli.webhooks",
    "mismatches": "credit_pipeline.cli.mismatches",
    "alerts": "credit_pipeline.cli.alerts",
    "exempt": "credit_pipeline.cli.exempt",
    "stop": "credit_pipeline.cli.stop",
    "resume": "credit_pipeline.cli.stop",
    "account": "credit_pipeline.cli.account",
    "health": "credit_pipeline.cli.health",
    "audit": "credit_pipeline.cli.audit",
    "ui": "credit_pipeline.cli.ui",
}
"""Command → the module that holds it, in the order of the help."""


class Commands(click.Group):
    """Imports the module of a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (the base class's signature)
        """The commands in the order of their use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command), cmd_name
        return command


@click.group(
    cls=Commands,
    params=[option() for option in SHARED],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 nothing to act on, 1 something to act on or refused, 2 could not tell.",
)
@click.version_option(package_name="credit-pipeline", prog_name="credit-pipeline")
def cli() -> None:
    """Keeps the credit balances in a product's Postgres true to what its billing provider says was bought."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a replaced stream
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    with Session() as session, _signals_end_it():
        return exit_status(session, lambda: cli.main(arguments, "credit-pipeline", standalone_mode=False, obj=session))


@contextlib.contextmanager
def _signals_end_it() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does: it stops everything it started."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    with contextlib.suppress(ValueError):  # outside the main thread, signals cannot be handled
        for number, handler in ((signal.SIGINT, interrupt), (signal.SIGTERM, end), (signal.SIGHUP, end)):
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
