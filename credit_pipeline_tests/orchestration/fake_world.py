"""A product, its billing and our memory of them in plain dictionaries, behind the ports. Hand-written, no assertions.

It is small on purpose: the real adapters have their own tests, here only the steps between them are looked at.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.errors import PlanError, StoreError
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import Amount
from credit_pipeline.domain.subjects.account import Memory
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.orchestration.resources import CreditGateways, working_folder
from credit_pipeline.services.collect.ports import Progress, Pull
from credit_pipeline.services.collect.tables import COUNTER_BALANCES, OBSERVATIONS, SUBSCRIPTIONS
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.ports import RowOutcome, SavedPlan, Selection
from credit_pipeline.services.reconcile.ports import CollectionRecord
from credit_pipeline_tests.services.audit.audit_rows import Audit, add_change

PRO = "94d0be17-2c5a-4f6b-8e39-c07a61d5f2b8"
IDENTITY = {"app_id": "app-1", "host": "www.wixapis.com"}


@dataclass
class World:
    """Everything there is. `accounts`: id → [label, total, used]; `billed`: id → the provider's word or None."""

    accounts: dict[str, list[Any]]
    billed: dict[str, str | None]
    installed: bool = True
    applied_before: bool = True
    fail_rows: frozenset[str] = frozenset()
    ignore_rows: frozenset[str] = frozenset()
    """Accounts on which a write says `changed` and changes nothing."""
    corrected: dict[str, int] = field(default_factory=dict)
    """Account -> automatic corrections of the last day, besides those of `audit`."""
    breaks: dict[str, int] = field(default_factory=dict)
    """Invariant -> rows in which it is untrue."""
    away: bool = False
    """Whether the database ends the connection when a batch is written."""
    clock_ahead: timedelta = timedelta()
    """How far the database's clock is ahead of ours."""
    identity: dict[str, str] = field(default_factory=lambda: dict(IDENTITY))
    pins: dict[str, Any] = field(default_factory=lambda: {"environment": "sandbox", "billing": dict(IDENTITY)})
    loads: int = 0
    """How often a whole plan was read."""
    ends: list[str | None] = field(default_factory=list)
    """How each apply ended, as it was noted."""
    last: CollectionRecord | None = None
    plans: dict[str, SavedPlan] = field(default_factory=dict)
    audit: list[dict[str, Any]] = field(default_factory=list)
    chain: Audit = field(default_factory=Audit)
    paid_since: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=3))
    opened: int = 0
    pulls: int = 0
    history: Sequence[BalancePoint] | None = ()
    """The balances over time; None: the database does not sum them."""
    enumerated: bool = True
    """Whether billing's answer ends by itself."""
    batches: list[int] = field(default_factory=list)

    def gateways(self) -> Gateways:
        """The ports onto it."""
        self.opened += 1
        return Gateways(
            billing=_Billing(self),
            store=_Store(self),
            memory=_Memory(self),
            plans=_Plans(self),
            snapshots=ParquetSnapshots("wix_app", working_folder() / "snapshots"),
        )


def a_world(**changes: Any) -> World:
    """Ten accounts in order, and two paid ones whose credits never came."""
    accounts: dict[str, list[Any]] = {f"well-{n}": ["pro", 5000, n] for n in range(10)}
    accounts |= {"short": ["pro", 100, 20], "relabelled": ["free", 100, 0]}
    world = World(accounts=accounts, billed=dict.fromkeys(accounts, PRO))
    return replace(world, **changes)


class FakeGateways(CreditGateways):
    """The resource, with a world in place of connections."""

    def of(self, system: CreditSystem) -> Gateways:
        if system.name not in self._open:
            self._open[system.name] = WORLDS[self.world].gateways()
        return self._open[system.name]

    world: str


WORLDS: dict[str, World] = {}
"""Dagster copies a resource for each run; the worlds stay here."""


