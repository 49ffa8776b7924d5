"""The health checks of a system: each says what is wrong and for how many, with a sample and what to do.

The asset checks and the command `health` show the same sentences. Nothing is repaired here.
"""

from collections.abc import Sequence, Sized
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.codes import CODES, Code, Severity
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import Resolved
from credit_pipeline.services.alerts.ports import Outbox
from credit_pipeline.services.collect.ports import FailedSpend, IdentityStore, Progress
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.health.statement import (
    ALERTS_DELIVERED,
    DELIVERED,
    EVERY_USER,
    FAILED_DEDUCTIONS,
    LEDGER_EXPLAINS,
    LOST_CREDITS,
    NO_FAILED_DEDUCTION,
    OF_NOW,
    ON_FREE_LIMITS,
    PAID_WITHOUT_GRANT,
    Health,
    Statement,
)
from credit_pipeline.services.reconcile.check import check

SAMPLE = 10
RECENT = timedelta(hours=1)


class Judged(Protocol):
    """What the checks judge: a report, or what is remembered of the last one."""

    @property
    def mismatches(self) -> Sequence[Mismatch]:
        """Every subject that is not in sync."""
        ...

    @property
    def history(self) -> str:
        """`evaluated`, or why it was not."""
        ...


def health(system: CreditSystem, report: Judged, failed: Sequence[FailedSpend] | None) -> Health:
    """Every check, on one report and the deductions that failed within the last hour (None: the store keeps none)."""
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
    """Compares both sides now and runs every check. Also returns why the answers are incomplete, if they are."""
    report = check(system, gateways, run_id=run_id, now=now, progress=progress)
    store = gateways.store
    failed = store.failed_spends(since(now)) if isinstance(store, IdentityStore) else None
    judged = health(system, report, failed)
    if report.refusals:
        judged = of_incomplete(judged)
    statements = (*judged.statements, undelivered_alerts(system, gateways.outbox))
    return replace(judged, statements=statements), report.refusals


def of_incomplete(judged: Health) -> Health:
    """The same for incomplete answers: a check that found something fails, one that found nothing cannot tell."""
    known = [one if one.count or one.name in OF_NOW else replace(one, count=None) for one in judged.statements]
    return replace(judged, statements=tuple(known))


def since(now: datetime) -> datetime:
    """The time from which a failed deduction is recent."""
    return now - RECENT


def paid_without_grant(system: CreditSystem, report: Judged) -> Statement:
    """`no_paid_account_without_its_grant`."""
    found = having(report, Code.GRANT_MISSING)
    paid = _counted(found, "paid account was", "paid accounts were")
    return _about(
        "no_paid_account_without_its_grant",
        PAID_WITHOUT_GRANT,
        f"{paid} not granted the credits of the period.",
        Severity.CRITICAL,
        found,
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
        ON_FREE_LIMITS,
        f"{_counted(held, 'paid account has', 'paid accounts have')} the free plan's limits by label.",
        Severity.ERROR,
        held,
        f"credit-pipeline fix {system.name}: billing proves the label, which is written without an approval",
    )


def unmapped(system: CreditSystem, report: Judged) -> Statement:
    """`every_user_is_mapped`: an error if one of them pays, else a warning. A counter cannot tell."""
    found = having(report, Code.ID_UNMAPPED, Code.ID_CONFLICT, Code.ID_SHARED)
    paying = system.ledger and any(one.expected.get("plan") not in {None, system.catalogue.free.name} for one in found)
    return _of_ledger(
        system,
        _about(
            "every_user_is_mapped",
            EVERY_USER,
            f"{_counted(found, 'user has', 'users have')} no store account, several, or one that layers disagree on.",
            Severity.ERROR if paying else Severity.WARNING,
            found,
            f"credit-pipeline check {system.name}: see its identities; {CODES[Code.ID_UNMAPPED].recovery}",
        ),
    )


