"""`stop` and `resume`: the kill switch. Batches look at it under their lock, so it takes effect within one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.decision_options import decided_options
from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from credit_pipeline.services.findings.ports import Stopped


@click.command(cls=Command)
@click.argument("system")
@decided_options()
@click.pass_obj
def stop(session: Session, system: str, who: str, reason: str) -> int:
    """Let no batch of corrections be applied from now on.

    A batch under way is waited for, at most a minute; rows that it did not reach stay as they are. Looking and planning
    go on. The plan can be applied to its end after `resume`.
    """
    from credit_pipeline.services.findings.decisions import decided_by

    found = session.system(system)
    decided = decided_by(found.name, who, reason)
    with session.lifecycle(found) as lifecycle:
        changed = lifecycle.stop(decided)
        stopped = lifecycle.stopped()
    state = _state(found.name, stopped, changed=changed)
    first = f"{found.name}: stopped" if changed else f"{found.name}: was stopped before, and stays so"
    session.show(state, lambda: [f"{first}; credit-pipeline resume {found.name} --as YOU --reason WHY ends it"])
    return NOTHING


@click.command(cls=Command)
@click.argument("system")
@decided_options()
@click.pass_obj
def resume(session: Session, system: str, who: str, reason: str) -> int:
    """Let corrections be applied again."""
    from credit_pipeline.services.findings.decisions import decided_by

    found = session.system(system)
    decided = decided_by(found.name, who, reason)
    with session.lifecycle(found) as lifecycle:
        changed = lifecycle.resume(decided)
        stopped = lifecycle.stopped()
    state = _state(found.name, stopped, changed=changed)
    first = f"{found.name}: corrections can be applied again" if changed else f"{found.name}: was not stopped"
    session.show(state, lambda: [f"{first}; credit-pipeline plans {found.name} shows what was left"])
    return NOTHING


def _state(system: str, stopped: Stopped | None, *, changed: bool) -> dict[str, Any]:
    return {
        "system": system,
        "stopped": stopped is not None,
        "changed": changed,
        "since": stopped.since if stopped else None,
        "by": stopped.by if stopped else None,
        "reason": stopped.reason if stopped else None,
    }
