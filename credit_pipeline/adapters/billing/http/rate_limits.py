"""Rate limits of a billing API: per customer, or one for all requests."""

import time

from pyrate_limiter import AbstractBucket, BucketFactory, Duration, InMemoryBucket, Limiter, Rate, RateItem

_WINDOW_S = 60.0


class _BucketPerId(BucketFactory):
    """One bucket per id, dropped one to two minutes after its last use: a pull may read a million ids."""

    def __init__(self, limit: int, window: Duration) -> None:
        self._rate = Rate(limit, window)
        self._recent: dict[str, InMemoryBucket] = {}
        self._older: dict[str, InMemoryBucket] = {}
        self._turned = time.monotonic()

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        """A request with its time."""
        return RateItem(name, time.monotonic_ns() // 1_000_000, weight=weight)

    def get(self, item: RateItem) -> AbstractBucket:
        """The bucket of this id. Called under the limiter's lock."""
        if time.monotonic() - self._turned > _WINDOW_S:
            self._older, self._recent, self._turned = self._recent, {}, time.monotonic()
        bucket = self._recent.get(item.name) or self._older.pop(item.name, None)
        if bucket is None:
            bucket = InMemoryBucket([self._rate])
        self._recent[item.name] = bucket
        return bucket


class RatePerId:
    """Allows `limit` requests per id and `window` (a minute by default)."""

    def __init__(self, limit: int, window: Duration = Duration.MINUTE) -> None:
        self._limiter = Limiter(_BucketPerId(limit, window))

    def acquire(self, name: str, timeout: float) -> bool:
        """Waits until the request is allowed; False if that takes longer than `timeout` seconds."""
        return bool(self._limiter.try_acquire(name, timeout=max(timeout, 0.0)))
