"""Values and tables as text for a terminal: numbers, times, balances, a grid without lines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def plain(value: object) -> str:
    """Text from outside without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else "�" for char in str(value))


def number(value: int | None) -> str:
    """`5,000`, or a question mark if it is unknown."""
    return "?" if value is None else f"{value:,}"


def signed(value: int | None) -> str:
    """`+4,900`, `-200`, or nothing for zero and for unknown."""
    return "" if not value else f"{value:+,}"


def moment(value: str | datetime | None) -> str:
    """`2026-11-21 08:00` in UTC, or `never`."""
    if value is None:
        return "never"
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{instant:%Y-%m-%d %H:%M}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 account`, `2,000 accounts`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def by_count(counts: Mapping[str, int]) -> str:
    """`3 open, 1 accepted`: each number with its name."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def balance(state: Mapping[str, Any]) -> str:
    """`free 40/100`: the label, the credits left, the credits granted."""
    label = "no label" if state.get("plan") is None else plain(state["plan"])
    return f"{label} {number(state.get('available'))}/{number(state.get('total'))}"


def bold(text: str) -> Text:
    """A heading."""
    from rich.text import Text

    return Text(text, style="bold")


def unbroken(text: str) -> Text:
    """A line to copy a command from: only the terminal itself breaks it."""
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="ignore")


def grid(*headings: str, numbers: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """A table without lines, which copies well. Columns in `numbers` align right; those in `whole` never break."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        right = heading in numbers
        table.add_column(
            heading, justify="right" if right else "left", no_wrap=right or heading in whole, overflow="fold"
        )
    return table
