"""Runs over a ledger, one after another: what each remembers, and what a live one writes. Nothing is judged here.

A product is anything that gives its account at a moment, our own transactions included: a Story, or a hand-made one.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.corrections.correction import AdjustCredits, Correction, GrantCredits, Lane, Seen
from credit_pipeline.domain.grants.ledger import Entry, EntryKind
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.account import (
    Account,
    GrantRecord,
    Mark,
    Memory,
    ObservedState,
    StateKind,
)
from credit_pipeline_tests.domain.builders import rules


class Product(Protocol):
    """What the adapters would read at a moment."""

    def account(self, now: datetime, ours: tuple[Entry, ...], memory: Memory) -> Account: ...


@dataclass(kw_only=True)
class Runs:
    """The pipeline's side of the story."""

    product: Product
    settle: bool = False
    policy: dict[str, object] = field(default_factory=dict)
    ours: list[Entry] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    granted: list[tuple[datetime, GrantCredits]] = field(default_factory=list)

    def look(self, now: datetime) -> Judgement:
        """Judge, and remember as a complete collection does."""
        account = self.product.account(now, tuple(self.ours), self.memory)
        first = not self.memory.complete_runs
        judgement = classify(account, rules(now=now, settle=self.settle, first_run=first, **self.policy))
        self._remember(judgement, now)
        return judgement

    def live(self, now: datetime) -> Judgement:
        """Judge, and write what is automatic."""
        judgement = self.look(now)
        for correction in judgement.corrections:
            if correction.lane is Lane.AUTO:
                self.write(correction, now)
        return judgement

    def write(self, correction: Correction, now: datetime) -> None:
        """What the write path does: transactions, our audit, our keys."""
        keys = set()
        for step in correction.steps:
            if isinstance(step, GrantCredits):
                key = (step.grant_key.plan, step.grant_key.period_start)
                assert key not in {(grant.plan, grant.period_start) for grant in self.memory.grants}, "twice by us"
                self.granted.append((now, step))
                self._transaction(now, step.delta, EntryKind.GRANT, step.reference)
                record = GrantRecord(plan=key[0], period_start=key[1], credits=step.delta)
                self.memory = replace(self.memory, grants=(*self.memory.grants, record))
                keys.add(str(step.grant_key))
            elif isinstance(step, AdjustCredits):
                keys.add(step.correction_key)
                if not step.lower_used:
                    self._transaction(now, step.delta, EntryKind.ADJUSTMENT, step.correction_key)
        states = (_state(correction.seen, now, StateKind.BEFORE), _state(correction.after, now, StateKind.AFTER))
        self.memory = replace(
            self.memory,
            states=(*self.memory.states, *(state for state in states if state is not None)),
            applied_keys=self.memory.applied_keys | keys,
        )

    def _transaction(self, now: datetime, amount: int, kind: EntryKind, reference: str | None) -> None:
        name = f"ours{len(self.ours)}"
        self.ours.append(Entry(entry_id=name, at=now, amount=amount, kind=kind, type=kind.value, reference=reference))

    def _remember(self, judgement: Judgement, now: datetime) -> None:
        account, memory = judgement.account, self.memory
        ended = {name for name, _ in judgement.closed}
        before = {m.fingerprint: m for m in memory.open_mismatches if m.fingerprint not in ended}
        found = {
            f.fingerprint: Mismatch(
                fingerprint=f.fingerprint,
                account_id=account.account_id,
                code=f.code.value,
                severity=f.severity.value,
                lane=f.lane.value,
                is_event=f.is_event,
                opened_at=before[f.fingerprint].opened_at if f.fingerprint in before else now,
                first_seen=now,
                evidence=f.evidence,
            )
            for f in judgement.findings
        }
        standing = {name: m for name, m in before.items() if m.is_event} | found
        seen = _seen(account, judgement.mark or _held(account), now)
        self.memory = replace(
            memory,
            states=_after(memory.states, seen),
            complete_runs=(*memory.complete_runs, now),
            open_mismatches=tuple(standing.values()),
        )


def _after(before: tuple[ObservedState, ...], seen: ObservedState | None) -> tuple[ObservedState, ...]:
    """A state that stays the same is seen on; a change begins another one."""
    if seen is None:
        return before
    if before and replace(before[-1], seen_until=seen.seen_until, as_of=seen.as_of) == seen:
        return (*before[:-1], replace(before[-1], seen_until=seen.seen_until))
    return (*before, seen)


def _held(account: Account) -> Mark | None:
    plan, period = account.billing.plan, account.billing.period
    key = (plan.name if plan else None, period.start if period else None)
    seen = account.memory.states if account.memory else ()
    return next((s.mark for s in seen if s.mark and (s.billed_plan, s.billed_period_start) == key), None)


def _seen(account: Account, mark: Mark | None, now: datetime) -> ObservedState | None:
    balance, billing = account.balance, account.billing
    if balance.total is None or balance.used is None:
        return None
    return ObservedState(
        as_of=now,
        seen_until=now,
        label=balance.label,
        total=balance.total,
        used=balance.used,
        billed_plan=billing.plan.name if billing.plan else None,
        billed_period_start=billing.period.start if billing.period else None,
        billed_status=billing.status.value if billing.status else None,
        mark=mark,
        gap=account.gap,
    )


def _state(seen: Seen, now: datetime, kind: StateKind) -> ObservedState | None:
    if seen.used is None:
        return None
    at = now + timedelta(microseconds=1)
    return ObservedState(
        as_of=at,
        seen_until=at,
        kind=kind,
        label=seen.label,
        total=seen.total,
        used=seen.used,
        billed_plan=None,
        billed_period_start=None,
        billed_status=None,
    )
