"""The Wix client: one token and one GET per app instance, because the classic API cannot list subscriptions.

Tokens are kept in memory only. Instances are never cached: every pull, and every re-read before a correction, requests
them again. It is read-only: it sends nothing but GET and the POST for a token.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, Self, TypeVar

from credit_pipeline.adapters.billing.http.client import Reply, RequestError, RetryPolicy, host_name
from credit_pipeline.adapters.billing.http.fan_out import FanOut
from credit_pipeline.adapters.billing.http.rate_limits import RatePerId
from credit_pipeline.adapters.billing.http.token import TokenHttp
from credit_pipeline.adapters.billing.json_values import WireError
from credit_pipeline.adapters.billing.subscription_rows import gone, missing, pull_of, unanswered
from credit_pipeline.adapters.billing.wix import wire as wix_wire
from credit_pipeline.domain.errors import SourceError
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.services.collect.ports import Progress, Pull

TOKEN_MARGIN_S = 60.0
"""A token is not used in its last minute, so that it cannot expire in transit. Seconds."""
MAX_TOKENS = 20_000

T = TypeVar("T")

_OK, _BAD_REQUEST, _UNAUTHENTICATED, _FORBIDDEN, _NOT_FOUND = 200, 400, 401, 403, 404
_OUR_CREDENTIALS = frozenset({"invalid_client", "unauthorized_client"})


class _Refused(Exception):
    """Wix rejects our app's credentials: every id would fail the same way."""


class _Uninstalled(Exception):
    """Wix no longer grants a token for the instance."""


