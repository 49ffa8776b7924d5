"""What a person gives with a decision: who, why, and until when. What is decided is the commands'."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any

import click


def decided_options(*, required: bool = True) -> Callable[[Any], Any]:
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
