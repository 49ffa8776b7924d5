"""Control routes of the billing server: tests and demos set faults and change its books. They need a token."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox.faults.fault_responses import answer, application_error
from credit_pipeline.sandbox.faults.faults import FaultBook
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.file import KINDS, changes_from, row_from
from credit_pipeline.sandbox.stripe.rows import Row
from credit_pipeline.sandbox.wix.api import json_object
from credit_pipeline.sandbox.wix.book import BillingBook

CONTROL_HEADER = "X-Sandbox-Token"

Endpoint = Callable[[Request], Awaitable[Response]]


class ControlApi:
    """The control routes for the faults and both books. `stripe` is None for a server without Stripe."""

    def __init__(self, book: BillingBook, stripe: StripeBook | None, faults: FaultBook, token: str) -> None:
        self._book = book
        self._stripe = stripe
        self._faults = faults
        self._token = token

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/_sandbox/health", self._guarded(self.health), methods=["GET"], name="health"),
            Route("/_sandbox/counters", self._guarded(self.counters), methods=["GET"]),
            Route("/_sandbox/faults", self._guarded(self.set_faults), methods=["POST"]),
            Route("/_sandbox/instances", self._guarded(self.set_instances), methods=["POST"]),
            Route("/_sandbox/stripe", self._guarded(self.set_stripe), methods=["POST"]),
        ]

    async def health(self, _: Request) -> Response:
        """That the server runs, and the size of its books."""
        stripe = {} if self._stripe is None else {"subscriptions": len(self._stripe)}
        return answer({"ok": True, "instances": len(self._book), **stripe})

    async def counters(self, _: Request) -> Response:
        """Requests by endpoint and fired faults by kind."""
        return answer(self._faults.counters())

    async def set_faults(self, request: Request) -> Response:
        """`{"clear": true, "add": [{"kind": …}, …]}`."""
        body = await json_object(request)
        if body.get("clear"):
            self._faults.clear()
        for fault in body.get("add", []):
            self._faults.add(**fault)
        return answer({"ok": True})

    async def set_instances(self, request: Request) -> Response:
        """`{"put": {id: {…}}, "patch": {id: {…}}, "remove": [id, …]}`; the book's file is written at once."""
        body = await json_object(request)
        for instance_id, values in body.get("put", {}).items():
            self._book.put(instance_id, **values)
        for instance_id, values in body.get("patch", {}).items():
            if self._book.get(instance_id) is None:
                raise ConfigurationError(f"sandbox: no instance {instance_id}: put it before you patch it")
            self._book.patch(instance_id, **values)
        self._book.remove(body.get("remove", []))
        self._book.save()
        return answer({"ok": True, "instances": len(self._book)})

    async def set_stripe(self, request: Request) -> Response:
        """`{"put": {"subscriptions": [{…}], …}, "patch": {id: {…}}, "remove": [id, …]}`, values as in the book's file,
        which is written at once.
        """
        book = self._stripe
        if book is None:
            raise ConfigurationError("sandbox: this billing server has no book of Stripe's: start it with one")
        body = await json_object(request)
        book.add(*_rows(body.get("put", {})))
        for row_id, values in body.get("patch", {}).items():
            found = book.get(row_id)
            book.patch(row_id, **(values if found is None else changes_from(type(found), values)))
        book.remove(*body.get("remove", []))
        book.save()
        return answer({"ok": True, "subscriptions": len(book)})

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def checked(request: Request) -> Response:
            given = request.headers.get(CONTROL_HEADER, "").encode()
            if not hmac.compare_digest(given, self._token.encode()):
                return application_error(403, "PERMISSION_DENIED")
            try:
                return await endpoint(request)
            except (ConfigurationError, TypeError, ValueError, AttributeError) as error:
                return answer({"message": str(error)}, 400)

        return checked


def _rows(by_kind: Mapping[str, Any]) -> list[Row]:
    unknown = sorted(by_kind.keys() - KINDS.keys())
    if unknown:
        raise ConfigurationError(f"sandbox: Stripe's book has no {unknown[0]!r}: use one of {sorted(KINDS)}")
    return [row_from(KINDS[name], values) for name, rows in by_kind.items() for values in rows]
