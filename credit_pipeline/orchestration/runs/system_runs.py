"""Runs the jobs in the command line's process on the instance, so that its work appears in the lineage too.

Values are taken from the run's outputs; an error of ours is raised again as itself.
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
    """The result of a run."""

    run_id: str
    plan: Mapping[str, Any]
    """The JSON object of `fix`, `apply` and `undo`."""
    report: Report | None = None
    checks: Mapping[str, bool]

    @property
    def plan_id(self) -> str | None:
        """The id of the plan that was proposed or applied; None if nothing is installed."""
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
    """Runs `<system>_reconcile`. Raises the CreditPipelineError that made a step fail.

    `attended`: a person typed `--live`, which replaces the approval that a schedule or the UI needs. `progress` gets
    the numbers of accounts read from billing.
    """
    definitions = reconciliation_defs(system, terminal=Terminal(attended=attended, progress=progress))
    run_config = {"dry_run": dry_run, "settle": settle, "accounts": list(accounts)}
    return _run(definitions, instance, f"{system.name}_reconcile", run_config)


def apply_run(
    system: CreditSystem, instance: dg.DagsterInstance, plan_id: str, *, dry_run: bool = False, attended: bool = False
) -> RunResult:
    """Runs `<system>_apply` for a saved plan. Raises the CreditPipelineError that made a step fail."""
    definitions = reconciliation_defs(system, terminal=Terminal(attended=attended))
    run_config = {"plan_id": plan_id, "dry_run": dry_run}
    return _run(definitions, instance, f"{system.name}_apply", run_config)


def undo_run(
    system: CreditSystem,
    instance: dg.DagsterInstance,
    plan_id: str,
    *,
    accounts: Sequence[str] = (),
    dry_run: bool = True,
    attended: bool = False,
) -> RunResult:
    """Runs `<system>_undo` for an applied plan. Raises the CreditPipelineError that made a step fail."""
    definitions = reconciliation_defs(system, terminal=Terminal(attended=attended))
    run_config = {"plan_id": plan_id, "accounts": list(accounts), "dry_run": dry_run}
    return _run(definitions, instance, f"{system.name}_undo", run_config)


def _run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, run_config: Mapping[str, Any]
) -> RunResult:
    system, _, verb = job.rpartition("_")
    with heard_by_dagster(system):
        result = definitions.resolve_job_def(job).execute_in_process(
            run_config=dict(run_config), instance=instance, raise_on_error=False
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
    """The CreditPipelineError that made the run fail, or one that says where to find the traceback."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        data = event.step_failure_data
        failure = data.user_failure_data
        if failure is not None and ERROR in failure.metadata:
            return error_of(failure.description, failure.metadata[ERROR].value)
        if data.error is not None:
            cause = data.error.cause or data.error
            return CreditPipelineError(
                f"the step {event.step_key} failed ({cause.cls_name}): see run {result.run_id} in the Dagster UI"
            )
    return CreditPipelineError(f"the run failed before its first step: see run {result.run_id} in the Dagster UI")
