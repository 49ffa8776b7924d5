"""The sandbox's population: how many sites of which kind, in an order that tells nothing. Deterministic by seed.

The kinds are stories of `healthy.py`, `incidents.py`, `accidents.py` and `doubts.py`.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import accumulate

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.sandbox.scenarios.wix_app.accidents import ACCIDENTS
from credit_pipeline.sandbox.scenarios.wix_app.author import Author
from credit_pipeline.sandbox.scenarios.wix_app.healthy import HEALTHY, Kind
from credit_pipeline.sandbox.scenarios.wix_app.incidents import PLAN_INCIDENTS
from credit_pipeline.sandbox.scenarios.wix_app.life import Script, State
from credit_pipeline.sandbox.scenarios.wix_app.unanswered import DOUBTS
from credit_pipeline.sandbox.wix.book import Instance

SMALLEST = 60
"""Below this there would be more incidents than sites in order."""
BROKEN: tuple[Kind, ...] = (*PLAN_INCIDENTS, *ACCIDENTS, *DOUBTS)


def scripts(catalogue: Catalogue, *, accounts: int, seed: int, present: datetime) -> Iterator[Script]:
    """One script per site, one by one: at least one of each kind of incident, the rest in order.

    Raises ConfigurationError where fewer sites are asked for than the incidents need.
    """
    large_enough(accounts)
    author = Author(catalogue, seed=seed, present=present)
    kinds = [kind for kind in BROKEN for _ in range(_count(kind, accounts))]
    weights = list(accumulate(kind.share for kind in HEALTHY))
    kinds += [kind for kind in HEALTHY if accounts >= SMALLEST * 2]  # one of each, then by weight
    kinds += author.random.choices(HEALTHY, cum_weights=weights, k=accounts - len(kinds))
    author.random.shuffle(kinds)
    return (kind.write(author, kind.name) for kind in kinds)


def large_enough(accounts: int) -> None:
    """Raises ConfigurationError for a population that has no room for every incident."""
    if accounts < SMALLEST:
        raise ConfigurationError(f"sandbox: {accounts} accounts are too few to plant in: ask for at least {SMALLEST}")


def outcome(script: Script) -> tuple[State, Instance]:
    """How a site stands at the present, and what billing says, if it never spent: for a population without a past."""
    state, instance = script.start, script.instance
    for move in script.moves:
        state = move.product(state) if move.product else state
        instance = replace(instance, **move.billing) if move.billing else instance
    return state, instance


def _count(kind: Kind, accounts: int) -> int:
    """By share, at least one. Sites that cannot be judged stay below 1 %: their shares add up to 0.4 %."""
    return max(1, int(kind.share * accounts))
