"""The checks: true sentences about a system. One that fails says how many, names a few, and says what to do.

They show, and stop nothing: a correction asks its guards itself, because anybody may run it without its checks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from credit_pipeline.domain.codes import CODES, Code
from credit_pipeline.domain.plans import Resolved
from credit_pipeline.services.report import Mismatch, Report
from credit_pipeline.services.system import CreditSystem

SAMPLE = 10
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def checks_of(system: CreditSystem) -> list[dg.AssetChecksDefinition]:
    """The checks of one system."""
    return [
        _on_report(
            system,
            "no_paid_account_without_its_grant",
            "Every account that billing calls paid was granted the credits of its period.",
            lambda report: _with(report, Code.GRANT_MISSING),
            f"credit-pipeline fix {system.name}: {CODES[Code.GRANT_MISSING].recovery}",
        ),
        _on_report(
            system,
            "no_paid_account_on_free_limits",
            "No account that billing calls paid is held to the free plan's limits by its label.",
            lambda report: _on_free_limits(system, report),
            f"credit-pipeline fix {system.name}: the label is proven by billing and is written without an approval",
        ),
        _no_credits_lost(system),
        _counts_add_up(system),
        _plan_within_limits(system),
    ]


def _on_report(
    system: CreditSystem,
    name: str,
    sentence: str,
    broken: Callable[[Report], Sequence[Mismatch]],
    recovery: str,
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=[system.name, "mismatch_report"], name=name, description=sentence)
    def check(report: Report) -> dg.AssetCheckResult:
        return judged(sentence, broken(report), recovery)

    return check


def _no_credits_lost(system: CreditSystem) -> dg.AssetChecksDefinition:
    sentence = "No credits vanished between two runs without being spent."
    recovery = f"credit-pipeline check {system.name}: {CODES[Code.UNEXPLAINED_DECREASE].recovery}"

    @dg.asset_check(asset=[system.name, "mismatch_report"], name="no_credits_lost", description=sentence)
    def no_credits_lost(report: Report) -> dg.AssetCheckResult:
        lost = _with(report, Code.UNEXPLAINED_DECREASE, Code.GRANT_LOST)
        if lost or report.history == "evaluated":
            return judged(sentence, lost, recovery)
        # Not known is not green: there is no earlier observation to compare with.
        return dg.AssetCheckResult(
            passed=False,
            severity=WARN,
            description=f"Not evaluated: {report.history}, so there is nothing to compare with yet.",
            metadata={"history": report.history, "recovery": f"credit-pipeline init {system.name}, then two runs"},
        )

    return no_credits_lost


def _counts_add_up(system: CreditSystem) -> dg.AssetChecksDefinition:
    sentence = "In sync, exempt and the classes add up to the population, and each mismatch is counted once."

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
        shown = {"plan_id": plan["plan_id"] or "none", "state": plan["state"] or "none", "mode": plan["mode"]}
        if not failures:
            return dg.AssetCheckResult(passed=True, description=sentence, metadata=shown)
        return dg.AssetCheckResult(
            passed=False,
            severity=ERROR if plan["mode"] == "live" else WARN,  # a dry run was not refused, it would be
            description=" ".join(f"{failure[:1].upper()}{failure[1:]}." for failure in failures),
            metadata=shown
            | {
                "count": len(failures),
                "failures": dg.MetadataValue.json(failures[:SAMPLE]),
                "truncated": len(failures) > SAMPLE,
                "recovery": f"credit-pipeline plans {system.name}, review the plan, then what its sentences say",
            },
        )

    return plan_within_limits


def judged(sentence: str, broken: Sequence[Mismatch], recovery: str) -> dg.AssetCheckResult:
    """Green with the sentence, or red with count, sample and recovery."""
    if not broken:
        return dg.AssetCheckResult(passed=True, description=sentence, metadata={"count": 0})
    return dg.AssetCheckResult(
        passed=False,
        severity=ERROR,
        description=f"Untrue for {len(broken):,} accounts: {sentence}",
        metadata={
            "count": len(broken),
            "sample": dg.MetadataValue.json([found.account_id for found in broken[:SAMPLE]]),
            "truncated": len(broken) > SAMPLE,
            "recovery": recovery,
        },
    )


def _with(report: Report, *codes: Code) -> list[Mismatch]:
    wanted = {code.value for code in codes}
    return [found for found in report.mismatches if wanted & {found.code, *found.secondary}]


def _on_free_limits(system: CreditSystem, report: Report) -> list[Mismatch]:
    free = system.catalogue.free
    return [
        found
        for found in _with(report, Code.PLAN_MISMATCH)
        if found.expected["plan"] not in {None, free.name} and _is_free(system, found.actual["plan"])
    ]


def _is_free(system: CreditSystem, label: str | None) -> bool:
    held = system.catalogue.resolve_label(label)
    return isinstance(held, Resolved) and held.plan.free
