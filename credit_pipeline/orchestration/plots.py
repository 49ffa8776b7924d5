"""Balances over time as small PNGs, for asset metadata and for `account --plot`. Draws; asks nobody.

matplotlib takes a second to import, so it is imported where a picture is drawn, and its global state (pyplot) is never
touched: several runs may draw at once. Its title is drawn, so it can call nothing.
"""

import base64
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.services.health.balance_history import AccountState

INCHES = (7.2, 2.7)
DPI = 100
TITLE = 41
"""Letters that leave room for the legend beside them."""
COLOURS = 64
"""Of the palette: lines and letters need no more, and each run's record keeps its picture for ever."""
LEFT, GRANTED, OURS = "#1f5fa8", "#9aa3ad", "#c4540a"


def system_plot(title: str, points: Sequence[BalancePoint]) -> bytes | None:
    """The credits that all accounts of a system can spend, and what we corrected. None below two comparisons."""
    if len(points) < 2:
        return None
    times = [point.at for point in points]
    left = [point.available for point in points]
    with_ours = [(point.at, point.available, point.corrected) for point in points if point.corrected]

    def draw(axes: Any) -> None:
        axes.plot(times, left, color=LEFT, linewidth=1.6, label="credits left in all accounts")
        if with_ours:
            moved = sum(one for *_, one in with_ours)
            label = f"corrected by us: {moved:+,}"
            axes.plot([at for at, *_ in with_ours], [height for _, height, _ in with_ours], **_dots(label))

    return _png(title, draw, least=min(left), most=max(left))


def account_plot(title: str, states: Sequence[AccountState], now: datetime) -> bytes | None:
    """What one account could spend and had been granted until `now`. None where nothing is remembered of it."""
    if not states:
        return None
    times = [*(state.at for state in states), max(now, states[-1].at)]
    left = [*(state.available for state in states), states[-1].available]
    granted = [*(state.total for state in states), states[-1].total]
    ours = [state for state in states if state.corrected]

    def draw(axes: Any) -> None:
        # Granted and spent since is more than what is left; the two lines show which of them moved.
        axes.step(times, granted, where="post", color=GRANTED, linewidth=1.2, linestyle="--", label="granted so far")
        axes.step(times, left, where="post", color=LEFT, linewidth=1.6, label="credits left")
        if ours:
            axes.plot([s.at for s in ours], [s.available for s in ours], **_dots("corrected by us"))

    return _png(title, draw, least=min(left), most=max(*left, *granted))


def as_markdown(png: bytes) -> str:
    """The picture as the one piece of markdown that metadata may hold: our own bytes, and no text of anybody's."""
    return f"![balances over time](data:image/png;base64,{base64.b64encode(png).decode()})"


def _dots(label: str) -> dict[str, Any]:
    return {"color": OURS, "linestyle": "none", "marker": "o", "markersize": 4, "label": label}


def _png(title: str, draw: Callable[[Any], None], *, least: int, most: int) -> bytes:
    from matplotlib import dates
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator
    from PIL import Image

    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    calendar: Any = dates
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(f"{_plain(title)}, UTC", fontsize=9, loc="left", parse_math=False)
    # From zero, or a change of a thousandth would look like a crash.
    room = max(1, most - min(0, least)) * 0.08
    axes.set_ylim(min(0, least) - (room if least < 0 else 0), most + room)
    locator = calendar.AutoDateLocator(tz=UTC, minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(calendar.ConciseDateFormatter(locator, tz=UTC))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#e3e6ea", linewidth=0.7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.xaxis.get_offset_text().set_fontsize(8)
    # Above the lines, which may run anywhere.
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, fontsize=8, frameon=False, ncols=3)
    canvas.draw()
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    out = io.BytesIO()
    drawn.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        out, format="PNG", optimize=True
    )
    return out.getvalue()


def _plain(title: str) -> str:
    """Letters that the font has: an account's id is whatever the product made it."""
    shown = title if len(title) <= TITLE else f"{title[: TITLE - 2]}.."
    return "".join(letter if " " <= letter <= "~" else "?" for letter in shown)
