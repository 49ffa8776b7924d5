"""Puts the report together from judgements and counts. Decides nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.codes import CODES, UNKNOWN
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.guards.plan_guards import judge_collection
from credit_pipeline.domain.guards.verdict import PlanFacts
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.services.collect.ports import Snapshot
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.ports import CollectionRecord, MemoryStore
from credit_pipeline.services.reconcile.remember import actual, expected
from credit_pipeline.services.reconcile.screen import Screened
from credit_pipeline.services.report.aging import by_age
from credit_pipeline.services.report.identity_report import identity_report
from credit_pipeline.services.report.report import Report, Source, facts_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One reconciliation in progress: sources, memory, suspects and judgements."""

    system: CreditSystem
    gateways: Gateways
    balances: Snapshot
    subscriptions: Snapshot
    identities: Snapshot | None = None
    """Who is who; None where the store's ids are those at billing."""
    now: datetime
    memory: MemoryStore | None
    last: CollectionRecord | None
    screened: Screened
    judged: Sequence[Judgement]
    partial: bool = False
    """Only named accounts were read: their number says nothing about the source."""
    halted: tuple[str, ...] = ()
    """Sentences about amounts of defs.yaml that nobody accepted."""

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The snapshots of this run."""
        return tuple(filter(None, (self.balances, self.identities, self.subscriptions)))

    @property
    def facts(self) -> PlanFacts:
        """What the run-level guards judge."""
        return PlanFacts(
            population=self.screened.population,
            entitlements=self.screened.entitlements,
            largest_allowance=self.system.catalogue.largest_allowance,
            unknown=sum(1 for judgement in self.judged if judgement.primary in UNKNOWN),
            asked=self.subscriptions.asked,
            unanswered=self.subscriptions.unanswered,
            enumerated=self.subscriptions.enumerated,
            store_rows=self.balances.rows,
            answered=self.screened.answered,
            last_answered=self.last.answered if self.last and not self.partial else None,
            finished_at=max(snapshot.finished_at for snapshot in self.snapshots),
        )

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why source or store are too incomplete to remember or correct anything."""
        return tuple(f.sentence for f in judge_collection(self.facts, self.system.policy.limits).failures)

    @property
    def record(self) -> CollectionRecord:
        """This collection as the memory keeps it."""
        return CollectionRecord(
            run_id=self.balances.run_id,
            as_of=self.now,
            answered=self.screened.answered,
            population=self.screened.population,
            audit_seq=self.balances.audit_seq,
            files=_files(self),
        )

    def ages(self, wrong: Sequence[Judgement]) -> Mapping[str, int]:
        """Waits of the findings to act on, counted from their current opening."""
        if self.memory is None:
            return {}
        return by_age(self.now - (_opened(one) or self.now) for one in wrong if one.lane is not Lane.NONE)

    def report(self) -> Report:
        """The run's report."""
        wrong = [judgement for judgement in self.judged if judgement.primary is not None]
        everything, webhooks = self.screened.everything, _webhooks(self.gateways)
        return Report(
            system=self.system.name,
            run_id=self.balances.run_id,
            as_of=self.now.isoformat(),
            source=_source(self),
            population=self.screened.population,
            in_sync=self.screened.healthy + len(self.judged) - len(wrong),
            exempt=self.screened.exempt,
            classes=dict(sorted(Counter(j.primary.value for j in wrong if j.primary).items())),
            direction="both" if self.gateways.billing.lists else "store_only",
            mismatches=tuple(_mismatch(self, judgement) for judgement in wrong),
            identities=_identities(self),
            history="not_evaluated" if self.memory is None else "first_run" if self.last is None else "evaluated",
            facts=facts_record(self.facts) | {"partial": self.partial},
            refusals=self.refusals,
            notices=(*_notices(self), *_failed_webhooks(self.system, webhooks)),
            corrections=tuple(c for judgement in self.judged for c in judgement.corrections),
            snapshots=_files(self),
            accounts=tuple(everything.to_pylist()) if everything is not None else (),
            webhooks=webhooks,
            ages=self.ages(wrong),
        )


def _webhooks(gateways: Gateways) -> Mapping[str, int]:
    """Webhook records by code; they are no subjects. Empty where none are kept."""
    return gateways.inbox.counts() if gateways.inbox is not None and gateways.inbox.installed() else {}


