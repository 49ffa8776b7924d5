"""The graph asset `applied_corrections`: guard → confirm → canary → apply → verify.

The ops are thin: the rules stand in `services/correct.py`, and the guards that protect a row in the database, under its
locks.

A plan that is not to be applied (dry run, refused, nothing released) passes through all ops untouched and still
materializes the asset, with nothing changed.
"""

import warnings
from collections.abc import Iterator, Sequence
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
from credit_pipeline.orchestration.jobs.run_limits import RunLimits
from credit_pipeline.orchestration.resources import CreditGateways
from credit_pipeline.services.apply import Applying, Confirmed, breaking, note_end
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans import correct
from credit_pipeline.services.plans.approvals import decisions_about
from credit_pipeline.services.plans.report import PlanReport

RECORD = dg.Out(io_manager_key=RECORDS)

Passed = dict[str, Any]
"""What the ops hand on: `plan_id`, `live`, `go`, `failures`; `held` (row -> why a guard holds it); `canary` and `batch`
(their sizes), `confirmed` with billing, and `broke`: why the apply stopped or counts as failed."""


class ApplyingConfig(dg.Config):
    """What may be done with the plan. The default writes nothing to the product's tables."""

    dry_run: bool = Field(
        default=True,
        description="False applies the plan, if the guards agree and automation.apply or an approval allows it.",
    )
    plan_id: str | None = Field(default=None, description="Another saved plan than the one just proposed.")
    limits: RunLimits = Field(default=RunLimits(), description="Tighter limits than the policy's, for this run.")


