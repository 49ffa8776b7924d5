"""ports.Billing read straight from the sandbox's book, through the same parser as the Wix client. No HTTP, no faults.

It writes the sandbox's past fast and drives the simulations; a lasting state of an instance (uninstalled, not found,
lookup error) ends here as it does over HTTP.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from credit_pipeline.adapters.subscription_rows import gone, missing, pull_of, unanswered
from credit_pipeline.adapters.wix_wire import parse_instance
from credit_pipeline.domain.ids import BillingId
from credit_pipeline.sandbox.billing_book import BillingBook, Instance, payload_of
from credit_pipeline.services.ports import Progress, Pull


class BookBilling:
    """The book as a billing provider. Changes of the book show in the next pull."""

    provider = "wix"
    lists = False

    def __init__(self, book: BillingBook) -> None:
        self._book = book
        self._rows: dict[str, tuple[Instance, dict[str, Any]]] = {}

    def pull(self, ids: Sequence[BillingId], now: datetime, progress: Progress | None = None) -> Pull:  # noqa: ARG002 - the book is as it is now
        """One row per id asked, in order."""
        rows = [self._row(billing_id) for billing_id in dict.fromkeys(ids)]
        if progress is not None and rows:
            progress(len(rows), len(rows))
        return pull_of(rows)

    def _row(self, billing_id: BillingId) -> dict[str, Any]:
        instance = self._book.get(billing_id)
        if instance is None:
            return missing(billing_id)
        known = self._rows.get(billing_id)
        if known is None or known[0] is not instance:
            known = self._rows[billing_id] = (instance, _row_of(billing_id, instance))
        return known[1]


def _row_of(billing_id: BillingId, instance: Instance) -> dict[str, Any]:
    if instance.uninstalled:
        return gone(billing_id)
    if instance.lookup_error:
        return unanswered(billing_id, "HTTP 500")
    if instance.not_found:
        return missing(billing_id)
    return parse_instance(billing_id, payload_of(billing_id, instance))
