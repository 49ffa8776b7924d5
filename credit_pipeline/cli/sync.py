"""`sync`: single accounts compared with billing now, through the Dagster job; --live corrects what is proven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNTOLD = frozenset({"unknown", "absent"})
_LEFT = frozenset({"would_change", "refused", "waiting", "ended"})


@click.command(cls=Command)
@click.argument("system")
@click.argument("accounts", nargs=-1, required=True, metavar="ID...")
@click.option("--live", is_flag=True, help="Correct what is proven, under the guards. Without it nothing is written.")
@click.pass_obj
def sync(session: Session, system: str, accounts: tuple[str, ...], live: bool) -> int:
    """Bring single accounts in line with billing now.

    The same judgement, guards and keys as everywhere; changes do not settle first, and every account has a plan of its
    own. Exit status 0 when each is in order or was corrected.
    """
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.cli.named_accounts import accounts_in
    from credit_pipeline.cli.saved_plan import require_installed, require_writable

    found = session.system(system)
    with sandbox_for(session, found):
        with session.gateways(found) as gateways:  # what can be refused is refused before a run exists
            if live:
                require_writable(found)
                require_installed(found, gateways)
            named = accounts_in(found, gateways.store, accounts)
        with session.instance() as instance, session.waiting("comparing with billing"):
            from credit_pipeline.orchestration.jobs.account_runs import sync_run

            result = sync_run(found, instance, named, live=live)
    session.show(result, lambda: _text(result))
    return _status(result)


def _status(result: Mapping[str, Any]) -> int:
    outcomes = set(result["outcomes"])
    if outcomes & _UNTOLD:
        return COULD_NOT_TELL
    return ACT if outcomes & _LEFT else NOTHING


def _text(result: Mapping[str, Any]) -> list[RenderableType]:
    from credit_pipeline.cli.render_sync import render_sync

    return render_sync(result)
