"""`exempt`: accounts that are neither judged nor corrected, with a reason and an end date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import bold, counted, grid, moment, plain, unbroken
from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import Command, decision_options, until_option
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
@decision_options(required=False)
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

    They are counted as exempt, and neither judged nor corrected. Repeating the command replaces reason and end.
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
    from credit_pipeline.services.explain.named_accounts import accounts_in
    from credit_pipeline.services.findings.decisions import decided_by

    if until is not None and until < datetime.now(UTC):
        raise click.UsageError(f"--until {until:%Y-%m-%d} is past: give a later day, or --end to end an exemption")
    decided = decided_by(system.name, who, reason)
    with session.history(system) as lifecycle:
        accounts = accounts_in(system, open_store(system, os.environ), ids)
        renewed = lifecycle.exempt(accounts, decided, until=until)
    day = until.date().isoformat() if until else None
    shown = {"decision": "exempt", "accounts": accounts, "renewed": renewed, "until": day, "by": decided.who}
    return _show(session, {"system": system.name, **shown})


def _end(session: Session, system: CreditSystem, ids: tuple[str, ...], who: str, reason: str) -> int:
    """Also works for an account that the store no longer has."""
    from credit_pipeline.domain.subjects.ids import AccountId
    from credit_pipeline.services.findings.decisions import decided_by

    decided = decided_by(system.name, who, reason)
    accounts = [AccountId(account) for account in dict.fromkeys(ids)]
    with session.history(system) as lifecycle:
        lifecycle.end_exemptions(accounts, decided)
    shown = {"decision": "end", "accounts": accounts, "renewed": [], "until": None, "by": decided.who}
    return _show(session, {"system": system.name, **shown})


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
    session.show({"system": system.name, "exemptions": exemptions}, lambda: _list_text(system.name, exemptions))
    return NOTHING


def _show(session: Session, shown: dict[str, Any]) -> int:
    session.show(shown, lambda: [bold(_changed(shown))])
    return NOTHING


def _list_text(system: str, exemptions: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Each exempt account with its end, its reason and who set it."""
    if not exemptions:
        how = f"credit-pipeline exempt {system} ID --as YOU --reason WHY"
        return [unbroken(f"{system}: no account is exempt; {how} exempts one")]
    table = grid("account", "until", "why", whole=("account", "until"))
    for one in exemptions:
        day = "no end" if one["until"] is None else f"{one['until']:%Y-%m-%d}"
        over = ", over" if one["over"] else ""
        why = f"{plain(one['reason'])}\n  {plain(one['set_by'])}, {moment(one['set_at'])}"
        table.add_row(plain(one["account_id"]), day + over, why)
    return [table]


def _changed(shown: Mapping[str, Any]) -> str:
    """What a decision changed."""
    system, count = shown["system"], counted(len(shown["accounts"]), "account")
    if shown["decision"] == "end":
        return f"{system}: {count} no longer exempt; the next run judges them"
    until = f"until {shown['until']}" if shown["until"] else "until a person ends it"
    renewed = f", replacing {counted(len(shown['renewed']), 'earlier exemption')}" if shown["renewed"] else ""
    return f"{system}: {count} exempt {until}{renewed}"
