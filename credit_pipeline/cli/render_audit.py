"""What verifying and exporting the audit came to, as text: one line, then what does not agree. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from credit_pipeline.cli.cells import counted, number, plain, unbroken
from credit_pipeline.services.audit.verify import Verification

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_verification(found: Verification) -> list[RenderableType]:
    """One line to grep for, with the head in the form that --anchor takes."""
    seq, head = found.head
    noted = counted(found.anchors, "noted head") if found.anchors else "no noted head: a cut end would not be seen"
    verdict = "verified" if found.verified else f"NOT VERIFIED, {counted(found.found, 'fault')}"
    line = f"{found.system}: audit {verdict}: {counted(found.rows, 'row')}, head {seq}:{plain(head)}, {noted}"
    return [unbroken(line), *_faults(found)]


def render_pack(folder: str, control: Mapping[str, Any], found: Verification) -> list[RenderableType]:
    """Totals to compare with other books, where the pack is, and whether the chain behind it verifies."""
    credits = control["credits"]
    totals = (
        f"{counted(control['rows'], 'change')}, {number(credits['up'])} credits given, {number(credits['down'])} taken"
    )
    return [unbroken(f"{found.system}: evidence pack: {totals}"), unbroken(folder), *render_verification(found)]


def _faults(found: Verification) -> list[RenderableType]:
    lines = [unbroken(f"  {fault.kind}: {plain(fault.sentence)}") for fault in found.faults]
    more = found.found - len(found.faults)
    return [*lines, *([f"  and {more:,} more"] if more else [])]
