"""`check`: the mismatch and ID-mapping reports. Writes nothing to the product's tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import balance, bold, counted, grid, moment, number, plain, signed, unbroken
from credit_pipeline.cli.exit_codes import ACT, COULD_NOT_TELL, NOTHING
from credit_pipeline.cli.options import Command, accounts_option
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.domain.mismatch import Mismatch
    from credit_pipeline.services.gateways import Gateways
    from credit_pipeline.services.report.report import Report

SHOWN = 20
LOUDEST = ("critical", "error", "warning", "info")


@click.command(cls=Command)
@click.argument("system")
@accounts_option("Only this account; may be repeated. A partial check is not kept in the history.")
@click.option("--all", "everything", is_flag=True, help="Every mismatch, plan and account.")
@click.pass_obj
def check(session: Session, system: str, accounts: tuple[str, ...], everything: bool) -> int:
    """Report every mismatch; writes nothing.

    Compares the product's balances with billing; needs no `init`. Exit status 1 if anything is in lane auto, approve
    or review; 2 if the answers are incomplete, after the report on those that came.
    """
    found = session.system(system)
    with session.gateways(found) as gateways:
        report = _reconciled(session, found, gateways, accounts, everything=everything)
        plans = _catalogue(found, gateways.store.catalogue()) if everything else []
    shown = report.as_json() | ({"plans": plans} if everything else {})
    session.show(shown, lambda: _text(report, plans if everything else None))
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

    from credit_pipeline.services.explain.named_accounts import named_accounts
    from credit_pipeline.services.reconcile.check import check as compare

    named = named_accounts(system, gateways, accounts)
    run_id, now = f"check-{uuid.uuid4().hex[:12]}", datetime.now(UTC)
    with session.progress("asking billing") as progress:
        return compare(system, gateways, run_id=run_id, now=now, accounts=named, progress=progress, keep_all=everything)


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


def _text(report: Report, plans: Sequence[Mapping[str, Any]] | None) -> list[RenderableType]:
    """The whole report; with `plans` also these, every mismatch and every account."""
    from credit_pipeline.services.report.aging import spoken

    parts: list[RenderableType] = [bold(_summary(report)), _source(report)]
    if waiting := spoken(report.ages):
        parts.append(f"to act on: {waiting}")
    if report.mismatches:
        parts += ["", _codes(report), "", *_mismatches(report, SHOWN if plans is None else len(report.mismatches))]
    parts += ["", _layers(report.identities) if "users" in report.identities else _identities(report)]
    parts += [unbroken(f"note: {plain(notice)}") for notice in report.notices]
    parts += [f"not complete: {plain(problem)}" for problem in report.source.problems]
    if following := _next_step(report):
        parts += ["", unbroken(following)]
    if plans is not None:
        parts += ["", _plans(plans), "", *_accounts(report.accounts)]
    return parts


def _summary(report: Report) -> str:
    """`all 2,000 accounts correct`, or how many are not and what they are short of."""
    if report.refusals:
        return f"{report.system}: could not tell for certain, the answers are incomplete"
    if not report.mismatches:
        return f"{report.system}: all {report.population:,} accounts correct"
    actionable = report.actionable
    if not actionable:
        only = counted(len(report.mismatches), "account is", "accounts are")
        return f"{report.system}: nothing to act on; {only} listed for information"
    short = _credits_short(report)
    shortage = f", {short:,} credits short" if short else ""
    return f"{report.system}: {actionable:,} of {counted(report.population, 'account')} to act on{shortage}"


def _credits_short(report: Report) -> int:
    """The credits that customers lack in all findings that need action."""
    return sum(max(0, m.delta or 0) for m in report.mismatches if m.lane != "none")


def _source(report: Report) -> str:
    """Where the answers come from, and whether they are complete."""
    source = report.source
    complete = "complete" if source.complete else f"NOT complete, {number(source.unanswered)} unanswered"
    history = {"first_run": "; first run, nothing to compare with yet", "not_evaluated": "; history not evaluated"}
    exempt = f", {report.exempt:,} exempt" if report.exempt else ""
    return (
        f"as of {moment(report.as_of)} UTC; {source.provider}: {counted(source.records, 'answer')}, {complete} "
        f"({source.level}); {report.in_sync:,} in sync{exempt}{history.get(report.history, '')}"
    )


def _identities(report: Report) -> str:
    """The ID-mapping report in a line."""
    names = {"same_id": "by the same id", "mapping": "by the mapping table", "metadata": "by subscription metadata"}
    layers = [f"{count:,} {names.get(name, name)}" for name, count in report.identities["by_layer"].items()]
    unmapped, conflicts = report.identities["unmapped"], report.identities["conflicts"]
    only = "; accounts that only billing knows cannot be listed" if report.direction == "store_only" else ""
    return f"ids: {', '.join([*layers, f'{unmapped:,} unmapped', f'{conflicts:,} in conflict'])}{only}"


def _layers(identities: Mapping[str, Any]) -> RenderableType:
    """Users by the layer that maps them, then the problems, over all users."""
    users = identities["users"]
    table = grid("identities", "users", "share", numbers=("users", "share"), whole=("identities",))
    names = {
        "mapping": "mapping table",
        "metadata": "metadata only",
        "same_id": "same id only, a guess",
        "none": "no layer",
    }
    rows = [(f"  {names[layer]}", count) for layer, count in identities["by_layer"].items()]
    wrong = ("unmapped", "conflicts", "shared", "metadata_missing", "link_missing")
    rows += [(name.replace("_", " "), identities[name]) for name in wrong]
    for name, count in rows:
        table.add_row(name, number(count), f"{count / users:.1%}" if users else "")
    for name in ("orphan_accounts", "orphan_customers"):
        table.add_row(name.replace("_", " "), number(identities[name]), "")
    return table


def _next_step(report: Report) -> str | None:
    """What to type next."""
    if report.refusals or not report.actionable:
        return None
    if report.history == "not_evaluated":
        return f"next: credit-pipeline init {report.system}, then credit-pipeline fix {report.system}"
    if any(m.lane in {"auto", "approve"} for m in report.mismatches):
        return f"next: credit-pipeline fix {report.system}"
    first = next(m.account_id or m.billing_id for m in report.mismatches if m.lane == "review")
    return f"next: credit-pipeline account {report.system} {plain(first)}"


def _plans(plans: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Each plan, its credits here and in the product's own table, and the words it is recognised by."""
    table = grid("plan", "credits", "product", "label", "recognised by", numbers=("credits", "product"))
    for plan in plans:
        words = [*plan["provider_ids"], *plan["lookup_keys"], *plan["aliases"]]
        product = plan["product_credits"]
        shown = "-" if product is None else number(product)
        table.add_row(plan["name"], number(plan["credits"]), shown, plain(plan["label"]), plain(", ".join(words)))
    return table