class _Billing:
    provider = "wix"
    lists = False

    def __init__(self, world: World) -> None:
        self.world = world

    def pull(self, ids: Sequence[BillingId], now: datetime, progress: Progress | None = None) -> Pull:
        self.world.pulls += 1
        rows = [self._row(one) for one in ids]
        if progress:
            for done in range(1, len(ids) + 1):
                progress(done, len(ids))
        table = pa.Table.from_pylist(rows, schema=SUBSCRIPTIONS)
        return Pull(table=table, level="L3", enumerated=self.world.enumerated, asked=len(ids), unanswered=0)

    def identity(self) -> Mapping[str, str]:
        return self.world.identity

    def _row(self, one: str) -> dict[str, Any]:
        plan = self.world.billed[one]
        row: dict[str, Any] = dict.fromkeys(SUBSCRIPTIONS.names)
        row |= {"billing_id": one, "lookup": "answered", "status": "active" if plan else "free", "raw_plan": plan}
        began = self.world.paid_since
        paid = {"subscription_id": one, "cycle": "monthly", "anchor": began, "changed_at": began, "auto_renews": True}
        return row | (paid if plan else {})


class _Store:
    def __init__(self, world: World) -> None:
        self.world = world

    def read(self, accounts: Sequence[AccountId] | None = None) -> pa.Table:
        wanted = self.world.accounts if accounts is None else accounts
        rows = [
            {"account_id": one, **dict(zip(("label", "total", "used"), self.world.accounts[one], strict=True))}
            for one in wanted
        ]
        return pa.Table.from_pylist(rows, schema=COUNTER_BALANCES)

    def catalogue(self) -> Mapping[str, int]:
        return {}


class _Memory:
    def __init__(self, world: World) -> None:
        self.world = world

    def installed(self) -> bool:
        return self.world.installed

    def observations(self) -> pa.Table:
        return OBSERVATIONS.empty_table()

    def last_collection(self) -> CollectionRecord | None:
        return self.world.last

    def remembered(self, accounts: Sequence[AccountId], now: datetime) -> Mapping[AccountId, Memory]:
        return {account: Memory() for account in accounts}

    def watched(self) -> frozenset[AccountId]:
        return frozenset()

    def exempt(self, now: datetime) -> frozenset[AccountId]:
        return frozenset()

    def waiting(self, now: datetime) -> Sequence[Mismatch]:
        return ()

    def collections(self, since: datetime, most: int) -> Sequence[datetime]:
        return ()

    def balances_at(self, times: Sequence[datetime]) -> Sequence[BalancePoint]:
        if self.world.history is None:
            raise StoreError("wix_app: the database took too long: run it again")
        return self.world.history

    def record(
        self,
        collection: CollectionRecord,
        *,
        changed: pa.Table,
        mismatches: Sequence[Mismatch],
        closed: Sequence[tuple[str, str]],
    ) -> None:
        self.world.last = collection


