"""A billing provider's HTTP, bounded in every direction: one base URL, GET only, size, time and tries.

A retry spans send, read, parse and shape check, because a truncated body and a login page under status 200 are
failures of the same kind as a 503. What an answer means is the provider's adapter's business.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, Self, TypeVar

import httpcore
import httpx
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from credit_pipeline.adapters.billing.http.strict_json import NotStrictJson, read_object
from credit_pipeline.adapters.billing.http.transport import (
    BoundedTransport,
    Deadline,
    DeadlinePassed,
    PrivateAddress,
    is_loopback,
)
from credit_pipeline.domain.errors import ConfigurationError

T = TypeVar("T")

logger = logging.getLogger("credit_pipeline.billing")

_OK, _REFUSED, _TIMED_OUT, _TOO_MANY, _SERVER = 200, 400, 408, 429, 500
_NETWORK = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often and how long. Waits grow by doubling, with jitter; a Retry-After is honoured up to its cap."""

    attempts: int = 4
    wait_initial: timedelta = timedelta(seconds=0.5)
    wait_max: timedelta = timedelta(seconds=5)
    wait_jitter: timedelta = timedelta(seconds=1)
    retry_after_cap: timedelta = timedelta(seconds=120)
    connect: timedelta = timedelta(seconds=5)
    read: timedelta = timedelta(seconds=10)
    request: timedelta = timedelta(seconds=30)
    """Wall clock for one request, from its first byte to the last of its answer."""
    max_bytes: int = 10_000_000


