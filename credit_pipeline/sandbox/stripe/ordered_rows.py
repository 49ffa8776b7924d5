"""Rows of one kind in Stripe's order, newest first, and pages of them by cursor."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Generic, Protocol, TypeVar


class Dated(Protocol):
    """What every row has: an id and a creation time."""

    @property
    def id(self) -> str:
        """The row's id."""
        ...

    @property
    def created(self) -> datetime:
        """When the object was created."""
        ...


RowT = TypeVar("RowT", bound=Dated)


class OrderedRows(Generic[RowT]):
    """Rows by id in reverse chronological order. Of rows of the same instant, the last added comes first.

    The `indexed` attributes have an index. All methods hold `lock`.
    """

    def __init__(self, lock: threading.RLock, *indexed: str) -> None:
        self._lock = lock
        self._rows: dict[str, RowT] = {}
        self._index: dict[str, dict[str, dict[str, None]]] = {name: {} for name in indexed}
        self._ordered: list[str] = []
        self._place: dict[str, int] = {}
        self._stale = False

    def put(self, row: RowT) -> None:
        """Sets a whole row."""
        with self._lock:
            known = self._rows.get(row.id)
            if known is not None:
                self._unlink(known)
            self._stale = self._stale or known is None or known.created != row.created
            self._rows[row.id] = row
            for name, groups in self._index.items():
                value = getattr(row, name)
                if value is not None:
                    groups.setdefault(value, {})[row.id] = None

    def pop(self, row_id: str) -> None:
        """Removes a row. An unknown id is ignored."""
        with self._lock:
            known = self._rows.pop(row_id, None)
            if known is not None:
                self._unlink(known)
                self._stale = True

    def get(self, row_id: str) -> RowT | None:
        """The row, or None."""
        return self._rows.get(row_id)

    def of(self, name: str, value: str) -> list[RowT]:
        """The rows with that value of an indexed attribute, newest first."""
        with self._lock:
            return [self._rows[row_id] for row_id in self._group(name, value)]

    def page(
        self,
        matches: Callable[[RowT], bool],
        *,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        within: tuple[str, str] | None = None,
    ) -> tuple[list[RowT], bool]:
        """At most `limit` matching rows, directly after the row `after` or directly before the row `before`, and
        whether there are more in that direction. The cursor's row need not match. Raises KeyError if it is unknown.

        `within` is (attribute, value) of an index.
        """
        with self._lock:
            self._sort()
            ids = self._ordered if within is None else self._group(*within)
            if before is not None:
                found = self._take(reversed(self._in_front(ids, before)), matches, limit + 1)
                return found[:limit][::-1], len(found) > limit
            found = self._take(iter(self._behind(ids, after)), matches, limit + 1)
            return found[:limit], len(found) > limit

    def __iter__(self) -> Iterator[RowT]:
        """A snapshot of all rows, newest first."""
        with self._lock:
            self._sort()
            return iter([self._rows[row_id] for row_id in self._ordered])

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._rows

    def _take(self, ids: Iterator[str], matches: Callable[[RowT], bool], count: int) -> list[RowT]:
        found: list[RowT] = []
        for row_id in ids:
            row = self._rows[row_id]
            if matches(row):
                found.append(row)
                if len(found) == count:
                    break
        return found

    def _behind(self, ids: list[str], cursor: str | None) -> list[str]:
        if cursor is None:
            return ids
        place = self._place[cursor]
        return ids[place + 1 :] if ids is self._ordered else [i for i in ids if self._place[i] > place]

    def _in_front(self, ids: list[str], cursor: str) -> list[str]:
        place = self._place[cursor]
        return ids[:place] if ids is self._ordered else [i for i in ids if self._place[i] < place]

    def _group(self, name: str, value: str) -> list[str]:
        self._sort()
        return sorted(self._index[name].get(value, ()), key=self._place.__getitem__)

    def _sort(self) -> None:
        if self._stale:
            newest_added_first = reversed(self._rows)
            self._ordered = sorted(newest_added_first, key=lambda row_id: self._rows[row_id].created, reverse=True)
            self._place = {row_id: place for place, row_id in enumerate(self._ordered)}
            self._stale = False

    def _unlink(self, row: RowT) -> None:
        for name, groups in self._index.items():
            value = getattr(row, name)
            if value is not None:
                groups[value].pop(row.id, None)
