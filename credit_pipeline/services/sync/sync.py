"""One account at a time, now: read its state from both sides, and correct what is proven under the guards.

Used by the Sync button, provisioning routes, failed webhooks and `credit-pipeline sync`. Judgement, guards and write
path are those of every run; nothing settles, and nothing is remembered.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.codes import CODES, Code
from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.errors import CreditPipelineError, StoreError
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.apply import apply_plan
from credit_pipeline.services.decision_log import DecisionLog
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.guard_facts import alone_refused
from credit_pipeline.services.plans.ports import PlanRow
from credit_pipeline.services.plans.propose import UNREMEMBERED, propose
from credit_pipeline.services.reconcile.check import check
from credit_pipeline.services.report.report import Report


class SyncOutcome(StrEnum):
    """The outcome of syncing one account, best first."""

    IN_ORDER = "in_order"
    CHANGED = "changed"
    ENDED = "ended"
    """Billing says that nothing is paid any more: complete runs decide about the label."""
    WAITING = "waiting"
    """What is left is a person's."""
    WOULD_CHANGE = "would_change"
    REFUSED = "refused"
    """A guard, the product or another run stood in the way."""
    UNKNOWN = "unknown"
    """Store or billing did not say."""
    ABSENT = "absent"
    """The store has no such account."""


