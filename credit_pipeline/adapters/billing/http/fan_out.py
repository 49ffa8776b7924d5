"""Asking many ids at once, and knowing when to give up. Which question is asked, and how, is the caller's business.

A dead API must end a pull fast, while a handful of dead ids must not: so the breaker counts failures in a row beyond
those that can be in flight together, and ids that nobody got round to asking are told apart from those that failed.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from credit_pipeline.adapters.billing.http.client import Trouble
from credit_pipeline.adapters.billing.subscription_rows import unanswered
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.services.collect.ports import Progress

FIRST_CONTACT_TRIES = 3
"""Where nothing has answered yet, so many refused connections mean that nobody is there."""
PROGRESS_EVERY_S = 0.1

Row = dict[str, Any]


class FanOut:
    """One pull's workers and their common knowledge. Used once."""

    def __init__(self, *, ids: Sequence[BillingId], in_flight: int, end: float, breaker: int) -> None:
        self.end = end
        self.answered = 0
        self.failed = 0
        self.last_detail = ""
        self.gave_up = False
        """Whether ids were left unasked, or cut short by the deadline."""
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
        """One row per id, in their order. Errors of `ask` other than its own rows end the run and are raised."""
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
        """Ends the run: this failure concerns every id."""
        with self._lock:
            self.fatal = self.fatal or fatal
            self.gave_up = True

    def patience_is_out(self) -> Callable[[Trouble], bool]:
        """For one request: whether to stop repeating it, given its newest failure."""
        refused = 0

        def is_out(trouble: Trouble) -> bool:
            nonlocal refused
            refused += trouble.unreachable
            return self.gave_up or (refused >= FIRST_CONTACT_TRIES and self.answered == 0)

        return is_out

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
        """Draws progress in the caller's thread, at a pace a terminal can follow, until every worker has ended."""
        working, done, drawn = self._workers, 0, 0.0
        while working:
            if not self._done.get():
                working -= 1
                continue
            done += 1
            if progress and (done == len(self._ids) or time.monotonic() - drawn >= PROGRESS_EVERY_S):
                drawn = time.monotonic()
                progress(done, len(self._ids))
