"""Plan-scope guards: may this plan be applied at all? All are asked, all failures are collected (semantics §9).

They count only the rows that this apply would write. What protects a single row (loss, key, stale) is repeated in the
write path, under its locks. A refusal says n/N, %, the limit and what to type.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from credit_pipeline.domain.corrections.correction import Correction, Lane
from credit_pipeline.domain.guards.ceilings import Ceilings, most_rows
from credit_pipeline.domain.guards.verdict import Failure, PlanFacts, Verdict, share
from credit_pipeline.domain.policy import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingPin:
    """Whose account at the provider it was at `init`, and whose it is now, as names and values without a secret."""

    pinned: Mapping[str, str]
    found: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the guards judge besides the plan: what is true when they are asked."""

    system: str
    now: datetime
    """This machine's clock."""
    clock: datetime
    """The database's, read at the same moment."""
    first_plan: bool = False
    approved: bool = False
    """An approval of the automatic lane, which lifts the amounts and the first run, and nothing else."""
    unattended: bool = False
    """A live run behind which stands no person, no approval and no `automation.apply`."""
    flapping: int = 0
    """Rows held already because their accounts are corrected again and again."""
    pin: BillingPin | None = None
    """None in a dry run, which writes nothing that could be another account's."""


def judge_collection(facts: PlanFacts, limits: Limits) -> Verdict:
    """Whether source and store were read completely enough to correct anything by them."""
    unanswered = max(limits.unanswered_floor, int(limits.unanswered_share * facts.asked))
    return Verdict(failures=tuple(_collection(facts, unanswered, limits.answers_ratio)))


def judge_plan(
    plan_id: str,
    rows: Sequence[Correction],
    facts: PlanFacts,
    ceilings: Ceilings,
    limits: Limits,
    there: Circumstances,
) -> Verdict:
    """Whether these rows may be written. `ceilings` are the limits of this plan, tightened by the run if at all."""
    failures = [
        *_collection(facts, ceilings.unanswered, ceilings.answers_ratio),
        *_unknown(facts, ceilings, there),
        *_times(facts, ceilings, there),
        *_amounts(plan_id, rows, facts, ceilings, there),
        *_flapping(len(rows), ceilings, limits, there),
        *_billing_pin(there),
        *_automation(plan_id, there),
    ]
    return Verdict(failures=tuple(failures))


def judge_alone(system: str, changed: int, population: int, limits: Limits, window: timedelta) -> Failure | None:
    """Whether one account more may be corrected by itself: in `window` no more than one plan for all may change.

    A plan alias mapped to a larger plan by mistake is caught where a complete run would change many at once. Without
    this it would go through webhook by webhook, each a plan of one row.
    """
    limit = most_rows(limits, population)
    if changed < limit:
        return None
    sentence = (
        f"{share(changed, population)} accounts were corrected one by one in {window.total_seconds() / 3600:g} h, "
        f"limit {limit}: see in one plan what else is found, with credit-pipeline fix {system}"
    )
    return Failure(guard="rows", sentence=sentence)


def _collection(facts: PlanFacts, unanswered: int, answers_ratio: float) -> Iterator[Failure]:
    if facts.store_rows == 0:
        sentence = "the store returned no accounts: check the table and its rights"
        yield Failure(guard="store_complete", sentence=sentence)
    if not facts.enumerated:
        sentence = "billing's answer did not end by itself: run again when it is healthy"
        yield Failure(guard="source_complete", sentence=sentence)
    if facts.unanswered > unanswered:
        sentence = (
            f"billing left {share(facts.unanswered, facts.asked)} accounts unanswered, limit {unanswered}: "
            "run again when it is healthy"
        )
        yield Failure(guard="source_complete", sentence=sentence)
    if facts.last_answered is not None and facts.answered < answers_ratio * facts.last_answered:
        sentence = (
            f"billing answered for {share(facts.answered, facts.last_answered)} of the accounts of the last good run, "
            f"limit {answers_ratio:.0%}: check key, app and environment"
        )
        yield Failure(guard="source_complete", sentence=sentence)


def _unknown(facts: PlanFacts, ceilings: Ceilings, there: Circumstances) -> Iterator[Failure]:
    if facts.unknown > ceilings.unknown:
        sentence = (
            f"{share(facts.unknown, facts.population)} accounts could not be judged, limit {ceilings.unknown}: "
            f"map the plans or repair the source that credit-pipeline check {there.system} names"
        )
        yield Failure(guard="unknown", sentence=sentence)


