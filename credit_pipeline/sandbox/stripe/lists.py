"""Stripe's lists: the rows that a request selects, and one page of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.errors import Refused, missing
from credit_pipeline.sandbox.stripe.file import unix
from credit_pipeline.sandbox.stripe.objects import StripeObjects
from credit_pipeline.sandbox.stripe.ordered_rows import OrderedRows, RowT
from credit_pipeline.sandbox.stripe.query import Cursor, Query
from credit_pipeline.sandbox.stripe.rows import Invoice, Subscription

EVENTS_KEPT_S = int(timedelta(days=30).total_seconds())
MAX_TYPES = 20
_ENDED = frozenset({"canceled", "incomplete_expired"})
_STATUSES = frozenset({"active", "incomplete", "past_due", "paused", "trialing", "unpaid"}) | _ENDED
_INVOICE_STATUSES = frozenset({"draft", "open", "paid", "uncollectible", "void"})

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The rows that a request selects. `page` raises KeyError for an unknown cursor; `one` returns a row by id."""

    kind: str
    """The name of one row in errors."""
    url: str
    page: Callable[[Cursor], tuple[list[Object], bool]]
    one: Callable[[str], Object | None]

    def body(self, cursor: Cursor) -> Object:
        """The list object of one page. Raises Refused for an unknown cursor."""
        try:
            rows, more = self.page(cursor)
        except KeyError:
            raise self.unknown(cursor) from None
        return self.body_of(rows, more=more)

    def body_of(self, rows: Sequence[Object], *, more: bool) -> Object:
        """The list object of these rows."""
        return {"object": "list", "data": list(rows), "has_more": more, "url": self.url}

    def unknown(self, cursor: Cursor) -> Refused:
        """The error for an unknown cursor."""
        param = "starting_after" if cursor.after is not None else "ending_before"
        return missing(self.kind, cursor.after or cursor.before or "", param=param, status=400)


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeLists:
    """The lists of one book in one API version. Each takes its own parameters from the query."""

    book: StripeBook
    objects: StripeObjects

    def subscriptions(self, query: Query) -> Listing:
        """GET /v1/subscriptions. Without a status, canceled ones are omitted."""
        status = query.word("status", _STATUSES | {"all", "ended"})
        customer = self._known(query, "customer", self.book.customers)
        price = query.text("price")
        if price is not None and self.book.price(price) is None:
            raise missing("price", price, param="price", status=400)
        created = query.range("created")
        expand = _below_data(query.expand(frozenset({"data.customer", "data.latest_invoice"})))

        def matches(row: Subscription) -> bool:
            of_price = price is None or any(item.price_id == price for item in row.items)
            return of_price and _has_status(row.status, status) and created.holds(unix(row.created))

        return _listing(
            "subscription",
            "/v1/subscriptions",
            self.book.subscriptions,
            matches,
            lambda row: self.objects.subscription(row, expand),
            within=None if customer is None else ("customer", customer),
        )

    def customers(self, query: Query) -> Listing:
        """GET /v1/customers, without deleted ones."""
        email, created = query.text("email"), query.range("created")
        return _listing(
            "customer",
            "/v1/customers",
            self.book.customers,
            lambda row: not row.deleted and email in (None, row.email) and created.holds(unix(row.created)),
            self.objects.customer,
        )

    def invoices(self, query: Query) -> Listing:
        """GET /v1/invoices."""
        status = query.word("status", _INVOICE_STATUSES)
        customer = self._known(query, "customer", self.book.customers)
        subscription = self._known(query, "subscription", self.book.subscriptions)
        created = query.range("created")
        expand = _below_data(query.expand(self.objects.expandable("data.")))

        def matches(row: Invoice) -> bool:
            theirs = customer in (None, row.customer) and subscription in (None, row.subscription)
            return theirs and status in (None, row.status) and created.holds(unix(row.created))

        within = ("subscription", subscription) if subscription else ("customer", customer) if customer else None
        return _listing(
            "invoice",
            "/v1/invoices",
            self.book.invoices,
            matches,
            lambda row: self.objects.invoice(row, expand),
            within=within,
        )

    def events(self, query: Query, now: float) -> Listing:
        """GET /v1/events: those of the last 30 days."""
        one, many = query.text("type"), query.many("types")
        if one is not None and many:
            raise Refused(400, "You may only specify one of these parameters: type, types.")
        if len(many) > MAX_TYPES:
            raise Refused(400, f"You may specify at most {MAX_TYPES} types.", param="types")
        types = frozenset(many) if one is None else frozenset({one})
        delivered, created = query.flag("delivery_success"), query.range("created")
        return _listing(
            "event",
            "/v1/events",
            self.book.events,
            lambda row: (
                (not types or row.type in types)
                and delivered in (None, row.delivered)
                and created.holds(unix(row.created))
                and unix(row.created) > now - EVENTS_KEPT_S
            ),
            self.objects.event,
        )

    def refunds(self, query: Query) -> Listing:
        """GET /v1/refunds."""
        invoice, created = self._paid_with(query), query.range("created")
        return _listing(
            "refund",
            "/v1/refunds",
            self.book.refunds,
            lambda row: invoice in (None, row.invoice) and created.holds(unix(row.created)),
            self.objects.refund,
            within=None if invoice is None else ("invoice", invoice),
        )

    def disputes(self, query: Query) -> Listing:
        """GET /v1/disputes."""
        invoice, created = self._paid_with(query), query.range("created")
        return _listing(
            "dispute",
            "/v1/disputes",
            self.book.disputes,
            lambda row: invoice in (None, row.invoice) and created.holds(unix(row.created)),
            self.objects.dispute,
            within=None if invoice is None else ("invoice", invoice),
        )

    def invoice_payments(self, query: Query) -> Listing:
        """GET /v1/invoice_payments?invoice=…"""
        invoice = self.book.invoices.get(self._known(query, "invoice", self.book.invoices) or "")
        if invoice is None:
            message = "Missing required param: invoice."
            raise Refused(400, message, code="parameter_missing", param="invoice")
        return _part_listing("invoice payment", "/v1/invoice_payments", self.objects.payments(invoice))

    def lines(self, invoice: Invoice) -> Listing:
        """GET /v1/invoices/{id}/lines."""
        return _part_listing("line item", f"/v1/invoices/{invoice.id}/lines", self.objects.lines(invoice))

    def subscription_items(self, query: Query) -> Listing:
        """GET /v1/subscription_items?subscription=…"""
        subscription = query.text("subscription")
        if subscription is None:
            message = "Missing required param: subscription."
            raise Refused(400, message, code="parameter_missing", param="subscription")
        known = self.book.subscriptions.get(subscription)
        if known is None:
            raise missing("subscription", subscription, param="subscription", status=400)
        return _part_listing("subscription item", "/v1/subscription_items", self.objects.items(known))

    def _paid_with(self, query: Query) -> str | None:
        """The invoice whose payment intent or charge the query names; None if it names none."""
        found = None
        for place, name in enumerate(("payment_intent", "charge")):
            value = query.text(name)
            if value is None:
                continue
            invoice = self.book.invoices.get("in_" + value.partition("_")[2])
            if invoice is None or invoice.paid_by is None or invoice.paid_by[place] != value:
                raise missing(name, value, param=name, status=400)
            found = invoice.id
        return found

    def _known(self, query: Query, name: str, table: OrderedRows[Any]) -> str | None:
        """The value of a parameter that must name an existing row."""
        value = query.text(name)
        if value is not None and value not in table:
            raise missing(name, value, param=name, status=400)
        return value


