"""Alerts: their text, and their delivery from the outbox to every sink.

Texts are made of counts, codes, our own words and the next command. Whatever else an alert carries is left out, so no
message can name a customer.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.codes import Code, Severity
from credit_pipeline.services.alerts.ports import Alert, AlertKind, DeliveryFailed, Message, Outbox, Sink

SHOWN = 5
"""Plans or jobs named in one message; the command shows all."""

_CODES = [code.value for code in Code]
_SEVERITIES = [severity.value for severity in Severity]
_WORD = re.compile(r"(?:[A-Za-z]{1,20}(?:'s)?|automation\.apply)[,;.]?")
_AMOUNT = r"(?:\d{1,6}|\d{1,3}(?:,\d{3})+)(?:\.\d)?"
_NUMBER = re.compile(rf"\(?{_AMOUNT}(?:/{_AMOUNT})?%?\)?[,;.]?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What one look at the outbox came to."""

    aged: int = 0
    """Findings that people are told of because they wait too long."""
    claimed: int = 0
    messages: int = 0
    """Messages that a sink took."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Sink → why it did not take one."""


def compose(system: str, kind: AlertKind, alerts: Sequence[Alert]) -> Message:
    """One message about all of these, which are of one kind: counts, the limit where there is one, the next command."""
    title, lines, command = _TEXTS[kind](system, alerts)
    return Message(title=f"{system}: {title}", lines=(*lines, f"next: credit-pipeline {command}"))


def a_test(system: str) -> Message:
    """What is sent to see whether it arrives."""
    return Message(title=f"{system}: this is a test of its alerts", lines=("Nothing is wrong.",))


def drain(
    system: CreditSystem,
    outbox: Outbox,
    sinks: Sequence[Sink],
    *,
    by: str,
    everything: bool = False,
    now: datetime | None = None,
) -> Drained:
    """Has people told of what waits too long, then hands what is due to each sink that does not have it.

    That no comparison comes any more is told as well.

    A sink that is down is not asked again in the same look, and keeps nothing from the others. Raises StoreError where
    the outbox cannot be read or written; what was handed over and could not be noted is handed over again.
    """
    aged = outbox.age(system.policy.aged_after, now)
    outbox.silent(system.policy.max_gap, now)
    alerts = outbox.claim(by, everything=everything, now=now)
    names = [sink.name for sink in sinks]
    failures: dict[str, str] = {}
    down: set[str] = set()
    messages = 0
    for kind in AlertKind:
        group = [alert for alert in alerts if alert.kind is kind]
        refused: dict[str, str] = {}
        for sink in sinks:
            lacking = [alert for alert in group if sink.name not in alert.delivered]
            if not lacking:
                continue
            failed = None if sink.name in down else _sent(sink, compose(system.name, kind, lacking))
            if sink.name not in down and (failed is None or failed.partly):
                outbox.delivered(lacking, sink.name)
                messages += 1
                failures |= {sink.name: str(failed)} if failed else {}
                continue
            if failed is not None:
                failures[sink.name] = str(failed)
                down |= {sink.name} if failed.down else set()
            refused[sink.name] = failures[sink.name]
        if group:
            outbox.settle(group, names, refused, now)
    return Drained(aged=aged, claimed=len(alerts), messages=messages, failures=failures)


def try_sinks(system: str, sinks: Sequence[Sink]) -> dict[str, str | None]:
    """Sends a test message through every sink: its name → why it failed, None where it did not."""
    tried = {sink.name: _sent(sink, a_test(system)) for sink in sinks}
    return {name: None if failed is None else str(failed) for name, failed in tried.items()}


def _sent(sink: Sink, message: Message) -> DeliveryFailed | None:
    try:
        sink.send(message)
    except DeliveryFailed as failed:
        return failed
    except Exception as error:  # a fault of one sink must not keep alerts from the others
        return DeliveryFailed(f"{sink.name}: failed unexpectedly ({type(error).__name__}): report it", down=True)
    return None


Text = tuple[str, list[str], str]
"""Title, lines, next command."""


