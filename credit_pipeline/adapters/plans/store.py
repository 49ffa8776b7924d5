"""Saved plans, their states, and the one door to the product's tables (port PlanStore), on psycopg.

Writes no product table itself: `apply_batch` calls the SQL function of that name, which alone may.
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
from credit_pipeline.adapters.postgres.connections import libpq_url
from credit_pipeline.adapters.postgres.transactions import Contended, Cursor, Row, Transactions
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import NotInstalled, PlanError
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
# The function's rows come first: their corrections are looked up by the primary key.
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
# Leans on audit_account, audit_plan, or the primary key read backwards.
_AUDIT = """
SELECT payload, prev_hash, hash FROM credit_pipeline.audit
WHERE system = %(system)s AND (%(account)s::text IS NULL OR account = %(account)s)
  AND (%(plan)s::text IS NULL OR plan_id = %(plan)s) ORDER BY seq DESC LIMIT %(limit)s
"""
# Leans on audit_account.
_AUDIT_SINCE = """
SELECT payload FROM credit_pipeline.audit
WHERE system = %(system)s AND account = ANY (%(accounts)s) AND seq > %(seq)s ORDER BY seq
"""


class PostgresPlans:
    """The PlanStore of one system. Times are the database's; `created_at` and `plan_id` are given by `save`."""

    def __init__(self, url: str, system: CreditSystem) -> None:
        self._system = system.name
        self._config_hash = config_hash(system)
        env = system.store.url_env
        self._transactions = Transactions(libpq_url(url, system.name, env), system.name, env)
        self._found_well: dict[str, int] = {}
        """Plan → the audit row up to which its changes were found in order."""

    def close(self) -> None:
        """Ends the connection; a later call opens another."""
        self._transactions.close()

    def save(self, plan: SavedPlan) -> SavedPlan:
        """Stores a proposed plan; older waiting plans of the system become superseded, and what earlier approvals of
        identical rows allow is given to the new one."""
        rows = [(row.seq, columns(row.correction)) for row in plan.rows]
        with self._transactions.begin() as cursor:
            plan_id = saved_plans.insert(cursor, self._system, plan, rows)
            approvals.inherit(cursor, plan_id)
            return saved_plans.read(cursor, self._system, plan_id)

    def load(self, plan_id: str) -> SavedPlan:
        """The plan with its rows. Raises PlanError where there is none, or where it was edited after it was saved."""
        with self._transactions.begin() as cursor:
            return saved_plans.read(cursor, self._system, plan_id)

    def plans(self, limit: int = 20) -> Sequence[SavedPlan]:
        """The newest plans, without rows."""
        with self._transactions.begin() as cursor:
            return saved_plans.newest(cursor, self._system, limit)

    def set_state(self, plan_id: str, state: str, failures: Sequence[str] = ()) -> None:
        """Moves a plan on. `applying` is entered from proposed or approved, in time; a finished plan stays finished."""
        with self._transactions.begin() as cursor:
            plan = locked_plan(cursor, self._system, plan_id)
            old = too_old(plan) if state == "applying" else None
            if old is None:
                _check_move(plan, state)
            self._move(cursor, plan_id, "expired" if old else state, failures)
        if old is not None:
            raise old

    def approve(self, plan_id: str, selection: Selection, who: str, reason: str) -> int:
        """Records the approval and returns how many rows it released."""
        decision = Decision(who=who, reason=reason)
        with self._transactions.begin() as cursor:
            released = approvals.approve(cursor, self._system, plan_id, selection, decision)
        if isinstance(released, PlanError):
            raise released
        return released

    def reject(self, plan_id: str, who: str, reason: str) -> None:
        """Ends a waiting plan; earlier approvals of its rows count no more."""
        decision = Decision(who=who, reason=reason)
        with self._transactions.begin() as cursor:
            approvals.reject(cursor, self._system, plan_id, decision)

    def ever_applied(self) -> bool:
        """Whether any correction of this system was ever applied."""
        return self._control()["first_applied"] is not None

    def pinned(self) -> Mapping[str, int]:
        """The catalogue pinned at init: plan → credits."""
        query = "SELECT plan, credits FROM credit_pipeline.catalogue WHERE system = %s ORDER BY rank"
        with self._transactions.begin() as cursor:
            return {row["plan"]: row["credits"] for row in cursor.execute(query, (self._system,))}

    def former(self) -> Mapping[str, Sequence[Amount]]:
        """Plan → the amounts it had until a person accepted another one, oldest first."""
        with self._transactions.begin() as cursor:
            return apply_facts.former_amounts(cursor, self._system)

    def hold(self, plan_id: str, held: Mapping[int, tuple[str, str]]) -> None:
        """Gives waiting rows a final outcome without a write: seq → (outcome, sentence)."""
        assert all(outcome in _HELD for outcome, _ in held.values()), "hold() never reports a change"
        words: dict[str, Any] = {"plan": plan_id, "system": self._system, "seqs": list(held)}
        words |= {
            "outcomes": [outcome for outcome, _ in held.values()],
            "failures": [said for _, said in held.values()],
        }
        with self._transactions.begin() as cursor:
            cursor.execute(_HOLD, words)

    def pins(self) -> Mapping[str, Any]:
        """What this installation belongs to, `environment` among it; empty where an older version installed it."""
        control = self._control()
        return {**control["pins"], "environment": control["environment"]} if control["pins"] else {}

    def clock(self) -> datetime:
        """The database's clock, now."""
        with self._transactions.begin() as cursor:
            return apply_facts.clock(cursor)

    def automatic_changes(self, accounts: Sequence[AccountId], within: timedelta) -> Mapping[AccountId, int]:
        """Account → automatic corrections of it in the last `within`, by the audit and the database's clock."""
        with self._transactions.begin() as cursor:
            return apply_facts.automatic_changes(cursor, self._system, accounts, within)

    def changed_alone(self, within: timedelta) -> int:
        """How many accounts were corrected automatically in the last `within`, each by a plan for it alone."""
        with self._transactions.begin() as cursor:
            return apply_facts.changed_alone(cursor, self._system, within)

    def waiting(self, plan_id: str) -> int:
        """How many released rows of the plan have no outcome yet."""
        with self._transactions.begin() as cursor:
            return apply_facts.waiting(cursor, self._system, plan_id)

    def upcoming(self, plan_id: str) -> Sequence[int]:
        """The waiting rows' numbers, released or not, in the order in which batches take them."""
        with self._transactions.begin() as cursor:
            return apply_facts.upcoming(cursor, self._system, plan_id)

    def apply_batch(self, plan_id: str, size: int) -> Sequence[RowOutcome]:
        """One transaction over at most `size` (1 to 200) waiting rows; empty when none is left.

        Tried up to five times where others hold the locks. Raises PlanError where the plan may not be applied.
        """
        return _patiently(lambda: self._apply_batch(plan_id, size))

    def invariants(self, plan_id: str) -> Mapping[str, int]:
        """A true sentence's name → in how many of the plan's rows it is untrue, 0 included.

        Asked again, it reads only what was changed since it last found all in order.
        """
        with self._transactions.begin() as cursor:
            saved_plans.head(cursor, self._system, plan_id)
            last = self._control_row(cursor)["audit_seq"]
            broken = apply_facts.invariants(cursor, plan_id, self._found_well.get(plan_id, 0))
        if not any(broken.values()):
            self._found_well[plan_id] = last
        return broken

    def note_apply(self, plan_id: str, failure: str | None) -> bool:
        """Notes how an apply ended, None is well. True where this failure was the one that stopped the system."""
        return _patiently(lambda: self._note_apply(plan_id, failure))

    def audit(
        self, *, account: AccountId | None = None, plan_id: str | None = None, limit: int = 100
    ) -> Iterator[Mapping[str, Any]]:
        """Audit rows, newest first: the payload's fields with `hash` and `prev_hash`."""
        words = {"system": self._system, "account": account, "plan": plan_id, "limit": limit}
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_AUDIT, words).fetchall()
        return (json.loads(row["payload"]) | {"prev_hash": row["prev_hash"], "hash": row["hash"]} for row in rows)

    def audit_since(self, accounts: Sequence[AccountId], seq: int) -> Iterator[Mapping[str, Any]]:
        """Audit rows of these accounts after number `seq`, oldest first: the payload's fields."""
        words = {"system": self._system, "accounts": list(accounts), "seq": seq}
        with self._transactions.begin() as cursor:
            rows = cursor.execute(_AUDIT_SINCE, words).fetchall()
        return (json.loads(row["payload"]) for row in rows)

    def audit_head(self) -> tuple[int, str]:
        """The chain's head: (sequence number, hash)."""
        control = self._control()
        return control["audit_seq"], control["audit_hash"]

    def audit_snapshot(self) -> AbstractContextManager[AuditSnapshot]:
        """The whole audit, to be verified or exported; nothing that is committed later is seen."""
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
        words = {"plan": plan_id, "state": state, "failures": json.dumps(list(failures)), "final": state in _FINAL}
        cursor.execute(_STATE, words)
        if state == "quarantined":
            saved_plans.tell_of_quarantine(cursor, plan_id)

    def _control(self) -> Row:
        with self._transactions.begin() as cursor:
            return self._control_row(cursor)

    def _control_row(self, cursor: Cursor) -> Row:
        row = cursor.execute(_CONTROL, (self._system,)).fetchone()
        if row is None:
            raise NotInstalled(
                f"{self._system}: not installed in this database: run `credit-pipeline init {self._system}`"
            )
        return row


def _patiently(transaction: Callable[[], Answer]) -> Answer:
    """What a transaction answers, tried up to five times where others hold the locks."""
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