UNSETTLED = frozenset({SyncOutcome.WOULD_CHANGE, SyncOutcome.REFUSED, SyncOutcome.UNKNOWN, SyncOutcome.ABSENT})
"""Outcomes after which another look may find another end."""
ENDS = frozenset({Code.SUBSCRIPTION_ENDED.value, Code.SOURCE_GONE.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """The result for one account. `delta` is in credits: given, or would be given."""

    account_id: AccountId
    outcome: SyncOutcome
    sentence: str
    codes: tuple[str, ...] = ()
    delta: int = 0
    plan_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Its part of the JSON object of `sync`."""
        return {
            "account_id": self.account_id,
            "outcome": self.outcome.value,
            "sentence": self.sentence,
            "codes": list(self.codes),
            "delta": self.delta,
            "plan_id": self.plan_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """Syncs accounts in one run. `person`: somebody typed `--live`; `told` is called with every finished account."""

    system: CreditSystem
    gateways: Gateways
    live: bool
    run_id: str
    clock: Callable[[], datetime]
    person: bool = False
    told: Callable[[Synced], None] = lambda _: None

    def of(self, accounts: Sequence[AccountId]) -> list[Synced]:
        """Every account with its result, in the order given. One that fails does not affect the others.

        Raises StoreError if an invariant is broken after a write.
        """
        looked = {account: self._looked(account, report) for account, report in self._reports(accounts)}
        done = []
        for account in accounts:
            found = looked[account]
            one = self._applied(account, found) if isinstance(found, Report) else found
            self.told(one)
            done.append(one)
        return self._verified(done)

    def _reports(self, accounts: Sequence[AccountId]) -> Iterator[tuple[AccountId, Report | Synced]]:
        """A report of each account alone. They are read together, and each by itself where they cannot be told apart
        or where one spoils the look at all."""
        together: Report | Synced | None = None
        if len(accounts) > 1:
            together = self._checked(accounts, self.run_id)
        if isinstance(together, Synced) and together.outcome is SyncOutcome.UNKNOWN:
            yield from ((account, replace(together, account_id=account)) for account in accounts)
        elif isinstance(together, Report) and not together.refusals and (alone := _apart(together, accounts)):
            yield from alone.items()
        else:
            for number, account in enumerate(accounts, 1):
                single = self._checked([account], f"{self.run_id}-{number}")
                there = isinstance(single, Synced) or single.population
                yield account, single if there else self._absent(account)

    def _checked(self, accounts: Sequence[AccountId], run_id: str) -> Report | Synced:
        """The report, or why there is none. A fault of ours in one account's data must not hold back all others."""
        try:
            return check(self.system, self.gateways, run_id=run_id, now=self.clock(), accounts=accounts)
        except CreditPipelineError as error:
            return Synced(account_id=accounts[0], outcome=SyncOutcome.UNKNOWN, sentence=str(error))
        except Exception as error:
            kind = type(error).__name__
            DecisionLog(self.system.name).failed(f"a look at {len(accounts)} accounts ended unexpectedly ({kind})")
            sentence = f"the look ended unexpectedly ({kind}): please report it"
            return Synced(account_id=accounts[0], outcome=SyncOutcome.REFUSED, sentence=sentence)

    def _absent(self, account: AccountId) -> Synced:
        table = f"{self.system.store.table}.{self.system.store.account}"
        sentence = f"the store has no such account: compare its id with `{table}`"
        return Synced(account_id=account, outcome=SyncOutcome.ABSENT, sentence=sentence)

    def _looked(self, account: AccountId, report: Report | Synced) -> Report | Synced:
        """The result, if nothing is to be written; else the report with its corrections."""
        if isinstance(report, Synced):
            return report
        if report.refusals:
            return Synced(account_id=account, outcome=SyncOutcome.UNKNOWN, sentence=report.refusals[0])
        automatic = [one for one in report.corrections if one.lane is Lane.AUTO]
        partly = not self.system.ledger and len(automatic) < len(report.corrections)
        if automatic and self.live and not partly:
            return replace(report, corrections=tuple(automatic))
        codes = tuple(mismatch.code for mismatch in report.mismatches)
        outcome, sentence = (SyncOutcome.REFUSED, UNREMEMBERED) if automatic and partly else _verdict(report, automatic)
        delta = sum(one.delta for one in automatic)
        return Synced(account_id=account, outcome=outcome, sentence=sentence, codes=codes, delta=delta)

    def _applied(self, account: AccountId, report: Report) -> Synced:
        codes = tuple(mismatch.code for mismatch in report.mismatches)
        refused = Synced(account_id=account, outcome=SyncOutcome.REFUSED, sentence="", codes=codes)
        try:
            if full := alone_refused(self.system, self.gateways):
                return replace(refused, sentence=full.sentence)
            plan = propose(self.system, self.gateways, replace(report, facts=_alone(report, account)))
            refused = replace(refused, plan_id=plan.plan_id)
            return self._written(refused, plan.plan_id)
        except _Broken:
            raise
        except CreditPipelineError as error:
            return replace(refused, sentence=str(error))

    def _written(self, refused: Synced, plan_id: str) -> Synced:
        applied = apply_plan(self.system, self.gateways, plan_id, live=True, person=self.person, clock=self.clock)
        state, rows = applied.state, applied.plan.rows
        if not state.began:
            return replace(refused, sentence="; ".join([*state.failures, *state.held.values()]))
        if state.stopped_by:
            raise _Broken("; ".join(state.failures))
        if all(row.outcome in {"changed", "noop_already_applied"} for row in rows):
            delta = sum(row.correction.delta for row in rows if row.outcome == "changed")
            return replace(refused, outcome=SyncOutcome.CHANGED, sentence=_changed(rows), delta=delta)
        return replace(refused, sentence="; ".join(f"{row.outcome}: {'; '.join(row.failures)}" for row in rows))

    def _verified(self, done: list[Synced]) -> list[Synced]:
        """Those changed are looked at again: one that would be changed again is not in order."""
        changed = [one.account_id for one in done if one.outcome is SyncOutcome.CHANGED]
        if not changed:
            return done
        again = self._checked(changed, f"{self.run_id}-verify")
        if isinstance(again, Synced):
            return done  # it was written and audited; who asks billing next will see
        left = {one.account_id for one in again.corrections if one.lane is Lane.AUTO}
        return [
            replace(one, outcome=SyncOutcome.REFUSED, sentence=f"{one.sentence}, and more is to be corrected")
            if one.account_id in left and one.outcome is SyncOutcome.CHANGED
            else one
            for one in done
        ]


class _Broken(StoreError):
    """An invariant is broken after a write: nothing else is written."""


def _own(report: Report, account: AccountId) -> tuple[Correction, ...]:
    return tuple(one for one in report.corrections if one.account_id == account)


def _apart(report: Report, accounts: Sequence[AccountId]) -> dict[AccountId, Report] | None:
    """A report of each account alone, or None where subjects and accounts are not one to one."""
    known = {mismatch.account_id for mismatch in report.mismatches} | {one.account_id for one in report.corrections}
    if report.population != len(set(accounts)) or not known <= set(accounts):
        return None
    return {account: _of_one(report, account) for account in accounts}


def _of_one(report: Report, account: AccountId) -> Report:
    found = tuple(mismatch for mismatch in report.mismatches if mismatch.account_id == account)
    return replace(
        report,
        population=1,
        in_sync=0 if found else 1,
        exempt=0,
        classes={mismatch.code: 1 for mismatch in found},
        mismatches=found,
        corrections=_own(report, account),
    )


def _alone(report: Report, account: AccountId) -> dict[str, Any]:
    """Facts for the guards about this account alone, which was answered and known."""
    one = {
        "population": 1,
        "asked": 1,
        "answered": 1,
        "store_rows": 1,
        "unanswered": 0,
        "unknown": 0,
        "entitlements": 0,
    }
    return {**report.facts, **one, "scope": account}


def _verdict(report: Report, automatic: Sequence[Correction]) -> tuple[SyncOutcome, str]:
    if automatic:
        reasons = "; ".join(reason for one in automatic for reason in one.reasons)
        return SyncOutcome.WOULD_CHANGE, f"would be corrected: {reasons}"
    if not report.mismatches:
        return SyncOutcome.IN_ORDER, "in order"
    found = report.mismatches[0]
    facts = CODES[Code(found.code)]
    if found.code in ENDS:
        return SyncOutcome.ENDED, f"{found.code}: {facts.sentence}"
    if found.code == Code.SOURCE_LOOKUP_ERROR:
        return SyncOutcome.UNKNOWN, f"{found.code}: {facts.sentence}"
    if found.lane == Lane.NONE.value:
        return SyncOutcome.IN_ORDER, f"nothing to do: {found.code}: {facts.sentence}"
    return SyncOutcome.WAITING, f"left to a person: {found.code} ({found.lane}): {facts.recovery}"


def _changed(rows: Sequence[PlanRow]) -> str:
    return "; ".join(reason for row in rows for reason in row.correction.reasons) or "corrected"


def sync_report(system: CreditSystem, done: Sequence[Synced], *, live: bool) -> dict[str, Any]:
    """The JSON object of `sync`; the outcomes add up to the accounts."""
    outcomes = {outcome.value: sum(one.outcome is outcome for one in done) for outcome in SyncOutcome}
    return {
        "system": system.name,
        "mode": "live" if live else "dry_run",
        "accounts": [one.as_json() for one in done],
        "outcomes": {name: count for name, count in outcomes.items() if count},
        "totals": {"accounts": len(done), "credits": sum(one.delta for one in done)},
    }
