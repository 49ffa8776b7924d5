"""`account`: why one account has the credits it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from credit_pipeline.cli.endings import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command(cls=Command)
@click.argument("system")
@click.argument("account", metavar="ID_OR_EMAIL")
@click.pass_obj
def account(session: Session, system: str, account: str) -> int:
    """Explain why an account has its credits.

    Eight checks, then the timeline. A check that this layout cannot answer is null, never ok. Writes nothing. A
    ledger's users are found by their e-mail address, their own id, or their customer's at billing, as well.
    """
    from datetime import UTC, datetime

    from credit_pipeline.cli.named_accounts import refuse_email
    from credit_pipeline.services.explain import explain

    found = session.system(system)
    refuse_email(found, [account])
    with session.gateways(found) as gateways, session.waiting("asking store, billing and memory"):
        told = explain(found, gateways, account, now=datetime.now(UTC))

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_account import render_account

        return render_account(told)

    session.show(told.as_json(), text)
    if told.unanswered:
        session.say(f"{found.name}: billing gave no answer about this account: run the command again")
        return COULD_NOT_TELL
    return ACT if told.failed else NOTHING
