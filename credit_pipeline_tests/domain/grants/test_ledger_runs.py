"""Months of runs over ledgers: each paid grant is made exactly once, or held with its reason.

First hand-made months, then random ones with transactions that no rule could attribute: there only safety is promised.
"""

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import GrantCredits, Lane
from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.plans.periods import Cycle
from credit_pipeline_tests.domain.grants.ledger_runs import Runs
from credit_pipeline_tests.domain.grants.ledger_stories import STORIES, last_start, told
from credit_pipeline_tests.domain.grants.reference_ledger import DAY, HOUR, Story, Webhook
from credit_pipeline_tests.domain.invoice_builders import day

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "600")) // 10
MINUTE = timedelta(minutes=1)

MONTH: dict[str, Any] = {
    "webhook": Webhook.ON_TIME,
    "delay": 0,
    "wrong": 0,
    "pay": "at once",
    "renew_as": None,
    "change": None,
    "extras": [],
    "spend": 500,
}


def a_story(*months: Mapping[str, Any], **facts: Any) -> Story:
    """A Pro customer from 15 January, paid and granted each month; override single facts of single months."""
    base = {"named": False, "first": "pro", "day": 15, "trial": False, "cycle": Cycle.MONTHLY}
    return told(base | facts | {"months": [MONTH | month for month in months]})


def run(runs: Runs, first: datetime, last: datetime, every: timedelta = 6 * HOUR) -> list[tuple[datetime, Code]]:
    """Live runs; the answer is the subject's class whenever it changed."""
    classes: list[tuple[datetime, Code]] = []
    now, before = first, None
    while now <= last:
        code = runs.live(now).primary
        if code is not before and code is not None:
            classes.append((now, code))
        before, now = code, now + every
    return classes


def by_us(runs: Runs) -> list[tuple[str, datetime, datetime]]:
    return [(step.grant_key.plan, step.grant_key.period_start, at) for at, step in runs.granted]


def test_months_in_order_stay_in_order_and_nothing_is_written() -> None:
    runs = Runs(product=a_story(*[{}] * 5))
    assert run(runs, day(1, 16), day(6, 10)) == []
    assert by_us(runs) == []


def test_a_missed_month_is_granted_once_at_the_first_look() -> None:
    runs = Runs(product=a_story({}, {}, {"webhook": Webhook.MISSED}, {}))
    run(runs, day(1, 16), day(5, 10))
    assert by_us(runs) == [("pro", day(3, 15), day(3, 15))]


def test_a_renewal_whose_invoice_is_open_waits_and_is_then_granted_once() -> None:
    runs = Runs(product=a_story({}, {"webhook": Webhook.MISSED, "pay": "in an hour"}))
    assert run(runs, day(2, 14), day(2, 15, 9), every=3 * HOUR) == [(day(2, 15), Code.PENDING_SETTLEMENT)]
    assert run(runs, day(2, 15) + 20 * MINUTE, day(2, 15) + 40 * MINUTE, every=10 * MINUTE)[-1][1] is (
        Code.PENDING_SETTLEMENT
    )
    assert by_us(runs) == []
    run(runs, day(2, 15, 10), day(3, 10))
    assert by_us(runs) == [("pro", day(2, 15), day(2, 15, 10))]


def test_dunning_paid_on_day_five_is_granted_once_and_from_then() -> None:
    story = a_story({}, {"webhook": Webhook.MISSED, "pay": "day 5"}, {})
    runs = Runs(product=story)
    classes = run(runs, day(1, 16), day(4, 10))
    assert classes[0] == (day(2, 15), Code.PENDING_SETTLEMENT)
    assert classes[1] == (day(2, 15, 15), Code.DUNNING)
    assert by_us(runs) == [("pro", day(2, 15), day(2, 20))]
    came = Runs(product=a_story({}, {"pay": "day 5", "delay": 50}, {}))
    assert [code for _, code in run(came, day(1, 16), day(4, 10))] == [
        Code.PENDING_SETTLEMENT,
        Code.DUNNING,
        Code.GRANT_MISSING,  # until the product's own came; a live run without settling grants first
        Code.GRANT_DUPLICATE,
    ]


