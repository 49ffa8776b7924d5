"""The faults of the sandbox's billing server: which requests they hit, and counters of both."""

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from credit_pipeline.domain.errors import ConfigurationError

TOKEN, INSTANCE, ANY = "token", "instance", "any"
SUBSCRIPTIONS = "subscriptions"
LISTINGS = frozenset(
    {SUBSCRIPTIONS, "customers", "invoices", "lines", "subscription_items", "events", "refunds", "disputes"}
)
"""Stripe's list endpoints. Its others are `subscription`, `customer`, `invoice`, `refund`, `dispute`, `event` and
`account`. A fault of endpoint `stripe` hits all of them."""
STRIPE = "stripe"
WIX = frozenset({TOKEN, INSTANCE})


class FaultKind(StrEnum):
    """The kinds of faulty answers."""

    LOOKUP_ERROR = "lookup_error"
    FLAKY = "flaky"
    RATE_LIMITED = "rate_limited"
    SLOW_DRIP = "slow_drip"
    SLOW_HEADERS = "slow_headers"
    TRUNCATED = "truncated"
    HTML_200 = "html_200"
    HTML_404 = "html_404"
    WRONG_INSTANCE = "wrong_instance"
    RESET = "reset"
    DOWN = "down"
    BAD_JSON = "bad_json"
    HUGE = "huge"
    GZIP = "gzip"
    REDIRECT = "redirect"
    FORBIDDEN = "forbidden"
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - a fault's name
    NOT_FOUND = "not_found"
    LOCK_TIMEOUT = "lock_timeout"
    """429 without too many requests."""
    WRONG_LIVEMODE = "wrong_livemode"
    """Rows of the other mode: production rows in a sandbox, and the reverse."""
    OTHER_ORIGIN = "other_origin"
    """The list's url is on another host."""
    REPEATED_ROWS = "repeated_rows"
    """The page begins with the last row of the page before it."""
    CHANGED_ROWS = "changed_rows"
    """The same, and the row has changed."""
    LOST_PAGE = "lost_page"
    """The rows of the next page are missing."""
    EARLY_END = "early_end"
    """`has_more` is false although there are more rows."""
    ENDLESS = "endless"
    """After the last row, invented rows follow without end."""
    CYCLIC = "cyclic"
    """After the last row, the list starts again, without end."""
    RESTART = "restart"
    """The cursor is unknown, so the list starts again."""
    FORGOTTEN_CURSOR = "forgotten_cursor"
    """The cursor is unknown, and the answer is an error."""
    EMPTY_PAGE = "empty_page"
    """No rows, but `has_more` is true."""


OF_PAGES = frozenset(
    {
        FaultKind.OTHER_ORIGIN,
        FaultKind.REPEATED_ROWS,
        FaultKind.CHANGED_ROWS,
        FaultKind.LOST_PAGE,
        FaultKind.EARLY_END,
        FaultKind.ENDLESS,
        FaultKind.CYCLIC,
        FaultKind.RESTART,
        FaultKind.FORGOTTEN_CURSOR,
        FaultKind.EMPTY_PAGE,
    }
)
"""Faults of list endpoints. They hit `subscriptions` unless another list is named."""
_OF_STRIPE = OF_PAGES | {FaultKind.LOCK_TIMEOUT, FaultKind.WRONG_LIVEMODE}

_DEFAULT_TIMES = {FaultKind.FLAKY: 2, FaultKind.RATE_LIMITED: 1, FaultKind.EXPIRED_TOKEN: 1, FaultKind.LOCK_TIMEOUT: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault on some requests.

    It hits the named instances, or every instance if none is named. Of their requests it skips the first `skip`, and
    hits a seeded `share` of the next `times` (None: all). The same seed hits the same requests in any order of threads.
    At Stripe an instance is the row asked for; a list has no instance, so all its requests are counted together.
    """

    kind: FaultKind
    instances: frozenset[str] | None = None
    share: float = 1.0
    skip: int = 0
    times: int | None = None
    endpoint: str = INSTANCE
    seed: int = 0
    retry_after: str | None = "1"
    """The header of `rate_limited`; None omits it."""
    body: str | None = None
    """The body of `bad_json`; by default half an object."""
    should_retry: bool | None = None
    """Stripe's header of that name on errors; None for the default."""

    def hits(self, instance_id: str, endpoint: str, nth: int) -> bool:
        """Whether it hits the nth request (from 0) of this instance to this endpoint."""
        if self.instances is not None and instance_id not in self.instances:
            return False
        in_turn = self.skip <= nth and (self.times is None or nth < self.skip + self.times)
        if not in_turn or not self._is_of(endpoint):
            return False
        draw = f"{self.seed}:{self.kind}:{instance_id}:{endpoint}:{nth}".encode()
        return int.from_bytes(hashlib.blake2b(draw, digest_size=8).digest()) < self.share * 2**64

    def _is_of(self, endpoint: str) -> bool:
        if (self.kind in OF_PAGES and endpoint not in LISTINGS) or (self.kind in _OF_STRIPE and endpoint in WIX):
            return False
        return self.endpoint in (ANY, endpoint) or (self.endpoint == STRIPE and endpoint not in WIX)


def fault_from(values: dict[str, object]) -> Fault:
    """A Fault from the control API's JSON or a test's keywords. The default of `times` depends on the kind."""
    try:
        kind = FaultKind(str(values["kind"]))
        given = {"times": _DEFAULT_TIMES.get(kind), "endpoint": _default_endpoint(kind)} | values
        instances = given.pop("instances", None)
        named = frozenset(map(str, instances)) if isinstance(instances, list | tuple | set | frozenset) else None
        return Fault(**{**given, "kind": kind, "instances": named})  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"sandbox: {values} is not a fault ({error}): give kind (one of {', '.join(FaultKind)}), and perhaps "
            "instances, share, skip, times, endpoint, seed, retry_after, body, should_retry"
        ) from error


def _default_endpoint(kind: FaultKind) -> str:
    if kind is FaultKind.DOWN:
        return ANY
    return SUBSCRIPTIONS if kind in _OF_STRIPE else INSTANCE


class FaultBook:
    """The active faults, and counters of requests and of faulty answers."""

    def __init__(self) -> None:
        self.fired: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._faults: list[tuple[Fault, Counter[tuple[str, str]]]] = []
        self._lock = threading.Lock()

    def add(self, kind: str, **values: object) -> None:
        """Activates a fault."""
        fault = fault_from({"kind": kind, **values})
        with self._lock:
            self._faults.append((fault, Counter()))

    def clear(self) -> None:
        """Deactivates all faults. The counters stay."""
        with self._lock:
            self._faults.clear()

    def pick(self, instance_id: str, endpoint: str) -> Fault | None:
        """The fault that hits this request, if any. Counts the request."""
        with self._lock:
            self.requests[endpoint] += 1
            picked = None
            for fault, seen in self._faults:
                nth = seen[instance_id, endpoint]
                seen[instance_id, endpoint] += 1
                if picked is None and fault.hits(instance_id, endpoint, nth):
                    picked = fault
            if picked is not None:
                self.fired[picked.kind.value] += 1
            return picked

    def count_fired(self, kind: FaultKind) -> None:
        """Counts a fault that the book causes, not an active fault."""
        with self._lock:
            self.fired[kind.value] += 1

    def counters(self) -> dict[str, dict[str, int]]:
        """Requests by endpoint, fired faults by kind."""
        with self._lock:
            return {"requests": dict(self.requests), "fired": dict(self.fired)}
