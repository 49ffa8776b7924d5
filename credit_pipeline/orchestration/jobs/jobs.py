"""The jobs about all accounts of a system, each with one flat run config for the launchpad."""

from typing import Any

import dagster as dg
from pydantic import Field

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.orchestration.jobs.terminal import SILENCE
from credit_pipeline.orchestration.run_limits import WriteConfig

ONE_AT_A_TIME = "credit_pipeline/reconcile"
"""A run tag with the system as its value; dagster.yaml allows one run per value."""


class ReconcileConfig(WriteConfig):
    """What a reconciliation may do. The defaults write nothing to the product's tables."""

    settle: bool = Field(
        default=False,
        description="Leave changes more recent than settle_time to the product's own webhook, as the schedule does.",
    )
    accounts: list[str] = Field(
        default_factory=list,
        description="Only these accounts; empty means all. A partial run is not recorded.",
    )


class ApplyConfig(WriteConfig):
    """Which saved plan to apply."""

    plan_id: str = Field(description="As shown by `credit-pipeline plans` and in the metadata of correction_plan.")


class UndoConfig(WriteConfig):
    """Which applied plan to undo."""

    plan_id: str = Field(description="As shown by `credit-pipeline plans` and in the metadata of applied_corrections.")
    accounts: list[str] = Field(
        default_factory=list, description="Only these accounts; empty means all that the plan changed."
    )
    dry_run: bool = Field(
        default=True, description="False applies the rows of the undo that a person approved, and nothing else."
    )


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
    def run_config(config: ReconcileConfig) -> dict[str, Any]:
        accounts = list(config.accounts)
        listed = {f"{name}__subscriptions": {"config": {"accounts": accounts}}} if system.ledger else {}
        return {
            "ops": {
                f"{name}__balances": {"config": {"accounts": accounts}},
                **listed,
                f"{name}__mismatch_report": {"config": {"settle": config.settle, "accounts": accounts}},
                f"{name}__applied_corrections": {"config": config.write_config()},
            }
        } | (SILENCE if silent else {})

    return dg.define_asset_job(
        f"{name}_reconcile",
        selection=dg.AssetSelection.key_prefixes([name]),
        config=run_config,
        description=(
            f"Reads balances and billing of {name}, reports every mismatch, saves a correction plan and, unless "
            "`dry_run`, applies the proven corrections under the guards."
        ),
        tags=_tags(system),
        executor_def=dg.in_process_executor,
    )


def _apply_job(system: CreditSystem, silent: bool) -> Any:
    name = system.name

    @dg.config_mapping
    def run_config(config: ApplyConfig) -> dict[str, Any]:
        applying = config.write_config() | {"plan_id": config.plan_id}
        return {"ops": {f"{name}__applied_corrections": {"config": applying}}} | (SILENCE if silent else {})

    applied = dg.AssetSelection.assets([name, "applied_corrections"], [name, "audit_trail"])
    return dg.define_asset_job(
        f"{name}_apply",
        selection=applied | dg.AssetSelection.checks_for_assets([name, "applied_corrections"]),
        config=run_config,
        description=f"Applies a saved and approved correction plan of {name}. May be repeated until no row is left.",
        tags=_tags(system),
        executor_def=dg.in_process_executor,
    )


def _undo_job(system: CreditSystem, silent: bool) -> Any:
    name = system.name

    @dg.config_mapping
    def run_config(config: UndoConfig) -> dict[str, Any]:
        planning = {"undo": config.plan_id, "accounts": list(config.accounts)}
        return {
            "ops": {
                f"{name}__correction_plan": {"config": planning},
                f"{name}__applied_corrections": {"config": config.write_config()},
            }
        } | (SILENCE if silent else {})

    nouns = ("correction_plan", "applied_corrections", "audit_trail")
    return dg.define_asset_job(
        f"{name}_undo",
        selection=dg.AssetSelection.assets(*([name, noun] for noun in nouns))
        | dg.AssetSelection.checks_for_assets([name, "applied_corrections"]),
        config=run_config,
        description=(
            f"Undoes an applied correction plan of {name} with a new plan, which a person must approve. Credits spent "
            "meanwhile stay spent. The undo follows the audit, whatever billing says now."
        ),
        tags=_tags(system),
        executor_def=dg.in_process_executor,
    )


def _health_job(system: CreditSystem, silent: bool) -> Any:
    """May run beside a reconciliation, because it writes nothing; it does not see one that has not ended."""
    name = system.name

    @dg.config_mapping(config_schema={})
    def run_config(_: Any) -> dict[str, Any]:
        return {"ops": {f"{name}__health_report": {"config": {"remembered": True}}}} | (SILENCE if silent else {})

    report = dg.AssetSelection.assets([name, "health_report"])
    return dg.define_asset_job(
        f"{name}_health",
        selection=report | dg.AssetSelection.checks_for_assets([name, "health_report"]),
        config=run_config,
        description=(
            f"Judges the health of {name} by what the last complete comparison recorded and the corrections since. "
            "Reads the database only, never billing; records and proposes nothing."
        ),
        tags={"dagster/max_runtime": "1800"},
        executor_def=dg.in_process_executor,
    )


def _tags(system: CreditSystem) -> dict[str, str]:
    return {ONE_AT_A_TIME: system.name, "dagster/max_runtime": str(3 * 3600)}
