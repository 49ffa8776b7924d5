"""Single values as text for a terminal: numbers, times, states of a balance. Tables are made in the other modules."""

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
    """`5,000`, or a question mark for unknown."""
    return "?" if value is None else f"{value:,}"


def signed(value: int | None) -> str:
    """`+4,900`, `-200`, and nothing where nothing moves."""
    return "" if not value else f"{value:+,}"


def moment(value: str | datetime | None) -> str:
    """`2026-11-21 08:00`, in UTC."""
    if value is None:
        return "never"
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{instant:%Y-%m-%d %H:%M}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 account`, `2,000 accounts`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def balance(state: Mapping[str, Any]) -> str:
    """`free 40/100`: the label, what is left, what was granted."""
    label = "no label" if state.get("plan") is None else plain(state["plan"])
    return f"{label} {number(state.get('available'))}/{number(state.get('total'))}"


def unbroken(text: str) -> Text:
    """A line to copy a command from: as long as it is, only the terminal breaks it."""
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="ignore")


def grid(*headings: str, numbers: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """A table without lines, which copies well; `numbers` are set to the right, `whole` columns are never broken."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        right = heading in numbers
        table.add_column(
            heading, justify="right" if right else "left", no_wrap=right or heading in whole, overflow="fold"
        )
    return table
