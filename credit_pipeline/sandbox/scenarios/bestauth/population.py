"""The sandbox's population of bestauth: how many users of each kind, in random order. Deterministic by seed."""

from collections.abc import Iterator
from datetime import datetime

from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.sandbox.scenarios.bestauth.grants import BALANCE_ACCIDENTS, GRANT_INCIDENTS
from credit_pipeline.sandbox.scenarios.bestauth.healthy import OUTSIDE, PLAIN
from credit_pipeline.sandbox.scenarios.bestauth.identities import IDENTITY_INCIDENTS
from credit_pipeline.sandbox.scenarios.bestauth.incidents import SUBSCRIPTION_INCIDENTS
from credit_pipeline.sandbox.scenarios.bestauth.life import Script
from credit_pipeline.sandbox.scenarios.bestauth.plan_changes import PLAN_CHANGES
from credit_pipeline.sandbox.scenarios.bestauth.scenario_builder import ScenarioBuilder, UserScenario
from credit_pipeline.sandbox.scenarios.stories import draw

HEALTHY = (*PLAIN, *PLAN_CHANGES)
BROKEN = (
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
    builder = ScenarioBuilder(catalogue, seed=seed, present=present)
    stories = draw(BROKEN, HEALTHY, accounts=accounts, values=builder.random)
    stories += [OUTSIDE] * OUTSIDE.count(accounts)
    builder.random.shuffle(stories)
    return (story.write(UserScenario(builder, story.name)) for story in stories)