def _times(facts: PlanFacts, ceilings: Ceilings, there: Circumstances) -> Iterator[Failure]:
    """An approved plan is good for a day, so that its snapshot may be older; its rows are confirmed with billing."""
    age, oldest = there.now - facts.finished_at, ceilings.max_snapshot_age
    if oldest is not None and age > oldest:
        sentence = (
            f"the snapshot is {_minutes(age)} min old, limit {_minutes(oldest)} min: "
            f"make a new plan with credit-pipeline fix {there.system}"
        )
        yield Failure(guard="max_snapshot_age", sentence=sentence)
    skew = there.now - there.clock
    if abs(skew) > ceilings.max_clock_skew:
        seconds = f"{abs(skew).total_seconds():,.0f} s {'ahead of' if skew > timedelta() else 'behind'}"
        sentence = (
            f"this machine's clock is {seconds} the database's, limit {ceilings.max_clock_skew.total_seconds():,.0f} s:"
            f" set both by a time server, then make a new plan with credit-pipeline fix {there.system}"
        )
        yield Failure(guard="max_clock_skew", sentence=sentence)


def _amounts(
    plan_id: str, rows: Sequence[Correction], facts: PlanFacts, ceilings: Ceilings, there: Circumstances
) -> Iterator[Failure]:
    release = _release(plan_id, rows)
    if ceilings.rows is not None and len(rows) > ceilings.rows:
        sentence = (
            f"would change {share(len(rows), facts.population)} accounts, limit {ceilings.rows}: review, then {release}"
        )
        yield Failure(guard="rows", sentence=sentence)
    moved = sum(abs(row.delta) for row in rows)
    if ceilings.credits is not None and moved > ceilings.credits:
        part = share(moved, facts.entitlements)
        sentence = f"would move {part} credits of a month, limit {ceilings.credits:,}: review, then {release}"
        yield Failure(guard="credits", sentence=sentence)
    if rows and there.first_plan and not there.approved:
        sentence = f"the first applied plan of a system needs approval: {release}"
        yield Failure(guard="first_plan", sentence=sentence)


def _flapping(written: int, ceilings: Ceilings, limits: Limits, there: Circumstances) -> Iterator[Failure]:
    """One such account is held and stops nobody else; more of them show that something undoes what we correct."""
    rows = written + there.flapping
    allowed = max(limits.flap_floor, int(limits.flap_share * rows))
    if there.flapping > allowed:
        hours = limits.flap_window.total_seconds() / 3600
        sentence = (
            f"{share(there.flapping, rows)} rows are of accounts corrected automatically {ceilings.flap_changes} times "
            f"in {hours:g} h, limit {allowed}: find what undoes the corrections with "
            f"credit-pipeline account {there.system} ID, then credit-pipeline fix {there.system}"
        )
        yield Failure(guard="flap", sentence=sentence)


def _billing_pin(there: Circumstances) -> Iterator[Failure]:
    """Each name must be there on both sides: one that is gone is as doubtful as one that differs."""
    pin = there.pin
    if pin is None:
        return
    if not pin.pinned:
        sentence = f"billing's account is not pinned in this database: run credit-pipeline init {there.system}"
        yield Failure(guard="environment_pin", sentence=sentence)
        return
    names = sorted({*pin.pinned, *pin.found})
    differing = [name for name in names if pin.pinned.get(name) != pin.found.get(name)]
    if differing:
        told = ", ".join(
            f"{name} is {pin.found.get(name, 'unknown')}, pinned {pin.pinned.get(name, 'without')}"
            for name in differing
        )
        sentence = (
            f"billing's account is not the one pinned, {share(len(differing), len(names))} of its marks differ, "
            f"limit 0: {told}: use that account's key, or "
            f"credit-pipeline init {there.system} --repin --as YOU --reason WHY"
        )
        yield Failure(guard="environment_pin", sentence=sentence)


def _automation(plan_id: str, there: Circumstances) -> Iterator[Failure]:
    if there.unattended:
        sentence = f"live runs from the UI or a schedule need automation.apply or an approval: {_release(plan_id)}"
        yield Failure(guard="automation", sentence=sentence)


def _release(plan_id: str, rows: Sequence[Correction] = ()) -> str:
    """Where no row is automatic, naming the lane that they are in lifts the limits."""
    lane = Lane.APPROVE if rows and all(row.lane is Lane.APPROVE for row in rows) else Lane.AUTO
    return f"credit-pipeline approve {plan_id} --lane {lane.value} --as YOU --reason WHY"


def _minutes(span: timedelta) -> str:
    return f"{int(span.total_seconds() // 60):,}"