def _findings(system: str, alerts: Sequence[Alert]) -> Text:
    how = _summed(alerts, "how", ["new", "reopened", "changed"])
    lost = sum(_number(alert.content.get("lost")) for alert in alerts)
    vanished = [f"{lost:,} credits vanished without being spent"] if lost else []
    title = f"{_counted(sum(how.values()), 'finding')} to act on: {_listed(how)}"
    return title, [*_classes(alerts), *vanished], f"mismatches {system} list"


def _aged(system: str, alerts: Sequence[Alert]) -> Text:
    count = sum(_summed(alerts, "codes", _CODES).values())
    hours = max((_number(alert.content.get("hours")) for alert in alerts), default=0)
    return f"{_counted(count, 'finding')} open for more than {hours:,} h", _classes(alerts), f"mismatches {system} list"


def _quarantined(system: str, alerts: Sequence[Alert]) -> Text:
    title = f"{_counted(len(alerts), 'correction plan')} quarantined, nothing of it was written"
    return title, list(_few([_plan(system, alert) for alert in reversed(alerts)])), f"plans {system}"


def _plan(system: str, alert: Alert) -> str:
    named = alert.subject if re.fullmatch(rf"{re.escape(system)}-[0-9a-f]{{8}}", alert.subject) else "a plan"
    rows, credits_ = _number(alert.content.get("rows")), _number(alert.content.get("credits"))
    failures = alert.content.get("failures")
    said = "; ".join(_said(one) for one in failures) if isinstance(failures, list) else ""
    return f"{named}, {_counted(rows, 'row')}, {credits_:,} credits" + (f": {said}" if said else "")


def _dead(system: str, alerts: Sequence[Alert]) -> Text:
    return f"{_counted(len(alerts), 'failed webhook')} given up", [], f"webhooks {system} list --state dead"


def _runs(system: str, alerts: Sequence[Alert]) -> Text:
    jobs = Counter(str(alert.content.get("job")) for alert in alerts)
    named = re.compile(rf"{re.escape(system)}_[a-z_]{{1,40}}")
    lines = [f"{job if named.fullmatch(job) else 'another job'} {count:,}" for job, count in sorted(jobs.items())]
    return f"{_counted(len(alerts), 'run')} failed", list(_few(lines)), "ui, then Runs"


def _silent(system: str, alerts: Sequence[Alert]) -> Text:
    hours = max((_number(alert.content.get("hours")) for alert in alerts), default=0)
    lines = ["nobody looks for what is wrong: see the last runs and whether the daemon runs"]
    return f"no complete comparison for more than {hours:,} h", lines, f"check {system}"


_TEXTS = {
    AlertKind.FINDINGS: _findings,
    AlertKind.AGED: _aged,
    AlertKind.PLAN_QUARANTINED: _quarantined,
    AlertKind.WEBHOOK_DEAD: _dead,
    AlertKind.RUN_FAILED: _runs,
    AlertKind.NOT_COMPARED: _silent,
}


def _classes(alerts: Sequence[Alert]) -> list[str]:
    """How loud, then what."""
    counted = (_summed(alerts, "severities", _SEVERITIES), _summed(alerts, "codes", _CODES))
    return [_listed(counts) for counts in counted if counts]


def _summed(alerts: Sequence[Alert], key: str, known: Sequence[str]) -> dict[str, int]:
    """Counts of all alerts together, in the order of the known words; any other word is `other`."""
    total: Counter[str] = Counter()
    for alert in alerts:
        counts = alert.content.get(key)
        for word, count in counts.items() if isinstance(counts, Mapping) else ():
            total[word if word in known else "other"] += _number(count)
    return {word: total[word] for word in (*known, "other") if total[word]}


def _said(sentence: Any) -> str:
    """A guard's refusal up to its remedy. What is neither a word nor a number of the kind it uses is left out."""
    said, _, _ = str(sentence).partition(": ")
    return " ".join(one if _WORD.fullmatch(one) or _NUMBER.fullmatch(one) else "…" for one in said.split()[:30])


def _few(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"and {len(lines) - SHOWN:,} more"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in counts.items())


def _number(value: Any) -> int:
    """A whole number; 0 for anything else, as somebody may have edited the row."""
    return int(value) if isinstance(value, int | float) and abs(value) < 10**15 else 0


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
