"""Finding a saved plan and its system by the plan's id. Deciding about it and applying it are the commands'."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from credit_pipeline.domain.errors import CreditPipelineError, NotInstalled, PlanError

if TYPE_CHECKING:
    from credit_pipeline.cli.session import Session
    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.services.gateways import Gateways
    from credit_pipeline.services.plans.ports import PlanStore, SavedPlan

Opened = TypeVar("Opened")


@contextlib.contextmanager
def saved_plan(session: Session, plan_id: str) -> Iterator[tuple[CreditSystem, Gateways, SavedPlan]]:
    """The plan, and the open connections of its system."""
    with _found(session, plan_id, session.gateways, lambda gateways: gateways.plans) as (system, gateways):
        yield system, gateways, gateways.plans.load(plan_id)


@contextlib.contextmanager
def plan_to_decide(session: Session, plan_id: str) -> Iterator[tuple[CreditSystem, PlanStore, SavedPlan]]:
    """The plan, and the plans of its system through the approver's login; billing's keys need not be set."""
    with _found(session, plan_id, session.decisions, lambda plans: plans) as (system, plans):
        yield system, plans, plans.load(plan_id)


@contextlib.contextmanager
def _found(
    session: Session,
    plan_id: str,
    opened: Callable[[CreditSystem], contextlib.AbstractContextManager[Opened]],
    plans_of: Callable[[Opened], PlanStore],
) -> Iterator[tuple[CreditSystem, Opened]]:
    """The system whose plan this is, by the id's first part or else by asking each, and what was opened for it."""
    from credit_pipeline.config.loader import load_systems

    names = [found.name for found in load_systems(session.folder)]
    named = plan_id.rpartition("-")[0]
    if named in names or len(names) == 1:
        system = session.system(named if named in names else names[0])
        with opened(system) as held:
            yield system, held
        return
    for name in names:
        with contextlib.ExitStack() as open_while_used:
            system = session.system(name)
            try:
                held = open_while_used.enter_context(opened(system))
                plans_of(held).load(plan_id)
            except CreditPipelineError:
                continue  # a system that is not set up, or does not have it
            yield system, held
            return
    raise PlanError(f"{plan_id}: no configured system has such a plan: credit-pipeline plans SYSTEM lists them")


def require_writable(system: CreditSystem) -> None:
    """Raises NotInstalled where plans cannot be saved and applied, naming what to run: init, or a GRANT.

    Called where the system's variables are those of the sandbox, if it stands in for its sources.
    """
    missing = missing_to_write(system)
    if missing is not None:
        raise NotInstalled(missing)


def missing_to_write(system: CreditSystem) -> str | None:
    """The sentence about what is to be done before plans can be applied; None where nothing is."""
    from credit_pipeline.adapters.database_only import writing_rights

    rights = writing_rights(system, os.environ)
    if rights.missing is not None:
        return f"{rights.missing}; check, health and account work"
    return _no_schema(system) if rights.install is None else None


def require_installed(system: CreditSystem, gateways: Gateways) -> None:
    """Raises NotInstalled where there is nowhere to keep a plan."""
    if not gateways.memory.installed():
        raise NotInstalled(_no_schema(system))


def _no_schema(system: CreditSystem) -> str:
    return f"{system.name}: the database has no schema credit_pipeline: run credit-pipeline init {system.name}"
