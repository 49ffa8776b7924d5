"""The class of all commands, the options that all of them take, and options that several of them take."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from credit_pipeline.config.system import CreditSystem


def _set_on_session(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value not in (None, False):  # given before the command's name, it holds if it is absent after the name
            setattr(ctx.find_object(Session), name, value)

    return callback


SHARED: Sequence[Callable[[], click.Option]] = (
    partial(
        click.Option,
        ["--defs"],
        type=click.Path(file_okay=False),
        metavar="DIR",
        expose_value=False,
        callback=_set_on_session("defs"),
        help="Folder of systems, one sub-folder with a defs.yaml each [default: $CREDIT_PIPELINE_DEFS, else packaged].",
    ),
    partial(
        click.Option,
        ["--format"],
        type=click.Choice(["text", "json"]),
        expose_value=False,
        callback=_set_on_session("format"),
        help="json prints one object on stdout, everything else on stderr  [default: text].",
    ),
    partial(
        click.Option,
        ["--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_set_on_session("verbose"),
        help="Show the log lines, one per decision, on stderr.",
    ),
)


class Command(click.Command):
    """A command with the shared options. Anything that libraries print goes to stderr; stdout holds only the result."""

    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self.params += [option() for option in SHARED]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with only its result on stdout."""
        with contextlib.redirect_stdout(sys.stderr):
            return super().invoke(ctx)


def accounts_option(help_text: str) -> Callable[[Any], Any]:
    """`--account ID`, which may be repeated."""
    return click.option("--account", "accounts", multiple=True, metavar="ID", help=help_text)


def decision_options(*, required: bool = True) -> Callable[[Any], Any]:
    """`--as` and `--reason`."""

    def decorated(command: Any) -> Any:
        who = click.option("--as", "who", required=required, metavar="WHO", help="Who decides; kept on record.")
        why = click.option("--reason", required=required, metavar="TEXT", help="Why; kept on record.")
        return who(why(command))

    return decorated


def until_option(help_text: str) -> Callable[[Any], Any]:
    """`--until DATE`: the last moment of that day in UTC, or None."""
    return click.option(
        "--until",
        type=click.DateTime(["%Y-%m-%d"]),
        metavar="DATE",
        callback=_end_of_day,
        help=f"{help_text} The whole day counts, in UTC; without it there is no end.",
    )


def _end_of_day(_ctx: click.Context, _parameter: click.Parameter, day: datetime | None) -> datetime | None:
    return None if day is None else datetime.combine(day.date(), time.max, UTC)


def session_and_system(ctx: click.Context) -> tuple[Session, CreditSystem]:
    """The session, and the system that was named before the sub-command."""
    session = ctx.find_object(Session)
    assert session is not None
    assert ctx.parent is not None
    return session, session.system(ctx.parent.params["system"])
