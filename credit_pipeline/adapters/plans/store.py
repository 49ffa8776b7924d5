"""The PlanStore port on psycopg: saved plans, their states and approvals, and applying them in batches.

Product tables are written only by the SQL function `apply_batch`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import stamina

from credit_pipeline.adapters.audit import reader as audit_reader
from credit_pipeline.adapters.install.write_functions import config_hash
from credit_pipeline.adapters.plans import apply_facts, approvals, saved_plans
from credit_pipeline.adapters.plans.approvals import Decision, locked_plan, too_old
from credit_pipeline.adapters.plans.correction_rows import columns
from credit_pipeline.adapters.postgres.system_database import SystemDatabase, not_installed
from credit_pipeline.adapters.postgres.transactions import Contended, Cursor, Row
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.domain.plans.catalogue import Amount
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.plans.ports import AuditSnapshot, RowOutcome, SavedPlan, Selection

Answer = TypeVar("Answer")

_FINAL = frozenset({"rejected", "applied", "partly_applied", "expired", "superseded"})
_HELD = frozenset({"blocked_by_guard", "stale_skipped", "needs_approval"})

_CONTROL = """
SELECT config_hash, environment, pins, first_applied, audit_seq, audit_hash
FROM credit_pipeline.control WHERE system = %s
"""
_STATE = """
UPDATE credit_pipeline.correction_plan SET state = %(state)s, failures = %(failures)s::jsonb,
    finished_at = CASE WHEN %(final)s THEN now() END
WHERE plan_id = %(plan)s
"""
# Starts from the function's rows; corrections are looked up by primary key.
_BATCH = """
SELECT b.*, c.delta, c.granted, c.grant_plan, c.set_label
FROM credit_pipeline.apply_batch(%(plan)s, %(size)s) AS b
CROSS JOIN LATERAL (
    SELECT coalesce(w.grant_credits, 0) + w.total_delta - w.used_delta AS delta,
           coalesce(w.grant_credits, 0) AS granted, w.grant_plan, w.set_label
    FROM credit_pipeline.correction AS w WHERE w.plan_id = %(plan)s AND w.seq = b.seq LIMIT 1) AS c
"""
_HOLD = """
UPDATE credit_pipeline.correction AS c SET outcome = h.outcome, failure = h.failure
FROM unnest(%(seqs)s::int[], %(outcomes)s::text[], %(failures)s::text[]) AS h (seq, outcome, failure)
WHERE c.plan_id = %(plan)s AND c.system = %(system)s AND c.seq = h.seq AND c.outcome IS NULL
"""
# Uses index audit_account, audit_plan or the primary key in reverse.
_AUDIT = """
SELECT payload, prev_hash, hash FROM credit_pipeline.audit
WHERE system = %(system)s AND (%(account)s::text IS NULL OR account = %(account)s)
  AND (%(plan)s::text IS NULL OR plan_id = %(plan)s) ORDER BY seq DESC LIMIT %(limit)s
