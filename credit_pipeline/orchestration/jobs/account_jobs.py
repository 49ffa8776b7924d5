"""The jobs about single accounts, `<system>_sync_accounts` and `<system>_repair_webhooks`, with one op each.

They materialize no asset, since assets cover all accounts. Several may run at once, and beside a reconciliation: each
of their plans has one row, and the locks are in the database.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from credit_pipeline.adapters.open_inbox import open_sync_requests
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError, CreditPipelineError, NotInstalled
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.orchestration import plots
from credit_pipeline.orchestration.assets.asset_shape import RECORDS
from credit_pipeline.orchestration.failures import one_sentence
from credit_pipeline.orchestration.jobs.terminal import SILENCE
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.health.balance_history import account_histories
from credit_pipeline.services.sync.ports import Claim, Inbox
from credit_pipeline.services.sync.repair import Repaired, drain, repair
from credit_pipeline.services.sync.sync import Sync, sync_report

MAX_RUNTIME_S = 1800
MAX_PLOTS = 3
"""Account plots in the metadata of one run."""
_RECORD = dg.Out(io_manager_key=RECORDS)
_DRY_RUN = "False applies proven corrections, if the guards pass and automation.apply allows it."


class SyncConfig(dg.Config):
    """Which accounts to sync. The default writes nothing to the product's tables."""

    dry_run: bool = Field(default=True, description=_DRY_RUN)
    accounts: list[str] = Field(default_factory=list, description="Accounts to sync, by the store's ids.")
    requests: list[str] = Field(
        default_factory=list, description="Claimed requests, as record:attempt; set by the sensor."
    )


class RepairConfig(dg.Config):
    """Which failed webhooks to repair. The default writes nothing to the product's tables."""

    dry_run: bool = Field(default=True, description=_DRY_RUN)
    records: list[str] = Field(
        default_factory=list,
        description="Claimed records, as record:attempt; set by the sensor. If empty, the run claims the due ones.",
    )


def account_jobs(system: CreditSystem, *, attended: bool = False, silent: bool = False) -> list[dg.JobDefinition]:
    """Both jobs of one system. `attended`: a person typed `--live`. `silent`: Dagster prints no events."""
    return [_sync_job(system, attended, silent), _repair_job(system, attended, silent)]


def _sync_job(system: CreditSystem, attended: bool, silent: bool) -> dg.JobDefinition:
    name = system.name

    @dg.op(
        name=f"{name}_sync",
        description="Compares the accounts with billing and applies proven corrections, one plan per account.",
        out=_RECORD,
    )
    def sync(context: dg.OpExecutionContext, config: SyncConfig, credit_gateways: CreditGateways) -> dict[str, Any]:
        live = not config.dry_run
        with one_sentence(name):
            runner = _sync(system, credit_gateways.of(system), context, live=live, attended=attended)
            accounts = [AccountId(account) for account in dict.fromkeys(config.accounts)]
            done = runner.of(accounts) if accounts else []
            drained = _drain(system, runner, _claims(config.requests))
        result = sync_report(system, [*done, *drained.accounts], live=live) | {"requests": drained.states}
        shown = {"mode": result["mode"], **result["outcomes"], "requests": drained.states}
        context.add_output_metadata(shown | _plots(runner, result))
        return result

    @dg.config_mapping
    def run_config(config: SyncConfig) -> dict[str, Any]:
        op_config = {"dry_run": config.dry_run, "accounts": list(config.accounts), "requests": list(config.requests)}
        return {"ops": {f"{name}_sync": {"config": op_config}}} | (SILENCE if silent else {})

    @dg.job(
        name=f"{name}_sync_accounts",
        description=(
            f"Compares single accounts of {name} with billing now and, unless `dry_run`, applies proven corrections, "
            "one plan per account."
        ),
        config=run_config,
        tags=_tags(),
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        sync()

    return job


def _repair_job(system: CreditSystem, attended: bool, silent: bool) -> dg.JobDefinition:
    name = system.name

    @dg.op(
        name=f"{name}_repair",
        description="Repairs failed webhooks from the current state of their accounts; bodies are only hints.",
        out=_RECORD,
    )
    def repair_records(
        context: dg.OpExecutionContext, config: RepairConfig, credit_gateways: CreditGateways
    ) -> dict[str, Any]:
        live = not config.dry_run
        with one_sentence(name):
            gateways = credit_gateways.of(system)
            inbox = _inbox(system, gateways)
            claims = _claims(config.records) or inbox.claim(f"run {context.run.run_id}")
            done = repair(_sync(system, gateways, context, live=live, attended=attended), inbox, claims)
        result = {"system": name, "mode": "live" if live else "dry_run", **done.as_json()}
        context.add_output_metadata({"mode": result["mode"], "records": len(claims), **done.states})
        return result

    @dg.config_mapping
    def run_config(config: RepairConfig) -> dict[str, Any]:
        op_config = {"dry_run": config.dry_run, "records": list(config.records)}
        return {"ops": {f"{name}_repair": {"config": op_config}}} | (SILENCE if silent else {})

    @dg.job(
        name=f"{name}_repair_webhooks",
        description=(
            f"Repairs failed webhooks of {name}: reads the current state of each account from billing and, unless "
            "`dry_run`, applies proven corrections. Each record is settled on its own."
        ),
        config=run_config,
        tags=_tags(),
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        repair_records()

    return job


def _sync(
    system: CreditSystem, gateways: Gateways, context: dg.OpExecutionContext, *, live: bool, attended: bool
) -> Sync:
    return Sync(
        system=system,
        gateways=gateways,
        live=live,
        person=attended,
        run_id=context.run.run_id,
        clock=lambda: datetime.now(UTC),
    )


def _drain(system: CreditSystem, runner: Sync, claims: Sequence[Claim]) -> Repaired:
    if not claims:
        return Repaired()
    with open_sync_requests(system, os.environ) as requests:
        return drain(runner, requests, claims)


def _plots(runner: Sync, result: Mapping[str, Any]) -> dict[str, Any]:
    """Plots of the first accounts' balances over time; a failure to read them does not fail the run."""
    first = [AccountId(one["account_id"]) for one in result["accounts"][:MAX_PLOTS]]
    try:
        histories = account_histories(runner.gateways, first, runner.clock()) if first else {}
        drawn = {account: plots.account_plot(account, states, runner.clock()) for account, states in histories.items()}
    except CreditPipelineError as error:
        return {"balances over time": f"not drawn: {error}"}
    return {
        f"balance of {account}": dg.MetadataValue.md(plots.as_markdown(png)) for account, png in drawn.items() if png
    }


def _inbox(system: CreditSystem, gateways: Gateways) -> Inbox:
    if gateways.inbox is None or not gateways.inbox.installed():
        raise NotInstalled(
            f"{system.name}: the database has no place for failed webhooks: run credit-pipeline init {system.name}"
        )
    return gateways.inbox


def _claims(keys: Sequence[str]) -> list[Claim]:
    claims = []
    for key in keys:
        record, _, attempt = key.partition(":")
        if not (record.isdecimal() and attempt.isdecimal()):
            raise ConfigurationError(f"`{key[:40]}` is not a claim: write it as record:attempt, such as 17:2")
        claims.append(Claim(record=int(record), attempt=int(attempt)))
    return claims


def _tags() -> dict[str, str]:
    return {"dagster/max_runtime": str(MAX_RUNTIME_S)}
