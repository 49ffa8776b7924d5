"""The health monitor: true sentences about a system, each with how many it is untrue for, a sample and what to do.

The asset checks in the UI and the command `health` say the same, because both are made here. Nothing is repaired.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.codes import CODES, Code, Severity
from credit_pipeline.domain.plans.catalogue import Resolved
from credit_pipeline.services.alerts.ports import Outbox
from credit_pipeline.services.collect.ports import FailedSpend, IdentityStore, Progress
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.check import check
from credit_pipeline.services.report.report import Mismatch

SAMPLE = 10
DELIVERED = "every_alert_is_delivered"
ALL_TOLD = "Every alert reached everybody who is to be told, at the first try and within an hour."
RECENT = timedelta(hours=1)
OF_NOW = frozenset({"no_recent_failed_deductions"})
"""Sentences about a report that need no comparison."""


class Judged(Protocol):
    """What the sentences are judged on: a report, or what is remembered of the last one."""

    @property
    def mismatches(self) -> Sequence[Mismatch]:
        """Every subject that is not in sync."""
        ...

    @property
    def history(self) -> str:
        """`evaluated`, or why it was not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One sentence that should be true. `count` None: this layout, or this run, cannot tell; never to be read as 0."""

    name: str
    sentence: str
    severity: str
    count: int | None
    sample: tuple[str, ...] = ()
    recovery: str = ""

    @property
    def truncated(self) -> bool:
        """Whether the sample leaves some out."""
        return (self.count or 0) > len(self.sample)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """All sentences about one system."""

    system: str
    statements: tuple[Statement, ...]

    @property
    def failing(self) -> tuple[Statement, ...]:
        """The sentences that are untrue."""
        return tuple(statement for statement in self.statements if statement.count)

    @property
    def healthy(self) -> bool:
        """Whether every sentence that could be judged is true."""
        return not self.failing

    def line(self) -> str:
        """The overall line."""
        judged = sum(1 for statement in self.statements if statement.count is not None)
        if self.healthy:
            return f"{self.system}: healthy, {judged} of {len(self.statements)} checks answered and true"
        loudest = min((s.severity for s in self.failing), key=[s.value for s in Severity].index)
        return f"{self.system}: NOT healthy ({loudest}): {len(self.failing)} of {judged} checks fail"

    def as_json(self) -> dict[str, Any]:
        """The JSON object of `health`."""
        checks = [asdict(statement) | {"truncated": statement.truncated} for statement in self.statements]
        return {"system": self.system, "healthy": self.healthy, "summary": self.line(), "checks": checks}


def health(system: CreditSystem, report: Judged, failed: Sequence[FailedSpend] | None) -> Health:
    """Every sentence, judged on one report and the deductions that failed within the last hour (None: not kept)."""
    return Health(
        system=system.name,
        statements=(
            paid_without_grant(system, report),
            on_free_limits(system, report),
            unmapped(system, report),
            failed_deductions(system, failed),
            unexplained_balances(system, report),
            lost_credits(system, report),
        ),
    )


def monitor(
    system: CreditSystem, gateways: Gateways, *, run_id: str, now: datetime, progress: Progress | None = None
) -> tuple[Health, tuple[str, ...]]:
    """Compare both sides now and judge every sentence; also why the answers are not complete, if they are not."""
    report = check(system, gateways, run_id=run_id, now=now, progress=progress)
    store = gateways.store
    failed = store.failed_spends(since(now)) if isinstance(store, IdentityStore) else None
    told = health(system, report, failed)
    if report.refusals:
        told = of_a_part(told)
    statements = (*told.statements, undelivered_alerts(system, gateways.outbox))
    return replace(told, statements=statements), report.refusals


def of_a_part(told: Health) -> Health:
    """The same where source or store were incomplete: what was found is there, that nothing was found says nothing."""
    known = [one if one.count or one.name in OF_NOW else replace(one, count=None) for one in told.statements]
    return replace(told, statements=tuple(known))


def since(now: datetime) -> datetime:
    """From when on a failed deduction is recent."""
    return now - RECENT


def paid_without_grant(system: CreditSystem, report: Judged) -> Statement:
    """`no_paid_account_without_its_grant`."""
    return _about(
        "no_paid_account_without_its_grant",
        "Every account that billing calls paid was granted the credits of its period.",
        Severity.CRITICAL,
        having(report, Code.GRANT_MISSING),
        f"credit-pipeline fix {system.name}: {CODES[Code.GRANT_MISSING].recovery}",
    )


def on_free_limits(system: CreditSystem, report: Judged) -> Statement:
    """`no_paid_account_on_free_limits`."""
    free = system.catalogue.free.name
    held = [
        found
        for found in having(report, Code.PLAN_MISMATCH, Code.SUBSCRIPTION_MISSING_LOCALLY)
        if found.expected.get("plan") not in {None, free} and _is_free(system, found.actual.get("plan"))
    ]
    return _about(
        "no_paid_account_on_free_limits",
        "No account that billing calls paid is held to the free plan's limits by its label.",
        Severity.ERROR,
        held,
        f"credit-pipeline fix {system.name}: the label is proven by billing and is written without an approval",
    )


def unmapped(system: CreditSystem, report: Judged) -> Statement:
    """`every_user_is_mapped`: an error where one of them pays, else a warning."""
    name, sentence = "every_user_is_mapped", "Every user has one store account, and every layer agrees on it."
    recovery = f"credit-pipeline check {system.name}: see its identities; {CODES[Code.ID_UNMAPPED].recovery}"
    if not system.ledger:
        return Statement(name=name, sentence=sentence, severity=Severity.WARNING.value, count=None, recovery=recovery)
    found = having(report, Code.ID_UNMAPPED, Code.ID_CONFLICT, Code.ID_SHARED)
    paying = any(one.expected.get("plan") not in {None, system.catalogue.free.name} for one in found)
    return _about(name, sentence, Severity.ERROR if paying else Severity.WARNING, found, recovery)


def failed_deductions(system: CreditSystem, failed: Sequence[FailedSpend] | None) -> Statement:
    """`no_recent_failed_deductions`."""
    return Statement(
        name="no_recent_failed_deductions",
        sentence="No deduction of credits failed within the last hour.",
        severity=Severity.ERROR.value,
        count=None if failed is None else len(failed),
        sample=tuple(dict.fromkeys(one.account_id for one in failed or ()))[:SAMPLE],
        recovery=f"credit-pipeline account {system.name} ID: the check can_deduct and the timeline tell why",
    )


def unexplained_balances(system: CreditSystem, report: Judged) -> Statement:
    """`ledger_explains_balance`."""
    name, sentence = "ledger_explains_balance", "Every balance is the sum of its transactions and not below zero."
    recovery = f"credit-pipeline check {system.name}: {CODES[Code.BALANCE_LEDGER_MISMATCH].recovery}"
    if not system.ledger:
        return Statement(name=name, sentence=sentence, severity=Severity.ERROR.value, count=None, recovery=recovery)
    codes = (Code.BALANCE_LEDGER_MISMATCH, Code.BALANCE_MISSING, Code.BALANCE_NEGATIVE)
    return _about(name, sentence, Severity.ERROR, having(report, *codes), recovery)


def lost_credits(system: CreditSystem, report: Judged) -> Statement:
    """`no_credits_lost`; not evaluated while there is nothing earlier to compare with."""
    statement = _about(
        "no_credits_lost",
        "No credits vanished between two runs without being spent.",
        Severity.ERROR,
        having(report, Code.UNEXPLAINED_DECREASE, Code.GRANT_LOST),
        f"credit-pipeline check {system.name}: {CODES[Code.UNEXPLAINED_DECREASE].recovery}",
    )
    if statement.count or report.history == "evaluated":
        return statement
    again = f"not evaluated ({report.history}): credit-pipeline init {system.name}, then two complete runs"
    return Statement(
        name=statement.name, sentence=statement.sentence, severity=statement.severity, count=None, recovery=again
    )


def undelivered_alerts(system: CreditSystem, outbox: Outbox | None) -> Statement:
    """`every_alert_is_delivered`; not known where no alerts are kept. The sample is why the newest was not taken."""
    unheard = outbox.unheard() if outbox is not None and outbox.installed() else None
    return Statement(
        name=DELIVERED,
        sentence=ALL_TOLD,
        severity=Severity.ERROR.value,
        count=unheard.late if unheard else None,
        sample=(unheard.last_error,) if unheard and unheard.last_error else (),
        recovery=f"credit-pipeline alerts {system.name} list, correct what it says, then alerts {system.name} send; "
        "they are delivered while the daemon runs",
    )


def having(report: Judged, *codes: Code) -> list[Mismatch]:
    """The mismatches with one of these codes, primary or secondary, that somebody is to act on or wait for."""
    wanted = {code.value for code in codes}
    return [found for found in report.mismatches if wanted & {found.code, *found.secondary}]


def _about(name: str, sentence: str, severity: Severity, broken: Sequence[Mismatch], recovery: str) -> Statement:
    return Statement(
        name=name,
        sentence=sentence,
        severity=severity.value,
        count=len(broken),
        sample=tuple(str(found.account_id or found.billing_id) for found in broken[:SAMPLE]),
        recovery=recovery,
    )


def _is_free(system: CreditSystem, label: str | None) -> bool:
    if label is None:
        return True
    held = system.catalogue.resolve_label(label)
    return isinstance(held, Resolved) and held.plan.free
