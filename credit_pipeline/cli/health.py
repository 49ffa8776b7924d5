"""`health`: the monitor. Compares both sides as `check` does and says which sentences are untrue for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command(cls=Command)
@click.argument("system")
@click.pass_obj
def health(session: Session, system: str) -> int:
    """Say whether a system is healthy, and what is not.

    Paid without a grant, on free limits, unmapped, failed deductions of the last hour, integrity, credits
    lost. Each check has a count, a sample and what to do; one that cannot be answered is null. Exit status 1
    when one fails.
    """
    import uuid
    from datetime import UTC, datetime

    from credit_pipeline.services.health.health import monitor

    found = session.system(system)
    run_id, now = f"health-{uuid.uuid4().hex[:12]}", datetime.now(UTC)
    with session.gateways(found) as gateways, session.progress("asking billing") as progress:
        told, refusals = monitor(found, gateways, run_id=run_id, now=now, progress=progress)

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_health import render_health

        return render_health(told)

    session.show(told.as_json(), text)
    for refusal in refusals:
        session.say(f"{found.name}: {refusal}")
    if refusals:
        return COULD_NOT_TELL
    return NOTHING if told.healthy else ACT
