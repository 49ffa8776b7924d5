"""The health monitor as text: the overall line, the checks, and for each that fails a sample and what to do. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from credit_pipeline.cli.cells import grid, number, plain, unbroken
from credit_pipeline.services.health.health import Health, Statement

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_health(told: Health) -> list[RenderableType]:
    """The line one greps for comes first."""
    table = grid("check", "", "untrue for", "severity", numbers=("untrue for",), whole=("check",))
    for one in told.statements:
        word = "-" if one.count is None else "FAILS" if one.count else "ok"
        table.add_row(one.name, word, number(one.count), one.severity)
    parts: list[RenderableType] = [Text(told.line(), style="bold"), "", table]
    for one in told.failing:
        parts += ["", *_failing(one)]
    return parts


def _failing(one: Statement) -> list[RenderableType]:
    more = " ..." if one.truncated else ""
    return [
        Text(f"{one.name}: {one.sentence}"),
        unbroken(f"  for example {', '.join(map(plain, one.sample))}{more}"),
        unbroken(f"  {one.recovery}"),
    ]
