"""Which requests the sandbox's billing server spoils, counted. How each fault looks is in `billing_spoil`."""

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from credit_pipeline.domain.errors import ConfigurationError

TOKEN, INSTANCE, ANY = "token", "instance", "any"


class FaultKind(StrEnum):
    """The ways an answer can go wrong."""

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


_USUAL_TIMES = {FaultKind.FLAKY: 2, FaultKind.RATE_LIMITED: 1, FaultKind.EXPIRED_TOKEN: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault on some requests.

    It hits the named instances, or every instance where none is named; of their requests the first `times` (None:
    all), and of those a seeded `share`. The same seed spoils the same requests whatever the order of threads.
    """

    kind: FaultKind
    instances: frozenset[str] | None = None
    share: float = 1.0
    times: int | None = None
    endpoint: str = INSTANCE
    seed: int = 0
    retry_after: str | None = "1"
    """Header of `rate_limited`; None for none."""
    body: str | None = None
    """Body of `bad_json`, instead of half an object."""

    def hits(self, instance_id: str, endpoint: str, nth: int) -> bool:
        """Whether the nth request (from 0) of this instance to this endpoint is spoilt."""
        if self.instances is not None and instance_id not in self.instances:
            return False
        if self.endpoint not in (ANY, endpoint) or (self.times is not None and nth >= self.times):
            return False
        draw = f"{self.seed}:{self.kind}:{instance_id}:{endpoint}:{nth}".encode()
        return int.from_bytes(hashlib.blake2b(draw, digest_size=8).digest()) < self.share * 2**64


def fault_from(values: dict[str, object]) -> Fault:
    """A Fault from the control API's JSON, or from a test's keywords. `times` has a usual value for each kind."""
    try:
        kind = FaultKind(str(values["kind"]))
        given = {"times": _USUAL_TIMES.get(kind), "endpoint": ANY if kind is FaultKind.DOWN else INSTANCE} | values
        instances = given.pop("instances", None)
        named = frozenset(map(str, instances)) if isinstance(instances, list | tuple | set | frozenset) else None
        return Fault(**{**given, "kind": kind, "instances": named})  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"sandbox: {values} is not a fault ({error}): give kind (one of {', '.join(FaultKind)}), and perhaps "
            "instances, share, times, endpoint, seed, retry_after, body"
        ) from error


class FaultBook:
    """The faults switched on, and counters of what was asked and what was spoilt."""

    def __init__(self) -> None:
        self.fired: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._faults: list[tuple[Fault, Counter[tuple[str, str]]]] = []
        self._lock = threading.Lock()

    def add(self, kind: str, **values: object) -> None:
        """Switches a fault on, from now."""
        fault = fault_from({"kind": kind, **values})
        with self._lock:
            self._faults.append((fault, Counter()))

    def clear(self) -> None:
        """Switches all faults off; the counters stay."""
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
        """Counts a fault that comes from the book and not from a switch."""
        with self._lock:
            self.fired[kind.value] += 1

    def counters(self) -> dict[str, dict[str, int]]:
        """Requests by endpoint, fired faults by kind."""
        with self._lock:
            return {"requests": dict(self.requests), "fired": dict(self.fired)}
