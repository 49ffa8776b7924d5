"""`exempt`: accounts that are left alone, with a reason and an end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.decision_options import decided_options, until_option
from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem


@click.command(cls=Command)
@click.argument("system")
@click.argument("accounts", nargs=-1, metavar="[ID]...")
@click.option("--list", "listed", is_flag=True, help="Show who is exempt.")
@click.option("--end", is_flag=True, help="End the exemption of these accounts.")
@until_option("Until when they are exempt.")
@decided_options(required=False)
@click.pass_obj
def exempt(
    session: Session,
    system: str,
    accounts: tuple[str, ...],
    listed: bool,
    end: bool,
    until: datetime | None,
    who: str | None,
    reason: str | None,
) -> int:
    """Leave accounts alone: comped, staff, lifetime.

    They are counted as exempt, and neither judged nor corrected. Said again, it replaces reason and end.
    """
    found = session.system(system)
    if listed:
        return _list(session, found, given=bool(accounts or end or until or who or reason))
    if end and until:
        raise click.UsageError("--end ends it now: leave out --until")
    if not accounts or not who or not reason:
        raise click.UsageError(
            f"Name the accounts, who decides and why: credit-pipeline exempt {found.name} ID --as YOU --reason WHY"
        )
    return _end(session, found, accounts, who, reason) if end else _set(session, found, accounts, who, reason, until)


def _set(
    session: Session, system: CreditSystem, ids: tuple[str, ...], who: str, reason: str, until: datetime | None
) -> int:
    import os

    from credit_pipeline.adapters.database_only import open_store
    from credit_pipeline.cli.named_accounts import accounts_in
    from credit_pipeline.services.findings.decisions import decided_by

    if until is not None and until < datetime.now(UTC):
        raise click.UsageError(f"--until {until:%Y-%m-%d} is past: give a later day, or --end to end an exemption")
    decided = decided_by(system.name, who, reason)
    with session.history(system) as lifecycle:
        accounts = accounts_in(system, open_store(system, os.environ), ids)
        renewed = lifecycle.exempt(accounts, decided, until=until)
    day = until.date().isoformat() if until else None
    made = {"decision": "exempt", "accounts": accounts, "renewed": renewed, "until": day, "by": decided.who}
    return _show(session, {"system": system.name, **made})


def _end(session: Session, system: CreditSystem, ids: tuple[str, ...], who: str, reason: str) -> int:
    """An account that the store has no more can still lose its exemption."""
    from credit_pipeline.domain.subjects.ids import AccountId
    from credit_pipeline.services.findings.decisions import decided_by

    decided = decided_by(system.name, who, reason)
    accounts = [AccountId(account) for account in dict.fromkeys(ids)]
    with session.history(system) as lifecycle:
        lifecycle.end_exemptions(accounts, decided)
    ended = {"decision": "end", "accounts": accounts, "renewed": [], "until": None, "by": decided.who}
    return _show(session, {"system": system.name, **ended})


def _list(session: Session, system: CreditSystem, *, given: bool) -> int:
    if given:
        raise click.UsageError("--list takes nothing else")
    now = datetime.now(UTC)
    with session.history(system) as lifecycle:
        exemptions = [
            {
                "account_id": one.account_id,
                "reason": one.reason,
                "until": one.until,
                "over": one.until is not None and one.until <= now,
                "set_by": one.set_by,
                "set_at": one.set_at,
            }
            for one in lifecycle.exemptions()
        ]

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_exempt import render_exemptions

        return render_exemptions(system.name, exemptions)

    session.show({"system": system.name, "exemptions": exemptions}, text)
    return NOTHING


def _show(session: Session, made: dict[str, Any]) -> int:
    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_exempt import render_exempted

        return render_exempted(made)

    session.show(made, text)
    return NOTHING
