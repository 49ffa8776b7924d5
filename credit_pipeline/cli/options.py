"""The options that every command takes, before its name or after it, and the class of all commands."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

from credit_pipeline.cli.session import Session


def _noted(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def note(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value not in (None, False):  # said before the command's name, silence after it takes nothing back
            setattr(ctx.find_object(Session), name, value)

    return note


SHARED: Sequence[Callable[[], click.Option]] = (
    partial(
        click.Option,
        ["--defs"],
        type=click.Path(file_okay=False),
        metavar="DIR",
        expose_value=False,
        callback=_noted("defs"),
        help="Folder of systems, one sub-folder with a defs.yaml each [default: $CREDIT_PIPELINE_DEFS, else packaged].",
    ),
    partial(
        click.Option,
        ["--format"],
        type=click.Choice(["text", "json"]),
        expose_value=False,
        callback=_noted("format"),
        help="json prints one object on stdout, everything else on stderr  [default: text].",
    ),
    partial(
        click.Option,
        ["--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_noted("verbose"),
        help="Show the log lines, one per decision, on stderr.",
    ),
)


class Command(click.Command):
    """A command with the shared options. What libraries print goes to stderr: stdout holds the result alone."""

    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self.params += [option() for option in SHARED]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with nothing but its result on stdout."""
        with contextlib.redirect_stdout(sys.stderr):
            return super().invoke(ctx)


def accounts_option(help_text: str) -> Callable[[Any], Any]:
    """`--account ID`, which may be repeated."""
    return click.option("--account", "accounts", multiple=True, metavar="ID", help=help_text)
