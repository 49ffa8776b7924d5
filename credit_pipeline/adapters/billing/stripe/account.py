"""All subscriptions of one Stripe account with invoices, refunds and disputes, and doubts about their completeness.

Rows that were read are kept even if a later step fails: they are good for a report.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.adapters.billing.http.client import RequestError
from credit_pipeline.adapters.billing.http.fan_out import FIRST_CONTACT_TRIES, FanOut
from credit_pipeline.adapters.billing.stripe.completeness import (
    SECOND_PASS,
    lost_invoices,
    lost_subscriptions,
    second_pass,
)
from credit_pipeline.adapters.billing.stripe.invoices import Invoice, with_evidence
from credit_pipeline.adapters.billing.stripe.listing import PAGE_SIZE, Listing, Window
from credit_pipeline.adapters.billing.stripe.reader import StripeReader
from credit_pipeline.adapters.billing.stripe.requests import Stop
from credit_pipeline.adapters.billing.stripe.returns import Return, Returns
from credit_pipeline.adapters.billing.stripe.wire import Subscription
from credit_pipeline.adapters.billing.subscription_rows import listed_row
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.services.collect.ports import Progress

EARLY = timedelta(days=1)
"""An invoice may be created slightly before the period that it bills."""

ReaderOf = Callable[[Callable[[], Stop]], StripeReader]
"""Makes a reader of this pull. Its argument makes, for each request, the predicate that stops retries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What was read. `nothing` is the failure that prevented even the first page."""

    rows: list[dict[str, Any]]
    level: str
    doubts: list[str]
    nothing: RequestError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReading:
    """One read of an account as of `now`, with the deadline `end` (time.monotonic)."""

    reader_of: ReaderOf
    now: datetime
    end: float
    lookback: timedelta
    in_flight: int
    breaker: int
    progress: Progress | None = None

    def run(self) -> Account:
        """Reads subscriptions, then invoices, then refunds and disputes, and checks completeness.

        Progress counts subscriptions, then customers whose invoices are read one by one.
        """
        answered = threading.Event()
        reader = self.reader_of(lambda: _first_contact(answered))
        window = Window(newest=int(self.now.timestamp()))

        def on_page(done: int, more: bool) -> None:
            answered.set()
            if self.progress is not None and done:
                self.progress(done, done + (PAGE_SIZE if more else 0))

        listing = reader.subscriptions({}, window, on_page=on_page)
        if listing.error is not None and listing.pages == 0:
            return Account(rows=[], level="L0", doubts=listing.doubts, nothing=listing.error)
        subscriptions = listing.rows
        since = self.now - self.lookback - EARLY
        recent = reader.invoices({}, since_window(since))
        starts = longer_periods(subscriptions.values(), since)
        older, doubts = self._older(recent, starts, len(subscriptions))
        invoices, doubts = recent.rows | older, listing.doubts + doubts
        if not doubts:
            doubts += lost_subscriptions(reader, subscriptions, invoices.values(), self.now)
            doubts += lost_invoices(reader, subscriptions.values(), invoices, self.now - self.lookback)
        twice = not doubts and len(subscriptions) <= SECOND_PASS
        if twice:
            doubts += second_pass(subscriptions, reader.subscription_ids(window))
        # Nothing is returned before its invoice was made.
        oldest = since_window(min([since, *starts.values()])).oldest
        returned, more = _returned(reader, Window(oldest=oldest, newest=window.newest), twice=twice)
        rows = with_evidence(subscriptions.values(), invoices.values(), Returns(returned))
        return Account(rows=rows, level="L2" if twice else "L1", doubts=doubts + more)

    def _older(
        self, recent: Listing[Invoice], starts: Mapping[BillingId, datetime], done: int
    ) -> tuple[dict[str, Invoice], list[str]]:
        """The invoices of customers whose current period started before the look-back, and all doubts about invoices.

        `starts`: customer → since when. `done`: the progress so far. Nothing is read if `recent` has doubts.
        """
        doubts = recent.doubts + _unrelated(recent)
        if doubts or not starts:
            return {}, doubts
        found: dict[BillingId, dict[str, Invoice]] = {}
        fan = FanOut(ids=list(starts), in_flight=self.in_flight, end=self.end, breaker=self.breaker)
        reader = self.reader_of(fan.retry_stop)

        def ask(billing_id: BillingId) -> dict[str, Any]:
            listing = reader.invoices({"customer": billing_id}, since_window(starts[billing_id]))
            found[billing_id] = listing.rows
            doubts = listing.doubts + _unrelated(listing)
            return listed_row(billing_id, Lookup.ERROR if doubts else Lookup.ANSWERED, next(iter(doubts), None))

        progress = self.progress
        answers = fan.run(ask, progress and (lambda asked, total: progress(done + asked, done + total)))
        failed = [answer["detail"] for answer in answers if answer["lookup"] == Lookup.ERROR]
        doubts = [f"{len(failed):,}/{len(starts):,} customers with longer periods: {failed[0]}"] if failed else []
        return {invoice_id: one for rows in found.values() for invoice_id, one in rows.items()}, doubts


def longer_periods(subscriptions: Iterable[Subscription], since: datetime) -> dict[BillingId, datetime]:
    """Customers whose current period may be billed by an invoice older than `since` → its earliest creation (UTC)."""
    starts: dict[BillingId, datetime] = {}
    for subscription in subscriptions:
        start = subscription.row["period_start"]
        if subscription.running and start is not None and start - EARLY < since:
            starts[subscription.billing_id] = min(start - EARLY, starts.get(subscription.billing_id, start))
    return starts


def since_window(moment: datetime) -> Window:
    """The range from this moment on."""
    return Window(oldest=int(moment.timestamp()))


def _returned(reader: StripeReader, window: Window, *, twice: bool) -> tuple[list[Return], list[str]]:
    """All refunds and disputes in this range, and the doubts about their lists. `twice`: each is read again."""
    found: list[Return] = []
    doubts: list[str] = []
    for read in (reader.refunds, reader.disputes):
        listing = read({}, window)
        found += listing.rows.values()
        doubts += listing.doubts
        if twice and not listing.doubts:
            doubts += second_pass(listing.rows, read({}, window))
    return found, doubts


def _unrelated(listing: Listing[Invoice]) -> list[str]:
    """The doubts of unreadable invoices that name no customer; one with a customer spoils only that customer's rows."""
    return [one.doubt for one in listing.rows.values() if one.customer is None and one.doubt is not None]


def _first_contact(answered: threading.Event) -> Stop:
    """A predicate that stops retries if connections are refused before any page was read."""
    refused = 0

    def stop(error: RequestError) -> bool:
        nonlocal refused
        refused += error.unreachable
        return refused >= FIRST_CONTACT_TRIES and not answered.is_set()

    return stop
