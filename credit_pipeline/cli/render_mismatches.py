"""Findings and decisions about them as text. Pure: mappings in, rich renderables out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from credit_pipeline.cli.cells import counted, grid, moment, plain, signed, unbroken
from credit_pipeline.services.report.aging import spoken

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 30


def render_mismatches(shown: Mapping[str, Any], *, everything: bool) -> list[RenderableType]:
    """The counts, the findings (the first thirty), and what to type next."""
    found, system = shown["mismatches"], shown["system"]
    counts = ", ".join(f"{count:,} {state}" for state, count in shown["counts"].items())
    parts: list[RenderableType] = [Text(f"{system}: {counts}", style="bold")]
    if not found:
        return parts
    if waits := spoken(shown["ages"]):
        parts.append(Text(f"waiting: {waits}"))
    listed = found if everything else found[:SHOWN]
    parts += ["", _table(listed)]
    if len(found) > len(listed):
        hidden = counted(len(found) - len(listed), "more finding", "more findings")
        parts.append(Text(f"{hidden}: --all lists every one, --format json has the evidence"))
    waiting = next((one for one in found if one["state"] in {"open", "acknowledged"}), None)
    if waiting:
        chosen = f"--fingerprint {waiting['fingerprint']} --as YOU --reason WHY"
        parts += ["", unbroken(f"if it is right as it is: credit-pipeline mismatches {system} accept {chosen}")]
    return parts


def render_decided(shown: Mapping[str, Any]) -> list[RenderableType]:
    """What a decision changed."""
    system, count = shown["system"], shown["changed"]
    done = "acknowledged" if shown["decision"] == "ack" else "accepted"
    codes = ", ".join(f"{number:,} {code}" for code, number in shown["codes"].items())
    heading = f"{system}: {counted(count, 'finding')} {done}" + (f" ({codes})" if codes else "")
    parts: list[RenderableType] = [Text(heading, style="bold")]
    if shown["unchanged"]:
        parts.append(Text(f"{counted(shown['unchanged'], 'finding')} left as it was: decided or resolved before"))
    if done == "acknowledged":
        parts.append(Text("nothing is hidden: reports show them until they are mended or accepted"))
    elif shown["over"]:
        parts.append(Text(f"{shown['until']} is past: the next run finds them open again"))
    elif count:
        until = f" until {shown['until']}" if shown["until"] else ""
        parts.append(Text(f"from the next run on they count no more{until}; no credits moved"))
    return parts


def _table(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = grid(
        "account and fingerprint", "finding", "credits", numbers=("credits",), whole=("account and fingerprint",)
    )
    for one in found:
        account = f"{plain(one['account_id'])}\n  {one['fingerprint']}"
        table.add_row(account, "\n".join(_facts(one)), signed(one["delta"]))
    return table


def _facts(one: Mapping[str, Any]) -> Iterator[str]:
    aged = ", aged" if one["aged"] else ""
    yield f"{one['code']}: {one['lane']}{aged}"
    if one["state"] == "resolved":
        yield f"  resolved: {plain(one['closed_why'])}"
    else:
        yield f"  {one['state']} {age(one['age_seconds'])}, seen {counted(one['seen_count'], 'time')}"
    yield f"  first {moment(one['first_seen'])}"
    yield f"  last {moment(one['last_seen'])}"
    if one["decided_by"]:
        until = f" until {one['accepted_until']:%Y-%m-%d}" if one["accepted_until"] else ""
        yield f"  by {plain(one['decided_by'])}{until}: {plain(one['reason'])}"


def age(seconds: int) -> str:
    """`12 min`, `5 h`, `3 d`: the largest unit that fits twice."""
    for unit, length in (("d", 86_400), ("h", 3_600)):
        if seconds >= 2 * length:
            return f"{seconds // length:,} {unit}"
    return f"{max(0, seconds) // 60} min"
