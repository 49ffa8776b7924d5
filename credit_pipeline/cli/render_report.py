"""The mismatch report as text: a summary line, the codes, the accounts, the identities, what to type next.

Pure: a Report in, rich renderables out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from credit_pipeline.cli.cells import balance, counted, grid, moment, number, plain, signed, unbroken
from credit_pipeline.domain.codes import CODES, Code
from credit_pipeline.services.report.aging import spoken
from credit_pipeline.services.report.report import Mismatch, Report

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 20
_LOUDEST = ("critical", "error", "warning", "info")


def render_report(report: Report, *, everything: bool = False) -> list[RenderableType]:
    """The whole report; `everything` lists all mismatches instead of the first twenty."""
    parts: list[RenderableType] = [Text(summary(report), style="bold"), Text(source_line(report))]
    if waits := spoken(report.ages):
        parts.append(Text(f"to act on: {waits}"))
    if report.mismatches:
        parts += ["", _classes(report), "", *_mismatches(report, len(report.mismatches) if everything else SHOWN)]
    parts += ["", _layers(report.identities) if "users" in report.identities else Text(identities_line(report))]
    parts += [unbroken(f"note: {plain(notice)}") for notice in report.notices]
    parts += [Text(f"not complete: {plain(problem)}") for problem in report.source.problems]
    following = next_step(report)
    return [*parts, "", unbroken(following)] if following else parts


def summary(report: Report) -> str:
    """`all 2,000 accounts correct`, or how many are not and what they are short of."""
    if report.refusals:
        return f"{report.system}: could not tell for certain, the answers are incomplete"
    if not report.mismatches:
        return f"{report.system}: all {report.population:,} accounts correct"
    actionable = report.actionable
    if not actionable:
        only = counted(len(report.mismatches), "account is", "accounts are")
        return f"{report.system}: nothing to act on; {only} listed for information"
    short = credits_short(report)
    shortage = f", {short:,} credits short" if short else ""
    return f"{report.system}: {actionable:,} of {counted(report.population, 'account')} to act on{shortage}"


def credits_short(report: Report) -> int:
    """The credits that customers lack, over all findings somebody is to act on."""
    return sum(max(0, m.delta or 0) for m in report.mismatches if m.lane != "none")


def source_line(report: Report) -> str:
    """Where the answers come from and what they are worth."""
    source = report.source
    worth = "complete" if source.complete else f"NOT complete, {number(source.unanswered)} unanswered"
    history = {"first_run": "; first run, nothing to compare with yet", "not_evaluated": "; history not evaluated"}
    exempt = f", {report.exempt:,} exempt" if report.exempt else ""
    return (
        f"as of {moment(report.as_of)} UTC; {source.provider}: {counted(source.records, 'answer')}, {worth} "
        f"({source.level}); {report.in_sync:,} in sync{exempt}{history.get(report.history, '')}"
    )


def identities_line(report: Report) -> str:
    """The ID-mapping report in a line."""
    names = {"same_id": "by the same id", "mapping": "by the mapping table", "metadata": "by subscription metadata"}
    layers = [f"{count:,} {names.get(name, name)}" for name, count in report.identities["by_layer"].items()]
    unmapped, conflicts = report.identities["unmapped"], report.identities["conflicts"]
    only = "; accounts that billing alone knows cannot be listed" if report.direction == "store_only" else ""
    return f"ids: {', '.join([*layers, f'{unmapped:,} unmapped', f'{conflicts:,} in conflict'])}{only}"


def _layers(identities: Mapping[str, Any]) -> RenderableType:
    """Coverage by layer, then what is not in order, over all users."""
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


def next_step(report: Report) -> str | None:
    """What to type next."""
    if report.refusals or not report.actionable:
        return None
    if report.history == "not_evaluated":
        return f"next: credit-pipeline init {report.system}, then credit-pipeline fix {report.system}"
    if any(m.lane in {"auto", "approve"} for m in report.mismatches):
        return f"next: credit-pipeline fix {report.system}"
    first = next(m.account_id or m.billing_id for m in report.mismatches if m.lane == "review")
    return f"next: credit-pipeline account {report.system} {plain(first)}"


def render_catalogue(plans: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Every plan, what it gives here and in the product's own table, and the words it is recognised by."""
    table = grid("plan", "credits", "product", "label", "recognised by", numbers=("credits", "product"))
    for plan in plans:
        words = [*plan["provider_ids"], *plan["lookup_keys"], *plan["aliases"]]
        product = plan["product_credits"]
        shown = "-" if product is None else number(product)
        table.add_row(plan["name"], number(plan["credits"]), shown, plain(plan["label"]), plain(", ".join(words)))
    return ["", table]


def render_accounts(accounts: Iterable[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Every account on a line: lines and not a table, because there may be a million."""
    yield ""
    for row in accounts:
        billed = "?" if row["billed_plan"] is None else row["billed_plan"]
        total, used = row["total"], row["used"]
        left = None if total is None or used is None else total - used
        state = {"plan": row["label"], "available": left, "total": total}
        yield Text(f"{plain(row['account_id'])}  {balance(state)}  billed {plain(billed)}")


def _classes(report: Report) -> RenderableType:
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
        yield Text(f"{hidden}: --all lists every one, --format json has the evidence")


def _loudest_first(mismatch: Mismatch) -> tuple[bool, int, str, str]:
    return (mismatch.lane == "none", _LOUDEST.index(mismatch.severity), mismatch.code, str(mismatch.account_id))
