"""`stop` and `resume`: the kill switch. Each batch reads it under its lock, so it takes effect before the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import Command, decision_options
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from credit_pipeline.services.findings.ports import Stopped


@click.command(cls=Command)
@click.argument("system")
@decision_options()
@click.pass_obj
def stop(session: Session, system: str, who: str, reason: str) -> int:
    """Apply no more batches of corrections.

    Waits at most a minute for a batch that is being applied; later rows of its plan stay as they are. Checking and
    planning go on. After `resume` the plan can be applied to its end.
    """
    from credit_pipeline.services.findings.decisions import decided_by

    found = session.system(system)
    decided = decided_by(found.name, who, reason)
    with session.lifecycle(found) as lifecycle:
        changed = lifecycle.stop(decided)
        stopped = lifecycle.stopped()
    state = _state(found.name, stopped, changed=changed)
    first = f"{found.name}: stopped" if changed else f"{found.name}: was stopped before, and remains so"
    session.show(state, lambda: [f"{first}; credit-pipeline resume {found.name} --as YOU --reason WHY ends it"])
    return NOTHING


@click.command(cls=Command)
@click.argument("system")
@decision_options()
@click.pass_obj
def resume(session: Session, system: str, who: str, reason: str) -> int:
    """Allow corrections to be applied again."""
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
