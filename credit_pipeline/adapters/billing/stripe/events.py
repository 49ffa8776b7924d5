"""Stripe's list of undelivered webhook events.

Stripe keeps events for 30 days. An event is undelivered while it is pending or failed at any endpoint. Events from a
time in which an endpoint was disabled are not in the list.
"""

import json
from collections.abc import Mapping
from typing import Any

from credit_pipeline.adapters.billing.json_values import WireError, instant, text
from credit_pipeline.adapters.billing.stripe.listing import Listing, StripeList, Window
from credit_pipeline.adapters.billing.stripe.requests import Params
from credit_pipeline.services.sync.ports import UndeliveredEvent

EVENTS_PATH = "/v1/events"
MAX_PAGES = 5
"""At most 500 events per list; the caller splits the time range of a longer one and reads again."""

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
"""Events that can change an account's credits; each names its customer. Stripe accepts at most 20 types."""


def undelivered_events(lists: StripeList, window: Window) -> Listing[UndeliveredEvent]:
    """The undelivered events created in the window, newest first."""
    params: Params = {"delivery_success": "false", "types[]": TYPES}
    return lists.read("events", EVENTS_PATH, params, parse_event, window=window)


def parse_event(raw: Mapping[str, Any]) -> UndeliveredEvent:
    """One event with the body that its webhook would have had. Raises WireError if it is not one of TYPES."""
    event_id, created = text(raw, "id"), instant(raw, "created")
    if raw.get("object") != "event" or event_id is None or created is None:
        raise WireError("it is not an event")
    if raw.get("type") not in TYPES:
        raise WireError("its type was not requested")
    return UndeliveredEvent(event_id=event_id, created=created, body=json.dumps(raw, separators=(",", ":")).encode())
