"""`alerts SYSTEM list`, `send`, `test`: what people are told, whether it reached them, and a message to try that."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.exit_codes import ACT, NOTHING
from credit_pipeline.cli.options import SHARED, Command
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
    """What people are told: list, send, test.

    The daemon delivers by itself; `alerts` in the YAML says where to.
    """


@alerts.command("list", cls=Command)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@click.pass_context
def list_(ctx: click.Context, limit: int) -> int:
    """Show what not every sink has, the oldest first. Exit status 1 where a delivery failed or nobody delivers."""
    from credit_pipeline.adapters.connect import Role

    session, system = _of(ctx)
    with _outbox(session, system, Role.READER) as outbox:
        unheard, waiting = outbox.unheard(), outbox.waiting(limit)
    sinks = [sink.name for sink in _sinks(system)]
    shown = {
        "system": system.name,
        "sinks": sinks,
        "waiting": unheard.waiting,
        "late": unheard.late,
        "alerts": [_line(system, one, sinks) for one in waiting],
    }

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_alerts import render_alerts

        return render_alerts(shown)

    session.show(shown, text)
    return ACT if unheard.late else NOTHING


@alerts.command(cls=Command)
@click.pass_context
def send(ctx: click.Context) -> int:
    """Deliver all that waits now, whatever it waits for. Exit status 1 where a sink did not take it."""
    from credit_pipeline.services.alerts.alerts import Drained, drain

    session, system = _of(ctx)
    sinks, looks = _sinks(system), list[Drained]()
    with _outbox(session, system) as outbox, session.waiting("delivering"):
        while not looks or (looks[-1].claimed and not looks[-1].failures):
            looks.append(drain(system, outbox, sinks, by="a person", everything=True))
        left = outbox.unheard().waiting
    failures = {name: said for look in looks for name, said in look.failures.items()}
    shown = {
        "system": system.name,
        "sinks": [sink.name for sink in sinks],
        "aged": sum(look.aged for look in looks),
        "messages": sum(look.messages for look in looks),
        "waiting": left,
        "failures": failures,
    }

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_alerts import render_sent

        return render_sent(shown)

    session.show(shown, text)
    return ACT if failures else NOTHING


@alerts.command(cls=Command)
@click.pass_context
def test(ctx: click.Context) -> int:
    """Send a test message through every sink. Nothing is noted; exit status 1 where a sink did not take it."""
    from credit_pipeline.services.alerts.alerts import try_sinks

    session, system = _of(ctx)
    with session.waiting("delivering"):
        tried = try_sinks(system.name, _sinks(system))
    shown = {"system": system.name, "sinks": {name: said or "sent" for name, said in tried.items()}}

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_alerts import render_tried

        return render_tried(shown)

    session.show(shown, text)
    return ACT if any(tried.values()) else NOTHING


def _of(ctx: click.Context) -> tuple[Session, CreditSystem]:
    session = ctx.find_object(Session)
    assert session is not None
    assert ctx.parent is not None
    return session, session.system(ctx.parent.params["system"])


def _sinks(system: CreditSystem) -> list[Sink]:
    from credit_pipeline.adapters.alerts.open_alerts import sinks_of

    return sinks_of(system, os.environ)


@contextlib.contextmanager
def _outbox(session: Session, system: CreditSystem, role: Role | None = None) -> Iterator[Outbox]:
    from credit_pipeline.adapters.alerts.open_alerts import open_outbox
    from credit_pipeline.adapters.connect import Role
    from credit_pipeline.cli.managed_servers import history_server, sandbox_for

    with (
        sandbox_for(session, system),
        history_server(session) as server,
        open_outbox(system, os.environ, role or Role.CORRECTOR, server=server) as outbox,
    ):
        if not outbox.installed():
            raise NotInstalled(
                f"{system.name}: the database has no place for alerts: run credit-pipeline init {system.name}"
            )
        yield outbox


def _line(system: CreditSystem, one: WaitingAlert, sinks: list[str]) -> dict[str, Any]:
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
