"""`health`: compares both sides as `check` does, and shows which health checks fail and for how many accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from credit_pipeline.cli.cells import bold, grid, number, plain, unbroken
from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.services.health.statement import Health, Statement


@click.command(cls=Command)
@click.argument("system")
@click.pass_obj
def health(session: Session, system: str) -> int:
    """Say whether a system is healthy, and what is not.

    Checks for accounts without their grant, accounts on free limits, unmapped users, failed deductions of the last
    hour, balances that the ledger does not explain, and lost credits. Each check has a count, a sample and what to do;
    one that cannot be answered is null. Exit status 1 if one fails.
    """
    import uuid
    from datetime import UTC, datetime

    from credit_pipeline.services.health.health import monitor

    found = session.system(system)
    run_id, now = f"health-{uuid.uuid4().hex[:12]}", datetime.now(UTC)
    with session.gateways(found) as gateways, session.progress("asking billing") as progress:
        judged, refusals = monitor(found, gateways, run_id=run_id, now=now, progress=progress)
    session.show(judged.as_json(), lambda: _text(judged))
    for refusal in refusals:
        session.say(f"{found.name}: {refusal}")
    if refusals:
        return COULD_NOT_TELL
    return NOTHING if judged.healthy else ACT


def _text(judged: Health) -> list[RenderableType]:
    """The overall line, which people grep for, the checks, and each failing check in detail."""
    table = grid("check", "", "count", "severity", numbers=("count",), whole=("check",))
    for one in judged.statements:
        word = "-" if one.count is None else "FAILS" if one.count else "ok"
        table.add_row(one.name, word, number(one.count), one.severity)
    parts: list[RenderableType] = [bold(judged.line()), "", table]
    for one in judged.failing:
        parts += ["", *_failing(one)]
    return parts


def _failing(one: Statement) -> list[RenderableType]:
    more = " ..." if one.truncated else ""
    return [
        f"{one.name}: {one.sentence}",
        unbroken(f"  for example {', '.join(map(plain, one.sample))}{more}"),
        unbroken(f"  {one.recovery}"),
    ]
