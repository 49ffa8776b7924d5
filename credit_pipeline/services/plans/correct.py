"""From a report to changed balances: propose, guard, confirm, apply, verify. Each step can be run again.

Nothing here writes to the product: the plan store's apply_batch does, and repeats the guards that protect under its
locks.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.errors import NotInstalled, PlanError
from credit_pipeline.domain.guards.ceilings import Ceilings, ceilings_of, tightened
from credit_pipeline.domain.guards.plan_guards import judge_plan
from credit_pipeline.domain.guards.row_guards import judge_row
from credit_pipeline.domain.guards.verdict import Verdict
from credit_pipeline.domain.plans.catalogue import Resolved
from credit_pipeline.domain.policy import version_of
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.collect import collect_balances, collect_identities, collect_subscriptions
from credit_pipeline.services.decision_log import DecisionLog
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.confirm_ledger import Answers, Doubt, customers_of_rows
from credit_pipeline.services.plans.guard_facts import circumstances, lifts_limits, row_facts
from credit_pipeline.services.plans.ports import PlanRow, RowOutcome, SavedPlan
from credit_pipeline.services.reconcile.accounts import accounts_of
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline.services.report.report import Report, facts_from

UNREMEMBERED = (
    "left to the next complete run: a part of it is a person's, and only a complete run remembers what was not proven"
)
"""`free, total 5,000, used 3,000` while billing says Pro: with the label alone written, and nothing remembered, the
next complete run would find Pro with 5,000 in order, and nobody would ask any more whether the credits are owed. A
ledger's transactions say so whenever they are read."""
APPLICABLE = frozenset({"proposed", "quarantined", "approved", "applying", "partly_applied"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A plan as the guards see it now. `go` is false for a dry run as well: nothing is to be written."""

    plan: SavedPlan
    """With the rows that a guard holds as they would come out."""
    verdict: Verdict
    live: bool
    ceilings: Ceilings
    """How large the batches may be, among others."""
    held: Mapping[int, str]
    """Row -> why a guard holds it. Stored where the plan is live and may go."""

    @property
    def go(self) -> bool:
        """Whether batches may be applied."""
        return self.live and self.verdict.go


def propose(system: CreditSystem, gateways: Gateways, report: Report) -> SavedPlan:
    """Save the report's corrections as a plan. Raises NotInstalled where there is nowhere to keep it."""
    if not gateways.memory.installed():
        raise NotInstalled(
            f"{system.name}: the database has no schema credit_pipeline: run credit-pipeline init {system.name}"
        )
    ordered = sorted(report.corrections, key=lambda c: (c.account_id, list(Lane).index(c.lane)))
    plan = SavedPlan(
        plan_id="",
        system=system.name,
        digest="",
        state="proposed",
        as_of=datetime.fromisoformat(report.as_of),
        created_at=datetime.fromisoformat(report.as_of),
        run_id=report.run_id,
        population=report.population,
        entitlements=report.facts["entitlements"],
        facts={**report.facts, "policy": version_of(system.policy)},
        failures=report.refusals,
        rows=tuple(PlanRow(seq=seq, correction=correction) for seq, correction in enumerate(ordered, 1)),
    )
    plan = gateways.plans.save(plan)
    held = {} if system.ledger or not report.facts.get("partial") else _forgetful(gateways, plan)
    if not held:
        return plan
    gateways.plans.hold(plan.plan_id, held)
    return gateways.plans.load(plan.plan_id)


def _forgetful(gateways: Gateways, plan: SavedPlan) -> dict[int, tuple[str, str]]:
    """Labels of accounts whose credits wait for a person, where no complete run has seen that yet."""
    waiting = {row.correction.account_id for row in plan.rows if row.correction.lane is Lane.APPROVE}
    labels = [
        row
        for row in plan.rows
        if row.correction.account_id in waiting and row.correction.lane is Lane.AUTO and row.correction.grant is None
    ]
    accounts = sorted({row.correction.account_id for row in labels})
    remembered = gateways.memory.remembered(accounts, plan.as_of) if accounts else {}
    known = {account for account, memory in remembered.items() if any(m.is_event for m in memory.open_mismatches)}
    return {row.seq: ("blocked_by_guard", UNREMEMBERED) for row in labels if row.correction.account_id not in known}


def allowed(plan: SavedPlan) -> tuple[PlanRow, ...]:
    """The rows an apply may write or has written: in lane auto, or approved by name."""
    return tuple(row for row in plan.rows if row.correction.lane is Lane.AUTO or row.approved)


def released(plan: SavedPlan) -> tuple[PlanRow, ...]:
    """The rows an apply would write: those of them that wait."""
    return tuple(row for row in allowed(plan) if row.outcome is None)


def guard(
    system: CreditSystem,
    gateways: Gateways,
    plan_id: str,
    *,
    live: bool,
    person: bool,
    now: datetime,
    limits: Mapping[str, float] | None = None,
) -> Guarded:
    """Ask every guard. A refused live plan is quarantined; a dry run changes no state and holds no row.

    `person` tells that somebody typed `--live`; a schedule or the UI needs automation.apply or an approval besides.
    `limits` is what this run asks for; looser than the policy's it is refused, and the plan stays as it is.
    """
    plan = gateways.plans.load(plan_id)
    if live and plan.state not in APPLICABLE:
        raise PlanError(
            f"{plan_id}: the plan is {plan.state} and cannot be applied: make a new one with fix {system.name}"
        )
    rows, facts = released(plan), facts_from(plan.facts)
    ceilings = ceilings_of(system.policy.limits, facts, lifted=lifts_limits(plan))
    ceilings, refused = tightened(ceilings, limits or {})
    past = row_facts(system, gateways, rows, now=now)
    held = {row.seq: failures for row in rows if (failures := judge_row(row.correction, ceilings, past))}
    flapping = sum(1 for failures in held.values() if any(failure.guard == "flap" for failure in failures))
    verdict = judge_plan(
        plan_id,
        [row.correction for row in rows if row.seq not in held],
        facts,
        ceilings,
        system.policy.limits,
        circumstances(system, gateways, plan, rows, live=live, person=person, flapping=flapping, now=now),
    )
    if live and not verdict.go and plan.state != "applying":
        gateways.plans.set_state(plan_id, "quarantined", [f.sentence for f in verdict.failures])
        plan = gateways.plans.load(plan_id)
    sentences = {seq: "; ".join(failure.sentence for failure in failures) for seq, failures in held.items()}
    verdict = Verdict(failures=(*refused, *verdict.failures))
    if live and verdict.go and held:
        gateways.plans.hold(plan_id, {seq: ("blocked_by_guard", sentence) for seq, sentence in sentences.items()})
    return Guarded(plan=with_held(plan, sentences), verdict=verdict, live=live, ceilings=ceilings, held=sentences)


def with_held(plan: SavedPlan, held: Mapping[int, str]) -> SavedPlan:
    """The plan with these rows shown as held, whether or not that is stored: row → why."""
    rows = (
        replace(row, outcome="blocked_by_guard", failures=(held[row.seq],))
        if row.seq in held and row.outcome is None
        else row
        for row in plan.rows
    )
    return replace(plan, rows=tuple(rows)) if held else plan


def confirm(system: CreditSystem, gateways: Gateways, plan: SavedPlan, *, now: datetime) -> SavedPlan:
    """Read billing again for the rows about to be written and hold those about which it no longer says the same."""
    hold_doubtful(system, gateways, plan, released(plan), now=now)
    return gateways.plans.load(plan.plan_id)


def hold_doubtful(
    system: CreditSystem, gateways: Gateways, plan: SavedPlan, rows: Sequence[PlanRow], *, now: datetime
) -> frozenset[int]:
    """Read billing again for these rows of the plan, and hold and return those of which it no longer says the same."""
    if plan.undoes is not None:
        return frozenset()  # the audit is its reason, whatever billing says by now
    pinned = gateways.plans.pinned()
    held: dict[int, tuple[str, str]] = {}
    doubt_of = _doubts(system, gateways, plan, rows, now)
    for row in rows:
        drift = _catalogue_drift(system, row.correction, pinned)
        doubt = ("blocked_by_guard", drift) if drift else doubt_of(row.correction)
        if doubt:
            held[row.seq] = doubt
    if held:
        gateways.plans.hold(plan.plan_id, held)
    return frozenset(held)


def _doubts(
    system: CreditSystem, gateways: Gateways, plan: SavedPlan, rows: Sequence[PlanRow], now: datetime
) -> Callable[[Correction], Doubt | None]:
    """Billing asked about these rows' customers, and the question whether it still says the same about one."""
    if system.ledger:
        pull = gateways.billing.pull(customers_of_rows(row.correction for row in rows), now)
        return Answers(system, pull, as_of=plan.as_of, now=now).doubt
    pull = gateways.billing.pull([row.correction.billing_id for row in rows], now)
    answers = {answer["billing_id"]: answer for answer in _as_screened(pull.table.to_pylist())}
    return lambda correction: _doubt(system, correction, answers, now)


def _as_screened(answers: Iterable[dict[str, object]]) -> Iterator[dict[str, object]]:
    for answer in answers:
        yield {**answer, "account_id": answer["billing_id"], "label": None, "total": None, "used": None}


def _doubt(
    system: CreditSystem, correction: Correction, answers: dict[object, dict[str, object]], now: datetime
) -> Doubt | None:
    answer = answers.get(correction.billing_id)
    if answer is None or answer["lookup"] == Lookup.ERROR:
        return "blocked_by_guard", "billing did not confirm this account: run again when it answers"
    billing = accounts_of([answer], system.catalogue, None, now)[0].billing
    says = billing.resolution.plan.name if isinstance(billing.resolution, Resolved) else billing.lookup.value
    if says != correction.billed_plan or billing.status in {BillingStatus.DUNNING, BillingStatus.ENDED}:
        return "stale_skipped", f"billing now says {says}, the plan was made for {correction.billed_plan}"
    grant = correction.grant
    automatic = correction.lane is Lane.AUTO
    if grant and automatic and (billing.period is None or billing.period.start != grant.grant_key.period_start):
        return "stale_skipped", "billing's period rolled over since the plan was made"
    return None


def _catalogue_drift(system: CreditSystem, correction: Correction, pinned: Mapping[str, int]) -> str | None:
    grant = correction.grant
    plan = system.catalogue.named(grant.grant_key.plan) if grant else None
    if plan is None or pinned.get(plan.name) == plan.credits:
        return None
    was = pinned.get(plan.name)
    if was is None:
        return f"{plan.name} is new in defs.yaml and not pinned: its grants are halted until init {system.name} is run"
    return f"{plan.name} gives {plan.credits} credits in defs.yaml, {was} when pinned at init: its grants are halted"


def begin(gateways: Gateways, plan: SavedPlan) -> None:
    """Move the plan to `applying`; the write path refuses any other state."""
    if plan.state != "applying":
        gateways.plans.set_state(plan.plan_id, "applying")


def apply_batch(system: CreditSystem, gateways: Gateways, plan_id: str, size: int) -> Sequence[RowOutcome]:
    """One batch in one transaction, logged row by row; empty when none is left. Needs no loaded plan."""
    log = DecisionLog(system.name)
    outcomes = gateways.plans.apply_batch(plan_id, size)
    for outcome in outcomes:
        log.applied(outcome)
    return outcomes


def finish(gateways: Gateways, plan_id: str) -> SavedPlan:
    """Close an apply: `applied` when every released row came to a good end, `partly_applied` otherwise."""
    plan = gateways.plans.load(plan_id)
    good = all(row.outcome in {"changed", "noop_already_applied"} for row in allowed(plan))
    gateways.plans.set_state(plan_id, "applied" if good else "partly_applied")
    return replace(plan, state="applied" if good else "partly_applied")


def verify(
    system: CreditSystem, gateways: Gateways, plan_id: str, *, now: datetime, run_id: str
) -> tuple[AccountId, ...]:
    """Classify the touched accounts again; returns those that would still be corrected automatically.

    One transaction makes one grant, so that of another period of the same account the next plan may well make another.
    """
    plan = gateways.plans.load(plan_id)
    changed = [row.correction for row in plan.rows if row.outcome == "changed"]
    touched = sorted({correction.account_id for correction in changed})
    if not touched:
        return ()
    run_id = f"{run_id}-verify"
    balances = collect_balances(gateways, run_id=run_id, now=now, accounts=touched)
    identities = collect_identities(gateways, run_id=run_id, now=now)
    subscriptions = collect_subscriptions(
        gateways, balances, identities, run_id=run_id, now=now, accounts=touched if identities else None
    )
    report = reconcile(system, gateways, balances, subscriptions, identities=identities, now=now, accounts=touched)
    granted = {correction.account_id for correction in changed if correction.grant}
    keys = {str(correction.grant.grant_key) for correction in changed if correction.grant}
    return tuple(
        one.account_id
        for one in report.corrections
        if one.lane is Lane.AUTO and not (one.account_id in granted and _another_grant(one, keys))
    )


def _another_grant(correction: Correction, keys: Container[str]) -> bool:
    """Whether it is nothing but the grant of a key that was not among these."""
    return len(correction.steps) == 1 and correction.grant is not None and str(correction.grant.grant_key) not in keys
