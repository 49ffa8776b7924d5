"""The jobs, run in this process on the instance: what the command line calls, so that its work is in the lineage too.

Values come back from the run's outputs. An error of ours comes back as itself; rendering it is the caller's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import CreditPipelineError
from credit_pipeline.orchestration.assemble import reconciliation_defs
from credit_pipeline.orchestration.failures import ERROR, error_of
from credit_pipeline.orchestration.jobs.terminal import Terminal, heard_by_dagster
from credit_pipeline.services.collect.ports import Progress
from credit_pipeline.services.report.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run came to."""

    run_id: str
    plan: Mapping[str, Any]
    """The contract's object for `fix`, `apply` and `undo`."""
    report: Report | None = None
    checks: Mapping[str, bool]

    @property
    def plan_id(self) -> str | None:
        """The plan that was proposed or applied; None where nothing is installed."""
        plan_id: str | None = self.plan["plan_id"]
        return plan_id


def reconcile_run(
    system: CreditSystem,
    instance: dg.DagsterInstance,
    *,
    dry_run: bool = True,
    settle: bool = False,
    accounts: Sequence[str] = (),
    attended: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Run `<system>_reconcile`. Raises the CreditPipelineError that made a step fail.

    `attended`: a person typed `--live` here; it stands for the approval that a schedule or the UI would need.
    `progress` is told how many accounts billing was asked about.
    """
    definitions = reconciliation_defs(system, terminal=Terminal(attended=attended, progress=progress))
    told = {"dry_run": dry_run, "settle": settle, "accounts": list(accounts)}
    return _run(definitions, instance, f"{system.name}_reconcile", told)


def apply_run(
    system: CreditSystem, instance: dg.DagsterInstance, plan_id: str, *, dry_run: bool = False, attended: bool = False
) -> RunResult:
    """Run `<system>_apply` for a saved plan. Raises the CreditPipelineError that made a step fail."""
    definitions = reconciliation_defs(system, terminal=Terminal(attended=attended))
    told = {"plan_id": plan_id, "dry_run": dry_run}
    return _run(definitions, instance, f"{system.name}_apply", told)


def undo_run(
    system: CreditSystem,
    instance: dg.DagsterInstance,
    plan_id: str,
    *,
    accounts: Sequence[str] = (),
    dry_run: bool = True,
    attended: bool = False,
) -> RunResult:
    """Run `<system>_undo` for an applied plan. Raises the CreditPipelineError that made a step fail."""
    definitions = reconciliation_defs(system, terminal=Terminal(attended=attended))
    told = {"plan_id": plan_id, "accounts": list(accounts), "dry_run": dry_run}
    return _run(definitions, instance, f"{system.name}_undo", told)


def _run(definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, told: Mapping[str, Any]) -> RunResult:
    system, _, verb = job.rpartition("_")
    with heard_by_dagster(system):
        result = definitions.resolve_job_def(job).execute_in_process(
            run_config=dict(told), instance=instance, raise_on_error=False
        )
    if not result.success:
        raise error_in(result)
    return RunResult(
        run_id=result.run_id,
        plan=result.output_for_node(f"{system}__applied_corrections.verify"),
        report=result.output_for_node(f"{system}__mismatch_report") if verb == "reconcile" else None,
        checks={check.check_name: check.passed for check in result.get_asset_check_evaluations()},
    )


def error_in(result: dg.ExecuteInProcessResult) -> CreditPipelineError:
    """The error of ours that made the run fail, or a sentence that says where its traceback is."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        data = event.step_failure_data
        told = data.user_failure_data
        if told is not None and ERROR in told.metadata:
            return error_of(told.description, told.metadata[ERROR].value)
        if data.error is not None:
            cause = data.error.cause or data.error
            return CreditPipelineError(
                f"the step {event.step_key} failed ({cause.cls_name}): see run {result.run_id} in the Dagster UI"
            )
    return CreditPipelineError(f"the run failed before its first step: see run {result.run_id} in the Dagster UI")
