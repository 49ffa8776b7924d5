"""Random values of the planted populations: ids, times and numbers drawn from the seed."""

import random
import uuid
from datetime import datetime, timedelta

from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.domain.plans.periods import add_months

WATCH = timedelta(days=35)
"""How long the pipeline has watched the sandbox before the present."""
LAST_LOOK = timedelta(hours=6)
"""The age of the newest observation. What happened since is not observed yet."""


class SeededValues:
    """Draws ids, times and numbers. The same seed, catalogue and present give the same values."""

    def __init__(self, catalogue: Catalogue, *, seed: int, present: datetime) -> None:
        self.catalogue = catalogue
        self.present = present
        self.begin = present - WATCH
        self.random = random.Random(f"population {seed}")  # noqa: S311 - a simulation

    def plan(self, name: str) -> Plan:
        """The plan of that name."""
        plan = self.catalogue.named(name)
        assert plan is not None, name
        return plan

    def some(self, low: int, high: int) -> int:
        """A whole number of credits."""
        return self.random.randint(low, high)

    def ago(self, low: float, high: float) -> datetime:
        """A moment between `low` and `high` hours before the present."""
        return self.present - timedelta(seconds=round(self.random.uniform(low, high) * 3600))

    def lately(self) -> datetime:
        """A moment after the newest observation."""
        return self.ago(0.5, 5.5)

    def some_day(self) -> datetime:
        """A moment after the newest observation, or in the ten days before it."""
        return self.lately() if self.random.random() < 0.5 else self.ago(8, 240)

    def id(self) -> str:
        """A new random id."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))


def bought_before(period_start: datetime, *, months: int) -> datetime:
    """A time of purchase, at least `months` earlier, with a period that starts at `period_start`."""
    for back in range(months, months + 12):
        anchor = add_months(period_start, -back)
        if add_months(anchor, back) == period_start:
            return anchor
    raise AssertionError("every day of the month recurs within a year")
