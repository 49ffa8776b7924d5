"""The sandbox's population of wix_app: how many sites of each kind, in random order. Deterministic by seed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.sandbox.scenarios.stories import draw
from credit_pipeline.sandbox.scenarios.wix_app.accidents import ACCIDENTS
from credit_pipeline.sandbox.scenarios.wix_app.healthy import HEALTHY
from credit_pipeline.sandbox.scenarios.wix_app.incidents import PLAN_INCIDENTS
from credit_pipeline.sandbox.scenarios.wix_app.life import Script, State
from credit_pipeline.sandbox.scenarios.wix_app.scenario_builder import ScenarioBuilder
from credit_pipeline.sandbox.scenarios.wix_app.unanswered import UNANSWERED
from credit_pipeline.sandbox.wix.book import Instance

BROKEN = (*PLAN_INCIDENTS, *ACCIDENTS, *UNANSWERED)


def scripts(catalogue: Catalogue, *, accounts: int, seed: int, present: datetime) -> Iterator[Script]:
    """One script per site: at least one of each kind of incident, the rest healthy.

    Raises ConfigurationError if `accounts` is too small for the incidents.
    """
    builder = ScenarioBuilder(catalogue, seed=seed, present=present)
    stories = draw(BROKEN, HEALTHY, accounts=accounts, values=builder.random)
    builder.random.shuffle(stories)
    return (story.write(builder, story.name) for story in stories)


def outcome(script: Script) -> tuple[State, Instance]:
    """A site's state and billing at the present, without daily spending: for a population without a past."""
    state, instance = script.start, script.instance
    for move in script.moves:
        state = move.product(state) if move.product else state
        instance = replace(instance, **move.billing) if move.billing else instance
    return state, instance
