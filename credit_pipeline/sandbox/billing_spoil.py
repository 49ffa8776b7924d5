"""How each fault looks on the wire. Most are ordinary responses; some need the socket itself. Which requests they hit
is in `billing_faults`.
"""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from credit_pipeline.sandbox.billing_faults import Fault, FaultKind

REQUEST_ID = "X-Wix-Request-Id"
DRIP_S = 0.02
DRIP_BYTES = 3_000
"""A drip goes on for a minute: longer than any client should wait."""
HUGE_BYTES = 12_000_000


def application_error(status: int, code: str, *, headers: dict[str, str] | None = None) -> Response:
    """Wix's error shape."""
    message = code.replace("_", " ").lower()
    body = {
        "message": message,
        "details": {"applicationError": {"code": code, "description": message, "data": {}}},
    }
    return answer(body, status, headers=headers)


def answer(body: object, status: int = 200, *, headers: dict[str, str] | None = None) -> Response:
    """JSON with a request id, as all of Wix's answers have one."""
    return _with_id(json.dumps(body, allow_nan=False).encode(), "application/json", status, headers)


def spoilt(fault: Fault, request: Request, payload: Callable[[], dict[str, Any]], other_id: str) -> Response:
    """The response of a request that the fault hits; `payload` makes what the right answer would have been."""
    kind = fault.kind
    if kind in _STATUS:
        return application_error(*_STATUS[kind])
    if kind is FaultKind.RATE_LIMITED:
        headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
        return application_error(429, "RESOURCE_EXHAUSTED", headers=headers)
    if kind in (FaultKind.HTML_200, FaultKind.HTML_404):
        status = 200 if kind is FaultKind.HTML_200 else 404
        return _with_id(b"<!doctype html><title>Sign in</title>", "text/html; charset=utf-8", status, None)
    if kind is FaultKind.REDIRECT:
        return _with_id(b"", "text/plain", 302, {"Location": str(request.url_for("health"))})
    if kind is FaultKind.BAD_JSON:
        body = '{"instance": {"instanceId"' if fault.body is None else fault.body
        return _with_id(body.encode("utf-8", "surrogatepass"), "application/json", 200, None)
    if kind is FaultKind.WRONG_INSTANCE:
        whole = payload()
        return answer(whole | {"instance": whole["instance"] | {"instanceId": other_id}})
    if kind is FaultKind.HUGE:
        return answer(payload() | {"filler": "x" * HUGE_BYTES})
    if kind is FaultKind.GZIP:
        packed = gzip.compress(json.dumps(payload()).encode())
        return _with_id(packed, "application/json", 200, {"Content-Encoding": "gzip"})
    return _OnTheSocket(kind, json.dumps(payload()).encode())


_STATUS = {
    FaultKind.LOOKUP_ERROR: (500, "INTERNAL"),
    FaultKind.FLAKY: (503, "UNAVAILABLE"),
    FaultKind.EXPIRED_TOKEN: (401, "UNAUTHENTICATED"),
    FaultKind.FORBIDDEN: (403, "PERMISSION_DENIED"),
    FaultKind.NOT_FOUND: (404, "NOT_FOUND"),
}


def _with_id(body: bytes, media: str, status: int, headers: dict[str, str] | None) -> Response:
    return Response(body, status, {REQUEST_ID: uuid4().hex, "Content-Type": media, **(headers or {})})


class _OnTheSocket(Response):
    """A fault below HTTP: writes to the connection itself and leaves it unusable."""

    def __init__(self, kind: FaultKind, body: bytes) -> None:
        super().__init__()
        self._kind = kind
        self._whole = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bypassed
        transport: asyncio.Transport = scope["state"]["transport"]
        head = (
            f"HTTP/1.1 200 OK\r\n{REQUEST_ID}: {uuid4().hex}\r\n"
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
    """Ends the connection with RST instead of FIN."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
