"""`account`: explains why one account has the credits it has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from credit_pipeline.cli.cells import bold, grid, moment, plain
from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session
from credit_pipeline.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from credit_pipeline.services.explain.explanation import Explanation
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

    Prints eight checks and the timeline, and writes nothing. A check that this layout cannot answer is null, never ok.
    In a ledger, a user can also be named by e-mail address, user id or billing customer id.
    """
    from datetime import UTC, datetime

    from credit_pipeline.services.explain.explain import explain
    from credit_pipeline.services.explain.named_accounts import refuse_email

    found, now = session.system(system), datetime.now(UTC)
    refuse_email(found, [account])
    if picture and picture.exists():
        raise _exists(picture)
    with session.gateways(found) as gateways, session.waiting("asking store, billing and memory"):
        explanation = explain(found, gateways, account, now=now)
        plot = _plot(gateways, explanation.account_id, now) if picture else None
    session.show(explanation.as_json(), lambda: _text(explanation))
    if picture:
        _save(session, found.name, picture, plot)
    if explanation.unanswered:
        session.say(f"{found.name}: billing did not answer about this account: run the command again")
        return COULD_NOT_TELL
    return ACT if explanation.failed else NOTHING


def _plot(gateways: Gateways, account: str | None, now: datetime) -> bytes | None:
    from credit_pipeline.domain.subjects.ids import AccountId
    from credit_pipeline.orchestration.plots import account_plot
    from credit_pipeline.services.health.balance_history import account_histories

    if account is None:
        return None
    account_id = AccountId(account)
    return account_plot(account, account_histories(gateways, [account_id], now)[account_id], now)


def _save(session: Session, system: str, path: Path, plot: bytes | None) -> None:
    """Never overwrites. Raises ConfigurationError if the file exists or cannot be written."""
    if plot is None:
        session.say(f"{system}: this account has no balance to draw")
        return
    try:
        with path.open("xb") as out:
            out.write(plot)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror}): name another file") from None
    session.say(f"{system}: balance over time in {path}")


def _exists(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path} exists already and is not overwritten: name a new file")


def _text(explanation: Explanation) -> list[RenderableType]:
    """The summary, which support reads out, the checks and the timeline."""
    words = {True: "ok", False: "FAILS", None: "-"}
    checks = grid("check", "", "detail")
    for check in explanation.checks:
        checks.add_row(check.name, words[check.ok], plain(check.detail))
    timeline = grid("UTC", "", "what happened")
    for entry in explanation.timeline:
        timeline.add_row(moment(entry.at), entry.kind, plain(entry.text))
    passed, failed = explanation.passed, explanation.failed
    return [
        bold(f"{explanation.system} {plain(explanation.account_id or 'no store account')}"),
        plain(explanation.summary),
        "",
        checks,
        f"{passed} ok, {failed} failing, {len(explanation.checks) - passed - failed} open",
        "",
        timeline,
    ]