class Trouble(Exception):
    """A request without a usable answer. `str()` is a short sentence without secrets or ids of customers."""

    def __init__(self, detail: str, *, again: bool, wait: float | None = None, unreachable: bool = False) -> None:
        super().__init__(detail)
        self.again = again
        self.wait = wait
        self.unreachable = unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer below 500 that is not 429: for 200 always with a body, else with one where it was JSON."""

    status: int
    body: dict[str, Any] | None
    request_id: str | None

    def refuse(self, what: str) -> NoReturn:
        """Ends the request for good: this answer will not change by asking again."""
        raise Trouble(self.named(what), again=False)

    def named(self, what: str) -> str:
        """The sentence with the id under which the provider can find the request."""
        return _sentence(what, self.request_id)


class BoundedHttp:
    """One provider's API below `base_url`, read-only by construction. Safe for use by `in_flight` threads at once.

    `retry_statuses` are repeated besides 408, 429 and 5xx. `should_retry_header` is a header whose `true` or `false`
    has the last word about that, whatever the status.
    """

    def __init__(
        self,
        *,
        system: str,
        base_url: str,
        in_flight: int,
        patience: Patience,
        request_id_header: str,
        retry_statuses: frozenset[int] = frozenset(),
        should_retry_header: str | None = None,
        allow_private: bool = False,
    ) -> None:
        self._base = checked_base_url(system, base_url)
        # By default stamina logs through structlog where that is installed, and so to stdout, into our JSON.
        set_on_retry_hooks([_log_retry])
        self._patience = patience
        self._request_id_header = request_id_header
        self._retry_statuses = retry_statuses
        self._should_retry_header = should_retry_header
        self._deadline = Deadline()
        transport = BoundedTransport(
            deadline=self._deadline,
            connections=in_flight,
            tls=self._base.scheme == "https",
            allow_private=allow_private,
        )
        self._http = httpx.Client(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(patience.read.total_seconds(), connect=patience.connect.total_seconds()),
            # Identity only: one 64 kB chunk of gzip can become 64 MB before anybody counts it.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    @property
    def host(self) -> str:
        """`host:port` for messages."""
        port = self._base.port or (443 if self._base.scheme == "https" else 80)
        return f"{self._base.host}:{port}"

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, *, headers: Mapping[str, str], end: float) -> Reply:
        """One GET, not repeated. Raises Trouble."""
        return self._exchange("GET", path, headers=headers, content=None, end=end)

    def repeat(self, call: Callable[[], T], *, end: float, stop: Callable[[Trouble], bool]) -> T:
        """Calls until it succeeds, the tries are used up, `stop` says so, or a wait would pass `end`."""
        patience = self._patience

        def again(error: Exception) -> bool | float:
            if not isinstance(error, Trouble) or not error.again or stop(error):
                return False
            if error.wait is None:
                return True
            wait = min(error.wait, patience.retry_after_cap.total_seconds())
            return wait if time.monotonic() + wait < end else False

        for attempt in stamina.retry_context(
            on=again,
            attempts=patience.attempts,
            timeout=max(end - time.monotonic(), 0.001),
            wait_initial=patience.wait_initial,
            wait_max=patience.wait_max,
            wait_jitter=patience.wait_jitter,
        ):
            with attempt:
                return call()
        raise AssertionError("stamina yields at least one attempt")

    def _exchange(
        self, method: str, path: str, *, headers: Mapping[str, str], content: bytes | None, end: float
    ) -> Reply:
        url = self._base.copy_with(raw_path=self._base.raw_path.rstrip(b"/") + path.encode("ascii"))
        request = self._http.build_request(method, url, headers=dict(headers), content=content)
        limit = time.monotonic() + self._patience.request.total_seconds()
        try:
            with self._deadline.until(min(limit, end)):
                response = self._http.send(request, stream=True)
                try:
                    return self._read(response)
                finally:
                    response.close()
        except DeadlinePassed:
            raise Trouble("the answer took too long", again=False) from None
        except PrivateAddress:
            raise Trouble("its name leads to a private address", again=False, unreachable=True) from None
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            raise Trouble("no connection", again=True, unreachable=True) from None
        except httpcore.TimeoutException:
            raise Trouble("no answer in time", again=True) from None
        except _NETWORK:
            raise Trouble("the connection broke", again=True) from None

    def _read(self, response: httpx.Response) -> Reply:
        request_id = _safe_request_id(response.headers.get(self._request_id_header))
        status = response.status_code
        told = response.headers.get(self._should_retry_header) if self._should_retry_header else None
        failed = status in (_TIMED_OUT, _TOO_MANY) or status >= _SERVER or status in self._retry_statuses
        if failed or (told == "true" and status >= _REFUSED):
            wait = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            raise Trouble(_sentence(f"HTTP {status}", request_id), again=told != "false", wait=wait)
        if status != _OK and status < _REFUSED:
            raise Trouble(_sentence(f"HTTP {status}, which is not followed", request_id), again=False)
        try:
            body = self._json(response)
        except NotStrictJson as error:
            if status == _OK:
                raise Trouble(_sentence(f"HTTP 200 with {error}", request_id), again=True) from None
            body = None
        return Reply(status=status, body=body, request_id=request_id)

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise NotStrictJson("a compressed body, though none was asked for")
        if media != "application/json" and not media.endswith("+json"):
            raise NotStrictJson("something other than JSON")
        return read_object(self._bounded_body(response))

    def _bounded_body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > self._patience.max_bytes:
                raise Trouble(f"an answer of more than {self._patience.max_bytes:,} bytes", again=False)
        return bytes(body)


def host_name(host: str) -> str:
    """`host:port` without the port, which says nothing about whose API it is."""
    return host.rpartition(":")[0]


def checked_base_url(system: str, base_url: str) -> httpx.URL:
    """The URL, where it is https (or loopback) and nothing but scheme, host, port and path."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL("")
    host_is_one = re.fullmatch(rb"[A-Za-z0-9.:_-]+", url.raw_host) is not None
    if url.scheme not in ("http", "https") or not host_is_one or url.userinfo or url.query or url.fragment:
        raise ConfigurationError(f"{system}: the billing base URL is not of the form https://host[:port]: correct it")
    if url.scheme == "http" and not is_loopback(url.host):
        raise ConfigurationError(
            f"{system}: the billing base URL uses http, which would send secrets in the clear: use https"
        )
    return url


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait from a Retry-After header, in its form of seconds or of an HTTP date; None where unreadable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _log_retry(details: RetryDetails) -> None:
    logger.info("asking again in %.1f s: %s", details.wait_for, details.caused_by)


def _sentence(what: str, request_id: str | None) -> str:
    return f"{what} (request {request_id})" if request_id else what


def _safe_request_id(value: str | None) -> str | None:
    """A request id goes into reports, so it may only look like one."""
    if value is None or not value.isascii():
        return None
    kept = "".join(character for character in value[:80] if character.isalnum() or character in "-_.:")
    return kept or None
