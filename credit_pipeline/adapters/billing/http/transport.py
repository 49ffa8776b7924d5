"""An httpx transport in which no request outlives its deadline, and no name leads into a private network.

httpx's timeouts count per read: a server that sends a byte a second holds a thread for ever (measured: `timeout=1`
let an 8 s body through). Here every read, write and connect gets what is left of one wall-clock deadline, headers
included. What a request says and how often it is tried is not decided here.
"""

import ipaddress
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

SOCKET_OPTIONS = Iterable[httpcore.SOCKET_OPTION]


class DeadlinePassed(Exception):
    """The request's wall-clock time is used up, whatever is still arriving."""


class PrivateAddress(Exception):
    """The host's name resolves to a private or link-local address."""


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its very name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Deadline:
    """The end of the request under way in each thread, in `time.monotonic` seconds."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def until(self, end: float) -> Iterator[None]:
        """Network operations of this thread fail with DeadlinePassed after `end`."""
        self._local.end = end
        try:
            yield
        except httpcore.TimeoutException:
            if time.monotonic() >= end:
                raise DeadlinePassed from None
            raise
        finally:
            self._local.end = None

    def clip(self, timeout: float | None) -> float | None:
        """The shorter of the timeout and what is left."""
        end: float | None = getattr(self._local, "end", None)
        if end is None:
            return timeout
        left = end - time.monotonic()
        if left <= 0:
            raise DeadlinePassed
        return left if timeout is None else min(timeout, left)


class DeadlineStream(httpcore.NetworkStream):
    """A connection whose every operation is clipped to the thread's deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Bytes, before the deadline."""
        return self._inner.read(max_bytes, self._deadline.clip(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Sends, before the deadline."""
        self._inner.write(buffer, self._deadline.clip(timeout))

    def close(self) -> None:
        """Closes the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection under TLS, still clipped."""
        clipped = self._deadline.clip(timeout)
        return DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, clipped), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """What the connection says of itself."""
        return self._inner.get_extra_info(info)


class BoundedBackend(httpcore.NetworkBackend):
    """Opens connections: clipped to the deadline, and to public addresses only unless the host is loopback by name."""

    def __init__(
        self, deadline: Deadline, *, allow_private: bool = False, inner: httpcore.NetworkBackend | None = None
    ) -> None:
        self._deadline = deadline
        self._allow_private = allow_private
        self._inner = inner or httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SOCKET_OPTIONS | None = None,
    ) -> httpcore.NetworkStream:
        """A connection whose peer was checked after it was made, so a name cannot change in between."""
        clipped = self._deadline.clip(timeout)
        stream = self._inner.connect_tcp(host, port, clipped, local_address, socket_options)
        if not self._allow_private and not is_loopback(host):
            peer = ipaddress.ip_address(stream.get_extra_info("server_addr")[0])
            if not peer.is_global:
                stream.close()
                raise PrivateAddress
        return DeadlineStream(stream, self._deadline)


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        self._stream.close()


class BoundedTransport(httpx.BaseTransport):
    """httpx over an httpcore pool with the backend above. Errors are httpcore's own, or one of this module."""

    def __init__(self, *, deadline: Deadline, connections: int, tls: bool, allow_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False) if tls else None,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=BoundedBackend(deadline, allow_private=allow_private),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends; the body is read by the caller, under the same deadline."""
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()
