"""The sandbox's population of wix_app: how many sites of each kind, in random order. Deterministic by seed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import accumulate

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.sandbox.scenarios.wix_app.accidents import ACCIDENTS
from credit_pipeline.sandbox.scenarios.wix_app.healthy import HEALTHY, Kind
from credit_pipeline.sandbox.scenarios.wix_app.incidents import PLAN_INCIDENTS
from credit_pipeline.sandbox.scenarios.wix_app.life import Script, State
from credit_pipeline.sandbox.scenarios.wix_app.scenario_builder import ScenarioBuilder
from credit_pipeline.sandbox.scenarios.wix_app.unanswered import UNANSWERED
from credit_pipeline.sandbox.wix.book import Instance

SMALLEST = 60
"""A smaller population would have more incidents than healthy sites."""
BROKEN: tuple[Kind, ...] = (*PLAN_INCIDENTS, *ACCIDENTS, *UNANSWERED)


def scripts(catalogue: Catalogue, *, accounts: int, seed: int, present: datetime) -> Iterator[Script]:
    """One script per site: at least one of each kind of incident, the rest healthy.

    Raises ConfigurationError if `accounts` is too small for the incidents.
    """
    large_enough(accounts)
    builder = ScenarioBuilder(catalogue, seed=seed, present=present)
    kinds = [kind for kind in BROKEN for _ in range(_count(kind, accounts))]
    weights = list(accumulate(kind.share for kind in HEALTHY))
    kinds += [kind for kind in HEALTHY if accounts >= SMALLEST * 2]  # one of each, then by weight
    kinds += builder.random.choices(HEALTHY, cum_weights=weights, k=accounts - len(kinds))
    builder.random.shuffle(kinds)
    return (kind.write(builder, kind.name) for kind in kinds)


def large_enough(accounts: int) -> None:
    """Raises ConfigurationError for a population that has no room for every incident."""
    if accounts < SMALLEST:
        raise ConfigurationError(f"sandbox: {accounts} accounts are too few to plant in: ask for at least {SMALLEST}")


def outcome(script: Script) -> tuple[State, Instance]:
    """A site's state and billing at the present, without daily spending: for a population without a past."""
    state, instance = script.start, script.instance
    for move in script.moves:
        state = move.product(state) if move.product else state
        instance = replace(instance, **move.billing) if move.billing else instance
    return state, instance


def _count(kind: Kind, accounts: int) -> int:
    """By share, at least one. The shares of sites that cannot be judged add up to 0.4 %, below the limit of 1 %."""
    return max(1, int(kind.share * accounts))