def _accounts(accounts: Iterable[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """One line per account; not a table, because there may be a million."""
    for row in accounts:
        billed = "?" if row["billed_plan"] is None else row["billed_plan"]
        total, used = row["total"], row["used"]
        left = None if total is None or used is None else total - used
        state = {"plan": row["label"], "available": left, "total": total}
        yield f"{plain(row['account_id'])}  {balance(state)}  billed {plain(billed)}"


def _codes(report: Report) -> RenderableType:
    from credit_pipeline.domain.codes import CODES, Code

    lanes: dict[str, Counter[str]] = defaultdict(Counter)
    for mismatch in report.mismatches:
        lanes[mismatch.code][mismatch.lane] += 1
    table = grid("accounts", "code", "lane", "meaning", numbers=("accounts",), whole=("code", "lane"))
    for code, count in sorted(report.classes.items(), key=lambda pair: (-pair[1], pair[0])):
        split = lanes[code]
        lane = next(iter(split)) if len(split) == 1 else "\n".join(f"{n:,} {lane}" for lane, n in split.items())
        table.add_row(number(count), code, lane, CODES[Code(code)].sentence)
    return table


def _mismatches(report: Report, most: int) -> Iterator[RenderableType]:
    ordered = sorted(report.mismatches, key=_loudest_first)
    table = grid("account", "code and lane", "credits", numbers=("credits",), whole=("account",))
    for mismatch in ordered[:most]:
        account = plain(mismatch.account_id or mismatch.billing_id or "?")
        billed = plain(mismatch.expected.get("plan") or "?")
        aged = ", aged" if mismatch.aged else ""
        found = "\n".join([f"{mismatch.code}: {mismatch.lane}{aged}", *(f"  {code}" for code in mismatch.secondary)])
        table.add_row(f"{account}\n  {balance(mismatch.actual)}, billed {billed}", found, signed(mismatch.delta))
    yield table
    if len(ordered) > most:
        hidden = counted(len(ordered) - most, "more account", "more accounts")
        yield f"{hidden}: --all lists every one, --format json has the evidence"


def _loudest_first(mismatch: Mismatch) -> tuple[bool, int, str, str]:
    return (mismatch.lane == "none", LOUDEST.index(mismatch.severity), mismatch.code, str(mismatch.account_id))
