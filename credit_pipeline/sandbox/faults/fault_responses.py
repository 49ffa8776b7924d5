"""The response of each fault. Most are ordinary responses; some write to the socket directly.

A dialect holds a provider's own error objects and headers; Wix's is included.
"""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from credit_pipeline.sandbox.faults.faults import Fault, FaultKind

REQUEST_ID = "X-Wix-Request-Id"
DRIP_S = 0.02
DRIP_BYTES = 3_000
"""A drip takes a minute, longer than any client should wait."""
HUGE_BYTES = 12_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs between providers in faulty responses."""

    request_id: str
    """The header with the request id."""
    new_id: Callable[[], str]
    refusal: Callable[[Fault], Response | None]
    """The error response of a fault, if the fault is an error."""
    about_another: Callable[[dict[str, Any], str], dict[str, Any]]
    """Changes a right answer into one about another id."""


def application_error(status: int, code: str, *, headers: dict[str, str] | None = None) -> Response:
    """Wix's error shape."""
    message = code.replace("_", " ").lower()
    body = {
        "message": message,
        "details": {"applicationError": {"code": code, "description": message, "data": {}}},
    }
    return answer(body, status, headers=headers)


def answer(body: object, status: int = 200, *, headers: dict[str, str] | None = None) -> Response:
    """A JSON response of Wix, with a request id."""
    return json_response(body, status, headers=headers, dialect=WIX)


def json_response(body: object, status: int, *, dialect: Dialect, headers: dict[str, str] | None = None) -> Response:
    """A JSON response with a request id."""
    return _with_id(dialect, json.dumps(body, allow_nan=False).encode(), "application/json", status, headers)


def faulty_response(
    fault: Fault,
    request: Request,
    payload: Callable[[], dict[str, Any]],
    other_id: str,
    dialect: Dialect | None = None,
) -> Response:
    """The response to a request that the fault hits. `payload` returns the right answer."""
    kind, dialect = fault.kind, dialect or WIX
    refusal = dialect.refusal(fault)
    if refusal is not None:
        return refusal
    if kind in (FaultKind.HTML_200, FaultKind.HTML_404):
        status = 200 if kind is FaultKind.HTML_200 else 404
        page = b"<!doctype html><title>Sign in</title>"
        return _with_id(dialect, page, "text/html; charset=utf-8", status, None)
    if kind is FaultKind.REDIRECT:
        return _with_id(dialect, b"", "text/plain", 302, {"Location": str(request.url_for("health"))})
    if kind is FaultKind.BAD_JSON:
        body = '{"instance": {"instanceId"' if fault.body is None else fault.body
        return _with_id(dialect, body.encode("utf-8", "surrogatepass"), "application/json", 200, None)
    if kind is FaultKind.WRONG_INSTANCE:
        return json_response(dialect.about_another(payload(), other_id), 200, dialect=dialect)
    if kind is FaultKind.HUGE:
        return json_response(payload() | {"filler": "x" * HUGE_BYTES}, 200, dialect=dialect)
    if kind is FaultKind.GZIP:
        packed = gzip.compress(json.dumps(payload()).encode())
        return _with_id(dialect, packed, "application/json", 200, {"Content-Encoding": "gzip"})
    return _SocketFault(kind, json.dumps(payload()).encode(), f"{dialect.request_id}: {dialect.new_id()}")


def _wix_refusal(fault: Fault) -> Response | None:
    if fault.kind in _STATUS:
        return application_error(*_STATUS[fault.kind])
    if fault.kind is FaultKind.RATE_LIMITED:
        headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
        return application_error(429, "RESOURCE_EXHAUSTED", headers=headers)
    return None


_STATUS = {
    FaultKind.LOOKUP_ERROR: (500, "INTERNAL"),
    FaultKind.FLAKY: (503, "UNAVAILABLE"),
    FaultKind.EXPIRED_TOKEN: (401, "UNAUTHENTICATED"),
    FaultKind.FORBIDDEN: (403, "PERMISSION_DENIED"),
    FaultKind.NOT_FOUND: (404, "NOT_FOUND"),
}

WIX = Dialect(
    request_id=REQUEST_ID,
    new_id=lambda: uuid4().hex,
    refusal=_wix_refusal,
    about_another=lambda whole, other_id: whole | {"instance": whole["instance"] | {"instanceId": other_id}},
)


def _with_id(dialect: Dialect, body: bytes, media: str, status: int, headers: dict[str, str] | None) -> Response:
    return Response(body, status, {dialect.request_id: dialect.new_id(), "Content-Type": media, **(headers or {})})


class _SocketFault(Response):
    """A fault below HTTP, which writes to the connection and leaves it unusable."""

    def __init__(self, kind: FaultKind, body: bytes, request_id: str) -> None:
        super().__init__()
        self._kind = kind
        self._whole = body
        self._request_id = request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bypassed
        transport: asyncio.Transport = scope["state"]["transport"]
        head = (
            f"HTTP/1.1 200 OK\r\n{self._request_id}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self._whole)}\r\n"
        ).encode()
        if self._kind is FaultKind.TRUNCATED:
            transport.write(head + b"\r\n" + self._whole[: len(self._whole) // 2])
            transport.close()
        elif self._kind is FaultKind.SLOW_DRIP:
            transport.write(head.replace(str(len(self._whole)).encode(), str(DRIP_BYTES).encode()) + b"\r\n")
            await _drip(transport, b" ")
        elif self._kind is FaultKind.SLOW_HEADERS:
            transport.write(head + b"X-Slow: ")
            await _drip(transport, b"x")
        else:
            _reset(transport)
        while (await receive())["type"] != "http.disconnect":
            pass


async def _drip(transport: asyncio.Transport, byte: bytes) -> None:
    for _ in range(DRIP_BYTES):
        if transport.is_closing():
            return
        transport.write(byte)
        await asyncio.sleep(DRIP_S)
    transport.abort()


def _reset(transport: asyncio.Transport) -> None:
    """Ends the connection with RST in place of FIN."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