def test_settling_lets_the_products_webhook_win() -> None:
    late = a_story({}, {"pay": "day 5", "delay": 40})
    patient = Runs(product=late, settle=True, policy={"settle_time": timedelta(hours=48)})
    assert Code.GRANT_MISSING not in [code for _, code in run(patient, day(1, 16), day(3, 10))]
    assert by_us(patient) == []


@pytest.mark.parametrize("webhook", [Webhook.ON_TIME, Webhook.MISSED])
@pytest.mark.parametrize("billed", [True, False])
def test_an_upgrade_in_mid_month(webhook: Webhook, billed: bool) -> None:
    change = {"to": "pro", "day": 10, "billed": billed, "webhook": webhook, "delay": 0, "wrong": 0}
    runs = Runs(product=a_story({}, {"change": change}, {}, first="starter"))
    run(runs, day(1, 16), day(4, 10))
    expected = [] if webhook is Webhook.ON_TIME else [("pro", day(2, 15))]
    assert [(plan, start) for plan, start, _ in by_us(runs)] == expected


def test_a_calendar_drip_against_an_anniversary_anchor_is_held_with_the_reason() -> None:
    """Anchor 15th, the product grants on the 1st. Nothing automatic, ever; a person is told why."""
    story = a_story(*[{"webhook": Webhook.MISSED}] * 5)
    for month in (2, 3, 4, 5, 6):
        story.loose.append(story.entry(day(month, 1), 5000))
    runs = Runs(product=story)
    seen = []
    now = day(2, 20)
    while now < day(6, 10):
        judgement = runs.live(now)
        seen += [f for f in judgement.findings if f.code is Code.GRANT_MISSING]
        now += 6 * HOUR
    assert by_us(runs) == []
    assert seen
    assert {f.lane for f in seen} == {Lane.APPROVE}
    assert all("days of its own" in " ".join(f.evidence["holds"]) for f in seen)


def test_anchored_on_the_31st() -> None:
    """31 Jan, 28 Feb, 31 Mar, 30 Apr: monthly and as a drip of a year, every second webhook missed."""
    missed = [{"webhook": Webhook.ON_TIME if n % 2 == 0 else Webhook.MISSED} for n in range(4)]
    for cycle in (Cycle.MONTHLY, Cycle.YEARLY):
        runs = Runs(product=a_story(*missed, first="starter", day=31, cycle=cycle))
        run(runs, day(1, 31, 12), day(5, 20), every=5 * HOUR)
        assert [(start, at.date()) for _, start, at in by_us(runs)] == [
            (day(2, 28), day(2, 28).date()),
            (day(4, 30), day(4, 30).date()),
        ]


def test_a_year_up_front_is_granted_once_and_whole() -> None:
    runs = Runs(product=a_story({"webhook": Webhook.MISSED}, first="pro_plus", cycle=Cycle.YEARLY))
    run(runs, day(1, 16), day(12, 20), every=2 * DAY)
    ((_, step),) = runs.granted
    assert (step.delta, step.period_end) == (180_000, day(1, 15, year=2027))


@pytest.mark.parametrize("look", [timedelta(0), -timedelta(microseconds=1), timedelta(microseconds=1)])
def test_runs_at_and_around_the_boundary_grant_once(look: timedelta) -> None:
    runs = Runs(product=a_story({}, {"webhook": Webhook.MISSED}))
    for now in (day(2, 10), day(2, 15) + look, day(2, 15) + look + MINUTE, day(2, 16)):
        runs.live(now)
    assert [(plan, start) for plan, start, _ in by_us(runs)] == [("pro", day(2, 15))]


def test_a_run_that_spans_the_boundary_judges_what_it_read() -> None:
    """Billing was read a moment before the period ended, and judged after: the old period's grant is not due again."""
    story = a_story({}, {"webhook": Webhook.MISSED})

    class ReadEarlier:
        def account(self, now: datetime, ours: Any, memory: Any) -> Any:
            return story.account(min(now, day(2, 15) - MINUTE), ours, memory)

    runs = Runs(product=ReadEarlier())
    runs.live(day(2, 14))
    assert runs.live(day(2, 15) + MINUTE).primary is None
    assert by_us(runs) == []
    runs.product = story
    run(runs, day(2, 15) + 2 * MINUTE, day(2, 20))
    assert [(plan, start) for plan, start, _ in by_us(runs)] == [("pro", day(2, 15))]


