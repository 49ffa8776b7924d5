"""Stripe's error objects, and the errors that faults cause at Stripe."""

from typing import Any
from uuid import uuid4

from starlette.responses import Response

from credit_pipeline.sandbox.faults.fault_responses import Dialect, json_response
from credit_pipeline.sandbox.faults.faults import Fault, FaultKind

REQUEST_ID = "Request-Id"
SHOULD_RETRY = "Stripe-Should-Retry"
_INVALID = "invalid_request_error"


class Refused(Exception):
    """A request that Stripe answers with an error object. `code` and `param` are omitted if they are None."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = _INVALID,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        error: dict[str, Any] = {"type": kind, "code": code, "message": message, "param": param}
        self.body = {"error": {name: value for name, value in error.items() if value is not None}}

    @property
    def response(self) -> Response:
        """The response."""
        return json_response(self.body, self.status, headers=self.headers, dialect=STRIPE)


def missing(kind: str, row_id: str, *, param: str = "id", status: int = 404) -> Refused:
    """The error for an unknown row, asked for or named by a parameter."""
    return Refused(status, f"No such {kind}: '{row_id}'", code="resource_missing", param=param)


def limited(retry_after: str | None = None) -> Refused:
    """The error for too many requests per second."""
    headers = {"Stripe-Rate-Limited-Reason": "endpoint-rate"}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    message = "Request rate limit exceeded: ask again after a short while."
    return Refused(429, message, code="rate_limit", headers=headers)


def _refusal(fault: Fault) -> Response | None:
    """The error response of a fault; None if the fault is no error."""
    refused = _refused(fault)
    if refused is None:
        return None
    if fault.should_retry is not None:
        refused.headers[SHOULD_RETRY] = "true" if fault.should_retry else "false"
    return refused.response


def _refused(fault: Fault) -> Refused | None:
    kind = fault.kind
    if kind is FaultKind.LOOKUP_ERROR:
        return Refused(500, "An unknown error occurred.", kind="api_error")
    if kind is FaultKind.FLAKY:
        return Refused(503, "The service is unavailable.", kind="api_error")
    if kind is FaultKind.RATE_LIMITED:
        return limited(fault.retry_after)
    if kind is FaultKind.LOCK_TIMEOUT:
        message = "This object is in use by another request."
        return Refused(429, message, code="lock_timeout", headers={SHOULD_RETRY: "true"})
    if kind is FaultKind.EXPIRED_TOKEN:
        return Refused(401, "The API key provided has expired.", code="api_key_expired")
    if kind is FaultKind.FORBIDDEN:
        return Refused(403, "The provided key does not have the required permissions for this endpoint.")
    if kind is FaultKind.NOT_FOUND:
        return missing("object", "of this request")
    return None


def _request_id() -> str:
    return f"req_{uuid4().hex[:14]}"


STRIPE = Dialect(
    request_id=REQUEST_ID,
    new_id=_request_id,
    refusal=_refusal,
    about_another=lambda whole, other_id: whole | {"id": other_id},
)
