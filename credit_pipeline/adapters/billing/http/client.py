"""A read-only HTTP client for one billing API: GET below one base URL, with limits on size, time and attempts.

An attempt covers send, read, parse and shape check, because a truncated body or a login page under status 200 is the
same kind of failure as a 503. What a response means is up to the provider's adapter.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, Self

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

logger = logging.getLogger("credit_pipeline.billing")

_OK, _REFUSED, _TIMED_OUT, _TOO_MANY, _SERVER = 200, 400, 408, 429, 500
_NETWORK = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a request is tried and how long it may take.

    Waits double, with jitter; a Retry-After header is honoured up to `retry_after_cap`.
    """

    attempts: int = 4
    wait_initial: timedelta = timedelta(seconds=0.5)
    wait_max: timedelta = timedelta(seconds=5)
    wait_jitter: timedelta = timedelta(seconds=1)
    retry_after_cap: timedelta = timedelta(seconds=120)
    connect: timedelta = timedelta(seconds=5)
    read: timedelta = timedelta(seconds=10)
    request: timedelta = timedelta(seconds=30)
    """Wall-clock limit of one request, from its first byte to the last byte of the response."""
    max_bytes: int = 10_000_000


class RequestError(Exception):
    """A request failed. `str()` is a short reason without secrets or customer ids.

    `retryable`: another attempt may succeed. `wait`: seconds to wait first, if the server gave them. `unreachable`: no
    connection was made.
    """

    def __init__(self, detail: str, *, retryable: bool, wait: float | None = None, unreachable: bool = False) -> None:
        super().__init__(detail)
        self.retryable = retryable
        self.wait = wait
        self.unreachable = unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response below 500 other than 408 and 429. A 200 always has a body; others have one if it was JSON."""

    status: int
    body: dict[str, Any] | None
    request_id: str | None

    def refuse(self, what: str) -> NoReturn:
        """Raises RequestError that is not retried: another attempt would get the same response."""
        raise RequestError(self.named(what), retryable=False)

    def named(self, what: str) -> str:
        """The sentence with the request id, by which the provider can find the request."""
        return _sentence(what, self.request_id)


class BoundedHttp:
    """One provider's API below `base_url`; it has no method that writes. Up to `in_flight` threads may share it.

    `retry_statuses` are retried in addition to 408, 429 and 5xx. `should_retry_header` names a response header whose
    `true` or `false` overrides that.
    """

    def __init__(
        self,
        *,
        system: str,
        base_url: str,
        in_flight: int,
        retry_policy: RetryPolicy,
        request_id_header: str,
        retry_statuses: frozenset[int] = frozenset(),
        should_retry_header: str | None = None,
        allow_private: bool = False,
    ) -> None:
        self._base = checked_base_url(system, base_url)
        # Where structlog is installed, stamina logs through it to stdout, which would corrupt our JSON.
        set_on_retry_hooks([_log_retry])
        self._retry_policy = retry_policy
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
            timeout=httpx.Timeout(retry_policy.read.total_seconds(), connect=retry_policy.connect.total_seconds()),
            # No compression: one 64 kB chunk of gzip can expand to 64 MB before its size is checked.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    @property
    def host(self) -> str:
        """`host:port`, for messages."""
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
        """Sends one GET, without retries, until `end` (time.monotonic) at most. Raises RequestError."""
        with self._sent("GET", path, end, headers) as response:
            return self._read(response)

    def attempts(self, *, end: float, stop: Callable[[RequestError], bool]) -> Iterable[AbstractContextManager[Any]]:
        """Attempts at one request, each a context manager: a block runs again after a retryable RequestError.

        It is raised when attempts run out, `stop` returns True for it, or its wait would pass `end`.
        """
        policy = self._retry_policy

        def wait_before(error: Exception) -> bool | float:
            if not isinstance(error, RequestError) or not error.retryable or stop(error):
                return False
            if error.wait is None:
                return True
            wait = min(error.wait, policy.retry_after_cap.total_seconds())
            return wait if time.monotonic() + wait < end else False

        return stamina.retry_context(
            on=wait_before,
            attempts=policy.attempts,
            timeout=max(end - time.monotonic(), 0.001),
            wait_initial=policy.wait_initial,
            wait_max=policy.wait_max,
            wait_jitter=policy.wait_jitter,
        )

    @contextmanager
    def _sent(
        self, method: str, path: str, end: float, headers: Mapping[str, str], content: bytes | None = None
    ) -> Iterator[httpx.Response]:
        """The response, its body still unread. Raises RequestError for everything that fails until the block ends."""
        url = self._base.copy_with(raw_path=self._base.raw_path.rstrip(b"/") + path.encode("ascii"))
        request = self._http.build_request(method, url, headers=dict(headers), content=content)
        limit = time.monotonic() + self._retry_policy.request.total_seconds()
        try:
            with (
                self._deadline.until(min(limit, end)),
                closing(self._http.send(request, stream=True)) as response,
            ):
                yield response
        except DeadlinePassed:
            raise RequestError("the answer took too long", retryable=False) from None
        except PrivateAddress:
            raise RequestError("its name resolves to a private address", retryable=False, unreachable=True) from None
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            raise RequestError("no connection", retryable=True, unreachable=True) from None
        except httpcore.TimeoutException:
            raise RequestError("no answer in time", retryable=True) from None
        except _NETWORK:
            raise RequestError("the connection broke", retryable=True) from None

    def _read(self, response: httpx.Response) -> Reply:
        request_id = _safe_request_id(response.headers.get(self._request_id_header))
        status = response.status_code
        should_retry = response.headers.get(self._should_retry_header) if self._should_retry_header else None
        failed = status in (_TIMED_OUT, _TOO_MANY) or status >= _SERVER or status in self._retry_statuses
        if failed or (should_retry == "true" and status >= _REFUSED):
            wait = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            raise RequestError(_sentence(f"HTTP {status}", request_id), retryable=should_retry != "false", wait=wait)
        if status != _OK and status < _REFUSED:
            raise RequestError(_sentence(f"HTTP {status}: redirects are not followed", request_id), retryable=False)
        try:
            body = self._json(response)
        except NotStrictJson as error:
            if status == _OK:
                raise RequestError(_sentence(f"HTTP 200 with {error}", request_id), retryable=True) from None
            body = None
        return Reply(status=status, body=body, request_id=request_id)

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise NotStrictJson("a compressed body, which was not requested")
        if media != "application/json" and not media.endswith("+json"):
            raise NotStrictJson("something other than JSON")
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > self._retry_policy.max_bytes:
                raise RequestError(f"an answer of more than {self._retry_policy.max_bytes:,} bytes", retryable=False)
        return read_object(bytes(body))


def host_name(host: str) -> str:
    """The host of `host:port`."""
    return host.rpartition(":")[0]


def checked_base_url(system: str, base_url: str) -> httpx.URL:
    """The parsed URL. Raises ConfigurationError unless it is https, or http to this machine, without user or query."""
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
    """Seconds to wait by a Retry-After header, given in seconds or as an HTTP date; None if it cannot be parsed."""
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
    """Request ids appear in reports, so only the characters of an id are kept."""
    if value is None or not value.isascii():
        return None
    kept = "".join(character for character in value[:80] if character.isalnum() or character in "-_.:")
    return kept or None