def applied_corrections(system: CreditSystem, *, attended: bool = False) -> dg.AssetsDefinition:
    """The graph asset of one system; `attended` as in `terminal.Terminal`."""
    guard, verify = _guard(system, attended=attended), _verify(system)
    confirm, canary, apply = _confirm(system), _canary(system), _apply(system)

    @dg.config_mapping
    def told(config: ApplyingConfig) -> dict[str, Any]:
        applying = {"dry_run": config.dry_run, "plan_id": config.plan_id, "limits": config.limits.asked()}
        return {"guard": {"config": applying}}

    @dg.graph_asset(
        key=[system.name, "applied_corrections"],
        ins={"plan": dg.AssetIn(key=[system.name, "correction_plan"])},
        config=told,
        group_name=system.name,
        description=(
            "What came of the correction plan. Dry run by default; live it is guarded, confirmed with billing, tried "
            "on five rows, applied in batches and verified. A refused plan materializes with nothing changed."
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
        description="Asks every run-level guard and collects all refusals; a refused live plan is quarantined.",
        ins={"plan": dg.In(metadata=MAY_BE_ABSENT)},
        out=RECORD,
    )
    def guard(config: ApplyingConfig, plan: Any, credit_gateways: CreditGateways) -> Passed:
        plan_id = config.plan_id or (plan or {}).get("plan_id")
        live = not config.dry_run
        with one_sentence(system.name):
            if plan_id is None:
                why = plan["failures"] if plan else [f"{system.name}: there is no plan: materialize correction_plan"]
                return {"plan_id": None, "live": live, "go": False, "failures": why}
            guarded = correct.guard(
                system,
                credit_gateways.of(system),
                plan_id,
                live=live,
                person=attended,
                now=datetime.now(UTC),
                limits=config.limits.asked(),
            )
            # An empty plan is not applied: it would pass for the first approved one.
            waiting = bool(correct.released(guarded.plan)) or guarded.plan.state == "applying"
            return {
                "plan_id": plan_id,
                "live": live,
                "go": guarded.go and waiting,
                "failures": [failure.sentence for failure in guarded.verdict.failures],
                "held": {str(seq): why for seq, why in guarded.held.items()},
                "canary": guarded.ceilings.canary,
                "batch": guarded.ceilings.batch,
            }

    return guard


def _confirm(system: CreditSystem) -> dg.OpDefinition:
    @dg.op(
        name=f"{system.name}_confirm",
        description="Reads billing again for the rows to be written next, and holds those it no longer agrees with.",
        out=RECORD,
    )
    def confirm(guarded: Passed, credit_gateways: CreditGateways) -> Passed:
        if not guarded["go"]:
            return guarded
        with one_sentence(system.name):
            gateways = credit_gateways.of(system)
            plan = gateways.plans.load(guarded["plan_id"])
            confirmed = Applying(system, gateways, plan, _now).confirm()
            correct.begin(gateways, plan)
        return {**guarded, "confirmed": confirmed.as_json()}

    return confirm


def _canary(system: CreditSystem) -> dg.OpDefinition:
    @dg.op(
        name=f"{system.name}_canary",
        description="Applies the first rows, five by default; where one fails, nothing else is applied.",
        out=RECORD,
    )
    def canary(confirmed: Passed, credit_gateways: CreditGateways) -> Passed:
        if not confirmed["go"]:
            return confirmed
        with one_sentence(system.name):
            gateways, plan_id = credit_gateways.of(system), confirmed["plan_id"]
            with breaking(system, gateways, plan_id):
                broke = _resumed(system, gateways, confirmed).canary(confirmed["canary"])
        return _stopped(confirmed, broke)

    return canary


def _apply(system: CreditSystem) -> dg.OpDefinition:
    @dg.op(
        name=f"{system.name}_apply_batches",
        description="Applies the rest in batches that double up to the largest, one transaction each.",
        out=RECORD,
    )
    def apply(canary: Passed, credit_gateways: CreditGateways) -> Passed:
        if not canary["go"]:
            return canary
        with one_sentence(system.name):
            gateways, plan_id = credit_gateways.of(system), canary["plan_id"]
            with breaking(system, gateways, plan_id):
                applying = _resumed(system, gateways, canary)
                broke = applying.rest(canary["canary"], canary["batch"])
        return _stopped(canary, broke)

    return apply


def _verify(system: CreditSystem) -> dg.OpDefinition:
    @dg.op(
        name=f"{system.name}_verify",
        description="Classifies the touched accounts again; one that is still broken fails the run.",
        out=RECORD,
    )
    def verify(
        context: dg.OpExecutionContext, applied: Passed, credit_gateways: CreditGateways
    ) -> Iterator[dg.Output[Any]]:
        mode = "live" if applied["live"] else "dry_run"
        with one_sentence(system.name):
            if applied["plan_id"] is None:
                yield _output(no_plan(system, mode, applied["failures"][0]))
                return
            gateways, plan_id = credit_gateways.of(system), applied["plan_id"]
            began, failures = applied["go"] or "broke" in applied, list(applied["failures"])
            if began and (stopped := note_end(system, gateways, plan_id, applied.get("broke"))):
                failures.append(stopped)
            yield _output(_report(system, gateways, applied, mode, failures, began=began))
            if began:
                broken = correct.verify(system, gateways, plan_id, now=datetime.now(UTC), run_id=context.run_id)
                _refuse_broken(system, plan_id, len(broken))

    return verify


def _report(
    system: CreditSystem, gateways: Gateways, applied: Passed, mode: str, failures: Sequence[str], *, began: bool
) -> dict[str, Any]:
    plan_id = applied["plan_id"]
    plan = correct.finish(gateways, plan_id) if began else gateways.plans.load(plan_id)
    shown = correct.with_held(plan, {int(seq): why for seq, why in applied["held"].items()})
    report = PlanReport(plan=shown, mode=mode, failures=tuple(failures)).as_json()
    return report | {"approvals": decisions_about(system.name, gateways, plan_id)}


def _resumed(system: CreditSystem, gateways: Gateways, passed: Passed) -> Applying:
    """The plan is loaded once for all batches of an op."""
    plan = gateways.plans.load(passed["plan_id"])
    return Applying(system, gateways, plan, _now, Confirmed.from_json(passed["confirmed"]))


def _stopped(passed: Passed, broke: str | None) -> Passed:
    if broke is None:
        return passed
    return {**passed, "go": False, "broke": broke, "failures": [*passed["failures"], broke]}


def _now() -> datetime:
    return datetime.now(UTC)


def _refuse_broken(system: CreditSystem, plan_id: str, broken: int) -> None:
    if broken:
        raise StoreError(
            f"{system.name}: {broken} accounts changed by {plan_id} would be corrected again: "
            f"run credit-pipeline check {system.name} and look at them before the next apply"
        )


def _output(plan: dict[str, Any]) -> dg.Output[Any]:
    with warnings.catch_warnings(category=dg.BetaWarning, action="ignore"):  # about `data_version`
        return dg.Output(plan, metadata=metadata.plan_metadata(plan), data_version=metadata.content_version(plan))
