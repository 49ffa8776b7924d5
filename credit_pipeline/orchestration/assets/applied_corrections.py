"""The graph asset `applied_corrections`: guard → confirm → canary → apply → verify, one op per phase of an apply.

A plan that is not applied (dry run, refused, nothing released) passes through all ops unchanged and still materializes
the asset.
"""

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import StoreError
from credit_pipeline.orchestration import metadata
from credit_pipeline.orchestration.assets.asset_shape import CODE_VERSION, OWNERS, RECORDS, tags_of
from credit_pipeline.orchestration.assets.plan import no_plan
from credit_pipeline.orchestration.failures import one_sentence
from credit_pipeline.orchestration.io_manager import MAY_BE_ABSENT
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.orchestration.run_limits import WriteConfig
from credit_pipeline.services.apply import Apply
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.apply_state import ApplyState
from credit_pipeline.services.plans.approvals import decisions_about
from credit_pipeline.services.plans.report import PlanReport
from credit_pipeline.services.plans.verify import still_broken

RECORD = dg.Out(io_manager_key=RECORDS)
WRITING_OPS: dict[str, tuple[str, Callable[[Apply, ApplyState], ApplyState]]] = {
    "confirm": (
        "Reads billing again for the rows to be written next, and holds those it no longer confirms.",
        Apply.confirm,
    ),
    "canary": ("Applies the first rows, five by default. If one fails, nothing else is applied.", Apply.canary),
    "apply_batches": (
        "Applies the rest in batches, one transaction each; batch sizes double up to the limit.",
        Apply.rest,
    ),
}
"""Op → its description and its phase of the apply."""


class ApplyConfig(WriteConfig):
    """What may be done with the plan. The default writes nothing to the product's tables."""

    plan_id: str | None = Field(default=None, description="A saved plan other than the one just proposed.")


def applied_corrections(system: CreditSystem, *, attended: bool = False) -> dg.AssetsDefinition:
    """The graph asset of one system. `attended`: a person typed `--live`."""
    guard, verify = _guard(system, attended=attended), _verify(system)
    confirm, canary, apply = (_phase(system, name) for name in WRITING_OPS)

    @dg.config_mapping
    def run_config(config: ApplyConfig) -> dict[str, Any]:
        return {"guard": {"config": config.write_config() | {"plan_id": config.plan_id}}}

    @dg.graph_asset(
        key=[system.name, "applied_corrections"],
        ins={"plan": dg.AssetIn(key=[system.name, "correction_plan"])},
        config=run_config,
        group_name=system.name,
        description=(
            "The correction plan with the outcome of every row. Dry run by default. A live run checks the guards, "
            "confirms rows with billing, applies five rows first, then batches, and verifies the result. A refused "
            "plan materializes unchanged."
        ),
        kinds={"postgres"},
        owners=OWNERS,
        tags=tags_of(system),
        code_version=CODE_VERSION,
    )
    def corrections(plan: Any) -> Any:
        confirmed = confirm.alias("confirm")(guard.alias("guard")(plan))
        return verify.alias("verify")(apply.alias("apply")(canary.alias("canary")(confirmed)))

    return corrections


def _guard(system: CreditSystem, *, attended: bool) -> dg.OpDefinition:
    @dg.op(
        name=f"{system.name}_guard",
        description="Runs every guard on the plan and collects all refusals; a refused live plan is quarantined.",
        ins={"plan": dg.In(metadata=MAY_BE_ABSENT)},
        out=RECORD,
    )
    def guard(config: ApplyConfig, plan: Any, credit_gateways: CreditGateways) -> ApplyState:
        plan_id = config.plan_id or (plan or {}).get("plan_id")
        live = not config.dry_run
        with one_sentence(system.name):
            if plan_id is None:
                why = plan["failures"] if plan else [f"{system.name}: there is no plan: materialize correction_plan"]
                return ApplyState(plan_id=None, live=live, failures=tuple(why))
            apply = _apply(system, credit_gateways.of(system))
            return apply.guard(plan_id, live=live, person=attended, limits=config.limits.given())

    return guard


def _phase(system: CreditSystem, name: str) -> dg.OpDefinition:
    description, phase = WRITING_OPS[name]

    @dg.op(name=f"{system.name}_{name}", description=description, ins={"state": dg.In()}, out=RECORD)
    def op(state: ApplyState, credit_gateways: CreditGateways) -> ApplyState:
        with one_sentence(system.name):
            return phase(_apply(system, credit_gateways.of(system)), state) if state.go else state

    return op


def _verify(system: CreditSystem) -> dg.OpDefinition:
    @dg.op(
        name=f"{system.name}_verify",
        description="Judges the changed accounts again; the run fails if one is still not in order.",
        out=RECORD,
    )
    def verify(
        context: dg.OpExecutionContext, applied: ApplyState, credit_gateways: CreditGateways
    ) -> Iterator[dg.Output[Any]]:
        with one_sentence(system.name):
            if applied.plan_id is None:
                mode = "live" if applied.live else "dry_run"
                yield _output(no_plan(system, mode, applied.failures[0]))
                return
            gateways = credit_gateways.of(system)
            yield _output(_finished(system, gateways, applied))
            if applied.began:
                broken = still_broken(system, gateways, applied.plan_id, now=datetime.now(UTC), run_id=context.run_id)
                _refuse_broken(system, applied.plan_id, len(broken))

    return verify


def _apply(system: CreditSystem, gateways: Gateways) -> Apply:
    return Apply(system=system, gateways=gateways, clock=lambda: datetime.now(UTC))


def _finished(system: CreditSystem, gateways: Gateways, state: ApplyState) -> dict[str, Any]:
    """Finishes the plan and returns the JSON object of `fix`, `apply` and `undo`."""
    applied = _apply(system, gateways).finish(state)
    mode = "live" if state.live else "dry_run"
    report = PlanReport(plan=applied.plan, mode=mode, failures=applied.state.failures).as_json()
    return report | {"approvals": decisions_about(system.name, gateways, applied.plan.plan_id)}


def _refuse_broken(system: CreditSystem, plan_id: str, broken: int) -> None:
    if broken:
        raise StoreError(
            f"{system.name}: {broken} accounts changed by {plan_id} would be corrected again: "
            f"run credit-pipeline check {system.name} and look at them before the next apply"
        )


def _output(plan: dict[str, Any]) -> dg.Output[Any]:
    with warnings.catch_warnings(category=dg.BetaWarning, action="ignore"):  # about `data_version`
        return dg.Output(plan, metadata=metadata.plan_metadata(plan), data_version=metadata.content_version(plan))
