"""`audit SYSTEM verify` and `export`: verifies the audit of all changes, and writes a pack for an auditor."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import counted, number, plain, unbroken
from credit_pipeline.cli.exit_codes import ACT, NOTHING
from credit_pipeline.cli.options import SHARED, Command, accounts_option, session_and_system, until_option
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.domain.corrections.audit import Anchor
    from credit_pipeline.services.audit.verify import Verification
    from credit_pipeline.services.plans.ports import AuditSnapshot

_ANCHOR = re.compile(r"(\d{1,18}):([0-9a-fA-F]{64})")


@click.group(params=[option() for option in SHARED])
@click.argument("system")
def audit(system: str) -> None:
    """The audit of all changes: verify it, export it.

    Needs the system's database, but no billing key.
    """


def _heads(_ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> list[tuple[int, str]]:
    found = [_ANCHOR.fullmatch(text.strip()) for text in given]
    if None in found:
        raise click.BadParameter("a noted head is SEQ:HASH, the row's number and 64 hexadecimal digits")
    return [(int(one[1]), one[2].lower()) for one in found if one]


def _anchor_option(command: Any) -> Any:
    return click.option(
        "--anchor",
        "heads",
        multiple=True,
        metavar="SEQ:HASH",
        callback=_heads,
        help="A head noted elsewhere, for example in the metadata of audit_trail; may be repeated.",
    )(command)


@audit.command(cls=Command)
@_anchor_option
@click.pass_context
def verify(ctx: click.Context, heads: list[tuple[int, str]]) -> int:
    """Read the whole chain and say whether it verifies.

    Compares every hash, number, key, grant and correction, and requires that the heads noted in the working folder are
    still in the chain. Exit status 0 if all agree, 1 if something does not, 2 if it could not be read.
    """
    from credit_pipeline.services.audit.verify import verify as judge

    session, system = session_and_system(ctx)
    anchors, unreadable = _noted(session, system, heads)
    with _snapshot(session, system) as snapshot, session.waiting("verifying"):
        found = judge(system.name, snapshot, anchors, unreadable=unreadable)
    session.show(found.as_json(), lambda: _verification(found))
    return NOTHING if found.verified else ACT


@audit.command(cls=Command)
@_anchor_option
@click.option("--out", type=click.Path(), metavar="DIR", help="A new folder  [default: one under <home>/reports].")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Changes from this day on, in UTC.")
@until_option("Changes until this day.")
@click.option("--plan", metavar="PLAN", help="Only changes of this saved plan.")
@accounts_option("Only this account's changes; may be repeated.")
@click.pass_context
def export(
    ctx: click.Context,
    heads: list[tuple[int, str]],
    out: str | None,
    since: datetime | None,
    until: datetime | None,
    plan: str | None,
    accounts: tuple[str, ...],
) -> int:
    """Write an evidence pack: CSV, exact texts, totals.

    Verifies the whole chain, whatever part is exported. Nothing is overwritten. Exit status 1 if the pack was written
    but the chain does not verify.
    """
    from credit_pipeline.adapters.artifacts.evidence_pack import EvidencePack, free_folder
    from credit_pipeline.services.audit.pack import Export, Wanted
    from credit_pipeline.services.audit.verify import verify as judge

    session, system = session_and_system(ctx)
    _refuse_email(system, accounts)
    days = {"since": since.date() if since else None, "until": until.date() if until else None}
    wanted = Wanted(**days, plan=plan, accounts=frozenset(accounts))
    anchors, unreadable = _noted(session, system, heads)
    now = datetime.now(UTC)
    with _snapshot(session, system) as snapshot, session.waiting("exporting"):
        _require_plan(system, snapshot, plan)
        folder = (
            Path(out).expanduser().absolute()
            if out
            else free_folder(session.private_folder("reports"), f"audit-{system.name}-{now:%Y%m%dT%H%M%SZ}")
        )
        with EvidencePack(folder) as pack:
            rows = Export(wanted, pack.add)
            found = judge(system.name, snapshot, anchors, unreadable=unreadable, observe=rows.add)
            control = pack.finish(snapshot, rows.control(found, now.isoformat(timespec="seconds")))
    session.show({**control, "folder": str(folder)}, lambda: _pack(str(folder), control, found))
    return NOTHING if found.verified else ACT


def _noted(session: Session, system: CreditSystem, heads: list[tuple[int, str]]) -> tuple[list[Anchor], list[str]]:
    """Heads from the working folder and the command line. Read before the chain, which lacks heads noted later."""
    from credit_pipeline.adapters.audit.anchors import Anchors
    from credit_pipeline.domain.corrections.audit import Anchor

    anchors, unreadable = Anchors(session.home, system.name).read()
    return [*anchors, *(Anchor(seq=seq, hash=head, noted="given with --anchor") for seq, head in heads)], unreadable


@contextlib.contextmanager
def _snapshot(session: Session, system: CreditSystem) -> Iterator[AuditSnapshot]:
    from credit_pipeline.adapters.database_only import open_plans
    from credit_pipeline.cli.managed_servers import sandbox_for

    with (
        sandbox_for(session, system),
        open_plans(system, os.environ) as plans,
        plans.audit_snapshot() as snapshot,
    ):
        yield snapshot


def _require_plan(system: CreditSystem, snapshot: AuditSnapshot, plan: str | None) -> None:
    """Refuses a misspelt plan, which would make an empty pack that looks like an answer."""
    from credit_pipeline.adapters.plans.saved_plans import no_such_plan

    if plan is not None and not snapshot.plans([plan]):
        raise no_such_plan(system.name, plan)


def _refuse_email(system: CreditSystem, accounts: tuple[str, ...]) -> None:
    from credit_pipeline.domain.errors import StoreError

    if any("@" in account for account in accounts):  # the address would be written into the pack
        raise StoreError(
            f"{system.name}: the audit is kept by account, not by e-mail: "
            f"`credit-pipeline account {system.name}` finds the id"
        )


def _verification(found: Verification) -> list[RenderableType]:
    """One line to grep for, with the head as --anchor takes it; then each fault."""
    seq, head = found.head
    anchors = counted(found.anchors, "noted head") if found.anchors else "no noted head: a cut end would not be seen"
    verdict = "verified" if found.verified else f"NOT VERIFIED, {counted(found.found, 'fault')}"
    line = f"{found.system}: audit {verdict}: {counted(found.rows, 'row')}, head {seq}:{plain(head)}, {anchors}"
    lines = [line, *(f"  {fault.kind}: {plain(fault.sentence)}" for fault in found.faults)]
    more = found.found - len(found.faults)
    return [*map(unbroken, lines), *([f"  and {more:,} more"] if more else [])]


def _pack(folder: str, control: Mapping[str, Any], found: Verification) -> list[RenderableType]:
    """Totals to compare with other books, the folder, and whether the chain behind it verifies."""
    credits = control["credits"]
    totals = (
        f"{counted(control['rows'], 'change')}, {number(credits['up'])} credits given, {number(credits['down'])} taken"
    )
    return [unbroken(f"{found.system}: evidence pack: {totals}"), unbroken(folder), *_verification(found)]
