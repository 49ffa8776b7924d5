"""`mismatches SYSTEM list`, `ack` and `accept`: the findings of all runs, and what people decide about them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import bold, by_count, counted, grid, moment, plain, signed, unbroken
from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import (
    SHARED,
    Command,
    accounts_option,
    decision_options,
    session_and_system,
    until_option,
)
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.domain.mismatch import Mismatch

SHOWN = 30


@click.group(params=[option() for option in SHARED])
@click.argument("system")
def mismatches(system: str) -> None:
    """Findings: list, acknowledge, accept.

    Acknowledge a finding while somebody looks into it; accept it if it is right as it is.
    """


def _selection_options(command: Any) -> Any:
    fingerprints = click.option(
        "--fingerprint", "fingerprints", multiple=True, metavar="F", help="This finding; may be repeated."
    )
    everything = click.option(
        "--all", "everything", is_flag=True, help="All open and acknowledged ones, or those of --code or --account."
    )
    return fingerprints(_code_option(accounts_option("This account's findings; may be repeated.")(everything(command))))


def _code_option(command: Any) -> Any:
    return click.option("--code", "codes", multiple=True, metavar="CODE", help="Findings with this code.")(command)


@mismatches.command("list", cls=Command)
@_code_option
@accounts_option("Only this account's findings; may be repeated.")
@click.option(
    "--state",
    type=click.Choice(["open", "acknowledged", "accepted", "resolved", "all"]),
    help="Only findings in this state  [default: open and acknowledged].",
)
@click.option("--all", "everything", is_flag=True, help="Show every one, not the first thirty.")
@click.pass_context
def list_(
    ctx: click.Context, codes: tuple[str, ...], accounts: tuple[str, ...], state: str | None, everything: bool
) -> int:
    """Show findings, oldest first."""
    from credit_pipeline.services.findings.decisions import STATES, WAITING, known_words
    from credit_pipeline.services.findings.ports import Chosen
    from credit_pipeline.services.report.aging import by_age, step

    session, system = session_and_system(ctx)
    chosen = known_words(system.name, Chosen(codes=codes, accounts=accounts))
    states = STATES if state == "all" else WAITING if state is None else (state,)
    with session.history(system) as lifecycle:
        found = lifecycle.mismatches(states, chosen)
        counts = lifecycle.counts(chosen)
    now = datetime.now(UTC)
    shown = {
        "system": system.name,
        "mismatches": [_as_json(one, now, system) | {"age": step(now - one.opened_at)} for one in found],
        "counts": {name: counts.get(name, 0) for name in STATES},
        "ages": by_age(now - one.opened_at for one in found if one.state in WAITING),
    }
    session.show(shown, lambda: _text(shown, everything=everything))
    return NOTHING


@mismatches.command(cls=Command)
@_selection_options
@decision_options()
@click.pass_context
def ack(
    ctx: click.Context,
    fingerprints: tuple[str, ...],
    codes: tuple[str, ...],
    accounts: tuple[str, ...],
    everything: bool,
    who: str,
    reason: str,
) -> int:
    """Note that somebody is looking into findings.

    Reports show them until they are corrected or accepted: nothing is hidden.
    """
    from credit_pipeline.services.findings.decisions import decided_by, to_acknowledge
    from credit_pipeline.services.findings.ports import Chosen

    session, system = session_and_system(ctx)
    decided = decided_by(system.name, who, reason)
    with session.history(system) as lifecycle:
        chosen = Chosen(fingerprints=fingerprints, codes=codes, accounts=accounts)
        named = to_acknowledge(system.name, lifecycle, chosen, everything=everything)
        if not _confirmed(session, system, "ack", named, by_name=bool(fingerprints)):
            return NOTHING
        changed = lifecycle.acknowledge([one.fingerprint for one in named], decided)
    _show(session, {"system": system.name, "decision": "ack", "by": decided.who, "until": None}, named, changed)
    return NOTHING


@mismatches.command(cls=Command)
@_selection_options
@until_option("Until when they are accepted; a past day ends the acceptance with the next run.")
@decision_options()
@click.pass_context
def accept(
    ctx: click.Context,
    fingerprints: tuple[str, ...],
    codes: tuple[str, ...],
    accounts: tuple[str, ...],
    everything: bool,
    until: datetime | None,
    who: str,
    reason: str,
) -> int:
    """Declare findings right as they are.

    For a legal adjustment, a gift, or a balance that predates the first run. From the next run on they no longer count,
    until the given day. No credits move.
    """
    from credit_pipeline.services.findings.decisions import decided_by, to_accept
    from credit_pipeline.services.findings.ports import Chosen

    session, system = session_and_system(ctx)
    decided = decided_by(system.name, who, reason)
    with session.history(system) as lifecycle:
        chosen = Chosen(fingerprints=fingerprints, codes=codes, accounts=accounts)
        named, unknown = to_accept(system.name, lifecycle, chosen, everything=everything)
        if unknown:
            unjudged = by_count(_codes(unknown))
            session.say(f"{system.name}: {unjudged} unchanged: what could not be judged cannot be accepted")
        if not _confirmed(session, system, "accept", named, by_name=bool(fingerprints)):
            return NOTHING
        changed = lifecycle.accept([one.fingerprint for one in named], decided, until=until)
    end = {
        "until": until.date().isoformat() if until else None,
        "over": until is not None and until < datetime.now(UTC),
    }
    _show(session, {"system": system.name, "decision": "accept", "by": decided.who, **end}, named, changed)
    return NOTHING


def _confirmed(
    session: Session, system: CreditSystem, decision: str, named: Sequence[Mismatch], *, by_name: bool
) -> bool:
    """Says how many findings are meant before anything is written. At a terminal the person can still cancel."""
    if by_name:
        return True
    accounts = len({one.account_id for one in named})
    of = f"{counted(len(named), 'finding')} of {counted(accounts, 'account')} ({by_count(_codes(named))})"
    session.say(f"{system.name}: {decision} names {of}")
    if sys.stdin.isatty() and sys.stderr.isatty() and not click.confirm("Go on?", err=True):
        session.say("Nothing was changed.")
        return False
    return True


def _codes(named: Sequence[Mismatch]) -> dict[str, int]:
    return dict(sorted(Counter(one.code for one in named).items()))


def _show(session: Session, decided: dict[str, Any], named: Sequence[Mismatch], changed: Sequence[str]) -> None:
    done = set(changed)
    codes = _codes([one for one in named if one.fingerprint in done])
    shown = decided | {"changed": len(done), "codes": codes, "fingerprints": sorted(done)}
    shown["unchanged"] = len(named) - len(done)
    session.show(shown, lambda: _decision_text(shown))


def _as_json(one: Mismatch, now: datetime, system: CreditSystem) -> dict[str, Any]:
    age = now - one.opened_at
    waits = one.state in {"open", "acknowledged"}
    return {
        "fingerprint": one.fingerprint,
        "account_id": one.account_id,
        "billing_id": one.billing_id,
        "code": one.code,
        "severity": one.severity,
        "lane": one.lane,
        "is_event": one.is_event,
        "state": one.state,
        "delta": one.delta,
        "expected": one.expected,
        "actual": one.actual,
        "evidence": one.evidence,
        "opened_at": one.opened_at,
        "age_seconds": int(age.total_seconds()),
        "aged": waits and age >= system.policy.aged_after,
        "first_seen": one.first_seen,
        "last_seen": one.last_seen,
        "seen_count": one.seen_count,
        "decided_by": one.decided_by,
        "decided_at": one.decided_at,
        "reason": one.reason,
        "accepted_until": one.accepted_until,
        "closed_why": one.closed_why,
    }


def _text(shown: Mapping[str, Any], *, everything: bool) -> list[RenderableType]:
    """The counts, the findings (the first thirty), and what to type next."""
    from credit_pipeline.services.report.aging import spoken

    found, system = shown["mismatches"], shown["system"]
    parts: list[RenderableType] = [bold(f"{system}: {by_count(shown['counts'])}")]
    if not found:
        return parts
    if waiting := spoken(shown["ages"]):
        parts.append(f"waiting: {waiting}")
    listed = found if everything else found[:SHOWN]
    parts += ["", _table(listed)]
    if len(found) > len(listed):
        hidden = counted(len(found) - len(listed), "more finding", "more findings")
        parts.append(f"{hidden}: --all lists every one, --format json has the evidence")
    first = next((one for one in found if one["state"] in {"open", "acknowledged"}), None)
    if first:
        options = f"--fingerprint {first['fingerprint']} --as YOU --reason WHY"
        parts += ["", unbroken(f"if it is right as it is: credit-pipeline mismatches {system} accept {options}")]
    return parts


def _decision_text(shown: Mapping[str, Any]) -> list[RenderableType]:
    """What a decision changed."""
    count, done = shown["changed"], "acknowledged" if shown["decision"] == "ack" else "accepted"
    codes = f" ({by_count(shown['codes'])})" if shown["codes"] else ""
    parts: list[RenderableType] = [bold(f"{shown['system']}: {counted(count, 'finding')} {done}{codes}")]
    if shown["unchanged"]:
        parts.append(f"{counted(shown['unchanged'], 'finding')} unchanged: decided or resolved before")
    if done == "acknowledged":
        parts.append("nothing is hidden: reports show them until they are corrected or accepted")
    elif shown["over"]:
        parts.append(f"{shown['until']} is past: the next run reopens them")
    elif count:
        until = f" until {shown['until']}" if shown["until"] else ""
        parts.append(f"from the next run on they no longer count{until}; no credits moved")
    return parts


def _table(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = grid(
        "account and fingerprint", "finding", "credits", numbers=("credits",), whole=("account and fingerprint",)
    )
    for one in found:
        account = f"{plain(one['account_id'])}\n  {one['fingerprint']}"
        table.add_row(account, "\n".join(_facts(one)), signed(one["delta"]))
    return table


def _facts(one: Mapping[str, Any]) -> Iterator[str]:
    aged = ", aged" if one["aged"] else ""
    yield f"{one['code']}: {one['lane']}{aged}"
    if one["state"] == "resolved":
        yield f"  resolved: {plain(one['closed_why'])}"
    else:
        yield f"  {one['state']} {_age(one['age_seconds'])}, seen {counted(one['seen_count'], 'time')}"
    yield f"  first {moment(one['first_seen'])}"
    yield f"  last {moment(one['last_seen'])}"
    if one["decided_by"]:
        until = f" until {one['accepted_until']:%Y-%m-%d}" if one["accepted_until"] else ""
        yield f"  by {plain(one['decided_by'])}{until}: {plain(one['reason'])}"


def _age(seconds: int) -> str:
    """`12 min`, `5 h`, `3 d`: in the largest unit of which there are at least two."""
    for unit, length in (("d", 86_400), ("h", 3_600)):
        if seconds >= 2 * length:
            return f"{seconds // length:,} {unit}"
    return f"{max(0, seconds) // 60} min"