def _listing(
    kind: str,
    url: str,
    table: OrderedRows[RowT],
    matches: Callable[[RowT], bool],
    make: Callable[[RowT], Object],
    *,
    within: tuple[str, str] | None = None,
) -> Listing:
    def page(cursor: Cursor) -> tuple[list[Object], bool]:
        rows, more = table.page(matches, limit=cursor.limit, after=cursor.after, before=cursor.before, within=within)
        return [make(row) for row in rows], more

    def one(row_id: str) -> Object | None:
        row = table.get(row_id)
        return None if row is None else make(row)

    return Listing(kind=kind, url=url, page=page, one=one)


def _part_listing(kind: str, url: str, parts: Sequence[Object]) -> Listing:
    """The parts of one object, in their order."""
    by_id = {part["id"]: place for place, part in enumerate(parts)}

    def page(cursor: Cursor) -> tuple[list[Object], bool]:
        if cursor.before is not None:
            end = by_id[cursor.before]
            start = max(0, end - cursor.limit)
            return list(parts[start:end]), start > 0
        start = 0 if cursor.after is None else by_id[cursor.after] + 1
        return list(parts[start : start + cursor.limit]), start + cursor.limit < len(parts)

    return Listing(
        kind=kind, url=url, page=page, one=lambda part_id: parts[by_id[part_id]] if part_id in by_id else None
    )


def _has_status(status: str, asked: str | None) -> bool:
    if asked is None:
        return status != "canceled"
    return asked == "all" or status in (_ENDED if asked == "ended" else (asked,))


def _below_data(paths: frozenset[str]) -> frozenset[str]:
    return frozenset(path.removeprefix("data.") for path in paths)