class WixBilling:
    """The Billing port over Wix's API.

    `base_url_name` and `credentials_name` are the settings that error messages name.
    """

    provider = "wix"
    lists = False

    def __init__(
        self,
        *,
        system: str,
        base_url: str,
        app_id: str,
        app_secret: str,
        in_flight: int = 16,
        per_minute_per_instance: int = 200,
        deadline: timedelta = timedelta(minutes=15),
        breaker: int = 5,
        retry_policy: RetryPolicy | None = None,
        allow_private: bool = False,
        base_url_name: str = "its base URL",
        credentials_name: str = "the app id and the app secret",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._system = system
        self._credentials = {"client_id": app_id, "client_secret": app_secret}
        self._in_flight = in_flight
        self._deadline_s = deadline.total_seconds()
        self._breaker = breaker
        self._base_url_name = base_url_name
        self._credentials_name = credentials_name
        self._clock = clock
        self._rate = RatePerId(per_minute_per_instance)
        self._tokens: dict[BillingId, tuple[str, float]] = {}
        self._tokens_lock = threading.Lock()
        self._http = TokenHttp(
            system=system,
            base_url=base_url,
            in_flight=in_flight,
            retry_policy=retry_policy or RetryPolicy(),
            token_path=wix_wire.TOKEN_PATH,
            request_id_header=wix_wire.REQUEST_ID_HEADER,
            allow_private=allow_private,
        )

    def __repr__(self) -> str:
        return f"WixBilling({self._system!r}, {self._http.host!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections and forgets all tokens."""
        self._http.close()
        self._tokens.clear()

    def identity(self) -> Mapping[str, str]:
        """Identifies this app, for `init` to pin. Sends no request. The host is without its port, which may change."""
        return {"provider": self.provider, "app": self._credentials["client_id"], "host": host_name(self._http.host)}

    def pull(self, ids: Sequence[BillingId] | None, now: datetime, progress: Progress | None = None) -> Pull:  # noqa: ARG002 - Wix answers as of the request
        """One row per id, in order.

        Raises SourceError if Wix cannot be reached, rejects our credentials, or answers none of so many ids that the
        pull is given up; also for `ids` None, because Wix has no list.
        """
        if ids is None:
            raise SourceError(f"{self._system}: Wix cannot list its instances: ask for those the store knows")
        fan = FanOut(
            ids=list(dict.fromkeys(ids)),
            in_flight=self._in_flight,
            end=time.monotonic() + self._deadline_s,
            breaker=self._breaker,
        )
        rows = fan.run(lambda billing_id: self._ask(billing_id, fan), progress)
        if isinstance(fan.fatal, _Refused):
            raise SourceError(
                f"{self._system}: the billing API at {self._http.host} refuses the app's credentials: "
                f"correct {self._credentials_name}"
            )
        if isinstance(fan.fatal, RequestError):
            raise SourceError(
                f"{self._system}: the billing API at {self._http.host} cannot be reached ({fan.fatal}): "
                f"start it or correct {self._base_url_name}"
            )
        if fan.gave_up and fan.answered == 0:
            raise SourceError(
                f"{self._system}: the billing API at {self._http.host} answered about none of the first "
                f"{fan.failed} instances ({fan.last_detail}): check {self._base_url_name} and the provider's status"
            )
        return pull_of(rows, gave_up=fan.gave_up)

    def _ask(self, billing_id: BillingId, fan: FanOut) -> dict[str, Any]:
        """One id's row. A failure that affects every id ends the fan-out; any other is kept in the row."""
        try:
            return self._read_instance(billing_id, fan)
        except _Uninstalled:
            return gone(billing_id)
        except _Refused as refused:
            fan.stop(refused)
            return unanswered(billing_id, "the app's credentials are refused")
        except RequestError as error:
            if error.unreachable and fan.answered == 0:
                fan.stop(error)
            return unanswered(billing_id, str(error))

    def _read_instance(self, billing_id: BillingId, fan: FanOut) -> dict[str, Any]:
        reply, row = self._get_instance(billing_id, self._token(billing_id, fan), fan)
        if reply.status == _UNAUTHENTICATED:
            self._forget(billing_id)
            reply, row = self._get_instance(billing_id, self._token(billing_id, fan), fan)
        if row is not None:
            return row
        if reply.status == _NOT_FOUND and wix_wire.error_code(reply.body) == "NOT_FOUND":
            return missing(billing_id)
        reply.refuse(f"HTTP {reply.status} for the instance")

    def _get_instance(self, billing_id: BillingId, token: str, fan: FanOut) -> tuple[Reply, dict[str, Any] | None]:
        for attempt in self._http.attempts(end=fan.end, stop=fan.retry_stop()):
            with attempt:
                self._wait_for_rate(billing_id, fan)
                headers = {"Authorization": token}
                reply = self._http.get(wix_wire.INSTANCE_PATH, headers=headers, end=fan.end)
                row = _parsed(reply, lambda body: wix_wire.parse_instance(billing_id, body))
        return reply, row

    def _token(self, billing_id: BillingId, fan: FanOut) -> str:
        with self._tokens_lock:
            known = self._tokens.get(billing_id)
        if known is not None and self._clock() < known[1]:
            return known[0]

        payload = {"grant_type": "client_credentials", **self._credentials, "instance_id": str(billing_id)}
        asked_at = self._clock()
        for attempt in self._http.attempts(end=fan.end, stop=fan.retry_stop()):
            with attempt:
                self._wait_for_rate(billing_id, fan)
                reply = self._http.post_token(payload, end=fan.end)
                granted = _parsed(reply, wix_wire.parse_token)
        if granted is None:
            _refuse_token(reply)
        token, life = granted
        self._remember(billing_id, token, asked_at + life - TOKEN_MARGIN_S)
        return token

    def _remember(self, billing_id: BillingId, token: str, until: float) -> None:
        with self._tokens_lock:
            self._tokens.pop(billing_id, None)
            while len(self._tokens) >= MAX_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[billing_id] = (token, until)

    def _forget(self, billing_id: BillingId) -> None:
        with self._tokens_lock:
            self._tokens.pop(billing_id, None)

    def _wait_for_rate(self, billing_id: BillingId, fan: FanOut) -> None:
        if not self._rate.acquire(str(billing_id), fan.end - time.monotonic()):
            raise RequestError("its requests per minute are used up", retryable=False)


def _parsed(reply: Reply, parse: Callable[[Mapping[str, Any]], T]) -> T | None:
    """The parsed body of a 200, else None. Raises a retryable RequestError if the body has another shape."""
    if reply.status != _OK or reply.body is None:
        return None
    try:
        return parse(reply.body)
    except WireError as error:
        raise RequestError(f"HTTP 200, but {error}", retryable=True) from None


def _refuse_token(reply: Reply) -> NoReturn:
    """Raises why there is no token. Only `invalid_grant` means uninstalled: a 403 may come from a proxy."""
    code = wix_wire.error_code(reply.body)
    if reply.status == _UNAUTHENTICATED or code in _OUR_CREDENTIALS:
        raise _Refused
    if reply.status in (_BAD_REQUEST, _FORBIDDEN) and code == "invalid_grant":
        raise _Uninstalled
    reply.refuse(f"HTTP {reply.status} for the token")
