"""Stories of the planted populations: kinds of subjects, their frequency, and how many of each are drawn."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

from credit_pipeline.domain.errors import ConfigurationError

SMALLEST = 60
"""A smaller population would have more incidents than healthy subjects."""

Write = TypeVar("Write")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story(Generic[Write]):
    """A kind of subject, and the function that writes its script.

    `share` is a broken story's share of the population, and a healthy story's weight among the rest.
    """

    name: str
    share: float
    write: Write

    def count(self, accounts: int) -> int:
        """The number of such subjects among so many accounts, at least one."""
        return max(1, int(self.share * accounts))


def draw(
    broken: Sequence[Story[Write]], healthy: Sequence[Story[Write]], *, accounts: int, values: random.Random
) -> list[Story[Write]]:
    """One story per account: broken ones by share and at least one of each, the rest healthy. The list is not shuffled.

    Raises ConfigurationError if `accounts` is too small for the incidents.
    """
    if accounts < SMALLEST:
        raise ConfigurationError(f"sandbox: {accounts} accounts are too few to plant in: ask for at least {SMALLEST}")
    stories = [story for story in broken for _ in range(story.count(accounts))]
    stories += [story for story in healthy if accounts >= SMALLEST * 2]  # one of each, then by weight
    weights = list(accumulate(story.share for story in healthy))
    return stories + values.choices(healthy, cum_weights=weights, k=accounts - len(stories))
