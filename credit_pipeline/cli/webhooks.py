"""`webhooks SYSTEM list`, `pull`, `replay` and `discard`: webhooks that the product failed on or never received."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import bold, by_count, counted, grid, moment, plain, unbroken
from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import SHARED, Command, decision_options, session_and_system
from credit_pipeline.cli.session import Session
from credit_pipeline.domain.errors import DecisionError, NotInstalled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.adapters.connect import Role
    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.services.sync.ports import Inbox, KnownWebhook

SHOWN = 50
PULL_TIMEOUT = timedelta(minutes=15)
"""Enough for a pull of all 30 days."""


@click.group(params=[option() for option in SHARED])
@click.argument("system")
def webhooks(system: str) -> None:
    """Failed webhooks: list, pull, replay, discard.

    The product records them with `credit_pipeline.record_webhook`, or the YAML names its own table of them.
    """


@webhooks.command("list", cls=Command)
@click.option(
    "--state",
    type=click.Choice(["failed", "claimed", "dead", "repaired", "superseded", "discarded", "all"]),
    help="Only records in this state  [default: failed, claimed and dead].",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=SHOWN, show_default=True, help="At most this many.")
@click.pass_context
def list_(ctx: click.Context, state: str | None, limit: int) -> int:
    """Show records, newest first. Their bodies are not shown: they hold customers' data."""
    from credit_pipeline.services.sync.ports import OPEN, RecordState

    session, system = session_and_system(ctx)
    states = tuple(RecordState) if state == "all" else OPEN if state is None else (RecordState(state),)
    with _inbox(session, system) as inbox:
        counts, found = inbox.counts(), inbox.records(states, limit)
    shown = {"system": system.name, "counts": counts, "records": [_as_json(one) for one in found]}
    session.show(shown, lambda: _text(shown))
    return ACT if counts["webhook_dead"] or counts["webhook_stuck"] else NOTHING


@webhooks.command(cls=Command)
@click.pass_context
def pull(ctx: click.Context) -> int:
    """Fetch what Stripe could not deliver in 30 days.

    Each event becomes one record, however often this is repeated; the sensor or `replay` repairs it. Events more recent
    than `policy.settle_time` are left to Stripe, which is still trying.
    """
    from credit_pipeline.services.sync.ports import EventSource
    from credit_pipeline.services.sync.undelivered import pull as pull_events

    session, system = session_and_system(ctx)
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
            pulled = pull_events(source, inbox, now=now, settle_time=settle, within=PULL_TIMEOUT)
    listing: list[RenderableType] = (
        ["", unbroken(f"to see them: credit-pipeline webhooks {system.name} list")] if pulled.kept else []
    )
    session.show({"system": system.name, **pulled.as_json()}, lambda: [f"{system.name}: {pulled.sentence}", *listing])
    return NOTHING if pulled.complete else COULD_NOT_TELL


@webhooks.command(cls=Command)
@click.argument("records", nargs=-1, type=click.IntRange(min=1), metavar="RECORD...")
@click.option("--dead", is_flag=True, help="All records that were given up, fifty at a time.")
@click.option("--live", is_flag=True, help="Correct what is proven, under the guards. Without it nothing is written.")
@click.pass_context
def replay(ctx: click.Context, records: tuple[int, ...], dead: bool, live: bool) -> int:
    """Repair records now. Each has all its attempts again."""
    from credit_pipeline.adapters.database_only import require_writable
    from credit_pipeline.cli.managed_servers import sandbox_for

    session, system = session_and_system(ctx)
    with sandbox_for(session, system):
        if live:
            require_writable(system, os.environ)
        with _inbox(session, system) as inbox:
            claims = inbox.replay(_named(system, inbox, records, dead=dead), "a person's replay")
        with session.instance() as instance, session.waiting("comparing with billing"):
            from credit_pipeline.orchestration.runs.account_runs import repair_run

            shown = dict(repair_run(system, instance, claims, live=live)) if claims else _nothing(system, live=live)
    session.show(shown, lambda: _replay_text(shown))
    return ACT if {"failed", "dead"} & set(shown["states"]) else NOTHING