def failed_deductions(system: CreditSystem, failed: Sequence[FailedSpend] | None) -> Statement:
    """`no_recent_failed_deductions`."""
    return Statement(
        name=FAILED_DEDUCTIONS,
        healthy=NO_FAILED_DEDUCTION,
        failure=f"{_counted(failed or (), 'deduction', 'deductions')} of credits failed within the last hour.",
        severity=Severity.ERROR.value,
        count=None if failed is None else len(failed),
        sample=tuple(dict.fromkeys(one.account_id for one in failed or ()))[:SAMPLE],
        recovery=f"credit-pipeline account {system.name} ID: the check can_deduct and the timeline show why",
    )


def unexplained_balances(system: CreditSystem, report: Judged) -> Statement:
    """`ledger_explains_balance`. A counter cannot tell."""
    codes = (Code.BALANCE_LEDGER_MISMATCH, Code.BALANCE_MISSING, Code.BALANCE_NEGATIVE)
    found = having(report, *codes)
    balances = _counted(
        found,
        "balance is missing, negative or differs from the sum of its",
        "balances are missing, negative or differ from the sum of their",
    )
    return _of_ledger(
        system,
        _about(
            "ledger_explains_balance",
            LEDGER_EXPLAINS,
            f"{balances} transactions.",
            Severity.ERROR,
            found,
            f"credit-pipeline check {system.name}: {CODES[Code.BALANCE_LEDGER_MISMATCH].recovery}",
        ),
    )


def lost_credits(system: CreditSystem, report: Judged) -> Statement:
    """`no_credits_lost`; not evaluated without an earlier run to compare with."""
    found = having(report, Code.UNEXPLAINED_DECREASE, Code.GRANT_LOST)
    statement = _about(
        "no_credits_lost",
        LOST_CREDITS,
        f"{_counted(found, 'account', 'accounts')} lost credits without spending them.",
        Severity.ERROR,
        found,
        f"credit-pipeline check {system.name}: {CODES[Code.UNEXPLAINED_DECREASE].recovery}",
    )
    if statement.count or report.history == "evaluated":
        return statement
    again = f"not evaluated ({report.history}): credit-pipeline init {system.name}, then two complete runs"
    return replace(statement, count=None, recovery=again)


def undelivered_alerts(system: CreditSystem, outbox: Outbox | None) -> Statement:
    """`every_alert_is_delivered`; not known if no alerts are kept. The sample is the newest sink error."""
    unheard = outbox.unheard() if outbox is not None and outbox.installed() else None
    late = unheard.late if unheard else 0
    return Statement(
        name=DELIVERED,
        healthy=ALERTS_DELIVERED,
        failure=f"{late:,} {'alert has' if late == 1 else 'alerts have'} failed a delivery or waited over an hour.",
        severity=Severity.ERROR.value,
        count=unheard.late if unheard else None,
        sample=(unheard.last_error,) if unheard and unheard.last_error else (),
        recovery=f"credit-pipeline alerts {system.name} list, correct what it says, then alerts {system.name} send; "
        "they are delivered while the daemon runs",
    )


def having(report: Judged, *codes: Code) -> list[Mismatch]:
    """The mismatches with one of these codes, primary or secondary."""
    wanted = {code.value for code in codes}
    return [found for found in report.mismatches if wanted & {found.code, *found.secondary}]


def _about(
    name: str, healthy: str, failure: str, severity: Severity, broken: Sequence[Mismatch], recovery: str
) -> Statement:
    return Statement(
        name=name,
        healthy=healthy,
        failure=failure,
        severity=severity.value,
        count=len(broken),
        sample=tuple(str(found.account_id or found.billing_id) for found in broken[:SAMPLE]),
        recovery=recovery,
    )


def _of_ledger(system: CreditSystem, statement: Statement) -> Statement:
    return statement if system.ledger else replace(statement, count=None, sample=())


def _counted(found: Sized, one: str, many: str) -> str:
    return f"{len(found):,} {one if len(found) == 1 else many}"


def _is_free(system: CreditSystem, label: str | None) -> bool:
    if label is None:
        return True
    held = system.catalogue.resolve_label(label)
    return isinstance(held, Resolved) and held.plan.free
