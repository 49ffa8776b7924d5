"""The asset checks of a system. A failing check shows the count, a sample and what to do.

Checks block nothing: an apply runs its guards itself, because it may be run without its checks.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.orchestration.metadata import PREVIEW
from credit_pipeline.services.health.health import (
    lost_credits,
    on_free_limits,
    paid_without_grant,
    unexplained_balances,
    unmapped,
)
from credit_pipeline.services.health.statement import (
    EVERY_USER,
    FAILED_DEDUCTIONS,
    LEDGER_EXPLAINS,
    LOST_CREDITS,
    NO_FAILED_DEDUCTION,
    ON_FREE_LIMITS,
    PAID_WITHOUT_GRANT,
    Statement,
)
from credit_pipeline.services.report.report import Report

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
Judge = Callable[[CreditSystem, Report], Statement]


def checks_of(system: CreditSystem) -> list[dg.AssetChecksDefinition]:
    """The checks of one system."""
    judged = [
        _on_report(system, "no_paid_account_without_its_grant", PAID_WITHOUT_GRANT, paid_without_grant),
        _on_report(system, "no_paid_account_on_free_limits", ON_FREE_LIMITS, on_free_limits),
        _on_report(system, "no_credits_lost", LOST_CREDITS, lost_credits),
    ]
    if system.ledger:
        judged += [
            _on_report(system, "every_user_is_mapped", EVERY_USER, unmapped),
            _on_report(system, "ledger_explains_balance", LEDGER_EXPLAINS, unexplained_balances),
            _no_recent_failed_deductions(system),
        ]
    return [*judged, _counts_add_up(system), _plan_within_limits(system)]


def _on_report(system: CreditSystem, name: str, sentence: str, judge: Judge) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=[system.name, "mismatch_report"], name=name, description=sentence)
    def check(report: Report) -> dg.AssetCheckResult:
        return shown(judge(system, report))

    return check


def _no_recent_failed_deductions(system: CreditSystem) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=[system.name, "health_report"], name=FAILED_DEDUCTIONS, description=NO_FAILED_DEDUCTION)
    def no_recent_failed_deductions(report: dict[str, Any]) -> dg.AssetCheckResult:
        found = next(check for check in report["checks"] if check["name"] == FAILED_DEDUCTIONS)
        fields = {name: found[name] for name in ("name", "severity", "count", "recovery")}
        sentences = {"healthy": NO_FAILED_DEDUCTION, "failure": found["sentence"]}
        return shown(Statement(**fields, **sentences, sample=tuple(found["sample"])))

    return no_recent_failed_deductions


def _counts_add_up(system: CreditSystem) -> dg.AssetChecksDefinition:
    sentence = "In sync, exempt and mismatched subjects add up to the population, and each mismatch is counted once."

    @dg.asset_check(asset=[system.name, "mismatch_report"], name="counts_add_up", description=sentence)
    def counts_add_up(report: Report) -> dg.AssetCheckResult:
        classes = sum(report.classes.values())
        counted = report.in_sync + report.exempt + classes
        passed = counted == report.population and classes == len(report.mismatches)
        counts = {
            "population": report.population,
            "in_sync": report.in_sync,
            "exempt": report.exempt,
            "in_classes": classes,
            "mismatches": len(report.mismatches),
        }
        if passed:
            return dg.AssetCheckResult(passed=True, description=sentence, metadata=counts)
        return dg.AssetCheckResult(
            passed=False,
            description=f"{counted:,} of {report.population:,} subjects counted, {len(report.mismatches):,} listed.",
            metadata=counts | {"recovery": "a fault of this program: keep the run's record and report it"},
        )

    return counts_add_up


def _plan_within_limits(system: CreditSystem) -> dg.AssetChecksDefinition:
    sentence = "The guards let the correction plan pass."

    @dg.asset_check(asset=[system.name, "applied_corrections"], name="plan_within_limits", description=sentence)
    def plan_within_limits(plan: dict[str, Any]) -> dg.AssetCheckResult:
        failures = list(plan["failures"])
        facts = {"plan_id": plan["plan_id"] or "none", "state": plan["state"] or "none", "mode": plan["mode"]}
        if not failures:
            return dg.AssetCheckResult(passed=True, description=sentence, metadata=facts)
        return dg.AssetCheckResult(
            passed=False,
            severity=ERROR if plan["mode"] == "live" else WARN,  # a dry run was not refused, it would be
            description=" ".join(f"{failure[:1].upper()}{failure[1:]}." for failure in failures),
            metadata=facts
            | {
                "count": len(failures),
                "failures": dg.MetadataValue.json(failures[:PREVIEW]),
                "truncated": len(failures) > PREVIEW,
                "recovery": f"credit-pipeline plans {system.name}, review the plan, then what its sentences say",
            },
        )

    return plan_within_limits


def shown(statement: Statement) -> dg.AssetCheckResult:
    """Passed, or failed with count, sample and recovery. A check that cannot tell does not pass."""
    if statement.count is None:
        return dg.AssetCheckResult(
            passed=False,
            severity=WARN,
            description="Not evaluated: there is nothing to compare with.",
            metadata={"recovery": statement.recovery},
        )
    if not statement.count:
        return dg.AssetCheckResult(passed=True, description=statement.sentence, metadata={"count": 0})
    return dg.AssetCheckResult(
        passed=False,
        severity=WARN if statement.severity in {"warning", "info"} else ERROR,
        description=statement.sentence,
        metadata={
            "count": statement.count,
            "sample": dg.MetadataValue.json(list(statement.sample)),
            "truncated": statement.truncated,
            "recovery": statement.recovery,
        },
    )
