"""Alerts as text: what waits to be delivered, what was sent, which sinks work. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from credit_pipeline.cli.cells import counted, grid, moment, plain, unbroken

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_alerts(shown: Mapping[str, Any]) -> list[RenderableType]:
    """The numbers, then each alert with what it says and why a sink does not have it."""
    late = f", {shown['late']:,} of them late" if shown["late"] else ""
    sinks = ", ".join(shown["sinks"])
    heading = f"{shown['system']}: {counted(shown['waiting'], 'alert')} to deliver{late} (to {sinks})"
    parts: list[RenderableType] = [Text(heading, style="bold")]
    if not shown["alerts"]:
        return parts
    table = grid("alert", "what it says", "for", "attempts", numbers=("alert", "attempts"))
    for one in shown["alerts"]:
        said = f"\n  {plain(one['last_error'])}" if one["last_error"] else ""
        when = f"\n  since {moment(one['created_at'])}, next {moment(one['next_attempt_at'])}"
        lacking = ", ".join(one["lacking"]) or "nobody any more"
        table.add_row(str(one["id"]), f"{plain(one['says'])}{when}{said}", lacking, str(one["attempts"]))
    return [*parts, "", table, "", unbroken(f"to deliver now: credit-pipeline alerts {shown['system']} send")]


def render_sent(shown: Mapping[str, Any]) -> list[RenderableType]:
    """How many messages went out, and what did not."""
    left = f", {counted(shown['waiting'], 'alert')} left" if shown["waiting"] else ""
    heading = f"{shown['system']}: {counted(shown['messages'], 'message')} sent to {', '.join(shown['sinks'])}{left}"
    return [Text(heading, style="bold"), *(unbroken(plain(said)) for said in shown["failures"].values())]


def render_tried(shown: Mapping[str, Any]) -> list[RenderableType]:
    """Each sink with what came of the test message."""
    table = grid("sink", "test message", whole=("sink",))
    for name, said in shown["sinks"].items():
        table.add_row(name, plain(said))
    return [Text(f"{shown['system']}: {counted(len(shown['sinks']), 'sink')}", style="bold"), "", table]
