"""What one pull reads of Stripe: subscriptions, invoices and customers, whole, with their nested lists read to the end.

Which of them a pull is about, and what its gaps mean, is in `billing_stripe`; how a list is read is in `stripe_list`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from credit_pipeline.adapters.billing.http.client import Trouble
from credit_pipeline.adapters.billing.stripe.invoices import Invoice, parse_invoice
from credit_pipeline.adapters.billing.stripe.listing import Listing, OnPage, StripeList, Window
from credit_pipeline.adapters.billing.stripe.requests import Params, Unknown
from credit_pipeline.adapters.billing.stripe.values import WireError, instant, text
from credit_pipeline.adapters.billing.stripe.wire import Reading, Subscription, parse_customer, parse_subscription
from credit_pipeline.adapters.billing.subscription_rows import listed_row
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.ids import BillingId

SUBSCRIPTIONS_PATH = "/v1/subscriptions"
INVOICES_PATH = "/v1/invoices"
_ITEMS_PATH = "/v1/subscription_items"
_CUSTOMERS_PATH = "/v1/customers"


class StripeReader:
    """Reads for one pull, from several threads at once."""

    def __init__(self, lists: StripeList, reading: Reading, modes: set[bool]) -> None:
        self._lists = lists
        self._reading = reading
        self._modes = modes
        """The values of `livemode` seen by all readers of the pull."""

    def subscriptions(self, params: Params, window: Window, *, on_page: OnPage | None = None) -> Listing[Subscription]:
        """Subscriptions of every status, with their customers."""
        asked = {"status": "all", "expand[]": "data.customer", **params}
        return self._listed("subscriptions", SUBSCRIPTIONS_PATH, asked, self._subscription, window, on_page)

    def subscription_ids(self, window: Window) -> Listing[None]:
        """The same list once more, for its ids."""
        return self._listed("subscriptions", SUBSCRIPTIONS_PATH, {"status": "all"}, lambda _: None, window, None)

    def invoices(self, params: Params, window: Window) -> Listing[Invoice]:
        """Invoices of every status."""
        return self._listed("invoices", INVOICES_PATH, params, self._invoice, window, None)

    def customer(self, billing_id: BillingId) -> dict[str, Any]:
        """The row of a customer without any subscription: known, and free, or not known. Raises Trouble."""
        try:
            row = self._lists.one(
                f"{_CUSTOMERS_PATH}/{path_part(billing_id)}", lambda raw: self._customer(raw, billing_id)
            )
        except Unknown:
            row = None
        return row or listed_row(billing_id, Lookup.MISSING)

    def created(self, path: str, object_id: str) -> tuple[datetime | None, Mapping[str, Any]] | None:
        """When the object of that id was created, and all it is; None where Stripe says there is none such."""

        def read(raw: Mapping[str, Any]) -> tuple[datetime | None, Mapping[str, Any]]:
            if text(raw, "id") != object_id:
                raise WireError("the answer is about another object")
            return instant(raw, "created"), raw

        try:
            return self._lists.one(f"{path}/{path_part(object_id)}", read)
        except Unknown:
            return None

    def _listed(
        self,
        noun: str,
        path: str,
        params: Params,
        parse: Callable[[dict[str, Any]], Any],
        window: Window,
        on_page: OnPage | None,
    ) -> Listing[Any]:
        listing = self._lists.read(noun, path, params, parse, window=window, on_page=on_page)
        self._modes.update(listing.modes)
        return listing

    def _subscription(self, raw: dict[str, Any]) -> Subscription:
        found = parse_subscription(raw, self._reading)
        if not found.more_items:
            return found
        return parse_subscription(raw, self._reading, self._parts("items", _ITEMS_PATH, {"subscription": raw["id"]}))

    def _invoice(self, raw: dict[str, Any]) -> Invoice:
        found = parse_invoice(raw)
        if not found.more_lines:
            return found
        return parse_invoice(raw, self._parts("lines", f"{INVOICES_PATH}/{path_part(raw['id'])}/lines", {}))

    def _parts(self, noun: str, path: str, params: Params) -> list[dict[str, Any]]:
        """All rows of a nested list. Raises WireError where they are not all to be had."""
        listing = self._lists.read(noun, path, params, lambda raw: raw)
        if listing.doubts:
            raise WireError(listing.doubts[0])
        return list(listing.rows.values())

    def _customer(self, raw: Mapping[str, Any], billing_id: BillingId) -> dict[str, Any] | None:
        row = parse_customer(raw, billing_id, self._reading)
        if row is not None:
            self._modes.add(raw["livemode"])
        return row


def path_part(object_id: str) -> str:
    """An id as one part of a path, whatever characters it holds. Raises Trouble for one that cannot be any."""
    if not object_id or object_id.strip(".") == "":
        raise Trouble("an id that is none", again=False)
    return quote(object_id, safe="")
