"""`check`: the mismatch and ID-mapping reports, straight from the services. Writes nothing to the product's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command, accounts_option
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.services.gateways import Gateways
    from credit_pipeline.services.report.report import Report


@click.command(cls=Command)
@click.argument("system")
@accounts_option("Only this account; may be repeated. Nothing is remembered of a partial look.")
@click.option("--all", "everything", is_flag=True, help="Every mismatch, plan and account.")
@click.pass_obj
def check(session: Session, system: str, accounts: tuple[str, ...], everything: bool) -> int:
    """Report every mismatch; writes nothing.

    Compares the product's balances with billing; needs no `init`. Exit status 1 when anything is in lane auto, approve
    or review; 2 when the answers are incomplete, after the report as far as it goes.
    """
    found = session.system(system)
    with session.gateways(found) as gateways:
        report = _reconciled(session, found, gateways, accounts, everything=everything)
        plans = _catalogue(found, gateways.store.catalogue()) if everything else []
    shown = report.as_json() | ({"plans": plans} if everything else {})
    session.show(shown, lambda: _text(report, plans, everything=everything))
    for refusal in report.refusals:
        session.say(f"{found.name}: {refusal}")
    if report.refusals:
        return COULD_NOT_TELL
    return ACT if report.actionable else NOTHING


def _reconciled(
    session: Session, system: CreditSystem, gateways: Gateways, accounts: Sequence[str], *, everything: bool
) -> Report:
    import uuid
    from datetime import UTC, datetime

    from credit_pipeline.cli.named_accounts import named_accounts
    from credit_pipeline.services.reconcile.check import check as look

    named = named_accounts(system, gateways, accounts)
    run_id, now = f"check-{uuid.uuid4().hex[:12]}", datetime.now(UTC)
    with session.progress("asking billing") as progress:
        return look(system, gateways, run_id=run_id, now=now, accounts=named, progress=progress, keep_all=everything)


def _catalogue(system: CreditSystem, product: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "name": plan.name,
            "credits": plan.credits,
            "rank": plan.rank,
            "free": plan.free,
            "label": plan.label,
            "yearly": plan.yearly.value if plan.yearly else None,
            "provider_ids": list(plan.provider_ids),
            "lookup_keys": list(plan.lookup_keys),
            "aliases": list(plan.aliases),
            "product_credits": product.get(plan.label),
        }
        for plan in system.catalogue.plans
    ]


def _text(report: Report, plans: Sequence[Mapping[str, Any]], *, everything: bool) -> list[RenderableType]:
    from credit_pipeline.cli.render_report import render_accounts, render_catalogue, render_report

    parts = render_report(report, everything=everything)
    if everything:
        parts += [*render_catalogue(plans), *render_accounts(report.accounts)]
    return parts