@webhooks.command(cls=Command)
@click.argument("records", nargs=-1, type=click.IntRange(min=1), metavar="RECORD...")
@click.option("--dead", is_flag=True, help="All records that were given up, fifty at a time.")
@decision_options()
@click.pass_context
def discard(ctx: click.Context, records: tuple[int, ...], dead: bool, who: str, reason: str) -> int:
    """Close records without a repair; who and why is kept. Every run compares the account anyway."""
    from credit_pipeline.adapters.connect import Role
    from credit_pipeline.services.findings.decisions import decided_by

    session, system = session_and_system(ctx)
    decided = decided_by(system.name, who, reason)
    with _inbox(session, system, Role.APPROVER) as inbox:
        ended = inbox.discard(_named(system, inbox, records, dead=dead), decided.who, decided.reason)
    shown: Mapping[str, Any] = {"system": system.name, "discarded": list(ended), "by": decided.who}
    session.show(shown, lambda: [f"{system.name}: {len(ended):,} records discarded"])
    return NOTHING


@contextlib.contextmanager
def _inbox(session: Session, system: CreditSystem, role: Role | None = None) -> Iterator[Inbox]:
    from credit_pipeline.adapters.connect import Role
    from credit_pipeline.adapters.open_inbox import open_inbox
    from credit_pipeline.cli.managed_servers import sandbox_for

    with sandbox_for(session, system), open_inbox(system, os.environ, role or Role.CORRECTOR) as inbox:
        if not inbox.installed():
            raise _not_installed(system)
        yield inbox


def _not_installed(system: CreditSystem) -> NotInstalled:
    return NotInstalled(
        f"{system.name}: the database has no table for failed webhooks: run credit-pipeline init {system.name}"
    )


def _named(system: CreditSystem, inbox: Inbox, records: Sequence[int], *, dead: bool) -> list[int]:
    """The records to work on: those given by number, or the newest dead ones."""
    from credit_pipeline.services.sync.ports import RecordState

    if dead == bool(records):
        raise DecisionError(
            f"{system.name}: name records by number, or give --dead for all that were given up, not both"
        )
    if not dead:
        return list(dict.fromkeys(records))
    return [one.record for one in inbox.records([RecordState.DEAD], SHOWN)]


def _nothing(system: CreditSystem, *, live: bool) -> dict[str, Any]:
    """The result if there was no record to repair."""
    mode = "live" if live else "dry_run"
    return {"system": system.name, "mode": mode, "records": [], "accounts": [], "states": {}}


def _as_json(one: KnownWebhook) -> dict[str, Any]:
    return asdict(one) | {"state": one.state.value}


def _text(shown: Mapping[str, Any]) -> list[RenderableType]:
    """The counts, the newest records, and what to type next."""
    system, records = shown["system"], shown["records"]
    parts: list[RenderableType] = [bold(f"{system}: {_states(shown['counts'])}")]
    if not records:
        return parts
    table = grid("record", "event", "state", "attempts", numbers=("record", "attempts"), whole=("event",))
    for one in records:
        account = f"\n  {plain(one['account'])}" if one["account"] else ""
        event = f"{plain(one['type'] or one['provider'])}\n  {plain(one['event_id'])[:40]}{account}"
        when = f"next {moment(one['next_attempt_at'])}" if one["next_attempt_at"] else moment(one["received_at"])
        result = f"\n  {plain(one['said'])}" if one["said"] else ""
        table.add_row(str(one["record"]), event, f"{one['state']}, {when}{result}", str(one["attempts"]))
    parts += ["", table]
    if any(one["state"] == "dead" for one in records):
        parts += ["", unbroken(f"to try the dead again: credit-pipeline webhooks {system} replay --dead --live")]
    return parts


def _replay_text(shown: Mapping[str, Any]) -> list[RenderableType]:
    """Each replayed record with its outcome."""
    records = shown["records"]
    mode = "live" if shown["mode"] == "live" else "dry run, nothing was written to the product"
    heading = f"{shown['system']}: {_states(shown['states'])} of {counted(len(records), 'record')} ({mode})"
    if not records:
        return [bold(heading)]
    table = grid("record", "result", numbers=("record",))
    for one in records:
        table.add_row(str(one["record"]), f"{one['state'] or 'lost'}: {plain(one['sentence'])}")
    return [bold(heading), "", table]


def _states(counts: Mapping[str, int]) -> str:
    return by_count({state.removeprefix("webhook_"): count for state, count in counts.items()}) or "none"