def _failed_webhooks(system: CreditSystem, webhooks: Mapping[str, int]) -> Iterator[str]:
    waiting = [f"{count:,} {code.removeprefix('webhook_')}" for code, count in webhooks.items() if count]
    if waiting:
        yield f"{system.name}: webhooks: {', '.join(waiting)}: see credit-pipeline webhooks {system.name} list"


def _files(run: Run) -> dict[str, str]:
    return {s.noun: f"{s.path}#{s.sha256}" for s in run.snapshots}


def _identities(run: Run) -> Mapping[str, Any]:
    """All users by their best layer, paid or not."""
    if run.identities is None:
        return {"by_layer": {"same_id": run.screened.population}, "unmapped": 0, "conflicts": 0}
    read = run.gateways.snapshots.read
    balances, identities = read(run.balances).select(["account_id"]), read(run.identities)
    if run.partial:  # of the accounts that were not read it is not known whether they exist
        claimed = [
            pc.list_flatten(identities["mapped"]),
            pc.struct_field(pc.list_flatten(identities["metadata"]), "value"),
        ]
        named = [pa.table({"account_id": one.combine_chunks()}, schema=balances.schema) for one in claimed]
        balances = pa.concat_tables([balances, *named]).group_by("account_id").aggregate([])
    as_of = run.now.isoformat()
    report = identity_report(run.system.name, balances, identities, read(run.subscriptions), as_of=as_of)
    return {**report.summary(), "ended_without_account": run.screened.apart}


def _source(run: Run) -> Source:
    pulled = run.subscriptions
    failures = judge_collection(run.facts, run.system.policy.limits).failures
    return Source(
        provider=run.gateways.billing.provider,
        complete=not any(failure.guard == "source_complete" for failure in failures),
        level=pulled.level,
        records=pulled.rows,
        unanswered=pulled.unanswered,
        problems=pulled.problems,
    )


def _mismatch(run: Run, judgement: Judgement) -> Mismatch:
    primary, found = judgement.primary, _primary(judgement)
    assert primary is not None
    known = _known(judgement, found.fingerprint)
    opened = known.opened_at if known else run.now
    severity = CODES[primary].severity if judgement.pending else found.severity
    deltas = [c.delta for c in judgement.corrections]
    return Mismatch(
        fingerprint=found.fingerprint,
        account_id=judgement.account.store_id,
        billing_id=judgement.account.billing.billing_id or None,
        code=primary.value,
        secondary=tuple(code.value for code in judgement.secondary),
        severity=severity.value,
        lane=judgement.lane.value,
        expected=expected(judgement),
        actual=actual(judgement),
        delta=sum(deltas) if deltas else found.delta,
        evidence={f.code.value: dict(f.evidence) for f in judgement.findings},
        first_seen=known.first_seen if known else run.now,
        aged=run.now - opened >= run.system.policy.aged_after,
        opened_at=opened,
    )


def _primary(judgement: Judgement) -> Finding:
    return next((f for f in judgement.findings if f.code is judgement.primary), judgement.findings[0])


def _known(judgement: Judgement, fingerprint: str) -> Mismatch | None:
    memory = judgement.account.memory
    return next((m for m in memory.open_mismatches if m.fingerprint == fingerprint), None) if memory else None


def _opened(judgement: Judgement) -> datetime | None:
    known = _known(judgement, _primary(judgement).fingerprint)
    return known.opened_at if known else None


def _notices(run: Run) -> Iterator[str]:
    """Notices about the system as a whole: grants that are halted, catalogues that disagree."""
    system = run.system
    name = system.name
    if run.memory is None:
        yield f"{name}: nothing is remembered, so history was not evaluated: run credit-pipeline init {name}"
    elif run.gateways.at_home:
        yield (
            f"{name}: report-only, with the history of the working folder: nothing can be corrected before "
            f"credit-pipeline init {name}, and history begins anew then"
        )
    if system.policy.renewal is None and not system.ledger:
        yield f"{name}: policy.renewal is not declared, so the system is report-only: declare it in defs.yaml"
    yield from run.halted
    for label, credits in run.gateways.store.catalogue().items():
        known = next((plan for plan in system.catalogue.plans if plan.label == label), None)
        if known is not None and known.credits != credits:
            ours = f"defs.yaml {known.credits:,}"
            yield f"{name}: the product's plan table gives {label} {credits:,} credits, {ours}: correct one of them"
