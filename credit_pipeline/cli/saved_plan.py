"""Finding a saved plan and its system by the plan's id. Deciding about it and applying it are the commands'."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from credit_pipeline.domain.errors import CreditPipelineError, NotInstalled, PlanError

if TYPE_CHECKING:
    from credit_pipeline.cli.session import Session
    from credit_pipeline.services.ports import Gateways, SavedPlan
    from credit_pipeline.services.system import CreditSystem


@contextlib.contextmanager
def saved_plan(session: Session, plan_id: str) -> Iterator[tuple[CreditSystem, Gateways, SavedPlan]]:
    """The plan, and the open connections of its system."""
    with _system_of(session, plan_id) as (system, gateways):
        yield system, gateways, gateways.plans.load(plan_id)


@contextlib.contextmanager
def _system_of(session: Session, plan_id: str) -> Iterator[tuple[CreditSystem, Gateways]]:
    from credit_pipeline.adapters.system_yaml import load_systems

    names = [found.name for found in load_systems(session.folder)]
    named = plan_id.rpartition("-")[0]
    if named in names or len(names) == 1:
        system = session.system(named if named in names else names[0])
        with session.gateways(system) as gateways:
            require_installed(system, gateways)
            yield system, gateways
        return
    for name in names:
        with contextlib.ExitStack() as open_while_used:
            system = session.system(name)
            try:
                gateways = open_while_used.enter_context(session.gateways(system))
                gateways.plans.load(plan_id)
            except CreditPipelineError:
                continue  # a system that is not set up, or does not have it
            yield system, gateways
            return
    raise PlanError(f"{plan_id}: no configured system has such a plan: credit-pipeline plans SYSTEM lists them")


def require_installed(system: CreditSystem, gateways: Gateways) -> None:
    """Raises NotInstalled where there is nowhere to keep a plan."""
    if not gateways.memory.installed():
        raise NotInstalled(
            f"{system.name}: the database has no schema credit_pipeline: run credit-pipeline init {system.name}"
        )
