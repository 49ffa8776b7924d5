"""Billing read directly from the sandbox's books, through the same parsers as the clients, without HTTP and faults.

It makes planting fast and drives the simulations. Lasting states of an instance (uninstalled, not found, lookup error)
have the same result as over HTTP.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Self

from credit_pipeline.adapters.billing.stripe.account import EARLY, longer_periods
from credit_pipeline.adapters.billing.stripe.completeness import SECOND_PASS
from credit_pipeline.adapters.billing.stripe.invoices import Invoice, parse_invoice, with_evidence
from credit_pipeline.adapters.billing.stripe.returns import Return, Returns, parse_dispute, parse_refund
from credit_pipeline.adapters.billing.stripe.wire import Reading, Subscription, parse_customer, parse_subscription
from credit_pipeline.adapters.billing.subscription_rows import (
    gone,
    listed_pull,
    listed_row,
    missing,
    pull_of,
    unanswered,
)
from credit_pipeline.adapters.billing.wix.wire import parse_instance
from credit_pipeline.config.billing import StripeConfig
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import SourceError
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.sandbox.stripe import rows as stripe_rows
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.file import unix
from credit_pipeline.sandbox.stripe.objects import StripeObjects
from credit_pipeline.sandbox.stripe.versions import VERSION
from credit_pipeline.sandbox.wix.book import BillingBook, Instance, payload_of
from credit_pipeline.services.collect.ports import Progress, Pull

_EXPANDED = frozenset({"customer"})
_PAYMENTS = frozenset({"payments"})


class BookBilling:
    """Wix's book as a billing provider. Changes of the book appear in the next pull."""

    provider = "wix"
    lists = False

    def __init__(self, book: BillingBook) -> None:
        self._book = book
        self._rows: dict[str, tuple[Instance, dict[str, Any]]] = {}

    def identity(self) -> Mapping[str, str]:
        """A constant: a book belongs to no account."""
        return {"provider": self.provider, "account": "book"}

    def pull(self, ids: Sequence[BillingId] | None, now: datetime, progress: Progress | None = None) -> Pull:  # noqa: ARG002 - the book has only its present state
        """One row per id asked, in order. Raises SourceError for None, as the Wix client does."""
        if ids is None:
            raise SourceError("sandbox: Wix cannot list its instances: ask for those the store knows")
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


class StripeBookBilling:
    """Stripe's book as a billing provider, with the rows and the level that the client gets from a faultless server.

    The arguments are those of the client. Rows are parsed once; changes of the book appear in the next pull.
    """

    provider = "stripe"
    lists = True

    def __init__(
        self,
        book: StripeBook,
        *,
        system: str,
        subject: Sequence[str],
        plan: Sequence[str],
        version: str = VERSION,
        lookback: timedelta = timedelta(days=62),
    ) -> None:
        self._book = book
        self._objects = StripeObjects(book=book, version=version)
        self._reading = Reading(system=system, subject=tuple(subject), plan=tuple(plan))
        self._lookback = lookback
        self._subscriptions: dict[str, tuple[stripe_rows.Subscription, object, Subscription]] = {}
        self._invoices: dict[str, tuple[stripe_rows.Invoice, Invoice]] = {}

    @classmethod
    def of(cls, book: StripeBook, system: CreditSystem) -> Self:
        """The book, read with that system's configuration."""
        config = system.billing
        assert isinstance(config, StripeConfig), "Stripe's book is for a system billed by Stripe"
        return cls(
            book,
            system=system.name,
            subject=config.subject,
            plan=config.plan,
            version=config.version,
            lookback=system.policy.lookback,
        )

    def identity(self) -> Mapping[str, str]:
        """A constant: a book belongs to no account."""
        return {"provider": self.provider, "account": "book"}

    def pull(self, ids: Sequence[BillingId] | None, now: datetime, progress: Progress | None = None) -> Pull:
        """All subscriptions created until `now`, newest first, or those of the customers asked for, in order."""
        if ids is None:
            rows = self._all(now)
            level = "L2" if len(rows) <= SECOND_PASS else "L1"
            done = len(rows)
        else:
            asked = list(dict.fromkeys(ids))
            rows = [row for billing_id in asked for row in self._of_customer(billing_id, now)]
            level, done = "L3", len(asked)
        if progress is not None and done:
            progress(done, done)
        return listed_pull(rows, level=level)

    def _all(self, now: datetime) -> list[dict[str, Any]]:
        found = [self._subscription(row) for row in self._book.subscriptions if unix(row.created) <= now.timestamp()]
        since = now - self._lookback - EARLY
        invoices = self._since(self._book.invoices, since)
        for billing_id, start in longer_periods(found, since).items():
            invoices += self._since(self._book.invoices.of("customer", billing_id), start)
        refunds = (row for row in self._book.refunds if unix(row.created) <= now.timestamp())
        disputes = (row for row in self._book.disputes if unix(row.created) <= now.timestamp())
        return with_evidence(found, invoices, Returns(self._returns(refunds, disputes)))

    def _of_customer(self, billing_id: BillingId, now: datetime) -> list[dict[str, Any]]:
        customer = self._book.customers.get(billing_id)
        if customer is None:
            return [listed_row(billing_id, Lookup.MISSING)]
        found = [self._subscription(row) for row in self._book.subscriptions.of("customer", billing_id)]
        if not found:
            row = parse_customer(self._objects.customer(customer), billing_id, self._reading)
            return [row or listed_row(billing_id, Lookup.MISSING)]
        since = now - self._lookback - EARLY
        since = longer_periods(found, since).get(BillingId(billing_id), since)
        theirs = self._book.invoices.of("customer", billing_id)
        refunds = [row for invoice in theirs for row in self._book.refunds.of("invoice", invoice.id)]
        disputes = [row for invoice in theirs for row in self._book.disputes.of("invoice", invoice.id)]
        return with_evidence(found, self._since(theirs, since), Returns(self._returns(refunds, disputes)))

    def _returns(
        self, refunds: Iterable[stripe_rows.Refund], disputes: Iterable[stripe_rows.Dispute]
    ) -> Iterable[Return]:
        yield from (parse_refund(self._objects.refund(row)) for row in refunds)
        yield from (parse_dispute(self._objects.dispute(row)) for row in disputes)

    def _since(self, newest_first: Iterable[stripe_rows.Invoice], since: datetime) -> list[Invoice]:
        oldest = int(since.timestamp())
        return [self._invoice(row) for row in takewhile(lambda row: unix(row.created) >= oldest, newest_first)]

    def _subscription(self, row: stripe_rows.Subscription) -> Subscription:
        customer = self._book.customers.get(row.customer)
        known = self._subscriptions.get(row.id)
        if known is None or known[0] is not row or known[1] is not customer:
            wire = self._objects.subscription(row, _EXPANDED)
            found = parse_subscription(wire, self._reading, self._objects.items(row))
            known = self._subscriptions[row.id] = (row, customer, found)
        return known[2]

    def _invoice(self, row: stripe_rows.Invoice) -> Invoice:
        known = self._invoices.get(row.id)
        if known is None or known[0] is not row:
            found = parse_invoice(self._objects.invoice(row, _PAYMENTS), self._objects.lines(row))
            known = self._invoices[row.id] = (row, found)
        return known[1]
