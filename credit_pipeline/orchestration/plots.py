"""Draws balances over time as small PNGs, for asset metadata and for `account --plot`.

matplotlib takes a second to import, so it is imported on first use. Its global state (pyplot) is not used, so several
runs may draw at once.
"""

import base64
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.domain.errors import missing_extra
from credit_pipeline.services.health.balance_history import AccountState

INCHES = (7.2, 2.7)
DPI = 100
TITLE = 41
"""Maximum characters, to leave room for the legend."""
COLOURS = 64
"""Palette size; small, because every run's picture is kept for ever."""
LEFT, GRANTED, OURS = "#1f5fa8", "#9aa3ad", "#c4540a"


def system_plot(title: str, points: Sequence[BalancePoint]) -> bytes | None:
    """A PNG of the credits left in all accounts and our corrections; None for fewer than two points."""
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
    """A PNG of one account's granted and remaining credits until `now`; None without states."""
    if not states:
        return None
    times = [*(state.at for state in states), max(now, states[-1].at)]
    left = [*(state.available for state in states), states[-1].available]
    granted = [*(state.total for state in states), states[-1].total]
    ours = [state for state in states if state.corrected]

    def draw(axes: Any) -> None:
        # Two lines, to tell a change of granted credits from spending.
        axes.step(times, granted, where="post", color=GRANTED, linewidth=1.2, linestyle="--", label="granted so far")
        axes.step(times, left, where="post", color=LEFT, linewidth=1.6, label="credits left")
        if ours:
            axes.plot([s.at for s in ours], [s.available for s in ours], **_dots("corrected by us"))

    return _png(title, draw, least=min(left), most=max(*left, *granted))


def as_markdown(png: bytes) -> str:
    """The PNG as an inline markdown image, which contains no external text."""
    return f"![balances over time](data:image/png;base64,{base64.b64encode(png).decode()})"


def _dots(label: str) -> dict[str, Any]:
    return {"color": OURS, "linestyle": "none", "marker": "o", "markersize": 4, "label": label}


def _png(title: str, draw: Callable[[Any], None], *, least: int, most: int) -> bytes:
    try:
        from matplotlib import dates
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, MaxNLocator
        from PIL import Image
    except ModuleNotFoundError as error:
        raise missing_extra(error) from None

    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    calendar: Any = dates
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(f"{_plain(title)}, UTC", fontsize=9, loc="left", parse_math=False)
    # The axis starts at zero, or a change of 0.1 % would look like a crash.
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
    # Above the plot, because lines may run anywhere in it.
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, fontsize=8, frameon=False, ncols=3)
    canvas.draw()
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    out = io.BytesIO()
    drawn.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        out, format="PNG", optimize=True
    )
    return out.getvalue()


def _plain(title: str) -> str:
    """The title cut to TITLE characters, with `?` for those outside ASCII, because account ids may hold any."""
    shown = title if len(title) <= TITLE else f"{title[: TITLE - 2]}.."
    return "".join(letter if " " <= letter <= "~" else "?" for letter in shown)
