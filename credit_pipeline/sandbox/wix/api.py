"""The sandbox's Wix as ASGI routes: its two endpoints and their checks.

Tokens are signed and contain their expiry, so the server stores none.
"""

import base64
import hashlib
import hmac
import json
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from credit_pipeline.sandbox.faults.fault_responses import answer, application_error, faulty_response
from credit_pipeline.sandbox.faults.faults import INSTANCE, TOKEN, FaultBook, FaultKind
from credit_pipeline.sandbox.wix.book import BillingBook, payload_of

TOKEN_LIFE_S = 14_400
TOKEN_PREFIX = "OauthNG.JWS."  # noqa: S105 - what Wix's tokens begin with
WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The credentials of the server: the Wix app's id and secret, Stripe's key, and the control API's token."""

    app_id: str
    app_secret: str
    stripe_key: str
    control_token: str

    def __repr__(self) -> str:
        return f"Credentials(app_id={self.app_id!r})"


class BillingApi:
    """The endpoints for one book and one set of faults. `clock` returns seconds since the epoch."""

    def __init__(
        self,
        book: BillingBook,
        faults: FaultBook,
        credentials: Credentials,
        *,
        per_minute: int = 200,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._book = book
        self._faults = faults
        self._credentials = credentials
        self._per_minute = per_minute
        self._clock = clock
        self._asked: dict[str, deque[float]] = {}

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/oauth2/token", self.token, methods=["POST"]),
            Route("/apps/v1/instance", self.instance, methods=["GET"]),
        ]

    async def token(self, request: Request) -> Response:
        """POST /oauth2/token: exchanges client credentials and an instance id for a token of four hours."""
        asked = await json_object(request)
        instance_id = asked.get("instance_id")
        if not isinstance(instance_id, str) or not instance_id:
            return _oauth_error(400, "invalid_request", "instance_id is required")
        refusal = self._refusal(asked, instance_id)
        if refusal is not None:
            return refusal
        granted = {
            "access_token": self._sign(instance_id),
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE_S,
        }
        fault = self._faults.pick(instance_id, TOKEN)
        if fault is not None:
            return faulty_response(fault, request, lambda: granted | {"instance": {}}, _other(instance_id))
        return self._limited(instance_id) or answer(granted)

    async def instance(self, request: Request) -> Response:
        """GET /apps/v1/instance: the instance of the token."""
        instance_id = self._instance_of(request.headers.get("Authorization", ""))
        if instance_id is None:
            return application_error(401, "UNAUTHENTICATED")
        known = self._book.get(instance_id)
        payload = {"instance": {}} if known is None else payload_of(instance_id, known)
        fault = self._faults.pick(instance_id, INSTANCE)
        if fault is not None:
            return faulty_response(fault, request, lambda: payload, _other(instance_id))
        limited = self._limited(instance_id)
        if limited is not None:
            return limited
        if known is not None and known.lookup_error:
            self._faults.count_fired(FaultKind.LOOKUP_ERROR)
            return application_error(500, "INTERNAL")
        if known is None or known.not_found:
            return application_error(404, "NOT_FOUND")
        return application_error(403, "PERMISSION_DENIED") if known.uninstalled else answer(payload)

    def _refusal(self, asked: dict[str, Any], instance_id: str) -> Response | None:
        given = str(asked.get("client_secret", "")).encode()
        known_app = asked.get("client_id") == self._credentials.app_id
        if not known_app or not hmac.compare_digest(given, self._credentials.app_secret.encode()):
            return _oauth_error(401, "invalid_client", "unknown client or wrong secret")
        if asked.get("grant_type") != "client_credentials":
            return _oauth_error(400, "unsupported_grant_type", "use client_credentials")
        known = self._book.get(instance_id)
        if known is not None and known.uninstalled:
            # Wix has been seen to send either status for an app that was removed.
            status = 400 if zlib.crc32(instance_id.encode()) % 4 == 0 else 403
            return _oauth_error(status, "invalid_grant", "the app is not installed")
        return None

    def _limited(self, instance_id: str) -> Response | None:
        """429 without Retry-After, as documented, for more requests per minute than an instance allows."""
        times = self._asked.setdefault(instance_id, deque(maxlen=self._per_minute))
        now = self._clock()
        if len(times) == self._per_minute and now - times[0] < WINDOW_S:
            return application_error(429, "RESOURCE_EXHAUSTED")
        times.append(now)
        return None

    def _sign(self, instance_id: str) -> str:
        claims = json.dumps([instance_id, self._clock() + TOKEN_LIFE_S]).encode()
        data = base64.urlsafe_b64encode(claims).decode()
        return f"{TOKEN_PREFIX}{data}.{self._signature(data)}"

    def _signature(self, data: str) -> str:
        return hmac.new(self._credentials.app_secret.encode(), data.encode(), hashlib.sha256).hexdigest()

    def _instance_of(self, authorization: str) -> str | None:
        """The instance of a valid token, with or without `Bearer` before it."""
        token = authorization.removeprefix("Bearer ")
        data, _, signature = token.removeprefix(TOKEN_PREFIX).rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(data).encode()):
            return None
        instance_id, until = json.loads(base64.urlsafe_b64decode(data))
        return str(instance_id) if self._clock() < until else None


def _oauth_error(status: int, error: str, description: str) -> Response:
    return answer({"error": error, "error_description": description}, status)


def _other(instance_id: str) -> str:
    return str(uuid5(NAMESPACE_OID, instance_id))


async def json_object(request: Request) -> dict[str, Any]:
    """The request's body; empty if it is not a JSON object."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