def test_a_late_webhook_after_our_grant_is_found_as_a_duplicate_and_taken_back_once() -> None:
    runs = Runs(product=a_story({}, {"webhook": Webhook.LATE, "delay": 10}))
    run(runs, day(1, 16), day(3, 1))
    judgement = runs.look(day(3, 1))
    assert judgement.primary is Code.GRANT_DUPLICATE
    (claw_back,) = judgement.corrections
    assert (claw_back.lane, claw_back.delta) == (Lane.APPROVE, -5000)
    runs.write(claw_back, day(3, 1))
    assert runs.look(day(3, 2)).findings == ()


# Random months.

STRANGE = st.tuples(
    st.integers(0, 120 * 24),
    st.sampled_from([1000, 5000, 15_000, 777, 4999, 100, 180_000]),
    st.sampled_from([EntryKind.GRANT, EntryKind.GRANT, EntryKind.ADJUSTMENT, EntryKind.PURCHASE]),
)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, print_blob=True)
@given(
    facts=STORIES,
    strange=st.lists(STRANGE, max_size=3),
    every=st.sampled_from([11 * HOUR, 29 * HOUR, 3 * DAY, 9 * DAY]),
    settle=st.booleans(),
    catch_up=st.sampled_from([0, 0, 2]),
)
def test_nothing_automatic_is_ever_too_much(
    facts: Mapping[str, Any], strange: list[tuple[int, int, EntryKind]], every: timedelta, settle: bool, catch_up: int
) -> None:
    story = told(facts)
    born = story.dues[0].period.start
    story.loose += [story.entry(born + hours * HOUR, amount, kind) for hours, amount, kind in strange]
    note(f"{story}")
    runs = Runs(product=story, settle=settle, policy={"catch_up": catch_up})
    now, last = born, last_start(story) + 20 * DAY
    while now <= last:
        judgement = runs.look(now)
        for correction in judgement.corrections:
            if correction.lane is Lane.AUTO and correction.grant is not None:
                check_it_is_owed(story, runs, correction.grant, now)
                runs.write(correction, now)
        if not settle and not catch_up:
            again = runs.look(now)
            assert not [c for c in again.corrections if c.lane is Lane.AUTO], "the second run changes nothing"
        now += every
    check_nothing_is_forgotten(story, runs, now - every)


def check_it_is_owed(story: Story, runs: Runs, step: GrantCredits, now: datetime) -> None:
    key = (step.grant_key.plan, step.grant_key.period_start)
    (due,) = [d for d in story.dues if (d.plan.name, d.period.start) == key]
    assert due.paid(now), "granted before it was paid"
    assert not [entry for entry in due.given if entry.at <= now], "the product had granted it"
    ours = sum(s.delta for _, s in runs.granted if due.period.start <= s.grant_key.period_start < due.period.end)
    strays = [e for e in story.loose if due.period.start <= e.at < due.period.end and e.at <= now]
    strange = sum(e.amount for e in strays if e.kind is EntryKind.GRANT and e.amount not in {100, -500})
    meant = [d.given for d in story.dues if due.period.start <= d.period.start < due.period.end]
    granted = sum(e.amount for given in meant for e in given if e.at <= now) + ours + strange
    assert granted + step.delta <= story.allowed_in(due.period, now), "above the allowances of the plans billed"


def check_nothing_is_forgotten(story: Story, runs: Runs, now: datetime) -> None:
    """Every paid grant was made by somebody, or stands as a finding, or something may stand for it."""
    found = runs.look(now).findings
    for due in story.dues:
        made = [e for e in due.given if e.at <= now] or (due.plan.name, due.period.start) in {
            (s.grant_key.plan, s.grant_key.period_start) for _, s in runs.granted
        }
        said = any(f.evidence.get("period_start") == due.period.start.isoformat() for f in found)
        stand_in = [e for e in story.loose if 2 * e.amount >= due.allowance and e.at <= now]
        if not made and not said and not stand_in and due.paid(now) and due.line is not None:
            assert story.dunning or story.refunded or due.opens() < now - 62 * DAY, f"{due} is forgotten"
