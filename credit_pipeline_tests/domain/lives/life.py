"""One account's life in miniature: its row, its billing, and a memory that is kept as the real one is.

`at(time, …)` changes facts and runs the judgement; live runs carry out lane auto with the write path's own checks.
Pure: no database. Memory keeps a version only where something changed, carries marks while plan and period stay the
same, keeps open events, resolves other findings that an answered run does not repeat.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import Correction, Lane, Seen
from credit_pipeline.domain.grants.history import grants_held
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.domain.plans.periods import NEAR, Period, period_at
from credit_pipeline.domain.policy import Policy
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import (
    Account,
    GrantRecord,
    Lookup,
    Memory,
    ObservedState,
    StateKind,
)
from credit_pipeline_tests.domain.builders import a_catalogue, a_policy, an_account


@dataclass(kw_only=True)
class Life:
    """The facts of now, and what earlier runs remember."""

    label: str | None = "free"
    total: int = 100
    used: int = 0
    billed: str = "free"
    anchor: datetime | None = None
    lookup: Lookup = Lookup.ANSWERED
    catalogue: Catalogue = field(default_factory=a_catalogue)
    policy: Policy = field(default_factory=a_policy)
    states: list[ObservedState] = field(default_factory=list)
    runs: list[datetime] = field(default_factory=list)
    grants: list[GrantRecord] = field(default_factory=list)
    mismatches: dict[str, Mismatch] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    applied_keys: set[str] = field(default_factory=set)
    applied: list[Correction] = field(default_factory=list)
    """What was written, in order."""
    now: datetime | None = None
    judgement: Judgement | None = None

    @property
    def available(self) -> int:
        return self.total - self.used

    @property
    def row(self) -> tuple[str | None, int, int]:
        return self.label, self.total, self.used

    @property
    def auto_credits(self) -> int:
        """Credits moved in lane auto, all runs together."""
        return sum(c.delta for c in self.applied if c.lane is Lane.AUTO)

    def open_codes(self, code: Code) -> list[Mismatch]:
        return [m for m in self.mismatches.values() if m.code == code.value]

    def period(self, now: datetime) -> Period | None:
        return None if self.billed == "free" or self.anchor is None else period_at(self.anchor, 1, now)

    def account(self, now: datetime) -> Account:
        """All facts as the real services would pass them."""
        return an_account(
            label=self.label,
            total=self.total,
            used=self.used,
            billed=self.billed,
            lookup=self.lookup,
            start=None,
            period=self.period(now) if self.lookup is Lookup.ANSWERED else None,
            states=self.states,
            runs=self.runs,
            grants=self.grants,
            open_mismatches=self.mismatches.values(),
            accepted=self.accepted,
            applied_keys=self.applied_keys,
            catalogue=self.catalogue,
        )

    def at(self, now: datetime, *, live: bool = True, settle: bool = False, **facts: Any) -> Judgement:
        """Change facts, run once, remember, and where live carry out lane auto."""
        for name, value in facts.items():
            setattr(self, name, value)
        account = self.account(now)
        judged = classify(
            account,
            Rules(catalogue=self.catalogue, policy=self.policy, now=now, settle=settle, first_run=not self.runs),
        )
        self.now, self.judgement = now, judged
        self._remember(account, judged, now)
        for correction in judged.corrections if live else ():
            if correction.lane is Lane.AUTO:
                self.carry_out(correction)
        return judged

    def every_six_hours(self, runs: int, **how: Any) -> Judgement:
        """That many further runs in which nothing happens."""
        assert self.now is not None
        for _ in range(runs):
            judged = self.at(self.now + timedelta(hours=6), **how)
        return judged

    def approve(self) -> Correction:
        """Release the approve lane of the last judgement."""
        assert self.judgement is not None
        (waiting,) = [c for c in self.judgement.corrections if c.lane is Lane.APPROVE]
        self.carry_out(waiting)
        return waiting

    def carry_out(self, correction: Correction) -> None:
        """The write path in miniature: the key is free, plan and total stand as seen, nothing automatic lowers."""
        assert self.now is not None
        assert (correction.lane, correction.delta >= 0) != (Lane.AUTO, False), "an automatic decrease"
        before = Seen(label=self.label, total=self.total, used=self.used)
        if correction.lane is Lane.AUTO:
            assert (before.label, before.total) == (correction.seen.label, correction.seen.total)
        current = replace(correction, seen=before)
        grant = correction.grant
        if grant:
            key = (grant.grant_key.plan, grant.grant_key.period_start)
            assert key not in {(g.plan, g.period_start) for g in self.grants}, "a grant key used twice"
            if correction.lane is Lane.AUTO:
                near = (grant.period_end - key[1]) * NEAR
                held = grants_held(Memory(states=tuple(self.states), grants=tuple(self.grants)))
                assert not any(plan == key[0] and abs(start - key[1]) < near for plan, start in held), "a near key"
            self.grants.append(GrantRecord(plan=key[0], period_start=key[1], credits=grant.delta))
        if correction.key:
            assert correction.key not in self.applied_keys, "a correction key used twice"
            self.applied_keys.add(correction.key)
        after = current.after
        moment = self.now + timedelta(seconds=1 + len(self.applied) % 2)
        for kind, state in ((StateKind.BEFORE, before), (StateKind.AFTER, after)):
            self.states.append(_observed_state(kind, state, moment))
        self.label, self.total, self.used = after.label, after.total, after.used
        self.applied.append(current)

    def _remember(self, account: Account, judged: Judgement, now: datetime) -> None:
        assert not {f for f, _ in judged.closed} & {f.fingerprint for f in judged.findings}, "closed and found at once"
        assert len({f.fingerprint for f in judged.findings}) == len(judged.findings), "one finding twice"
        if account.billing.lookup is not Lookup.ERROR:
            self._observe(account, judged, now)
        for name, _ in judged.closed:
            del self.mismatches[name]
        for found in judged.findings:
            known = self.mismatches.get(found.fingerprint)
            self.mismatches[found.fingerprint] = Mismatch(
                fingerprint=found.fingerprint,
                account_id=account.account_id,
                code=found.code.value,
                severity=found.severity.value,
                lane=found.lane.value,
                is_event=found.is_event,
                opened_at=known.opened_at if known else now,
                first_seen=known.first_seen if known else now,
                evidence=found.evidence,
            )
        names = {f.fingerprint for f in judged.findings}
        if account.billing.lookup is not Lookup.ERROR:
            for name in [n for n, m in self.mismatches.items() if not m.is_event and n not in names]:
                del self.mismatches[name]
        self.runs.append(now)

    def _observe(self, account: Account, judged: Judgement, now: datetime) -> None:
        billing = account.billing
        key = (billing.plan.name if billing.plan else None, billing.period.start if billing.period else None)
        held = next((s.mark for s in self.states if (s.billed_plan, s.billed_period_start) == key and s.mark), None)
        fresh = ObservedState(
            as_of=now,
            seen_until=now,
            label=self.label,
            total=self.total,
            used=self.used,
            billed_plan=key[0],
            billed_period_start=key[1],
            billed_status=billing.status.value if billing.status else billing.lookup.value,
            mark=judged.mark or (held if all(key) else None),
        )
        last = self.states[-1] if self.states else None
        if last and last.seen_until >= self.runs[-1] and replace(last, as_of=now, seen_until=now) == fresh:
            self.states[-1] = replace(last, seen_until=now)
        else:
            self.states.append(fresh)


def _observed_state(kind: StateKind, state: Seen, moment: datetime) -> ObservedState:
    return ObservedState(
        as_of=moment,
        seen_until=moment,
        kind=kind,
        label=state.label,
        total=state.total,
        used=state.used,
        billed_plan=None,
        billed_period_start=None,
        billed_status=None,
    )
