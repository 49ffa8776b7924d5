"""Requests about many ids in parallel, with a circuit breaker.

An API that is down must end a pull quickly; a few failing ids must not. The breaker therefore counts consecutive
failures beyond the number of parallel requests, and ids that were never requested are kept apart from failed ones.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from credit_pipeline.adapters.billing.http.client import RequestError
from credit_pipeline.adapters.billing.subscription_rows import unanswered
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.services.collect.ports import Progress

FIRST_CONTACT_TRIES = 3
"""Refused connections after which an API that has not answered yet counts as down."""
PROGRESS_EVERY_S = 0.1

Row = dict[str, Any]


class FanOut:
    """The workers of one pull and the state they share. Used once.

    `end`: the deadline (time.monotonic). `breaker`: consecutive failures, beyond one per worker, that end the run.
    """

    def __init__(self, *, ids: Sequence[BillingId], in_flight: int, end: float, breaker: int) -> None:
        self.end = end
        self.answered = 0
        self.failed = 0
        self.last_detail = ""
        self.gave_up = False
        """Whether ids were left out, or failed as the deadline passed."""
        self.fatal: Exception | None = None
        self._ids = ids
        self._workers = min(in_flight, len(ids))
        self._allowed_streak = self._workers + breaker
        self._streak = 0
        self._next = 0
        self._rows: list[Row | None] = [None] * len(ids)
        self._lock = threading.Lock()
        self._done: SimpleQueue[bool] = SimpleQueue()

    def run(self, ask: Callable[[BillingId], Row], progress: Progress | None) -> list[Row]:
        """One row per id, in order. An exception raised by `ask` ends the run and is raised here."""
        if not self._ids:
            return []
        with ThreadPoolExecutor(self._workers, thread_name_prefix="billing") as pool:
            futures = [pool.submit(self._work, ask) for _ in range(self._workers)]
            try:
                self._watch(progress)
            except BaseException:
                self.gave_up = True
                raise
        for future in futures:
            future.result()
        self.gave_up = self.gave_up or (self.failed > 0 and time.monotonic() >= self.end)
        return [
            row or unanswered(billing_id, "not asked: the pull was given up")
            for billing_id, row in zip(self._ids, self._rows, strict=True)
        ]

    def stop(self, fatal: Exception) -> None:
        """Ends the run, because this failure affects every id."""
        with self._lock:
            self.fatal = self.fatal or fatal
            self.gave_up = True

    def retry_stop(self) -> Callable[[RequestError], bool]:
        """A predicate for one request: given its latest failure, whether to stop retrying."""
        refused = 0

        def stop(error: RequestError) -> bool:
            nonlocal refused
            refused += error.unreachable
            return self.gave_up or (refused >= FIRST_CONTACT_TRIES and self.answered == 0)

        return stop

    def _work(self, ask: Callable[[BillingId], Row]) -> None:
        try:
            while (index := self._take()) is not None:
                row = ask(self._ids[index])
                self._rows[index] = row
                self._count(row)
                self._done.put(True)
        except BaseException:
            self.gave_up = True
            raise
        finally:
            self._done.put(False)

    def _take(self) -> int | None:
        with self._lock:
            if self._next == len(self._ids):
                return None
            if self._streak >= self._allowed_streak or time.monotonic() >= self.end:
                self.gave_up = True
            if self.gave_up:
                return None
            self._next += 1
            return self._next - 1

    def _count(self, row: Row) -> None:
        with self._lock:
            if row["lookup"] == Lookup.ERROR:
                self.failed += 1
                self._streak += 1
                self.last_detail = row["detail"]
            else:
                self.answered += 1
                self._streak = 0

    def _watch(self, progress: Progress | None) -> None:
        """Reports progress in the caller's thread, at most ten times a second, until every worker has ended."""
        working, done, drawn = self._workers, 0, 0.0
        while working:
            if not self._done.get():
                working -= 1
                continue
            done += 1
            if progress and (done == len(self._ids) or time.monotonic() - drawn >= PROGRESS_EVERY_S):
                drawn = time.monotonic()
                progress(done, len(self._ids))
