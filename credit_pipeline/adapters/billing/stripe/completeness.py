"""Checks whether lists that look complete lost rows: invoices and subscriptions name each other.

A list that skips a page still ends normally. A row that another list names is requested by its id, because it may be
absent for a good reason; only a row that exists proves a loss. If no row is absent, no request is made.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from credit_pipeline.adapters.billing.http.client import RequestError
from credit_pipeline.adapters.billing.stripe.invoices import Invoice
from credit_pipeline.adapters.billing.stripe.listing import Listing
from credit_pipeline.adapters.billing.stripe.reader import INVOICES_PATH, SUBSCRIPTIONS_PATH, StripeReader
from credit_pipeline.adapters.billing.stripe.wire import STATUSES, Subscription
from credit_pipeline.domain.subjects.billing_status import BillingStatus

SINGLE_REQUESTS = 20
"""Absent rows requested at most: a lost page is a hundred rows, so the first few reveal it."""
SECOND_PASS = 2_000
"""Up to this many subscriptions (20 pages, about a second) the lists without a cross-check are read twice."""


def second_pass(first: Mapping[str, Any], again: Listing[Any]) -> list[str]:
    """A doubt if a list that was read `again` has other ids than at `first`."""
    if again.doubts:
        return again.doubts
    differing = len(again.rows.keys() ^ first.keys())
    if differing:
        return [f"a second pass over the {again.noun} differs in {differing:,} rows from the first"]
    return []


def lost_subscriptions(
    reader: StripeReader, subscriptions: Mapping[str, Subscription], invoices: Iterable[Invoice], now: datetime
) -> list[str]:
    """A doubt if a running subscription that an invoice names is missing from the list."""
    named = {subscription_id for invoice in invoices for subscription_id, _ in invoice.lines}
    for subscription_id in sorted(named - subscriptions.keys())[:SINGLE_REQUESTS]:
        found = _single(reader, SUBSCRIPTIONS_PATH, subscription_id)
        if isinstance(found, str):
            return [f"a subscription that an invoice names is not in the list and was not answered singly: {found}"]
        if found is None:
            continue
        created, raw = found
        # Subscriptions of a test clock are not listed by default; ended ones disappear with their customer.
        ended = STATUSES.get(str(raw.get("status"))) is BillingStatus.ENDED
        if created is not None and created < now and not ended and raw.get("test_clock") is None:
            return ["the list of subscriptions lacks at least one that an invoice names and Stripe knows"]
    return []


def lost_invoices(
    reader: StripeReader, subscriptions: Iterable[Subscription], invoices: Mapping[str, Invoice], since: datetime
) -> list[str]:
    """A doubt if a running subscription's latest invoice, created since `since`, is missing from the list."""
    absent = sorted(
        subscription.latest_invoice
        for subscription in subscriptions
        if subscription.running and subscription.latest_invoice and subscription.latest_invoice not in invoices
    )
    for invoice_id in absent[:SINGLE_REQUESTS]:
        found = _single(reader, INVOICES_PATH, invoice_id)
        if isinstance(found, str):
            return [f"the latest invoice of a subscription is not in the list and was not answered singly: {found}"]
        if found is not None and found[0] is not None and found[0] >= since:
            return ["the list of invoices lacks at least one that a subscription names and Stripe knows"]
    return []


def _single(reader: StripeReader, path: str, object_id: str) -> tuple[datetime | None, Mapping[str, Any]] | str | None:
    try:
        return reader.created(path, object_id)
    except RequestError as error:
        return str(error)
