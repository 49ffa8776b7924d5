"""An undo as text: the plan like any other, what it takes back, what can no longer be taken back, what to type next.

Pure, from the JSON object of `undo`: mappings in, rich renderables out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from credit_pipeline.cli.cells import counted, plain, unbroken
from credit_pipeline.cli.render_plan import render_plan

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_undo(plan: Mapping[str, Any]) -> list[RenderableType]:
    """The plan that takes another one back; one line where there is nothing to take back."""
    notes = [unbroken(plain(note)) for note in plan["notes"]]
    if not plan["rows"]:
        return [*notes, *(unbroken(f"refused: {plain(failure)}") for failure in plan["failures"])]
    parts = [unbroken(f"takes back plan {plan['undoes']}"), *notes]
    short = sum(1 for row in plan["rows"] if row["shortfall"])
    if short:
        total = plan["totals"]["shortfall"]
        parts.append(
            unbroken(f"{total:,} credits of {counted(short, 'account', 'accounts')} were spent and stay spent")
        )
    accepted = f"credit-pipeline mismatches {plan['system']} list --state accepted"
    told = f"once applied, what is wrong with these accounts counts as accepted, and no run corrects it: {accepted}"
    return [*parts, *render_plan(plan), unbroken(told)]
