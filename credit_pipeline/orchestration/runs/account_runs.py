"""Runs the jobs about single accounts in this process, for the commands `sync` and `webhooks`."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.orchestration.assemble import reconciliation_defs
from credit_pipeline.orchestration.jobs.terminal import Terminal, heard_by_dagster
from credit_pipeline.orchestration.runs.system_runs import error_in
from credit_pipeline.services.sync.ports import Claim


def sync_run(
    system: CreditSystem, instance: dg.DagsterInstance, accounts: Sequence[str], *, live: bool
) -> Mapping[str, Any]:
    """Runs `<system>_sync_accounts` and returns its report. Raises the CreditPipelineError that made it fail."""
    return _run(system, instance, "sync_accounts", "sync", {"dry_run": not live, "accounts": list(accounts)}, live)


def repair_run(
    system: CreditSystem, instance: dg.DagsterInstance, claims: Sequence[Claim], *, live: bool
) -> Mapping[str, Any]:
    """Runs `<system>_repair_webhooks` and returns its report. Raises the CreditPipelineError that made it fail."""
    run_config = {"dry_run": not live, "records": [claim.key for claim in claims]}
    return _run(system, instance, "repair_webhooks", "repair", run_config, live)


def _run(
    system: CreditSystem, instance: dg.DagsterInstance, job: str, op: str, run_config: Mapping[str, Any], live: bool
) -> Mapping[str, Any]:
    definitions = reconciliation_defs(system, terminal=Terminal(attended=live))
    with heard_by_dagster(system.name):
        result = definitions.resolve_job_def(f"{system.name}_{job}").execute_in_process(
            run_config=dict(run_config), instance=instance, raise_on_error=False
        )
    if not result.success:
        raise error_in(result)
    found: Mapping[str, Any] = result.output_for_node(f"{system.name}_{op}")
    return found
