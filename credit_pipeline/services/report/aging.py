"""How long findings have waited, in four aging buckets."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import pairwise

DAY = timedelta(days=1)
STEPS: Mapping[str, timedelta] = {
    "under_24h": timedelta(),
    "1_to_7_days": DAY,
    "7_to_30_days": 7 * DAY,
    "over_30_days": 30 * DAY,
}
"""Name → the shortest wait that belongs to it."""
WORDS: Mapping[str, str] = {
    "under_24h": "under 24 h",
    "1_to_7_days": "1 to 7 days",
    "7_to_30_days": "7 to 30 days",
    "over_30_days": "over 30 days",
}


def step(age: timedelta) -> str:
    """The bucket of one wait; exactly one day belongs to the second."""
    for name, following in pairwise(STEPS):
        if age < STEPS[following]:
            return name
    return "over_30_days"


def by_age(ages: Iterable[timedelta]) -> dict[str, int]:
    """Bucket → number of waits, empty buckets included."""
    counted = Counter(map(step, ages))
    return {name: counted[name] for name in STEPS}


def spoken(steps: Mapping[str, int]) -> str:
    """`12 under 24 h, 3 over 30 days`: the buckets that are not empty."""
    return ", ".join(f"{count:,} {WORDS[name]}" for name, count in steps.items() if count)
