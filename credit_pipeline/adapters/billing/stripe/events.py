"""Stripe's list of events that it could not deliver: which types are asked for, and each event as it would have come.

Stripe keeps events for 30 days. One counts as undelivered while any endpoint still waits for it or never took it; what
happened while an endpoint was switched off is not in the list. What is done about an event is decided elsewhere.
"""

import json
from collections.abc import Mapping
from typing import Any

from credit_pipeline.adapters.billing.stripe.listing import Listing, StripeList, Window
from credit_pipeline.adapters.billing.stripe.requests import Params
from credit_pipeline.adapters.billing.stripe.values import WireError, instant, text
from credit_pipeline.services.sync.ports import UndeliveredEvent

EVENTS_PATH = "/v1/events"
MAX_PAGES = 5
"""500 events are read at once: a list that is longer is read in shorter stretches, and what was read of it is lost."""

TYPES = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "customer.updated",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.pending_update_applied",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "charge.refunded",
)
"""What changes what an account is owed, each naming its customer; Stripe takes twenty types at most."""


def undelivered_events(lists: StripeList, window: Window) -> Listing[UndeliveredEvent]:
    """The undelivered events created in the window, newest first."""
    asked: Params = {"delivery_success": "false", "types[]": TYPES}
    return lists.read("events", EVENTS_PATH, asked, parse_event, window=window)


def parse_event(raw: Mapping[str, Any]) -> UndeliveredEvent:
    """One event, its body as the webhook would have brought it. Raises WireError for anything else."""
    event_id, created = text(raw, "id"), instant(raw, "created")
    if raw.get("object") != "event" or event_id is None or created is None:
        raise WireError("it is no event")
    if raw.get("type") not in TYPES:
        raise WireError("its type was not asked for")
    return UndeliveredEvent(event_id=event_id, created=created, body=json.dumps(raw, separators=(",", ":")).encode())
