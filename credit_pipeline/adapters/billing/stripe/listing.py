"""Reads one list of Stripe's page by page and checks that it is complete.

Stripe pages by the last id, newest first: no row may come twice or out of order, and every page must bring a new one.
A list that breaks this may have lost rows: it is kept, with its doubts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from credit_pipeline.adapters.billing.http.client import RequestError
from credit_pipeline.adapters.billing.json_values import WireError
from credit_pipeline.adapters.billing.stripe.requests import Param, Params, Refused, Stop, StripeGet, Unknown
from credit_pipeline.adapters.billing.stripe.wire import Object, Page, parse_page

T = TypeVar("T")

PAGE_SIZE = 100
CURSOR = "starting_after"
OnPage = Callable[[int, bool], None]
"""Called after each page with the number of rows so far and whether more follow."""


@dataclass(slots=True, kw_only=True)
class Listing(Generic[T]):
    """The rows of one list. It is complete if it has no doubts."""

    noun: str
    rows: dict[str, T] = field(default_factory=dict)
    modes: set[bool] = field(default_factory=set)
    """The values of `livemode` in its rows."""
    pages: int = 0
    doubts: list[str] = field(default_factory=list)
    error: RequestError | None = None
    """The failure that ended it early."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Id → why the row could not be parsed."""
    repeats: int = 0
    changed: int = 0
    disorder: bool = False
    last: int | None = None
    """The latest creation time that the next row may have, Unix seconds."""

    def ended_early(self, why: str) -> None:
        """Records that the list may have more rows."""
        self.doubts.append(f"the list of {self.noun} ended early after {len(self.rows):,} rows: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A range of creation times in Unix seconds, both ends included; None is open."""

    oldest: int | None = None
    newest: int | None = None

    @property
    def params(self) -> dict[str, str | int]:
        """The range as query parameters."""
        ends = {"created[gte]": self.oldest, "created[lte]": self.newest}
        return {name: end for name, end in ends.items() if end is not None}


class StripeList:
    """Reads lists within one pull: until `end` (time.monotonic) and at most `max_pages` pages each.

    `modes` collects the values of `livemode` in everything read. `stop` makes, for each request, the predicate that
    stops retries.
    """

    def __init__(
        self, api: StripeGet, *, end: float, max_pages: int, stop: Callable[[], Stop], modes: set[bool]
    ) -> None:
        self.modes = modes
        self._api = api
        self._end = end
        self._max_pages = max_pages
        self._stop = stop

    def read(
        self,
        noun: str,
        path: str,
        params: Params,
        parse: Callable[[dict[str, Any]], T],
        *,
        window: Window | None = None,
        on_page: OnPage | None = None,
    ) -> Listing[T]:
        """All rows by id, in Stripe's order. `window` is None for rows without times, such as an invoice's lines.

        If Stripe no longer knows the cursor, the list is read again from the start, once.
        """
        first: dict[str, Param] = {"limit": PAGE_SIZE, **params, **(window.params if window else {})}
        query, restarted = first, False
        listing: Listing[T] = Listing(noun=noun, last=window.newest if window else None)
        while True:
            if listing.pages >= self._max_pages:
                listing.ended_early(f"it did not end within {self._max_pages:,} pages")
                break
            try:
                page = self._api.get(path, query, _page_of(path, window), end=self._end, stop=self._stop())
            except RequestError as error:
                if _lost_cursor(error) and not restarted:
                    query, restarted = first, True
                    listing = Listing(noun=noun, last=window.newest if window else None)
                    continue
                listing.error = error
                listing.ended_early(_why(error, noun))
                break
            listing.pages += 1
            fresh = _take(listing, page, parse, window)
            if on_page is not None:
                on_page(len(listing.rows), page.more)
            if not page.more:
                break
            if not page.rows or page.rows[-1]["id"] not in fresh:
                listing.ended_early("a page announced more rows and had no new ones")
                break
            query = {**first, CURSOR: page.rows[-1]["id"]}
        _doubt_rows(listing)
        self.modes.update(listing.modes)
        return listing

    def one(self, path: str, read: Callable[[Any], T]) -> T:
        """A single object. Raises RequestError: Unknown if Stripe says that it does not exist."""
        return self._api.get(path, {}, read, end=self._end, stop=self._stop())


def _page_of(path: str, window: Window | None) -> Callable[[Object], Page]:
    return lambda body: parse_page(body, path, dated=window is not None)


def _take(
    listing: Listing[T], page: Page, parse: Callable[[dict[str, Any]], T], window: Window | None
) -> frozenset[str]:
    """Adds the page's rows and returns the ids that were new."""
    fresh = set()
    for raw in page.rows:
        row_id = raw["id"]
        if row_id in listing.unreadable:
            listing.repeats += 1
            continue
        try:
            row = parse(raw)
        except WireError as error:
            listing.unreadable[row_id] = str(error)
            fresh.add(row_id)
            continue
        if row_id in listing.rows:
            listing.repeats += 1
            listing.changed += listing.rows[row_id] != row
            continue
        fresh.add(row_id)
        listing.rows[row_id] = row
        if window is not None:
            if "livemode" in raw:
                listing.modes.add(raw["livemode"])
            _in_order(listing, raw["created"], window)
    return frozenset(fresh)


def _in_order(listing: Listing[T], created: int, window: Window) -> None:
    too_new = listing.last is not None and created > listing.last
    too_old = window.oldest is not None and created < window.oldest
    listing.disorder = listing.disorder or too_new or too_old
    listing.last = created


def _doubt_rows(listing: Listing[T]) -> None:
    if listing.unreadable:
        why = next(iter(listing.unreadable.values()))
        listing.doubts.append(f"{len(listing.unreadable):,} of the {listing.noun} cannot be read: {why}")
    if listing.repeats:
        changed = f", {listing.changed:,} of them changed" if listing.changed else ""
        listing.doubts.append(f"the list of {listing.noun} has {listing.repeats:,} repeated rows{changed}")
    if listing.disorder:
        listing.doubts.append(f"the list of {listing.noun} is not in the order or time range requested")


def _why(error: RequestError, noun: str) -> str:
    if _lost_cursor(error):
        return "Stripe no longer knew the cursor"
    allowed = isinstance(error, Refused) and error.allowed
    return f"{error}: give the key the right to read {noun}" if allowed else str(error)


def _lost_cursor(error: RequestError | None) -> bool:
    return isinstance(error, Unknown) and error.param == CURSOR
