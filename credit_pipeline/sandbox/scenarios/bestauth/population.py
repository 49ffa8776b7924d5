"""The sandbox's population of bestauth: how many users of each kind, in random order. Deterministic by seed."""

from collections.abc import Iterator
from datetime import datetime
from itertools import accumulate

from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.sandbox.scenarios.bestauth.grants import BALANCE_ACCIDENTS, GRANT_INCIDENTS
from credit_pipeline.sandbox.scenarios.bestauth.healthy import OUTSIDE, PLAIN
from credit_pipeline.sandbox.scenarios.bestauth.identities import IDENTITY_INCIDENTS
from credit_pipeline.sandbox.scenarios.bestauth.incidents import SUBSCRIPTION_INCIDENTS
from credit_pipeline.sandbox.scenarios.bestauth.life import Script
from credit_pipeline.sandbox.scenarios.bestauth.plan_changes import PLAN_CHANGES
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import ScenarioBuilder, Story
from credit_pipeline.sandbox.scenarios.wix_app.population import SMALLEST, large_enough

HEALTHY: tuple[Story, ...] = (*PLAIN, *PLAN_CHANGES)
BROKEN: tuple[Story, ...] = (
    *IDENTITY_INCIDENTS,
    *SUBSCRIPTION_INCIDENTS,
    *GRANT_INCIDENTS,
    *BALANCE_ACCIDENTS,
)


def scripts(catalogue: Catalogue, *, accounts: int, seed: int, present: datetime) -> Iterator[Script]:
    """One script per subject: at least one of each broken story, the rest healthy. Additional scripts are of users
    outside the population.

    Raises ConfigurationError if `accounts` is too small for the incidents.
    """
    large_enough(accounts)
    builder = ScenarioBuilder(catalogue, seed=seed, present=present)
    stories = [story for story in BROKEN for _ in range(max(1, int(story.share * accounts)))]
    weights = list(accumulate(story.share for story in HEALTHY))
    stories += [story for story in HEALTHY if accounts >= SMALLEST * 2]  # one of each, then by weight
    stories += builder.random.choices(HEALTHY, cum_weights=weights, k=accounts - len(stories))
    stories += [OUTSIDE] * max(1, int(OUTSIDE.share * accounts))
    builder.random.shuffle(stories)
    return (builder.script_of(story) for story in stories)
