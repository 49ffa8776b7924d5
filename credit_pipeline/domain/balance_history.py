"""Balances over time as values: what all accounts of a system held together at each comparison. No SQL, no picture."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancePoint:
    """One comparison: what was left to spend and had been granted, in credits, over how many accounts."""

    at: datetime
    accounts: int
    available: int
    granted: int
    corrected: int = 0
    """Credits that our corrections moved since the point before, given less taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What came or went between two points: accounts that began or ceased to be in a state, and its credits."""

    accounts: int = 0
    available: int = 0
    granted: int = 0


def summed(
    times: Sequence[datetime], changes: Mapping[int, Change], corrected: Mapping[int, int]
) -> list[BalancePoint]:
    """The points at these times. `changes` and `corrected` are by the place of the first time that has seen them."""
    places = range(len(times))
    each = [changes.get(place, Change()) for place in places]
    accounts = _running(change.accounts for change in each)
    available = _running(change.available for change in each)
    granted = _running(change.granted for change in each)
    return [
        BalancePoint(
            at=times[place],
            accounts=accounts[place],
            available=available[place],
            granted=granted[place],
            corrected=corrected.get(place, 0),
        )
        for place in places
    ]


def _running(numbers: Iterable[int]) -> list[int]:
    return list(accumulate(numbers))
