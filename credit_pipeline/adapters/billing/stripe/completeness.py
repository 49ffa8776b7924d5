"""Whether two complete-looking lists of Stripe's lost rows: each names rows of the other, and a second pass names all.

A list that skips a page still ends by its own end mark. What it lost is asked for singly, since a row may be absent
for a good reason; only a row that is there proves a loss. No proof needs a request where nothing is missing.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from credit_pipeline.adapters.billing.http.client import Trouble
from credit_pipeline.adapters.billing.stripe.invoices import Invoice
from credit_pipeline.adapters.billing.stripe.listing import Window
from credit_pipeline.adapters.billing.stripe.reader import INVOICES_PATH, SUBSCRIPTIONS_PATH, StripeReader
from credit_pipeline.adapters.billing.stripe.wire import STATUSES, Subscription
from credit_pipeline.domain.subjects.billing_status import BillingStatus

ASKED_SINGLY = 20
"""How many absent rows are asked for: a lost page is a hundred rows, of which the first ones tell."""
SECOND_PASS = 2_000
"""Up to so many subscriptions the list is read twice: twenty pages, about a second."""


def second_pass(reader: StripeReader, subscriptions: Mapping[str, Subscription], window: Window) -> list[str]:
    """Reads the list of subscriptions once more and says where it brings other ids."""
    again = reader.subscription_ids(window)
    if again.doubts:
        return again.doubts
    differing = len(again.rows.keys() ^ subscriptions.keys())
    if differing:
        return [f"a second pass over the subscriptions differs in {differing:,} rows from the first"]
    return []


def lost_subscriptions(
    reader: StripeReader, subscriptions: Mapping[str, Subscription], invoices: Iterable[Invoice], now: datetime
) -> list[str]:
    """Running subscriptions that an invoice names and the list does not."""
    named = {subscription_id for invoice in invoices for subscription_id, _ in invoice.lines}
    for subscription_id in sorted(named - subscriptions.keys())[:ASKED_SINGLY]:
        found = _single(reader, SUBSCRIPTIONS_PATH, subscription_id)
        if isinstance(found, str):
            return [f"a subscription that an invoice names is not in the list and was not answered singly: {found}"]
        if found is None:
            continue
        created, raw = found
        # Those of a test clock are not listed unless asked for, and ended ones may go with their customer.
        ended = STATUSES.get(str(raw.get("status"))) is BillingStatus.ENDED
        if created is not None and created < now and not ended and raw.get("test_clock") is None:
            return ["the list of subscriptions lacks at least one that an invoice names and Stripe knows"]
    return []


def lost_invoices(
    reader: StripeReader, subscriptions: Iterable[Subscription], invoices: Mapping[str, Invoice], since: datetime
) -> list[str]:
    """Invoices, created since then, that a running subscription names as its latest and the list does not."""
    absent = sorted(
        subscription.latest_invoice
        for subscription in subscriptions
        if subscription.running and subscription.latest_invoice and subscription.latest_invoice not in invoices
    )
    for invoice_id in absent[:ASKED_SINGLY]:
        found = _single(reader, INVOICES_PATH, invoice_id)
        if isinstance(found, str):
            return [f"the latest invoice of a subscription is not in the list and was not answered singly: {found}"]
        if found is not None and found[0] is not None and found[0] >= since:
            return ["the list of invoices lacks at least one that a subscription names and Stripe knows"]
    return []


def _single(reader: StripeReader, path: str, object_id: str) -> tuple[datetime | None, Mapping[str, Any]] | str | None:
    try:
        return reader.created(path, object_id)
    except Trouble as trouble:
        return str(trouble)
