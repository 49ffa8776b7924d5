"""Reads Stripe's subscriptions, invoices, refunds, disputes and customers, with their nested lists in full."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from credit_pipeline.adapters.billing.http.client import RequestError
from credit_pipeline.adapters.billing.json_values import WireError, instant, text
from credit_pipeline.adapters.billing.stripe.invoices import Invoice, parse_invoice
from credit_pipeline.adapters.billing.stripe.listing import Listing, OnPage, StripeList, Window
from credit_pipeline.adapters.billing.stripe.requests import Params, Unknown
from credit_pipeline.adapters.billing.stripe.returns import Return, parse_dispute, parse_refund
from credit_pipeline.adapters.billing.stripe.wire import Reading, Subscription, parse_customer, parse_subscription
from credit_pipeline.adapters.billing.subscription_rows import listed_row
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.ids import BillingId

SUBSCRIPTIONS_PATH = "/v1/subscriptions"
INVOICES_PATH = "/v1/invoices"
_PAYMENTS_PATH = "/v1/invoice_payments"
_REFUNDS_PATH = "/v1/refunds"
_DISPUTES_PATH = "/v1/disputes"
_ITEMS_PATH = "/v1/subscription_items"
_CUSTOMERS_PATH = "/v1/customers"


class StripeReader:
    """The reads of one pull. Several threads may share it.

    `payments`: whether this API version lists the payments of an invoice, which must be expanded.
    """

    def __init__(self, lists: StripeList, reading: Reading, *, payments: bool = True) -> None:
        self._lists = lists
        self._reading = reading
        self._expand_invoices: Params = {"expand[]": "data.payments"} if payments else {}

    def subscriptions(self, params: Params, window: Window, *, on_page: OnPage | None = None) -> Listing[Subscription]:
        """Subscriptions of every status, with their customers expanded."""
        expanded = {"status": "all", "expand[]": "data.customer", **params}
        return self._lists.read(
            "subscriptions", SUBSCRIPTIONS_PATH, expanded, self._subscription, window=window, on_page=on_page
        )

    def subscription_ids(self, window: Window) -> Listing[None]:
        """The ids of subscriptions of every status."""
        return self._lists.read("subscriptions", SUBSCRIPTIONS_PATH, {"status": "all"}, lambda _: None, window=window)

    def invoices(self, params: Params, window: Window) -> Listing[Invoice]:
        """Invoices of every status, with their payments."""
        expanded = {**self._expand_invoices, **params}
        return self._lists.read("invoices", INVOICES_PATH, expanded, self._invoice, window=window)

    def refunds(self, params: Params, window: Window) -> Listing[Return]:
        """Refunds of every status."""
        return self._lists.read("refunds", _REFUNDS_PATH, params, parse_refund, window=window)

    def disputes(self, params: Params, window: Window) -> Listing[Return]:
        """Disputes of every status."""
        return self._lists.read("disputes", _DISPUTES_PATH, params, parse_dispute, window=window)

    def customer(self, billing_id: BillingId) -> dict[str, Any]:
        """The row of a customer without subscriptions: free, or missing if Stripe does not know it.

        Raises RequestError.
        """
        try:
            row = self._lists.one(
                f"{_CUSTOMERS_PATH}/{path_part(billing_id)}", lambda raw: self._customer(raw, billing_id)
            )
        except Unknown:
            row = None
        return row or listed_row(billing_id, Lookup.MISSING)

    def created(self, path: str, object_id: str) -> tuple[datetime | None, Mapping[str, Any]] | None:
        """Creation time (UTC) and payload of the object; None if Stripe says it does not exist. Raises RequestError."""

        def read(raw: Mapping[str, Any]) -> tuple[datetime | None, Mapping[str, Any]]:
            if text(raw, "id") != object_id:
                raise WireError("the answer is about another object")
            return instant(raw, "created"), raw

        try:
            return self._lists.one(f"{path}/{path_part(object_id)}", read)
        except Unknown:
            return None

    def _subscription(self, raw: dict[str, Any]) -> Subscription:
        found = parse_subscription(raw, self._reading)
        if not found.more_items:
            return found
        return parse_subscription(raw, self._reading, self._parts("items", _ITEMS_PATH, {"subscription": raw["id"]}))

    def _invoice(self, raw: dict[str, Any]) -> Invoice:
        found = parse_invoice(raw)
        lines = payments = None
        if found.more_lines:
            lines = self._parts("lines", f"{INVOICES_PATH}/{path_part(raw['id'])}/lines", {})
        if found.more_payments:
            payments = self._parts("payments", _PAYMENTS_PATH, {"invoice": raw["id"]})
        return found if lines is None and payments is None else parse_invoice(raw, lines, payments)

    def _parts(self, noun: str, path: str, params: Params) -> list[dict[str, Any]]:
        """All rows of a nested list. Raises WireError if the list is incomplete."""
        listing = self._lists.read(noun, path, params, lambda raw: raw)
        if listing.doubts:
            raise WireError(listing.doubts[0])
        return list(listing.rows.values())

    def _customer(self, raw: Mapping[str, Any], billing_id: BillingId) -> dict[str, Any] | None:
        row = parse_customer(raw, billing_id, self._reading)
        if row is not None:
            self._lists.modes.add(raw["livemode"])
        return row


def path_part(object_id: str) -> str:
    """An id quoted as one segment of a path. Raises RequestError for an empty id or one of dots only."""
    if not object_id or object_id.strip(".") == "":
        raise RequestError("an invalid id", retryable=False)
    return quote(object_id, safe="")
