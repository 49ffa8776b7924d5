"""`account`: why one account has the credits it has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session
from credit_pipeline.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from credit_pipeline.services.gateways import Gateways


@click.command(cls=Command)
@click.argument("system")
@click.argument("account", metavar="ID_OR_EMAIL")
@click.option(
    "--plot",
    "picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Draw the account's balance over time into this new file.",
)
@click.pass_obj
def account(session: Session, system: str, account: str, picture: Path | None) -> int:
    """Explain why an account has its credits.

    Eight checks, then the timeline. A check that this layout cannot answer is null, never ok. Writes nothing. A
    ledger's users are found by their e-mail address, their own id, or their customer's at billing, as well.
    """
    from datetime import UTC, datetime

    from credit_pipeline.cli.named_accounts import refuse_email
    from credit_pipeline.services.explain.explain import explain

    found, now = session.system(system), datetime.now(UTC)
    refuse_email(found, [account])
    if picture and picture.exists():
        raise _there(picture)
    with session.gateways(found) as gateways, session.waiting("asking store, billing and memory"):
        told = explain(found, gateways, account, now=now)
        drawn = _drawn(gateways, told.account_id, now) if picture else None

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_account import render_account

        return render_account(told)

    session.show(told.as_json(), text)
    if picture:
        _keep(session, found.name, picture, drawn)
    if told.unanswered:
        session.say(f"{found.name}: billing gave no answer about this account: run the command again")
        return COULD_NOT_TELL
    return ACT if told.failed else NOTHING


def _drawn(gateways: Gateways, account: str | None, now: datetime) -> bytes | None:
    from credit_pipeline.domain.subjects.ids import AccountId
    from credit_pipeline.orchestration.plots import account_plot
    from credit_pipeline.services.health.balance_history import account_histories

    if account is None:
        return None
    named = AccountId(account)
    return account_plot(account, account_histories(gateways, [named], now)[named], now)


def _keep(session: Session, system: str, path: Path, drawn: bytes | None) -> None:
    """Raises ConfigurationError where the file is there or cannot be written: nothing is overwritten."""
    if drawn is None:
        session.say(f"{system}: there is no balance of this account to draw")
        return
    try:
        with path.open("xb") as out:
            out.write(drawn)
    except FileExistsError:
        raise _there(path) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror}): name another file") from None
    session.say(f"{system}: balance over time in {path}")


def _there(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path} is there already: name a file that is not")
