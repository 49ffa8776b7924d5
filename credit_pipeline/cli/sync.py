"""`sync`: compares single accounts with billing now, through a Dagster job; --live corrects what is proven."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import bold, by_count, counted, grid, plain, signed, unbroken
from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

UNKNOWN = frozenset({"unknown", "absent"})
TO_ACT_ON = frozenset({"would_change", "refused", "waiting", "ended"})


@click.command(cls=Command)
@click.argument("system")
@click.argument("accounts", nargs=-1, required=True, metavar="ID...")
@click.option("--live", is_flag=True, help="Correct what is proven, under the guards. Without it nothing is written.")
@click.pass_obj
def sync(session: Session, system: str, accounts: tuple[str, ...], live: bool) -> int:
    """Bring single accounts in line with billing now.

    Judges, guards and writes as `fix` does, but does not wait for recent changes to settle, and makes one plan per
    account. Exit status 0 if each account is in order or was corrected.
    """
    from credit_pipeline.adapters.database_only import require_installed, require_writable
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.services.explain.named_accounts import accounts_in

    found = session.system(system)
    with sandbox_for(session, found):
        with session.gateways(found) as gateways:  # refuse what can be refused before there is a run
            if live:
                require_writable(found, os.environ)
                require_installed(found, gateways.memory)
            named = accounts_in(found, gateways.store, accounts)
        with session.instance() as instance, session.waiting("comparing with billing"):
            from credit_pipeline.orchestration.runs.account_runs import sync_run

            result = sync_run(found, instance, named, live=live)
    session.show(result, lambda: _text(result))
    return _status(result)


def _status(result: Mapping[str, Any]) -> int:
    outcomes = set(result["outcomes"])
    if outcomes & UNKNOWN:
        return COULD_NOT_TELL
    return ACT if outcomes & TO_ACT_ON else NOTHING


def _text(result: Mapping[str, Any]) -> list[RenderableType]:
    """Each account with its outcome, and what to type next."""
    system, accounts = result["system"], result["accounts"]
    mode = "live" if result["mode"] == "live" else "dry run, nothing was written"
    outcomes = by_count(result["outcomes"]) or "none"
    parts: list[RenderableType] = [
        bold(f"{system}: {outcomes} of {counted(len(accounts), 'account')} ({mode})"),
        "",
        _accounts(accounts),
    ]
    correctable = [one["account_id"] for one in accounts if one["outcome"] == "would_change"]
    if correctable:
        ids = " ".join(plain(account) for account in correctable[:3]) + (" ..." if len(correctable) > 3 else "")
        parts += ["", unbroken(f"to correct: credit-pipeline sync {system} {ids} --live")]
    return parts


def _accounts(accounts: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = grid("account", "outcome", "credits", numbers=("credits",), whole=("account",))
    for one in accounts:
        table.add_row(plain(one["account_id"]), f"{one['outcome']}: {plain(one['sentence'])}", signed(one["delta"]))
    return table
