"""`webhooks SYSTEM list`, `pull`, `replay`, `discard`: webhooks that the product could not handle, or never had."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.decision_options import decided_options
from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import SHARED, Command
from credit_pipeline.cli.session import Session
from credit_pipeline.domain.errors import DecisionError, NotInstalled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.adapters.connect import Role
    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.services.sync.ports import Inbox, KnownWebhook

MANY = 50
PATIENCE = timedelta(minutes=15)
"""For a pull of all 30 days."""


@click.group(params=[option() for option in SHARED])
@click.argument("system")
def webhooks(system: str) -> None:
    """Failed webhooks: list, pull, replay, discard.

    The product hands them over by `credit_pipeline.record_webhook`, or the YAML names its own table of them.
    """


@webhooks.command("list", cls=Command)
@click.option(
    "--state",
    type=click.Choice(["failed", "claimed", "dead", "repaired", "superseded", "discarded", "all"]),
    help="Only records in this state  [default: failed, claimed and dead].",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=MANY, show_default=True, help="How many at most.")
@click.pass_context
def list_(ctx: click.Context, state: str | None, limit: int) -> int:
    """Show records, the newest first. Bodies are not shown: they hold customers' data."""
    from credit_pipeline.services.sync.ports import OPEN, RecordState

    session, system = _of(ctx)
    states = tuple(RecordState) if state == "all" else OPEN if state is None else (RecordState(state),)
    with _inbox(session, system) as inbox:
        counts, found = inbox.counts(), inbox.records(states, limit)
    shown = {"system": system.name, "counts": counts, "records": [_line(one) for one in found]}

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_sync import render_webhooks

        return render_webhooks(shown)

    session.show(shown, text)
    return ACT if counts["webhook_dead"] or counts["webhook_stuck"] else NOTHING


@webhooks.command(cls=Command)
@click.pass_context
def pull(ctx: click.Context) -> int:
    """Fetch what Stripe could not deliver in 30 days.

    Each event becomes a record once, however often this is repeated; the sensor repairs records, or `replay` does.
    Events younger than `policy.settle_time` are left to Stripe, which is still trying.
    """
    from credit_pipeline.services.sync.ports import EventSource
    from credit_pipeline.services.sync.undelivered import pull as pulled_from

    session, system = _of(ctx)
    with session.gateways(system) as gateways:
        source, inbox = gateways.billing, gateways.inbox
        if not isinstance(source, EventSource):
            raise DecisionError(
                f"{system.name}: {system.billing.provider} keeps no list of undelivered events, so nothing can be "
                f"pulled: run `credit-pipeline check {system.name}`, which reads all accounts"
            )
        if inbox is None or not inbox.installed():
            raise _not_installed(system)
        now, settle = datetime.now(UTC), system.policy.settle_time
        with session.waiting("asking billing"):
            found = pulled_from(source, inbox, now=now, settle_time=settle, within=PATIENCE)

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_sync import render_pulled

        return render_pulled(system.name, found.sentence, new=found.kept)

    session.show({"system": system.name, **found.as_json()}, text)
    return NOTHING if found.complete else COULD_NOT_TELL


@webhooks.command(cls=Command)
@click.argument("records", nargs=-1, type=click.IntRange(min=1), metavar="RECORD...")
@click.option("--dead", is_flag=True, help="All that were given up, fifty at a time.")
@click.option("--live", is_flag=True, help="Correct what is proven, under the guards. Without it nothing is written.")
@click.pass_context
def replay(ctx: click.Context, records: tuple[int, ...], dead: bool, live: bool) -> int:
    """Repair records now, with all attempts before them again."""
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.cli.saved_plan import require_writable

    session, system = _of(ctx)
    with sandbox_for(session, system):
        if live:
            require_writable(system)
        with _inbox(session, system) as inbox:
            claims = inbox.replay(_named(system, inbox, records, dead=dead), "a person's replay")
        with session.instance() as instance, session.waiting("comparing with billing"):
            from credit_pipeline.orchestration.jobs.account_runs import repair_run

            shown = dict(repair_run(system, instance, claims, live=live)) if claims else _nothing(system, live=live)

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_sync import render_repaired

        return render_repaired(shown)

    session.show(shown, text)
    return ACT if {"failed", "dead"} & set(shown["states"]) else NOTHING


@webhooks.command(cls=Command)
@click.argument("records", nargs=-1, type=click.IntRange(min=1), metavar="RECORD...")
@click.option("--dead", is_flag=True, help="All that were given up, fifty at a time.")
@decided_options()
@click.pass_context
def discard(ctx: click.Context, records: tuple[int, ...], dead: bool, who: str, reason: str) -> int:
    """End records without a repair, on record with who and why. The account is compared by every run anyway."""
    from credit_pipeline.adapters.connect import Role
    from credit_pipeline.services.findings.decisions import decided_by

    session, system = _of(ctx)
    decided = decided_by(system.name, who, reason)
    with _inbox(session, system, Role.APPROVER) as inbox:
        ended = inbox.discard(_named(system, inbox, records, dead=dead), decided.who, decided.reason)
    shown: Mapping[str, Any] = {"system": system.name, "discarded": list(ended), "by": decided.who}
    session.show(shown, lambda: [f"{system.name}: {len(ended):,} records discarded"])
    return NOTHING


def _of(ctx: click.Context) -> tuple[Session, CreditSystem]:
    session = ctx.find_object(Session)
    assert session is not None
    assert ctx.parent is not None
    return session, session.system(ctx.parent.params["system"])


@contextlib.contextmanager
def _inbox(session: Session, system: CreditSystem, role: Role | None = None) -> Iterator[Inbox]:
    from credit_pipeline.adapters.connect import Role
    from credit_pipeline.adapters.inbox.open_inbox import open_inbox
    from credit_pipeline.cli.managed_servers import sandbox_for

    with sandbox_for(session, system), open_inbox(system, os.environ, role or Role.CORRECTOR) as inbox:
        if not inbox.installed():
            raise _not_installed(system)
        yield inbox


def _not_installed(system: CreditSystem) -> NotInstalled:
    return NotInstalled(
        f"{system.name}: the database has no place for failed webhooks: run credit-pipeline init {system.name}"
    )


def _named(system: CreditSystem, inbox: Inbox, records: Sequence[int], *, dead: bool) -> list[int]:
    """The records that are meant: those named, or the newest of the dead."""
    from credit_pipeline.services.sync.ports import RecordState

    if dead == bool(records):
        raise DecisionError(
            f"{system.name}: say which records are meant: give their numbers, or --dead for all that were given up"
        )
    if not dead:
        return list(dict.fromkeys(records))
    return [one.record for one in inbox.records([RecordState.DEAD], MANY)]


def _nothing(system: CreditSystem, *, live: bool) -> dict[str, Any]:
    """What is shown where no record was there to be repaired."""
    mode = "live" if live else "dry_run"
    return {"system": system.name, "mode": mode, "records": [], "accounts": [], "states": {}}


def _line(one: KnownWebhook) -> dict[str, Any]:
    return asdict(one) | {"state": one.state.value}
