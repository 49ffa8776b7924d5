"""Turns an applied plan into a plan that takes it back, from its audit rows and the present state of the store.

It is approved and applied like any plan, except that billing is not asked: the reason is the audit, whatever is billed
now.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.corrections.correction import Correction, Seen
from credit_pipeline.domain.corrections.undo import Change, Later, Standing, Undoing, in_effect, undo, undone_by
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.ports import PlanRow, SavedPlan

ALL = 10_000_000
"""More audit rows than a plan has."""
WAITING, DECIDED = timedelta(minutes=55), timedelta(hours=23)
GOOD_FOR = {"proposed": WAITING, "quarantined": WAITING, "approved": DECIDED, "applying": DECIDED}
"""How long an undo in that state is gone on with, not planned anew: a little less than it may be applied."""
SAMPLE = 5

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensations:
    """What an undo would do now. Without rows, the notes say why nothing is left to take back."""

    undone: SavedPlan
    rows: tuple[Undoing, ...]
    notes: tuple[str, ...]


def compensations(
    system: CreditSystem, gateways: Gateways, plan_id: str, accounts: Sequence[AccountId] = ()
) -> Compensations:
    """The compensating corrections of a plan, or of some of its accounts. Reads only.

    Raises PlanError where there is no such plan, or it changed none of an account's credits.
    """
    plan = gateways.plans.load(plan_id)
    changed = _chosen(plan_id, list(gateways.plans.audit(plan_id=plan_id, limit=ALL)), accounts)
    if not changed:
        return Compensations(undone=plan, rows=(), notes=(f"{plan_id}: it changed nothing: nothing can be undone",))
    touched = sorted({AccountId(row["account"]) for row in changed})
    since = list(gateways.plans.audit_since(touched, min(row["seq"] for row in changed) - 1))
    waiting = {row["seq"] for row in changed} - _taken(since).keys()
    notes = [*_already(plan_id, changed, since), *_unfinished(plan)]
    meant = {row.seq: row.correction for row in plan.rows}
    by_account: defaultdict[AccountId, list[Change]] = defaultdict(list)
    for row in changed:  # newest first
        if row["seq"] in waiting:
            by_account[AccountId(row["account"])].append(_change(row, meant[row["correction"]]))
    stand = _standing(system, gateways, sorted(by_account)) if by_account else {}
    gone = [account for account in sorted(by_account) if account not in stand]
    if gone:
        notes.append(f"{len(gone)} accounts are gone from the store and stay as they are: {_sample(gone)}")
    later = _later(since, waiting)
    rows = tuple(
        undo(by_account[account], stand[account], later[account], system.catalogue) for account in sorted(stand)
    )
    return Compensations(undone=plan, rows=rows, notes=tuple(notes))


def propose_undo(
    system: CreditSystem,
    gateways: Gateways,
    plan_id: str,
    accounts: Sequence[AccountId] = (),
    *,
    now: datetime,
    run_id: str,
) -> tuple[SavedPlan | None, tuple[str, ...]]:
    """The saved plan that takes the other one back, with notes; no plan if nothing is left.

    If the same undo is already waiting, that plan is returned, so that its approval is not lost.
    """
    found = compensations(system, gateways, plan_id, accounts)
    if not found.rows:
        return None, found.notes
    rows = tuple(PlanRow(seq=seq, correction=row.correction) for seq, row in enumerate(found.rows, 1))
    known = _waiting(gateways, plan_id, rows, now)
    if known is not None:
        return known, found.notes
    undone, read = found.undone, len(rows)
    source = {"unknown": 0, "asked": 0, "unanswered": 0, "enumerated": True, "answered": 0, "last_answered": None}
    told = {
        "shortfall": {str(seq): row.shortfall for seq, row in enumerate(found.rows, 1) if row.shortfall},
        "notes": list(found.notes),
    }
    plan = SavedPlan(
        plan_id="",
        system=system.name,
        digest="",
        state="proposed",
        as_of=now,
        created_at=now,
        run_id=run_id,
        population=undone.population,
        entitlements=undone.entitlements,
        facts={**undone.facts, **source, "store_rows": read, "finished_at": now.isoformat(), "undo": told},
        failures=(),
        rows=rows,
        undoes=plan_id,
    )
    return gateways.plans.save(plan), found.notes


def _chosen(plan_id: str, rows: Sequence[Row], accounts: Sequence[AccountId]) -> list[Row]:
    if not accounts:
        return list(rows)
    absent = sorted(set(accounts) - {row["account"] for row in rows})
    if absent:
        raise PlanError(
            f"{plan_id}: it changed no account `{absent[0]}`: `credit-pipeline apply {plan_id}` shows what it changed"
        )
    named = set(accounts)
    return [row for row in rows if row["account"] in named]


def _taken(since: Iterable[Row]) -> dict[int, str]:
    """Audit row taken back already → the plan that did it."""
    return {seq: row["plan_id"] for row in since for seq in undone_by(row["keys"])}


def _already(plan_id: str, changed: Sequence[Row], since: Sequence[Row]) -> Iterator[str]:
    taken = _taken(since)
    by: defaultdict[str, list[str]] = defaultdict(list)
    for row in changed:
        if row["seq"] in taken:
            by[taken[row["seq"]]].append(row["account"])
    for undoing, accounts in by.items():
        whole = "" if len(accounts) < len(changed) else f"{plan_id}: "
        named = "" if whole else f" for {len(accounts)} of {len(changed)} changes ({_sample(accounts)})"
        yield f"{whole}already undone{named} by {undoing}"


def _unfinished(plan: SavedPlan) -> Iterator[str]:
    if plan.state == "applying":
        yield f"{plan.plan_id}: it is still being applied: what it changes from now on is not in this undo"


def _change(row: Row, meant: Correction) -> Change:
    return Change(
        seq=row["seq"],
        account_id=AccountId(row["account"]),
        billing_id=BillingId(row["billing_id"] or ""),
        plan_id=row["plan_id"],
        codes=tuple(row["codes"]),
        steps=meant.steps,
        billed_plan=meant.billed_plan,
        delta=row["delta"],
        before=row["before"],
        after=row["after"],
    )


def _later(since: Sequence[Row], waiting: set[int]) -> defaultdict[AccountId, list[Later]]:
    """Our later changes of the accounts that are still in effect, newest first."""
    standing = in_effect((row["seq"], row["keys"]) for row in since) - waiting
    first: dict[str, int] = {}
    later: defaultdict[AccountId, list[Later]] = defaultdict(list)
    for row in since:
        account, seq = row["account"], row["seq"]
        if seq in waiting:
            first.setdefault(account, seq)
        elif seq in standing and account in first and not any(undone_by(row["keys"])):
            moved = row["before"]["plan"] != row["after"]["plan"]
            later[AccountId(account)].insert(0, Later(seq=seq, plan_id=row["plan_id"], relabelled=moved))
    return later


def _standing(system: CreditSystem, gateways: Gateways, accounts: Sequence[AccountId]) -> dict[AccountId, Standing]:
    """The accounts as the store holds them now, without those that have no total."""
    rows = gateways.store.read(accounts).to_pylist()
    return {
        AccountId(row["account_id"]): Standing(
            seen=Seen(label=row["label"], total=row["total"], used=row["used"]),
            status=row["status"] if system.ledger else None,
        )
        for row in rows
        if row["total"] is not None
    }


def _waiting(gateways: Gateways, plan_id: str, rows: Sequence[PlanRow], now: datetime) -> SavedPlan | None:
    """The waiting or interrupted undo with exactly these rows, made for the same labels and totals."""
    for known in gateways.plans.plans():
        still = GOOD_FOR.get(known.state)
        if known.undoes == plan_id and still is not None and now - known.created_at < still:
            whole = gateways.plans.load(known.plan_id)
            if {_content(row) for row in whole.rows if row.outcome is None} == set(map(_content, rows)):
                return whole
    return None


def _content(row: PlanRow) -> tuple[str, str | None, int]:
    seen = row.correction.seen
    return row.correction.digest, seen.label, seen.total


def _sample(accounts: Sequence[str]) -> str:
    more = f" and {len(accounts) - SAMPLE} more" if len(accounts) > SAMPLE else ""
    return ", ".join(accounts[:SAMPLE]) + more
