"""An httpx transport with one wall-clock deadline per request that refuses to connect to private networks.

httpx applies its timeout to each read, so a server that sends a byte a second holds a thread for ever (measured:
`timeout=1` let an 8 s body through). Here every connect, write and read gets only what remains of the deadline.
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
    """The request's deadline has passed, even if data is still arriving."""


class PrivateAddress(Exception):
    """The host's name resolves to a private or link-local address."""


def is_loopback(host: str) -> bool:
    """Whether the host is `localhost` or a loopback address; no name is resolved."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Deadline:
    """The deadline of each thread's current request, in `time.monotonic` seconds."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def until(self, end: float) -> Iterator[None]:
        """Makes network operations of this thread raise DeadlinePassed after `end`."""
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
        """The shorter of the timeout and the time left, in seconds. Raises DeadlinePassed."""
        end: float | None = getattr(self._local, "end", None)
        if end is None:
            return timeout
        left = end - time.monotonic()
        if left <= 0:
            raise DeadlinePassed
        return left if timeout is None else min(timeout, left)


class DeadlineStream(httpcore.NetworkStream):
    """A connection whose operations all keep to the thread's deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Reads at most `max_bytes` before the deadline."""
        return self._inner.read(max_bytes, self._deadline.clip(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Writes before the deadline."""
        self._inner.write(buffer, self._deadline.clip(timeout))

    def close(self) -> None:
        """Closes the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection over TLS, under the same deadline."""
        clipped = self._deadline.clip(timeout)
        return DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, clipped), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Details of the underlying connection, such as `server_addr`."""
        return self._inner.get_extra_info(info)


class BoundedBackend(httpcore.NetworkBackend):
    """Opens connections before the deadline, and only to public addresses unless the host is loopback."""

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
        """A connection to a checked peer: after connecting, so the name cannot resolve differently in between.

        Raises PrivateAddress, DeadlinePassed.
        """
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
        return iter(self._stream)

    def close(self) -> None:
        self._stream.close()


class BoundedTransport(httpx.BaseTransport):
    """An httpx transport over an httpcore pool. Raises httpcore's errors, DeadlinePassed or PrivateAddress."""

    def __init__(self, *, deadline: Deadline, connections: int, tls: bool, allow_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False) if tls else None,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=BoundedBackend(deadline, allow_private=allow_private),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request; the caller reads the body under the same deadline."""
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
