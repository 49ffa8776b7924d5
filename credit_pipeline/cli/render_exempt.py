"""Exemptions as text. Pure: mappings in, rich renderables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from credit_pipeline.cli.cells import counted, grid, moment, plain, unbroken

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_exemptions(system: str, exemptions: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Who is exempt, since when, until when and why."""
    if not exemptions:
        how = f"credit-pipeline exempt {system} ID --as YOU --reason WHY"
        return [unbroken(f"{system}: no account is exempt; {how} exempts one")]
    table = grid("account", "until", "why", whole=("account", "until"))
    for one in exemptions:
        day = "no end" if one["until"] is None else f"{one['until']:%Y-%m-%d}"
        over = ", over" if one["over"] else ""
        why = f"{plain(one['reason'])}\n  {plain(one['set_by'])}, {moment(one['set_at'])}"
        table.add_row(plain(one["account_id"]), day + over, why)
    return [table]


def render_exempted(made: Mapping[str, Any]) -> list[RenderableType]:
    """What a decision changed."""
    system, count = made["system"], counted(len(made["accounts"]), "account")
    if made["decision"] == "end":
        return [Text(f"{system}: {count} exempt no more; the next run judges them", style="bold")]
    until = f"until {made['until']}" if made["until"] else "until a person ends it"
    renewed = f", {len(made['renewed']):,} of them with other words before" if made["renewed"] else ""
    return [Text(f"{system}: {count} exempt {until}{renewed}", style="bold")]
