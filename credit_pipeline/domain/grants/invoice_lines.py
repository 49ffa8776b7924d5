"""A subscription's invoice lines in order: what was billed from when to when, and which plan it was in between.

Facts in another order, no judgement.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.domain.subjects.account import Billing


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a stretch on one plan, [start, end), and the line that billed the plan."""

    start: datetime
    end: datetime
    plan: Plan
    line: InvoiceLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One billed term, or what was left of it when the next one began early: [line.period.start, end)."""

    line: InvoiceLine
    end: datetime
    segments: tuple[Segment, ...]
    upgraded_to: Plan | None = None
    """The higher plan that the next term begins with; it may have come earlier, without an invoice of its own."""


_TRUST = (InvoiceStatus.PAID, InvoiceStatus.REFUNDED, InvoiceStatus.OPEN)


def stretches(billing: Billing) -> tuple[Stretch, ...]:
    """The subscription's terms, oldest first. Void lines and lines of unknown or free plans say nothing."""
    lines = [
        line
        for line in billing.invoices
        if line.subscription_id == billing.subscription_id
        and line.plan is not None
        and line.plan.credits > 0
        and not line.plan.free
        and line.status in _TRUST
    ]
    terms = [line for line in lines if not line.change]
    loose = (line for line in lines if line.change and not any(_within(line.period.start, term) for term in terms))
    ordered = _best_by_start([*terms, *loose])
    changes = [line for line in lines if line.change and line not in ordered]
    result = []
    for index, line in enumerate(ordered):
        following = ordered[index + 1] if index + 1 < len(ordered) else None
        end = min(line.period.end, following.period.start) if following else line.period.end
        segments = _segments(line, end, changes)
        last = segments[-1].plan
        higher = following.plan if following and following.period.start == line.period.end else None
        result.append(
            Stretch(
                line=line,
                end=end,
                segments=segments,
                upgraded_to=higher if higher is not None and higher.rank > last.rank else None,
            )
        )
    return tuple(result)


def covering(lines: Sequence[Stretch], instant: datetime) -> InvoiceLine | None:
    """The line that billed the plan the subscription was on at `instant`, if one did."""
    for stretch in reversed(lines):
        for segment in reversed(stretch.segments):
            if segment.start <= instant < segment.end:
                return segment.line
    return None


def _segments(line: InvoiceLine, end: datetime, changes: Iterable[InvoiceLine]) -> tuple[Segment, ...]:
    """The plans of a term. A change is billed by two lines of one start: the old plan's gives its rest back."""
    inside = sorted((c for c in changes if line.period.start < c.period.start < end), key=lambda c: c.period.start)
    marks: list[tuple[datetime, InvoiceLine]] = [(line.period.start, line)]
    for start, together in groupby(inside, key=lambda change: change.period.start):
        other = [change for change in together if change.plan != marks[-1][1].plan]
        if other:
            marks.append((start, max(other, key=_rank)))
    ends = [start for start, _ in marks[1:]] + [end]
    return tuple(
        Segment(start=start, end=until, plan=one.plan, line=one)
        for (start, one), until in zip(marks, ends, strict=True)
        if one.plan is not None
    )


def _best_by_start(lines: Iterable[InvoiceLine]) -> list[InvoiceLine]:
    """One line a start: an invoice that was paid speaks louder than one that was not."""
    ordered = sorted(lines, key=lambda line: (line.period.start, -_TRUST.index(line.status), _rank(line)))
    return [list(same)[-1] for _, same in groupby(ordered, key=lambda line: line.period.start)]


def _within(instant: datetime, line: InvoiceLine) -> bool:
    return line.period.start <= instant < line.period.end


def _rank(line: InvoiceLine) -> int:
    return line.plan.rank if line.plan else -1
