"""Pictures of balances over time: small PNGs whose lines are where the numbers are, of any numbers, under any name."""

import base64
import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.orchestration.plots import LEFT, OURS, account_plot, as_markdown, system_plot
from credit_pipeline.services.health.balance_history import AccountState

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def a_point(number: int, available: int, corrected: int = 0) -> BalancePoint:
    return BalancePoint(at=NOW + number * DAY, accounts=1, available=available, granted=available, corrected=corrected)


def a_state(number: int, available: int, *, corrected: bool = False) -> AccountState:
    return AccountState(at=NOW + number * DAY, available=available, total=1_000, corrected=corrected)


def places(png: bytes | None, colour: str, *, below: int = 35) -> list[tuple[int, int]]:
    """Where the picture is of that colour, under its title and legend."""
    assert png is not None
    drawn = Image.open(io.BytesIO(png)).convert("RGB")
    wanted = tuple(bytes.fromhex(colour[1:]))
    pixels = drawn.load()
    assert pixels is not None
    width, height = drawn.size
    return [(x, y) for x in range(width) for y in range(below, height) if near(pixels[x, y], wanted)]


def near(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 40


def test_a_fall_goes_down_and_our_correction_is_marked() -> None:
    points = [a_point(0, 1000), a_point(1, 1000), a_point(2, 100), a_point(3, 1000, corrected=900)]
    png = system_plot("wix_app", points)
    line, dots = places(png, LEFT), places(png, OURS)
    lowest = max(line, key=lambda place: place[1])
    assert 0.55 < (lowest[0] - line[0][0]) / (line[-1][0] - line[0][0]) < 0.75, "on the third of four days"
    assert dots
    assert min(x for x, _ in dots) > lowest[0], "the correction came after"
    assert not places(system_plot("wix_app", points[:3]), OURS)


def test_an_accounts_balance_is_a_step_that_lasts_until_now() -> None:
    png = account_plot("acct", [a_state(0, 900), a_state(1, 200)], NOW + 4 * DAY)
    line = places(png, LEFT)
    levels = {y for x, y in line if x > (line[0][0] + line[-1][0]) / 2}
    assert max(levels) - min(levels) <= 3, "level from the last change on"
    assert not places(png, OURS)
    assert places(account_plot("acct", [a_state(0, 1), a_state(1, 900, corrected=True)], NOW + 2 * DAY), OURS)


@pytest.mark.parametrize("numbers", [[0, 0], [-50, -1], [10**15, 0], [5, 5], [0, 10**9]])
def test_any_numbers_are_drawn_small(numbers: list[int]) -> None:
    drawn = system_plot("wix_app", [a_point(place, number) for place, number in enumerate(numbers)])
    assert drawn is not None
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) < 12_000
    assert Image.open(io.BytesIO(drawn)).size == (720, 270)


def test_a_month_of_six_hours_stays_small() -> None:
    wild = [a_point(place, (place * 7919) % 5000, corrected=place % 2) for place in range(124)]
    drawn = system_plot("a_system_with_a_very_long_name_of_its_own", wild)
    assert drawn is not None
    assert len(drawn) < 32_000


@pytest.mark.parametrize("title", ["$\\frac{1}$", "<img src=x>", "\n\x00\ud800", "店" * 60, ""])
def test_an_account_may_be_called_anything(title: str) -> None:
    assert account_plot(title, [a_state(0, 1)], NOW + DAY)


def test_nothing_to_see_is_no_picture() -> None:
    assert system_plot("wix_app", []) is None
    assert system_plot("wix_app", [a_point(0, 5)]) is None
    assert account_plot("acct", [], NOW) is None


def test_a_single_state_is_level_even_where_clocks_disagree() -> None:
    assert account_plot("acct", [a_state(0, 5)], NOW - DAY)


def test_the_markdown_holds_the_picture_and_not_a_word_of_anybodys() -> None:
    png = account_plot("![x](/graphql?query=mutation)", [a_state(0, 1)], NOW + DAY)
    assert png is not None
    head, _, coded = as_markdown(png).partition("base64,")
    assert head == "![balances over time](data:image/png;"
    assert base64.b64decode(coded.removesuffix(")"), validate=True) == png


def test_matplotlib_is_imported_only_where_a_picture_is_drawn() -> None:
    told = "import sys, credit_pipeline.definitions as d; d.defs(); print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