"""
# Uses index audit_account.
_AUDIT_SINCE = """
SELECT payload FROM credit_pipeline.audit
WHERE system = %(system)s AND account = ANY (%(accounts)s) AND seq > %(seq)s ORDER BY seq
"""


class PostgresPlans(SystemDatabase):
    """The PlanStore of one system. Times are the database's; `save` sets `created_at` and `plan_id`."""

    def __init__(self, url: str, system: CreditSystem) -> None:
        super().__init__(url, system)
        self._config_hash = config_hash(system)
        self._checked_up_to: dict[str, int] = {}
        """Plan → the audit sequence number up to which its invariants held."""

    def save(self, plan: SavedPlan) -> SavedPlan:
        """Saves a proposed plan, supersedes older waiting ones and carries over approvals of identical rows."""
        rows = [(row.seq, columns(row.correction)) for row in plan.rows]
        with self._transactions.begin() as cursor:
            plan_id = saved_plans.insert(cursor, self._system, plan, rows)
            approvals.inherit(cursor, plan_id)
            return saved_plans.read(cursor, self._system, plan_id)

    def load(self, plan_id: str) -> SavedPlan:
        """The plan with its rows. Raises PlanError if it does not exist or was edited after it was saved."""
        with self._transactions.begin() as cursor:
            return saved_plans.read(cursor, self._system, plan_id)

    def plans(self, limit: int = 20) -> Sequence[SavedPlan]:
        """The newest plans, without rows."""
        with self._transactions.begin() as cursor:
            return saved_plans.newest(cursor, self._system, limit)

    def set_state(self, plan_id: str, state: str, failures: Sequence[str] = ()) -> None:
        """Sets the plan's state. Raises PlanError if it is finished, or `applying` is not allowed or too late."""
        with self._transactions.begin() as cursor:
            plan = locked_plan(cursor, self._system, plan_id)
            old = too_old(plan) if state == "applying" else None
            if old is None:
                _check_move(plan, state)
            self._move(cursor, plan_id, "expired" if old else state, failures)
        if old is not None:
            raise old

    def approve(self, plan_id: str, selection: Selection, who: str, reason: str) -> int:
        """Records an approval and returns how many rows it released. Raises PlanError if they may not be approved."""
        decision = Decision(who=who, reason=reason)
        with self._transactions.begin() as cursor:
            released = approvals.approve(cursor, self._system, plan_id, selection, decision)
        if isinstance(released, PlanError):
            raise released
        return released

    def reject(self, plan_id: str, who: str, reason: str) -> None:
        """Rejects a waiting plan; this also ends earlier approvals of its rows."""
        decision = Decision(who=who, reason=reason)
        with self._transactions.begin() as cursor:
            approvals.reject(cursor, self._system, plan_id, decision)

    def ever_applied(self) -> bool:
        """Whether any correction of this system was ever applied."""
        return self._control()["first_applied"] is not None

    def pinned(self) -> Mapping[str, int]:
        """The catalogue pinned at `init`: plan → credits per month."""
        query = "SELECT plan, credits FROM credit_pipeline.catalogue WHERE system = %s ORDER BY rank"
        with self._transactions.begin() as cursor:
            return {row["plan"]: row["credits"] for row in cursor.execute(query, (self._system,))}

    def former(self) -> Mapping[str, Sequence[Amount]]:
        """Plan → its former amounts (credits, until when), oldest first; a person accepted each change."""
        with self._transactions.begin() as cursor:
            return apply_facts.former_amounts(cursor, self._system)

    def hold(self, plan_id: str, held: Mapping[int, tuple[str, str]]) -> None:
        """Gives waiting rows a final outcome without applying them. `held`: row number → (outcome, reason)."""
        assert all(outcome in _HELD for outcome, _ in held.values()), "hold() never reports a change"
        params: dict[str, Any] = {"plan": plan_id, "system": self._system, "seqs": list(held)}
        params |= {
            "outcomes": [outcome for outcome, _ in held.values()],
            "failures": [sentence for _, sentence in held.values()],
        }
        with self._transactions.begin() as cursor:
            cursor.execute(_HOLD, params)

    def pins(self) -> Mapping[str, Any]:
        """What `init` pinned, with `environment`; empty if an older version installed the schema."""
        control = self._control()
        return {**control["pins"], "environment": control["environment"]} if control["pins"] else {}

    def clock(self) -> datetime:
        """The current time by the database's clock (UTC)."""
        with self._transactions.begin() as cursor:
            return apply_facts.clock(cursor)

    def automatic_changes(self, accounts: Sequence[AccountId], within: timedelta) -> Mapping[AccountId, int]:
        """Account → its automatic corrections in the last `within`, by the audit and the database's clock."""
        with self._transactions.begin() as cursor:
            return apply_facts.automatic_changes(cursor, self._system, accounts, within)

    def changed_alone(self, within: timedelta) -> int:
        """Accounts corrected automatically in the last `within` by plans for a single account."""
        with self._transactions.begin() as cursor:
            return apply_facts.changed_alone(cursor, self._system, within)

    def waiting(self, plan_id: str) -> int:
        """Released rows of the plan that have no outcome yet."""
        with self._transactions.begin() as cursor:
            return apply_facts.waiting(cursor, self._system, plan_id)

    def upcoming(self, plan_id: str) -> Sequence[int]:
        """Numbers of the rows without an outcome, released or not, in the order in which batches take them."""
        with self._transactions.begin() as cursor:
            return apply_facts.upcoming(cursor, self._system, plan_id)

    def apply_batch(self, plan_id: str, size: int) -> Sequence[RowOutcome]:
        """Applies at most `size` (1 to 200) waiting rows in one transaction; returns no outcomes when none are left.

        Retried up to four times on lock contention. Raises PlanError if the plan may not be applied.
        """
        return _retry_contended(lambda: self._apply_batch(plan_id, size))

    def invariants(self, plan_id: str) -> Mapping[str, int]:
        """Invariant → rows of the plan that violate it, 0 included.

        Later calls check only the changes since the last call that found no violation.
        """
        with self._transactions.begin() as cursor:
            saved_plans.head(cursor, self._system, plan_id)
            last = self._control_row(cursor)["audit_seq"]
            broken = apply_facts.invariants(cursor, plan_id, self._checked_up_to.get(plan_id, 0))
        if not any(broken.values()):
            self._checked_up_to[plan_id] = last
        return broken

    def note_apply(self, plan_id: str, failure: str | None) -> bool:
        """Records how an apply ended; `failure` None is success. True if this failure stopped the system."""
        return _retry_contended(lambda: self._note_apply(plan_id, failure))

    def audit(
        self, *, account: AccountId | None = None, plan_id: str | None = None, limit: int = 100
    ) -> Iterator[Mapping[str, Any]]:
        """Audit rows, newest first: the payload's fields plus `hash` and `prev_hash`."""
        params = {"system": self._system, "account": account, "plan": plan_id, "limit": limit}
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_AUDIT, params).fetchall()
        return (json.loads(row["payload"]) | {"prev_hash": row["prev_hash"], "hash": row["hash"]} for row in rows)

    def audit_since(self, accounts: Sequence[AccountId], seq: int) -> Iterator[Mapping[str, Any]]:
        """Audit rows of these accounts after number `seq`, oldest first: the payload's fields."""
        params = {"system": self._system, "accounts": list(accounts), "seq": seq}
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_AUDIT_SINCE, params).fetchall()
        return (json.loads(row["payload"]) for row in rows)

    def audit_head(self) -> tuple[int, str]:
        """The chain's head: (sequence number, hash)."""
        control = self._control()
        return control["audit_seq"], control["audit_hash"]

    def audit_snapshot(self) -> AbstractContextManager[AuditSnapshot]:
        """A consistent snapshot of the whole audit, to verify or export it."""
        return audit_reader.audit_snapshot(self._transactions, self._system)

    def _apply_batch(self, plan_id: str, size: int) -> list[RowOutcome]:
        with self._transactions.begin() as cursor:
            saved_plans.head(cursor, self._system, plan_id)
            if self._control_row(cursor)["config_hash"] != self._config_hash:
                raise PlanError(
                    f"{self._system}: the table, its columns or this program changed since init: "
                    f"run `credit-pipeline init {self._system}`"
                )
            rows = cursor.execute(_BATCH, {"plan": plan_id, "size": size}).fetchall()
        return [
            RowOutcome(
                seq=row["seq"],
                account_id=AccountId(row["account"]),
                outcome=row["outcome"],
                failure=row["failure"],
                before=row["before"],
                after=row["after"],
                delta=row["delta"],
                granted=row["granted"],
                plan=row["grant_plan"],
                label=row["set_label"],
            )
            for row in rows
        ]

    def _note_apply(self, plan_id: str, failure: str | None) -> bool:
        with self._transactions.begin() as cursor:
            saved_plans.head(cursor, self._system, plan_id)
            row = cursor.execute("SELECT credit_pipeline.note_apply(%s, %s) AS stopped", (plan_id, failure)).fetchone()
        assert row is not None
        return bool(row["stopped"])

    def _move(self, cursor: Cursor, plan_id: str, state: str, failures: Sequence[str]) -> None:
        params = {"plan": plan_id, "state": state, "failures": json.dumps(list(failures)), "final": state in _FINAL}
        cursor.execute(_STATE, params)
        if state == "quarantined":
            saved_plans.alert_quarantined(cursor, plan_id)

    def _control(self) -> Row:
        with self._transactions.begin() as cursor:
            return self._control_row(cursor)

    def _control_row(self, cursor: Cursor) -> Row:
        row = cursor.execute(_CONTROL, (self._system,)).fetchone()
        if row is None:
            raise not_installed(self._system)
        return row


def _retry_contended(transaction: Callable[[], Answer]) -> Answer:
    """The transaction's result, retried up to four times on lock contention."""
    for attempt in stamina.retry_context(on=Contended, attempts=5, timeout=120, wait_initial=0.05, wait_max=1.0):
        with attempt:
            return transaction()
    raise AssertionError("unreachable: stamina raises the last error")


def _check_move(plan: Row, state: str) -> None:
    now = plan["state"]
    if now in _FINAL and now != state:
        raise PlanError(f"{plan['plan_id']}: the plan is {now} and stays so: make a new one with `credit-pipeline fix`")
    if state == "applying" and now not in {"proposed", "approved", "applying"}:
        raise PlanError(
            f"{plan['plan_id']}: the plan is {now}: "
            f"first `credit-pipeline approve {plan['plan_id']} --as YOU --reason WHY`"
        )