class _Plans:
    def __init__(self, world: World) -> None:
        self.world = world

    def save(self, plan: SavedPlan) -> SavedPlan:
        kept = replace(plan, plan_id=f"plan-{len(self.world.plans) + 1}", digest="d" * 32)
        self.world.plans[kept.plan_id] = kept
        return kept

    def load(self, plan_id: str) -> SavedPlan:
        self.world.loads += 1
        return self._plan(plan_id)

    def _plan(self, plan_id: str) -> SavedPlan:
        if plan_id not in self.world.plans:
            raise PlanError(f"{plan_id}: there is no such plan: see credit-pipeline plans wix_app")
        return self.world.plans[plan_id]

    def plans(self, limit: int = 20) -> Sequence[SavedPlan]:
        return list(self.world.plans.values())[-limit:]

    def set_state(self, plan_id: str, state: str, failures: Sequence[str] = ()) -> None:
        self._keep(replace(self._plan(plan_id), state=state, failures=tuple(failures)))

    def approve(self, plan_id: str, selection: Selection, who: str, reason: str) -> int:
        self._keep(replace(self._plan(plan_id), state="approved", limits_approved=True))
        return len(self._plan(plan_id).rows)

    def ever_applied(self) -> bool:
        return self.world.applied_before

    def former(self) -> Mapping[str, Sequence[Amount]]:
        return {}

    def pinned(self) -> Mapping[str, int]:
        return {"free": 100, "starter": 1000, "pro": 5000, "pro_plus": 15000}

    def pins(self) -> Mapping[str, Any]:
        return self.world.pins

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.world.clock_ahead

    def automatic_changes(self, accounts: Sequence[AccountId], within: timedelta) -> Mapping[AccountId, int]:
        ours = Counter(row["account_id"] for row in self.world.audit)
        return {account: ours[account] + self.world.corrected.get(account, 0) for account in accounts}

    def changed_alone(self, within: timedelta) -> int:
        return 0

    def waiting(self, plan_id: str) -> int:
        return len([r for r in self._plan(plan_id).rows if r.outcome is None and r.correction.lane is Lane.AUTO])

    def upcoming(self, plan_id: str) -> Sequence[int]:
        return [row.seq for row in self._plan(plan_id).rows if row.outcome is None]

    def invariants(self, plan_id: str) -> Mapping[str, int]:
        return {"no_credits_were_lost": 0} | self.world.breaks

    def note_apply(self, plan_id: str, failure: str | None) -> bool:
        self.world.ends.append(failure)
        return len(self.world.ends) >= 3 and None not in self.world.ends[-3:]

    def hold(self, plan_id: str, held: Mapping[int, tuple[str, str]]) -> None:
        plan = self._plan(plan_id)
        rows = [
            replace(r, outcome=held[r.seq][0], failures=(held[r.seq][1],)) if r.seq in held else r for r in plan.rows
        ]
        self._keep(replace(plan, rows=tuple(rows)))

    def apply_batch(self, plan_id: str, size: int) -> Sequence[RowOutcome]:
        plan = self._plan(plan_id)
        assert plan.state == "applying", plan.state
        if self.world.away:
            raise StoreError("wix_app: the database ended the connection: run it again")
        waiting = [r for r in plan.rows if r.outcome is None and r.correction.lane is Lane.AUTO][:size]
        done = {row.seq: self._write(row.seq, row.correction.account_id, plan) for row in waiting}
        rows = [replace(r, outcome=done[r.seq].outcome) if r.seq in done else r for r in plan.rows]
        self._keep(replace(plan, rows=tuple(rows)))
        if done:
            self.world.batches.append(len(done))
        return list(done.values())

    def audit(
        self, *, account: AccountId | None = None, plan_id: str | None = None, limit: int = 100
    ) -> Iterator[Mapping[str, Any]]:
        yield from [row for row in reversed(self.world.audit) if row["plan_id"] == plan_id][:limit]

    def audit_since(self, accounts: Sequence[AccountId], seq: int) -> Iterator[Mapping[str, Any]]:
        rows = (row for row in self.world.audit if row["account_id"] in accounts)
        yield from (row for row in rows if row["seq"] > seq)

    def audit_head(self) -> tuple[int, str]:
        return self.world.chain.head()

    @contextmanager
    def audit_snapshot(self) -> Iterator[Audit]:
        yield self.world.chain

    def _write(self, seq: int, account: AccountId, plan: SavedPlan) -> RowOutcome:
        correction = next(row.correction for row in plan.rows if row.seq == seq)
        if account in self.world.fail_rows:
            return RowOutcome(
                seq=seq, account_id=account, outcome="failed", failure="a trigger refused", before=None, after=None
            )
        before = self._state(account)
        if account not in self.world.ignore_rows:
            after = correction.after
            self.world.accounts[account] = [after.label, after.total, after.used]
        self.world.audit.append({"plan_id": plan.plan_id, "account_id": account, "at": datetime.now(UTC)})
        now = self._state(account)
        add_change(
            self.world.chain,
            account=account,
            plan_id=plan.plan_id,
            correction=seq,
            key=correction.key,
            keys=[correction.key] if correction.key else [],
            available=(before["available"], now["available"]),
        )
        return RowOutcome(
            seq=seq,
            account_id=account,
            outcome="changed",
            failure=None,
            before=before,
            after=now,
            delta=correction.delta,
            granted=correction.grant.delta if correction.grant else 0,
        )

    def _state(self, account: str) -> dict[str, Any]:
        label, total, used = self.world.accounts[account]
        return {"plan": label, "total": total, "used": used, "available": total - used}

    def _keep(self, plan: SavedPlan) -> None:
        self.world.plans[plan.plan_id] = plan
