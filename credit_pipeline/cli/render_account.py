"""One account's explanation as text: the answer, the eight checks, the timeline. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from credit_pipeline.cli.cells import grid, moment, plain
from credit_pipeline.services.explain.explanation import Explanation

if TYPE_CHECKING:
    from rich.console import RenderableType

_WORDS = {True: "ok", False: "FAILS", None: "-"}


def render_account(told: Explanation) -> list[RenderableType]:
    """The sentence first: it is what support reads out."""
    checks = grid("check", "", "detail")
    for check in told.checks:
        checks.add_row(check.name, _WORDS[check.ok], plain(check.detail))
    story = grid("UTC", "", "what happened")
    for entry in told.timeline:
        story.add_row(moment(entry.at), entry.kind, plain(entry.text))
    counts = f"{told.passed} ok, {told.failed} failing, {len(told.checks) - told.passed - told.failed} open"
    return [
        Text(f"{told.system} {plain(told.account_id or 'no store account')}", style="bold"),
        Text(plain(told.summary)),
        "",
        checks,
        Text(counts),
        "",
        story,
    ]
