"""The health checks between two comparisons: the findings of the last complete one, less what was corrected since.

Billing is not asked. An hourly pull would cost six times as much as the comparisons, and a fresh store held against an
old pull would call every recent purchase a mismatch. The database itself shows what changes within hours: failed
deductions, corrections, and a comparison that did not take place.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.codes import Severity
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.ports import FailedSpend
from credit_pipeline.services.health.health import health
from credit_pipeline.services.health.statement import OF_NOW, Health, Statement
from credit_pipeline.services.reconcile.ports import MemoryStore

COMPARED = "both_sides_were_compared_lately"
_LOUDEST = [severity.value for severity in Severity]
AHEAD = timedelta(hours=1)
"""How far two machines' clocks may differ. A comparison dated later than this counts as absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """The findings that are open since the last complete comparison."""

    mismatches: tuple[Mismatch, ...]
    history: str
    """`evaluated` from the second comparison on; a loss needs two."""


def remembered(memory: MemoryStore, now: datetime, aged_after: timedelta) -> Remembered | None:
    """One mismatch per account, its most severe code first; None if there never was a complete comparison."""
    collections = memory.collections(datetime.min.replace(tzinfo=UTC), 2) if memory.installed() else ()
    if not collections:
        return None
    accounts: defaultdict[AccountId | None, list[Mismatch]] = defaultdict(list)
    for found in memory.waiting(now):
        accounts[found.account_id].append(found)
    return Remembered(
        mismatches=tuple(_mismatch(found, now, aged_after) for found in accounts.values()),
        history="evaluated" if len(collections) > 1 else "first_run",
    )


def compared_lately(system: CreditSystem, last: datetime | None, now: datetime) -> Statement:
    """`both_sides_were_compared_lately`: a system that is not compared is not healthy.

    The limit is the policy's `max_gap`, after which history can prove no loss and no missing grant.
    """
    limit = system.policy.max_gap
    hours = limit / timedelta(hours=1)
    late = last is None or not -AHEAD <= now - last <= limit
    return Statement(
        name=COMPARED,
        healthy=f"Both sides were compared completely within the last {hours:g} hours.",
        failure=f"No complete comparison of both sides within the last {hours:g} hours.",
        severity=Severity.ERROR.value,
        count=int(late),
        sample=(f"{last:%Y-%m-%d %H:%M} UTC" if last else "never",) if late else (),
        recovery=(
            f"see the last runs of {system.name}_reconcile and whether the Dagster daemon runs, then "
            f"credit-pipeline check {system.name}"
        ),
    )


def between_comparisons(
    system: CreditSystem, memory: MemoryStore, failed: Sequence[FailedSpend] | None, now: datetime
) -> Health:
    """Every check, on what is remembered. Without a complete comparison, most of them are null."""
    known = remembered(memory, now, system.policy.aged_after)
    judged = health(system, known or Remembered(mismatches=(), history="first_run"), failed)
    return judged if known else _never_compared(judged)


def _never_compared(judged: Health) -> Health:
    """The same with null for each check that needs a comparison."""
    known = (one if one.name in OF_NOW else replace(one, count=None, sample=()) for one in judged.statements)
    return replace(judged, statements=tuple(known))


def _mismatch(found: Sequence[Mismatch], now: datetime, aged_after: timedelta) -> Mismatch:
    first, *others = sorted(found, key=lambda one: _LOUDEST.index(one.severity))
    return replace(
        first,
        secondary=tuple(one.code for one in others),
        first_seen=min(one.first_seen for one in found),
        aged=any(now - one.opened_at >= aged_after for one in found),
    )
