"""Single accounts and failed webhooks as text. Pure: mappings in, rich renderables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from credit_pipeline.cli.cells import counted, grid, moment, plain, signed, unbroken

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_sync(result: Mapping[str, Any]) -> list[RenderableType]:
    """Each account with what came of it, and what to type next."""
    system, accounts = result["system"], result["accounts"]
    mode = "live" if result["mode"] == "live" else "dry run, nothing was written"
    parts: list[RenderableType] = [
        Text(f"{system}: {_split(result['outcomes'])} of {counted(len(accounts), 'account')} ({mode})", style="bold"),
        "",
        _accounts(accounts),
    ]
    waiting = [one["account_id"] for one in accounts if one["outcome"] == "would_change"]
    if waiting:
        named = " ".join(plain(account) for account in waiting[:3]) + (" ..." if len(waiting) > 3 else "")
        parts += ["", unbroken(f"to correct: credit-pipeline sync {system} {named} --live")]
    return parts


def render_webhooks(shown: Mapping[str, Any]) -> list[RenderableType]:
    """The counts, the newest records, and what to type next."""
    system, records = shown["system"], shown["records"]
    parts: list[RenderableType] = [Text(f"{system}: {_split(shown['counts'])}", style="bold")]
    if not records:
        return parts
    table = grid("record", "event", "state", "attempts", numbers=("record", "attempts"), whole=("event",))
    for one in records:
        whose = f"\n  {plain(one['account'])}" if one["account"] else ""
        event = f"{plain(one['type'] or one['provider'])}\n  {plain(one['event_id'])[:40]}{whose}"
        when = f"next {moment(one['next_attempt_at'])}" if one["next_attempt_at"] else moment(one["received_at"])
        said = f"\n  {plain(one['said'])}" if one["said"] else ""
        table.add_row(str(one["record"]), event, f"{one['state']}, {when}{said}", str(one["attempts"]))
    parts += ["", table]
    if any(one["state"] == "dead" for one in records):
        parts += ["", unbroken(f"to try the dead again: credit-pipeline webhooks {system} replay --dead --live")]
    return parts


def render_pulled(system: str, sentence: str, *, new: int) -> list[RenderableType]:
    """What was fetched, and what to type next."""
    parts: list[RenderableType] = [f"{system}: {sentence}"]
    if new:
        parts += ["", unbroken(f"to see them: credit-pipeline webhooks {system} list")]
    return parts


def render_repaired(shown: Mapping[str, Any]) -> list[RenderableType]:
    """What became of replayed records."""
    system, records = shown["system"], shown["records"]
    mode = "live" if shown["mode"] == "live" else "dry run, nothing was written to the product"
    heading = f"{system}: {_split(shown['states'])} of {counted(len(records), 'record')} ({mode})"
    parts: list[RenderableType] = [Text(heading, style="bold")]
    if records:
        table = grid("record", "what came of it", numbers=("record",))
        for one in records:
            table.add_row(str(one["record"]), f"{one['state'] or 'lost'}: {plain(one['sentence'])}")
        parts += ["", table]
    return parts


def _accounts(accounts: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = grid("account", "outcome", "credits", numbers=("credits",), whole=("account",))
    for one in accounts:
        table.add_row(plain(one["account_id"]), f"{one['outcome']}: {plain(one['sentence'])}", signed(one["delta"]))
    return table


def _split(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name.removeprefix('webhook_')}" for name, count in counts.items()) or "none"
