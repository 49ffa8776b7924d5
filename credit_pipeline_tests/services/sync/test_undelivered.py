"""How the list of undelivered events is read: in stretches, oldest first, over as many looks as it takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.domain.errors import SourceError
from credit_pipeline.services.sync.ports import EventSource, Undelivered, UndeliveredEvent
from credit_pipeline.services.sync.undelivered import KEPT, OVERLAP, STRETCH, Pulled, pull

NOW = datetime(2026, 11, 21, 12, 30, 15, 400_000, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NEWEST = (NOW - HOUR).replace(microsecond=0)


@dataclass
class Stripe:
    """Events by their age; every question takes `costs` seconds of `clock`. `most`: how many are read at once."""

    ages: Sequence[timedelta] = ()
    most: int = 1000
    costs: float = 0.0
    doubtful: Sequence[int] = ()
    """Which questions get a list with a gap."""
    failing: Sequence[int] = ()
    clock: float = 0.0
    asked: list[tuple[datetime, datetime]] = field(default_factory=list)

    def undelivered(self, oldest: datetime, newest: datetime, within: timedelta) -> Undelivered:
        assert within > timedelta(0)
        number = len(self.asked)
        self.asked.append((oldest, newest))
        self.clock += self.costs
        if number in self.failing:
            raise SourceError("bestauth: the billing API cannot be reached: start it")
        created = sorted((NOW - age).replace(microsecond=0) for age in self.ages)
        listed = [at for at in created if oldest <= at <= newest]
        events = tuple(
            UndeliveredEvent(event_id=f"evt_{at:%m%d%H%M%S}", created=at, body=b"{}") for at in listed[-self.most :]
        )
        too_many = len(listed) > self.most
        doubts = ("the list was left",) if too_many or number in self.doubtful else ()
        return Undelivered(events=events, doubts=doubts, too_many=too_many)


class Kept:
    """The one method of an inbox that is needed here."""

    def __init__(self) -> None:
        self.ids: dict[str, datetime] = {}

    def keep(self, events: Sequence[UndeliveredEvent], pulled_at: datetime) -> int:
        assert pulled_at == NOW
        new = {event.event_id: event.created for event in events if event.event_id not in self.ids}
        self.ids |= new
        return len(new)


def look(stripe: Stripe, kept: Kept, until: datetime | None = None, *, seconds: float = 60) -> Pulled:
    inbox: Any = kept
    assert isinstance(stripe, EventSource)
    within = timedelta(seconds=seconds)
    return pull(
        stripe, inbox, now=NOW, settle_time=HOUR, within=within, until=until, clock=lambda: stripe.clock
    )  # fmt: skip


def test_the_first_look_goes_back_thirty_days_in_stretches_without_a_gap() -> None:
    stripe, kept = Stripe(ages=[2 * HOUR, 29 * DAY, 31 * DAY, 0.5 * HOUR]), Kept()
    done = look(stripe, kept)
    assert done.complete
    assert (done.found, done.kept, done.until, done.newest) == (2, 2, NEWEST, NEWEST)
    assert stripe.asked[0][0] == (NOW - KEPT).replace(microsecond=0)
    assert stripe.asked[-1][1] == NEWEST
    for (_, last), (first, _) in zip(stripe.asked, stripe.asked[1:], strict=False):
        assert first - last == timedelta(seconds=1)
    assert list(kept.ids.values()) == sorted(kept.ids.values()), "the oldest record leads"


def test_a_later_look_reads_what_is_new_and_a_little_before() -> None:
    stripe, kept = Stripe(ages=[2 * HOUR]), Kept()
    done = look(stripe, kept, NEWEST - HOUR)
    assert done.complete
    assert stripe.asked[0][0] == NEWEST - HOUR - OVERLAP
    assert len(stripe.asked) == 1
    assert look(stripe, kept, NEWEST - HOUR).kept == 0


@pytest.mark.parametrize("until", [NOW + 90 * DAY, NOW - 400 * DAY], ids=["ahead", "long ago"])
def test_a_cursor_of_another_time_does_no_harm(until: datetime) -> None:
    stripe = Stripe()
    assert look(stripe, Kept(), until).complete
    assert (NOW - KEPT).replace(microsecond=0) <= stripe.asked[0][0] <= NEWEST - OVERLAP


def test_an_outage_of_more_than_is_read_at_once_is_read_in_shorter_stretches() -> None:
    ages = [2 * DAY + n * timedelta(minutes=2) for n in range(500)]
    stripe, kept = Stripe(ages=ages, most=100), Kept()
    done = look(stripe, kept)
    assert done.complete
    assert done.kept == done.found == len(kept.ids) == 500
    assert len(stripe.asked) < 30 + 20, "and in whole days again where there is little"


def test_more_in_a_minute_than_can_be_read_is_a_doubt_and_no_endless_loop() -> None:
    stripe, kept = Stripe(ages=[2 * DAY + n * timedelta(seconds=1) for n in range(50)], most=10), Kept()
    done = look(stripe, kept, NEWEST - 3 * DAY)
    assert not done.complete
    assert done.until < NOW - 2 * DAY
    assert "the list is incomplete: the list was left" in done.sentence


def test_what_the_time_does_not_suffice_for_is_read_by_the_next_look() -> None:
    ages = [n * DAY + 2 * HOUR for n in range(29)]
    stripe, kept = Stripe(ages=ages, costs=7), Kept()
    until, looks = None, 0
    while until != NEWEST:
        done = look(stripe, kept, until, seconds=40)
        assert done.complete == (done.until == NEWEST)
        assert done.complete or "time was over" in done.sentence
        assert until is None or done.until > until
        until, looks = done.until, looks + 1
    assert looks > 5
    assert len(kept.ids) == 29


def test_a_stretch_with_a_gap_is_kept_the_rest_is_read_and_the_cursor_stays_before_it() -> None:
    stripe, kept = Stripe(ages=[n * DAY + 2 * HOUR for n in range(29)], doubtful=[3]), Kept()
    done = look(stripe, kept)
    assert not done.complete
    assert done.until == stripe.asked[2][1]
    assert (done.found, len(kept.ids)) == (29, 29)
    assert done.as_json()["doubts"] == ["the list was left"]


def test_where_billing_fails_on_the_way_what_was_read_counts() -> None:
    stripe, kept = Stripe(ages=[29 * DAY, 2 * HOUR], failing=[4]), Kept()
    done = look(stripe, kept)
    assert not done.complete
    assert done.until == stripe.asked[3][1]
    assert (done.kept, len(stripe.asked)) == (1, 5)
    assert "cannot be reached" in done.sentence
    with pytest.raises(SourceError):
        look(Stripe(failing=[0]), kept)


@given(st.lists(st.integers(0, 32 * 86_400), max_size=60), st.integers(20, 40), st.floats(0, 2))
def test_whatever_happened_every_event_of_the_window_is_kept_once(ages: list[int], most: int, costs: float) -> None:
    seconds = {age - age % 90 for age in ages}  # more than one in a second cannot be told apart by this list
    stripe, kept = Stripe(ages=[timedelta(seconds=age) for age in seconds], most=most, costs=costs), Kept()
    until: datetime | None = None
    for _ in range(200):
        done = look(stripe, kept, until, seconds=40)
        until = max(until or done.until, done.until)
        if done.complete:
            break
    assert done.complete
    first = (NOW - KEPT).replace(microsecond=0)
    created = [(NOW - timedelta(seconds=age)).replace(microsecond=0) for age in seconds]
    assert sorted(kept.ids.values()) == sorted(at for at in created if first <= at <= NEWEST)
    assert max(last - oldest for oldest, last in stripe.asked) <= STRETCH
