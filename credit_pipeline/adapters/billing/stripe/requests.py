"""GET requests to Stripe's API: key, version, rate limit, retries, and errors by Stripe's error object."""

import hmac
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NoReturn, TypeVar
from urllib.parse import urlencode

from pyrate_limiter import Duration

from credit_pipeline.adapters.billing.http.client import BoundedHttp, Reply, RequestError, RetryPolicy
from credit_pipeline.adapters.billing.http.rate_limits import RatePerId
from credit_pipeline.adapters.billing.json_values import WireError
from credit_pipeline.adapters.billing.stripe.wire import Object, error_of
from credit_pipeline.domain.errors import ConfigurationError

T = TypeVar("T")
Param = str | int | tuple[str, ...]
"""A query parameter's value; a tuple repeats the parameter."""
Params = Mapping[str, Param]
Stop = Callable[[RequestError], bool]

_OK, _BAD_REQUEST, _UNAUTHENTICATED, _FORBIDDEN, _NOT_FOUND, _CONFLICT = 200, 400, 401, 403, 404, 409


class Refused(RequestError):
    """Stripe rejected the key (401), or the key may not read this resource (403). Never retried."""

    def __init__(self, detail: str, *, allowed: bool) -> None:
        super().__init__(detail, retryable=False)
        self.allowed = allowed
        """Whether the key itself is valid and only lacks a permission."""


class Unknown(RequestError):
    """Stripe says that the resource does not exist. `param` is the request parameter that named it, if any."""

    def __init__(self, detail: str, param: str | None) -> None:
        super().__init__(detail, retryable=False)
        self.param = param


class StripeGet:
    """GET requests with one key. Several threads may share it."""

    def __init__(
        self,
        *,
        system: str,
        base_url: str,
        key: str,
        version: str,
        per_second: int,
        in_flight: int,
        retry_policy: RetryPolicy,
        credentials_name: str,
        allow_private: bool = False,
    ) -> None:
        for value, name in ((key, credentials_name), (version, "the API version")):
            if not value or not value.isascii() or not value.isprintable() or " " in value:
                raise ConfigurationError(f"{system}: {name} is empty or holds blanks or strange characters: correct it")
        self.test_key = _is_test_key(key)
        """Whether it is a test-mode key; None if its prefix does not tell."""
        self.key_print = hmac.new(key.encode(), b"credit_pipeline", "sha256").hexdigest()[:16]
        """A fingerprint of the key, from which the key cannot be recovered."""
        self._headers = {"Authorization": f"Bearer {key}", "Stripe-Version": version}
        self._rate = RatePerId(per_second, Duration.SECOND)
        self._http = BoundedHttp(
            system=system,
            base_url=base_url,
            in_flight=in_flight,
            retry_policy=retry_policy,
            request_id_header="Request-Id",
            retry_statuses=frozenset({_CONFLICT}),
            should_retry_header="Stripe-Should-Retry",
            allow_private=allow_private,
        )

    @property
    def host(self) -> str:
        """`host:port`, for messages."""
        return self._http.host

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def get(self, path: str, params: Params, read: Callable[[Object], T], *, end: float, stop: Stop) -> T:
        """`read` of the response body; a body that it rejects with WireError is requested again.

        `end`: the deadline (time.monotonic). `stop`: whether to stop retrying after this failure. Raises RequestError.
        """
        target = f"{path}?{urlencode(params, doseq=True)}" if params else path
        for attempt in self._http.attempts(end=end, stop=stop):
            with attempt:
                if not self._rate.acquire("all", end - time.monotonic()):
                    raise RequestError("no time was left within its requests per second", retryable=False)
                reply = self._http.get(target, headers=self._headers, end=end)
                if reply.status != _OK or reply.body is None:
                    _refuse(reply)
                try:
                    return read(reply.body)
                except WireError as error:
                    raise RequestError(reply.named(f"HTTP 200, but {error}"), retryable=True) from None
        raise AssertionError("there is at least one attempt, and the last one raises")


def default_retry_policy() -> RetryPolicy:
    """Longer limits than the default: a page of a hundred invoices may take a while."""
    return RetryPolicy(attempts=6, read=timedelta(seconds=30), request=timedelta(seconds=60))


def _refuse(reply: Reply) -> NoReturn:
    """Raises what the response means. Only Stripe's own error object proves that something does not exist."""
    code, param = error_of(reply.body)
    detail = reply.named(f"HTTP {reply.status} {code}" if code else f"HTTP {reply.status}")
    if reply.status in (_UNAUTHENTICATED, _FORBIDDEN):
        raise Refused(detail, allowed=reply.status == _FORBIDDEN)
    if reply.status in (_BAD_REQUEST, _NOT_FOUND) and code == "resource_missing":
        raise Unknown(detail, param)
    # Older API versions answer 400 where newer ones answer 429.
    raise RequestError(detail, retryable=reply.status == _BAD_REQUEST and code == "rate_limit")


def _is_test_key(key: str) -> bool | None:
    kind = key.partition("_")[2]
    return True if kind.startswith("test_") else False if kind.startswith("live_") else None
