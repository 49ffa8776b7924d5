"""The sandbox's Stripe as ASGI routes: authentication, rate limit, API version, endpoints.

GET only: the key is restricted to reading.
"""

import base64
import binascii
import hmac
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from credit_pipeline.sandbox.faults.fault_responses import faulty_response, json_response
from credit_pipeline.sandbox.faults.faults import OF_PAGES, Fault, FaultBook, FaultKind
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.errors import STRIPE, Refused, limited, missing
from credit_pipeline.sandbox.stripe.faulty_pages import faulty_page, other_mode
from credit_pipeline.sandbox.stripe.lists import Listing, Object, StripeLists
from credit_pipeline.sandbox.stripe.objects import StripeObjects
from credit_pipeline.sandbox.stripe.query import Cursor, Query
from credit_pipeline.sandbox.stripe.versions import VERSION, version_date

KEY_PREFIX = "rk_test_"
VERSION_HEADER = "Stripe-Version"
WINDOW_S = 1.0
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A parsed request: its endpoint, the row it names, and the source of its right answer."""

    endpoint: str
    row_id: str = ""
    listing: Listing | None = None
    cursor: Cursor = field(default_factory=Cursor)
    one: Callable[[], Object] | None = None

    def body(self) -> Object:
        """The right answer. Raises Refused if it is an error."""
        if self.listing is not None:
            return self.listing.body(self.cursor)
        assert self.one is not None, "a request is for a list or for one object"
        return self.one()


class StripeApi:
    """The endpoints for one book and one set of faults. `clock` returns seconds since the epoch.

    `version` is the account's default, used for requests without the header.
    """

    def __init__(
        self,
        book: StripeBook,
        faults: FaultBook,
        key: str,
        *,
        per_second: int = 25,
        version: str = VERSION,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._book = book
        self._faults = faults
        self._key = key
        self._per_second = per_second
        self._version = version
        self._clock = clock
        self._asked: dict[str, deque[float]] = {}

    def routes(self) -> list[Route]:
        """Everything below /v1."""
        return [Route("/v1/{path:path}", self.answer, methods=_METHODS)]

    async def answer(self, request: Request) -> Response:
        """Checks key, method, version, endpoint and parameters; then answers with a fault, 429 or the right answer."""
        version = request.headers.get(VERSION_HEADER, self._version)
        try:
            self._authorize(request, version)
            response = self._response_to(request, self._parsed(request, version))
        except Refused as refused:
            response = refused.response
        if version_date(version) is not None:
            response.headers.setdefault(VERSION_HEADER, version)
        return response

    def _response_to(self, request: Request, call: _Call) -> Response:
        fault = self._faults.pick(call.row_id, call.endpoint)
        if fault is not None:
            return _faulty(fault, request, call)
        self._limit(call.endpoint)
        return json_response(call.body(), 200, dialect=STRIPE)

    def _authorize(self, request: Request, version: str) -> None:
        given = _key_of(request.headers.get("Authorization", ""))
        if not given:
            message = "You did not provide an API key: send it as `Authorization: Bearer …` or as the user of Basic."
            raise Refused(401, message, headers={"WWW-Authenticate": 'Basic realm="Stripe"'})
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            raise Refused(401, "Invalid API Key provided.")
        if request.method not in ("GET", "HEAD"):
            raise Refused(403, "The provided key does not have the required permissions: it is restricted to reading.")
        if version_date(version) is None:
            raise Refused(400, f"Invalid Stripe API version: {version[:40]}")

    def _parsed(self, request: Request, version: str) -> _Call:
        query = Query(request.query_params.multi_items())
        objects = StripeObjects(book=self._book, version=version)
        lists = StripeLists(book=self._book, objects=objects)
        parts = request.path_params["path"].split("/")
        call = self._list(parts, query, lists) or self._one(parts, query, objects)
        if call is None:
            raise Refused(404, f"Unrecognized request URL ({request.method}: {request.url.path[:80]}).")
        query.finish()
        return call

    def _list(self, parts: list[str], query: Query, lists: StripeLists) -> _Call | None:
        match parts:
            case ["subscriptions"]:
                listing = lists.subscriptions(query)
            case ["customers"]:
                listing = lists.customers(query)
            case ["invoices"]:
                listing = lists.invoices(query)
            case ["events"]:
                listing = lists.events(query, self._clock())
            case ["refunds"]:
                listing = lists.refunds(query)
            case ["disputes"]:
                listing = lists.disputes(query)
            case ["invoice_payments"]:
                listing = lists.invoice_payments(query)
            case ["subscription_items"]:
                listing = lists.subscription_items(query)
            case ["invoices", row_id, "lines"]:
                invoice = self._book.invoices.get(row_id)
                if invoice is None:
                    raise missing("invoice", row_id)
                listing = lists.lines(invoice)
                return _Call(endpoint="lines", row_id=row_id, listing=listing, cursor=query.cursor())
            case _:
                return None
        return _Call(endpoint=parts[0], listing=listing, cursor=query.cursor())

    def _one(self, parts: list[str], query: Query, objects: StripeObjects) -> _Call | None:
        book = self._book
        match parts:
            case ["subscriptions", row_id]:
                expand = query.expand(frozenset({"customer", "latest_invoice"}))
                return _one(
                    "subscription", row_id, book.subscriptions.get, lambda row: objects.subscription(row, expand)
                )
            case ["customers", row_id]:
                return _one("customer", row_id, book.customers.get, objects.customer)
            case ["invoices", row_id]:
                invoice_expand = query.expand(objects.expandable())
                return _one("invoice", row_id, book.invoices.get, lambda row: objects.invoice(row, invoice_expand))
            case ["refunds", row_id]:
                return _one("refund", row_id, book.refunds.get, objects.refund)
            case ["disputes", row_id]:
                return _one("dispute", row_id, book.disputes.get, objects.dispute)
            case ["events", row_id]:
                return _one("event", row_id, book.events.get, objects.event)
            case ["account"]:
                return _Call(endpoint="account", one=lambda: {"id": book.account, "object": "account"})
            case _:
                return None

    def _limit(self, endpoint: str) -> None:
        """Raises Refused for more requests per second than this endpoint allows."""
        times = self._asked.setdefault(endpoint, deque(maxlen=self._per_second))
        now = self._clock()
        if len(times) == self._per_second and now - times[0] < WINDOW_S:
            raise limited()
        times.append(now)


def _one(kind: str, row_id: str, get: Callable[[str], Any], make: Callable[[Any], Object]) -> _Call:
    def one() -> Object:
        row = get(row_id)
        if row is None:
            raise missing(kind, row_id)
        return make(row)

    return _Call(endpoint=kind, row_id=row_id, one=one)


def _faulty(fault: Fault, request: Request, call: _Call) -> Response:
    if fault.kind is FaultKind.WRONG_LIVEMODE:
        return json_response(other_mode(call.body()), 200, dialect=STRIPE)
    if fault.kind in OF_PAGES and call.listing is not None:
        return json_response(faulty_page(fault.kind, call.listing, call.cursor), 200, dialect=STRIPE)
    return faulty_response(fault, request, call.body, f"{call.row_id}_other", STRIPE)


def _key_of(authorization: str) -> str:
    """The key of either scheme; empty if there is none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""
