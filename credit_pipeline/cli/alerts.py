"""`alerts SYSTEM list`, `send` and `test`: alerts that wait for delivery, and the sinks that receive them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import bold, counted, grid, moment, plain, unbroken
from credit_pipeline.cli.exit_codes import ACT, NOTHING
from credit_pipeline.cli.options import SHARED, Command, session_and_system
from credit_pipeline.cli.session import Session
from credit_pipeline.domain.errors import NotInstalled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.adapters.connect import Role
    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.services.alerts.ports import Outbox, Sink, WaitingAlert


@click.group(params=[option() for option in SHARED])
@click.argument("system")
def alerts(system: str) -> None:
    """Alerts to people: list, send, test.

    The daemon delivers them; `alerts` in the YAML names the sinks.
    """


@alerts.command("list", cls=Command)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many.")
@click.pass_context
def list_(ctx: click.Context, limit: int) -> int:
    """Show undelivered alerts, oldest first. Exit status 1 if a delivery failed or nothing delivers them."""
    from credit_pipeline.adapters.connect import Role

    session, system = session_and_system(ctx)
    with _outbox(session, system, Role.READER) as outbox:
        unheard, waiting = outbox.unheard(), outbox.waiting(limit)
    sinks = [sink.name for sink in _sinks(system)]
    shown = {
        "system": system.name,
        "sinks": sinks,
        "waiting": unheard.waiting,
        "late": unheard.late,
        "alerts": [_as_json(system, one, sinks) for one in waiting],
    }
    session.show(shown, lambda: _text(shown))
    return ACT if unheard.late else NOTHING


@alerts.command(cls=Command)
@click.pass_context
def send(ctx: click.Context) -> int:
    """Deliver every waiting alert now, without its delay. Exit status 1 if a sink failed."""
    from credit_pipeline.services.alerts.alerts import Drained, drain

    session, system = session_and_system(ctx)
    sinks, batches = _sinks(system), list[Drained]()
    with _outbox(session, system) as outbox, session.waiting("delivering"):
        while not batches or (batches[-1].claimed and not batches[-1].failures):
            batches.append(drain(system, outbox, sinks, by="a person", everything=True))
        left = outbox.unheard().waiting
    failures = {name: sentence for batch in batches for name, sentence in batch.failures.items()}
    shown = {
        "system": system.name,
        "sinks": [sink.name for sink in sinks],
        "aged": sum(batch.aged for batch in batches),
        "messages": sum(batch.messages for batch in batches),
        "waiting": left,
        "failures": failures,
    }
    session.show(shown, lambda: _sent_text(shown))
    return ACT if failures else NOTHING


@alerts.command(cls=Command)
@click.pass_context
def test(ctx: click.Context) -> int:
    """Send a test message through every sink. Nothing is recorded; exit status 1 if a sink failed."""
    from credit_pipeline.services.alerts.alerts import try_sinks

    session, system = session_and_system(ctx)
    with session.waiting("delivering"):
        failures = try_sinks(system.name, _sinks(system))
    shown = {"system": system.name, "sinks": {name: sentence or "sent" for name, sentence in failures.items()}}
    session.show(shown, lambda: _test_text(shown))
    return ACT if any(failures.values()) else NOTHING


def _sinks(system: CreditSystem) -> list[Sink]:
    from credit_pipeline.adapters.open_alerts import sinks_of

    return sinks_of(system, os.environ)


@contextlib.contextmanager
def _outbox(session: Session, system: CreditSystem, role: Role | None = None) -> Iterator[Outbox]:
    from credit_pipeline.adapters.connect import Role
    from credit_pipeline.adapters.open_alerts import open_outbox
    from credit_pipeline.cli.managed_servers import history_server, sandbox_for

    with (
        sandbox_for(session, system),
        history_server(session) as server,
        open_outbox(system, os.environ, role or Role.CORRECTOR, server=server) as outbox,
    ):
        if not outbox.installed():
            raise NotInstalled(
                f"{system.name}: the database has no table for alerts: run credit-pipeline init {system.name}"
            )
        yield outbox


def _as_json(system: CreditSystem, one: WaitingAlert, sinks: list[str]) -> dict[str, Any]:
    from credit_pipeline.services.alerts.alerts import compose

    alert = one.alert
    return {
        "id": alert.id,
        "kind": alert.kind.value,
        "subject": alert.subject,
        "says": compose(system.name, alert.kind, [alert]).title,
        "created_at": alert.created_at,
        "lacking": [name for name in sinks if name not in alert.delivered],
        "attempts": alert.attempts,
        "next_attempt_at": one.next_attempt_at,
        "last_error": one.last_error,
    }


def _text(shown: Mapping[str, Any]) -> list[RenderableType]:
    """The counts, then each alert with its title, the sinks that lack it and the last error."""
    late = f", {shown['late']:,} of them late" if shown["late"] else ""
    sinks = ", ".join(shown["sinks"])
    heading = bold(f"{shown['system']}: {counted(shown['waiting'], 'alert')} to deliver{late} (to {sinks})")
    if not shown["alerts"]:
        return [heading]
    table = grid("alert", "what it says", "for", "attempts", numbers=("alert", "attempts"))
    for one in shown["alerts"]:
        error = f"\n  {plain(one['last_error'])}" if one["last_error"] else ""
        when = f"\n  since {moment(one['created_at'])}, next {moment(one['next_attempt_at'])}"
        lacking = ", ".join(one["lacking"]) or "nobody any more"
        table.add_row(str(one["id"]), f"{plain(one['says'])}{when}{error}", lacking, str(one["attempts"]))
    return [heading, "", table, "", unbroken(f"to deliver now: credit-pipeline alerts {shown['system']} send")]


def _sent_text(shown: Mapping[str, Any]) -> list[RenderableType]:
    """How many messages were sent, and what failed."""
    left = f", {counted(shown['waiting'], 'alert')} left" if shown["waiting"] else ""
    heading = f"{shown['system']}: {counted(shown['messages'], 'message')} sent to {', '.join(shown['sinks'])}{left}"
    return [bold(heading), *(unbroken(plain(sentence)) for sentence in shown["failures"].values())]


def _test_text(shown: Mapping[str, Any]) -> list[RenderableType]:
    """Each sink with the result of the test message."""
    table = grid("sink", "test message", whole=("sink",))
    for name, result in shown["sinks"].items():
        table.add_row(name, plain(result))
    return [bold(f"{shown['system']}: {counted(len(shown['sinks']), 'sink')}"), "", table]
