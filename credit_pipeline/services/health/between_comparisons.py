"""The health monitor between two comparisons: what the last complete one left behind, less what was corrected since.

Billing is not asked. A whole pull every hour would cost six times the comparisons' own, and a fresh look at the store
held against an old pull would call everybody who has bought something since a mismatch. What changes within hours is
told by the database: failed deductions, corrections, and that no comparison came.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.codes import Severity
from credit_pipeline.services.collect.ports import FailedSpend
from credit_pipeline.services.health.health import OF_NOW, Health, Statement, health
from credit_pipeline.services.reconcile.ports import MemoryStore, WaitingFinding
from credit_pipeline.services.report.report import Mismatch

COMPARED = "both_sides_were_compared_lately"
_LOUDEST = [severity.value for severity in Severity]
AHEAD = timedelta(hours=1)
"""What two machines' clocks may differ by; a comparison of the future was dated by a wrong one, and is none of late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What waits since the last complete comparison."""

    mismatches: tuple[Mismatch, ...]
    history: str
    """`evaluated` from the second comparison on: a loss takes two."""


def remembered(memory: MemoryStore, now: datetime, aged_after: timedelta) -> Remembered | None:
    """One mismatch an account, the loudest code first; None where there never was a complete comparison."""
    looks = memory.collections(datetime.min.replace(tzinfo=UTC), 2) if memory.installed() else ()
    if not looks:
        return None
    accounts: defaultdict[str, list[WaitingFinding]] = defaultdict(list)
    for found in memory.waiting(now):
        accounts[found.account_id].append(found)
    return Remembered(
        mismatches=tuple(_mismatch(found, now, aged_after) for found in accounts.values()),
        history="evaluated" if len(looks) > 1 else "first_run",
    )


def compared_lately(system: CreditSystem, last: datetime | None, now: datetime) -> Statement:
    """`both_sides_were_compared_lately`: silence of the comparisons is never taken for health.

    The limit is the policy's `max_gap`: after it no loss and no missing grant can be proven by history any more.
    """
    limit = system.policy.max_gap
    hours = limit / timedelta(hours=1)
    late = last is None or not -AHEAD <= now - last <= limit
    return Statement(
        name=COMPARED,
        sentence=f"Both sides were compared completely within the last {hours:g} hours.",
        severity=Severity.ERROR.value,
        count=int(late),
        sample=(f"{last:%Y-%m-%d %H:%M} UTC" if last else "never",) if late else (),
        recovery=(
            f"see the last runs of {system.name}_reconcile and whether the Dagster daemon runs, then "
            f"credit-pipeline check {system.name}"
        ),
    )


def unjudged(told: Health) -> Health:
    """The same sentences where nothing was ever compared: what needs a comparison cannot be told."""
    return replace(
        told,
        statements=tuple(one if one.name in OF_NOW else replace(one, count=None, sample=()) for one in told.statements),
    )


def between_comparisons(
    system: CreditSystem, memory: MemoryStore, failed: Sequence[FailedSpend] | None, now: datetime
) -> Health:
    """Every sentence by what is remembered; without a complete comparison most of them are null, never true."""
    known = remembered(memory, now, system.policy.aged_after)
    told = health(system, known or Remembered(mismatches=(), history="first_run"), failed)
    return told if known else unjudged(told)


def _mismatch(found: Sequence[WaitingFinding], now: datetime, aged_after: timedelta) -> Mismatch:
    ordered = sorted(found, key=lambda one: _LOUDEST.index(one.severity))
    first = ordered[0]
    return Mismatch(
        fingerprint=first.fingerprint,
        account_id=first.account_id,
        billing_id=first.billing_id,
        code=first.code,
        secondary=tuple(one.code for one in ordered[1:]),
        severity=first.severity,
        lane=first.lane,
        expected={"plan": first.billed_plan},
        actual={"plan": first.stored_plan},
        delta=None,
        evidence={},
        first_seen=min(one.first_seen for one in found).isoformat(),
        aged=any(now - one.opened_at >= aged_after for one in found),
    )
