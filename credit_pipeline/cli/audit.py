"""`audit SYSTEM verify` and `export`: whether the audit still says what was written, and the pack for an auditor."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.decision_options import until_option
from credit_pipeline.cli.exit_codes import ACT, NOTHING
from credit_pipeline.cli.options import SHARED, Command, accounts_option
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.domain.corrections.audit import Anchor
    from credit_pipeline.services.plans.ports import AuditSnapshot

_ANCHOR = re.compile(r"(\d{1,18}):([0-9a-fA-F]{64})")


@click.group(params=[option() for option in SHARED])
@click.argument("system")
def audit(system: str) -> None:
    """The audit of all changes: verify it, export it.

    Needs the system's database, and no key of billing.
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

    Every hash, number, key, grant and correction is compared, and the heads noted in the working folder must still be
    in the chain. Exit status 0 when all agree, 1 when something does not, 2 when it could not be read.
    """
    from credit_pipeline.services.audit.verify import verify as judge

    session, system = _of(ctx)
    anchors, unreadable = _noted(session, system, heads)
    with _snapshot(session, system) as snapshot, session.waiting("verifying"):
        found = judge(system.name, snapshot, anchors, unreadable=unreadable)

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_audit import render_verification

        return render_verification(found)

    session.show(found.as_json(), text)
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

    The whole chain is verified on the way, whatever part is exported. Nothing is overwritten. Exit status 1 when the
    pack is written and the chain does not verify.
    """
    from credit_pipeline.cli.audit_pack import EvidencePack, free_folder
    from credit_pipeline.services.audit.pack import Wanted
    from credit_pipeline.services.audit.verify import verify as judge

    session, system = _of(ctx)
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
        with EvidencePack(system.name, wanted, folder) as pack:
            found = judge(system.name, snapshot, anchors, unreadable=unreadable, observe=pack.add)
            control = pack.finish(snapshot, found, now.isoformat(timespec="seconds"))

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_audit import render_pack

        return render_pack(str(folder), control, found)

    session.show({**control, "folder": str(folder)}, text)
    return NOTHING if found.verified else ACT


def _of(ctx: click.Context) -> tuple[Session, CreditSystem]:
    session = ctx.find_object(Session)
    assert session is not None
    assert ctx.parent is not None
    return session, session.system(ctx.parent.params["system"])


def _noted(session: Session, system: CreditSystem, heads: list[tuple[int, str]]) -> tuple[list[Anchor], list[str]]:
    """Heads of the working folder and of the command line. Read before the chain: a later head is not in it."""
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
    """A misspelt plan would make an empty pack that looks like an answer."""
    from credit_pipeline.adapters.plans.saved_plans import no_such_plan

    if plan is not None and not snapshot.plans([plan]):
        raise no_such_plan(system.name, plan)


def _refuse_email(system: CreditSystem, accounts: tuple[str, ...]) -> None:
    from credit_pipeline.domain.errors import StoreError

    if any("@" in account for account in accounts):  # it would stand in the pack
        raise StoreError(
            f"{system.name}: the audit is kept by account, not by e-mail: "
            f"`credit-pipeline account {system.name}` finds the id"
        )
