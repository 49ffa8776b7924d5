"""What the demo came to, as text: planted against found, corrected, held. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from credit_pipeline.cli.cells import grid, number, unbroken

if TYPE_CHECKING:
    from rich.console import RenderableType

COUNTS = ("planted", "found", "corrected", "held_by_code")


def render_demo(result: Mapping[str, Any]) -> list[RenderableType]:
    """A table a system, then what to open next."""
    parts: list[RenderableType] = []
    for name, came in result["systems"].items():
        parts += [Text(_totals(name, came), style="bold"), "", _codes(came), ""]
        for what in ("missed", "healthy_reported"):
            if came.get(what):
                parts.append(Text(f"{what}: {', '.join(came[what][:10])}"))
    return [
        *parts,
        unbroken("next: credit-pipeline ui opens the lineage, the checks and the audit trail of these runs"),
        *(
            unbroken(f"      credit-pipeline check {name} shows what is left for a person")
            for name in result["systems"]
        ),
    ]


def _codes(came: Mapping[str, Any]) -> RenderableType:
    headings = ("planted", "found", "corrected", "held")
    table = grid("code", *headings, numbers=headings)
    for code in sorted({*came["planted"], *came["found"]}):
        counts = [number(came.get(name, {}).get(code, 0)) for name in COUNTS]
        table.add_row(code if counts[0] == counts[1] else f"{code} (differs)", *counts)
    return table


def _totals(name: str, came: Mapping[str, Any]) -> str:
    return (
        f"{name}: {came['population']:,} accounts, {came['changed']:,} corrected, {came['held']:,} held for a person, "
        f"{came['second_run_changed']:,} changed by the second run, {came['credits_lost']:,} credits lost"
    )
