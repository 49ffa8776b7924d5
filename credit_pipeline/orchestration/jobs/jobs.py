"""The jobs (verbs), and the one place in the launchpad where a run is told what it may do.

When they start by themselves stands in `schedules.py`; those about single accounts are in `account_jobs.py`.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.orchestration.jobs.run_limits import RunLimits
from credit_pipeline.orchestration.jobs.terminal import SILENCE

ONE_AT_A_TIME = "credit_pipeline/reconcile"
"""A tag whose value is the system; dagster.yaml allows one run per value."""


class ReconcileConfig(dg.Config):
    """What a reconciliation may do. The defaults write nothing to the product's tables."""

    dry_run: bool = Field(
        default=True,
        description="False applies the plan, if the guards agree and automation.apply or an approval allows it.",
    )
    settle: bool = Field(
        default=False,
        description="Leave changes younger than settle_time to the product's own webhook; the schedule does.",
    )
    accounts: list[str] = Field(
        default_factory=list,
        description="Only these accounts; empty means all. Nothing is remembered of a partial run.",
    )
    limits: RunLimits = Field(default=RunLimits(), description="Tighter limits than the policy's, for this run.")


class ApplyConfig(dg.Config):
    """Which saved plan to apply."""

    plan_id: str = Field(description="As shown by `credit-pipeline plans` and in the metadata of correction_plan.")
    dry_run: bool = Field(
        default=True,
        description="False applies the plan, if the guards agree and automation.apply or an approval allows it.",
    )
    limits: RunLimits = Field(default=RunLimits(), description="Tighter limits than the policy's, for this run.")


class UndoConfig(dg.Config):
    """Which applied plan to take back."""

    plan_id: str = Field(description="As shown by `credit-pipeline plans` and in the metadata of applied_corrections.")
    accounts: list[str] = Field(
        default_factory=list, description="Only these accounts; empty means all that it changed."
    )
    dry_run: bool = Field(
        default=True, description="False applies what a person has approved of the undo, and nothing else."
    )
    limits: RunLimits = Field(default=RunLimits(), description="Tighter limits than the policy's, for this run.")


def jobs_of(system: CreditSystem, *, silent: bool = False) -> list[Any]:
    """`<system>_reconcile`, `<system>_apply`, `<system>_undo` and `<system>_health`."""
    return [
        _reconcile_job(system, silent),
        _apply_job(system, silent),
        _undo_job(system, silent),
        _health_job(system, silent),
    ]


def _reconcile_job(system: CreditSystem, silent: bool) -> Any:
    name = system.name

    @dg.config_mapping
    def told(config: ReconcileConfig) -> dict[str, Any]:
        accounts = list(config.accounts)
        listed = {f"{name}__subscriptions": {"config": {"accounts": accounts}}} if system.ledger else {}
        return {
            "ops": {
                f"{name}__balances": {"config": {"accounts": accounts}},
                **listed,
                f"{name}__mismatch_report": {"config": {"settle": config.settle, "accounts": accounts}},
                f"{name}__applied_corrections": {
                    "config": {"dry_run": config.dry_run, "limits": config.limits.asked()}
                },
            }
        } | (SILENCE if silent else {})

    return dg.define_asset_job(
        f"{name}_reconcile",
        selection=dg.AssetSelection.key_prefixes([name]),
        config=told,
        description=(
            f"Reads balances and billing of {name}, reports every mismatch, saves a correction plan and, unless "
            "`dry_run`, applies what is proven under the guards."
        ),
        tags=_tags(system),
        executor_def=dg.in_process_executor,
    )


def _apply_job(system: CreditSystem, silent: bool) -> Any:
    name = system.name

    @dg.config_mapping
    def told(config: ApplyConfig) -> dict[str, Any]:
        applying = {"dry_run": config.dry_run, "plan_id": config.plan_id, "limits": config.limits.asked()}
        return {"ops": {f"{name}__applied_corrections": {"config": applying}}} | (SILENCE if silent else {})

    applied = dg.AssetSelection.assets([name, "applied_corrections"], [name, "audit_trail"])
    return dg.define_asset_job(
        f"{name}_apply",
        selection=applied | dg.AssetSelection.checks_for_assets([name, "applied_corrections"]),
        config=told,
        description=f"Applies a saved and approved correction plan of {name}; can be run again until nothing is left.",
        tags=_tags(system),
        executor_def=dg.in_process_executor,
    )


def _undo_job(system: CreditSystem, silent: bool) -> Any:
    name = system.name

    @dg.config_mapping
    def told(config: UndoConfig) -> dict[str, Any]:
        planning = {"undo": config.plan_id, "accounts": list(config.accounts)}
        return {
            "ops": {
                f"{name}__correction_plan": {"config": planning},
                f"{name}__applied_corrections": {
                    "config": {"dry_run": config.dry_run, "limits": config.limits.asked()}
                },
            }
        } | (SILENCE if silent else {})

    nouns = ("correction_plan", "applied_corrections", "audit_trail")
    return dg.define_asset_job(
        f"{name}_undo",
        selection=dg.AssetSelection.assets(*([name, noun] for noun in nouns))
        | dg.AssetSelection.checks_for_assets([name, "applied_corrections"]),
        config=told,
        description=(
            f"Takes an applied correction plan of {name} back by a plan of its own, which a person approves; what was "
            "spent meanwhile stays spent. Its reason is the audit, whatever is billed by now."
        ),
        tags=_tags(system),
        executor_def=dg.in_process_executor,
    )


def _health_job(system: CreditSystem, silent: bool) -> Any:
    """It waits for no reconciliation, because it writes nothing; a comparison under way is simply not seen yet."""
    name = system.name

    @dg.config_mapping(config_schema={})
    def told(_: Any) -> dict[str, Any]:
        return {"ops": {f"{name}__health_report": {"config": {"remembered": True}}}} | (SILENCE if silent else {})

    report = dg.AssetSelection.assets([name, "health_report"])
    return dg.define_asset_job(
        f"{name}_health",
        selection=report | dg.AssetSelection.checks_for_assets([name, "health_report"]),
        config=told,
        description=(
            f"Judges the health of {name} by what the last complete comparison left behind and by what was corrected "
            "since. Asks the database and never billing, records nothing and proposes nothing."
        ),
        tags={"dagster/max_runtime": "1800"},
        executor_def=dg.in_process_executor,
    )


def _tags(system: CreditSystem) -> dict[str, str]:
    return {ONE_AT_A_TIME: system.name, "dagster/max_runtime": str(3 * 3600)}
