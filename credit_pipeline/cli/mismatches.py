"""`mismatches SYSTEM list`, `ack`, `accept`: the life of findings, and what people decide about it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.decision_options import decided_options, until_option
from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import SHARED, Command, accounts_option
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.config.system import CreditSystem
    from credit_pipeline.services.findings.ports import Chosen, KnownMismatch, NamedMismatch


@click.group(params=[option() for option in SHARED])
@click.argument("system")
def mismatches(system: str) -> None:
    """Findings: list, acknowledge, accept.

    A finding is acknowledged while somebody looks after it, and accepted when it is right as it is.
    """


def _choosing(command: Any) -> Any:
    fingerprints = click.option(
        "--fingerprint", "fingerprints", multiple=True, metavar="F", help="This finding; may be repeated."
    )
    everything = click.option("--all", "everything", is_flag=True, help="All that wait, or all of --code or --account.")
    return fingerprints(_code(accounts_option("This account's findings; may be repeated.")(everything(command))))


def _code(command: Any) -> Any:
    return click.option("--code", "codes", multiple=True, metavar="CODE", help="Findings with this code.")(command)


@mismatches.command("list", cls=Command)
@_code
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
    """Show findings, those that wait longest first."""
    from credit_pipeline.services.findings.decisions import STATES, WAITING, known_words
    from credit_pipeline.services.findings.ports import Chosen
    from credit_pipeline.services.report.aging import by_age, step

    session, system = _of(ctx)
    chosen = known_words(system.name, Chosen(codes=codes, accounts=accounts))
    states = STATES if state == "all" else WAITING if state is None else (state,)
    with session.history(system) as lifecycle:
        found = lifecycle.mismatches(states, chosen)
        counts = lifecycle.counts(chosen)
    now = datetime.now(UTC)
    shown = {
        "system": system.name,
        "mismatches": [_line(one, now, system) | {"age": step(now - one.opened_at)} for one in found],
        "counts": {name: counts.get(name, 0) for name in STATES},
        "ages": by_age(now - one.opened_at for one in found if one.state in WAITING),
    }

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_mismatches import render_mismatches

        return render_mismatches(shown, everything=everything)

    session.show(shown, text)
    return NOTHING


@mismatches.command(cls=Command)
@_choosing
@decided_options()
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
    """Note that somebody looks after findings.

    They stay what they are until they are mended or accepted: nothing is hidden.
    """
    from credit_pipeline.services.findings.decisions import decided_by, to_acknowledge

    session, system = _of(ctx)
    decided = decided_by(system.name, who, reason)
    with session.history(system) as lifecycle:
        chosen = _chosen(fingerprints, codes, accounts)
        named = to_acknowledge(system.name, lifecycle, chosen, everything=everything)
        if not _goes_on(session, system, "ack", named, by_name=bool(fingerprints)):
            return NOTHING
        changed = lifecycle.acknowledge([one.fingerprint for one in named], decided)
    _show(session, {"system": system.name, "decision": "ack", "by": decided.who, "until": None}, named, changed)
    return NOTHING


@mismatches.command(cls=Command)
@_choosing
@until_option("Until when they are accepted; a past day ends that with the next run.")
@decided_options()
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

    From the next run on they count no more, until the day that was given: a legal adjustment, a gift, a balance as it
    was found on the first run. No credits move.
    """
    from credit_pipeline.services.findings.decisions import decided_by, to_accept

    session, system = _of(ctx)
    decided = decided_by(system.name, who, reason)
    with session.history(system) as lifecycle:
        chosen = _chosen(fingerprints, codes, accounts)
        named, unknown = to_accept(system.name, lifecycle, chosen, everything=everything)
        if unknown:
            session.say(f"{system.name}: {_split(unknown)} stay as they are: what could not be told is not accepted")
        if not _goes_on(session, system, "accept", named, by_name=bool(fingerprints)):
            return NOTHING
        changed = lifecycle.accept([one.fingerprint for one in named], decided, until=until)
    end = {
        "until": until.date().isoformat() if until else None,
        "over": until is not None and until < datetime.now(UTC),
    }
    _show(session, {"system": system.name, "decision": "accept", "by": decided.who, **end}, named, changed)
    return NOTHING


def _of(ctx: click.Context) -> tuple[Session, CreditSystem]:
    session = ctx.find_object(Session)
    assert session is not None
    assert ctx.parent is not None
    return session, session.system(ctx.parent.params["system"])


def _chosen(fingerprints: tuple[str, ...], codes: tuple[str, ...], accounts: tuple[str, ...]) -> Chosen:
    from credit_pipeline.services.findings.ports import Chosen

    return Chosen(fingerprints=fingerprints, codes=codes, accounts=accounts)


def _goes_on(
    session: Session, system: CreditSystem, decision: str, named: Sequence[NamedMismatch], *, by_name: bool
) -> bool:
    """Says how many are meant before anything is written; at a terminal the person may still turn back."""
    from credit_pipeline.cli.cells import counted

    if by_name:
        return True
    accounts = len({one.account_id for one in named})
    of = f"{counted(len(named), 'finding')} of {counted(accounts, 'account')} ({_split(named)})"
    session.say(f"{system.name}: {decision} names {of}")
    if sys.stdin.isatty() and sys.stderr.isatty() and not click.confirm("Go on?", err=True):
        session.say("Nothing was changed.")
        return False
    return True


def _split(named: Sequence[NamedMismatch]) -> str:
    codes = Counter(one.code for one in named)
    return ", ".join(f"{count:,} {code}" for code, count in sorted(codes.items()))


def _show(session: Session, decided: dict[str, Any], named: Sequence[NamedMismatch], changed: Sequence[str]) -> None:
    done = set(changed)
    codes = Counter(one.code for one in named if one.fingerprint in done)
    shown = decided | {"changed": len(done), "codes": dict(sorted(codes.items())), "fingerprints": sorted(done)}
    shown["unchanged"] = len(named) - len(done)

    def text() -> list[RenderableType]:
        from credit_pipeline.cli.render_mismatches import render_decided

        return render_decided(shown)

    session.show(shown, text)


def _line(one: KnownMismatch, now: datetime, system: CreditSystem) -> dict[str, Any]:
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
