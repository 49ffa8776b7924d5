"""Random stories for the reference model: what happens in each month of a customer, drawn by hypothesis.

Drawn so that the story's truth can be read from a ledger at all: a grant without a reference comes before the next
period's window opens, and a stray one outside every window. What cannot be told apart is test_ledger_runs.py's.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.domain.plans.periods import Cycle, Period, add_months
from credit_pipeline_tests.domain.grants.reference_ledger import DAY, HOUR, PLANS, Due, Story, Webhook
from credit_pipeline_tests.domain.ledger_builders import SUBSCRIPTION

NAMES = ("starter", "pro", "pro_plus")
HANDLED = {"webhook": st.sampled_from(list(Webhook)), "delay": st.integers(0, 60), "wrong": st.integers(0, 3)}
EXTRAS = st.tuples(
    st.sampled_from([EntryKind.PURCHASE, EntryKind.ADJUSTMENT, EntryKind.GRANT]),
    st.sampled_from([40, 400, 777, 2400, 3111, 8000, -500]),
    st.integers(0, 27),
)
MONTH = st.fixed_dictionaries(
    {
        **HANDLED,
        "pay": st.sampled_from(["at once", "at once", "in an hour", "day 5", "refunded"]),
        "renew_as": st.one_of(st.none(), st.none(), st.sampled_from(NAMES)),
        "change": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {**HANDLED, "to": st.sampled_from(NAMES), "day": st.integers(9, 20), "billed": st.booleans()}
            ),
        ),
        "extras": st.lists(EXTRAS, max_size=2),
        "spend": st.sampled_from([0, 500, 20_000]),
    }
)
STORIES = st.fixed_dictionaries(
    {
        "named": st.booleans(),
        "first": st.sampled_from(NAMES),
        "day": st.sampled_from([1, 15, 28, 29, 30, 31]),
        "trial": st.booleans(),
        "months": st.lists(MONTH, min_size=1, max_size=4),
        "cycle": st.sampled_from([Cycle.MONTHLY] * 4 + [Cycle.YEARLY]),
    }
)
MOMENTS = st.sampled_from(
    [timedelta(0), timedelta(minutes=30), 3 * HOUR, 2 * DAY, 4 * DAY, 6 * DAY, 12 * DAY, 19 * DAY, 23 * DAY, 27 * DAY]
)
"""When to look, after the start of the last month; the first is the boundary itself."""


def told(facts: Mapping[str, Any]) -> Story:
    """The story of these facts, all its months played."""
    story = Story(named=facts["named"], cycle=facts["cycle"])
    start = datetime(2026, 1, facts["day"], 9, tzinfo=UTC)
    if facts["cycle"] is Cycle.YEARLY:
        _a_year(story, start, facts)
        return story
    plan = PLANS.named(facts["first"])
    assert plan is not None
    anchor = start
    if facts["trial"]:
        anchor = start + 14 * DAY
        _month(story, plan, Period(start=start, end=anchor), facts["months"][0] | {"change": None, "pay": "at once"})
    for number, month in enumerate(facts["months"]):
        period = Period(start=add_months(anchor, number), end=add_months(anchor, number + 1))
        plan = _month(story, plan, period, month)
    return story


def last_start(story: Story) -> datetime:
    """The start of the last period that is told of."""
    return max(due.period.start for due in story.dues)


def _month(story: Story, plan: Plan, period: Period, facts: Mapping[str, Any]) -> Plan:
    """One billed period; the answer is the plan the next one begins with."""
    late = {"at once": timedelta(0), "in an hour": 59 * timedelta(minutes=1), "day 5": 5 * DAY}
    paid = period.start + late.get(facts["pay"], timedelta(0))
    if facts["pay"] == "day 5":
        story.dunning.append((period.start + HOUR, paid))
    line = _line(f"il_{len(story.dues)}", plan, period, paid)
    story.terms.append(line)
    if facts["pay"] == "refunded":
        story.refunded.add(line.line_id)
    first = Due(plan=plan, period=period, instant=paid, line=line, allowance=plan.credits)
    _handled(story, first, facts)
    change, renewed = facts["change"], facts["renew_as"]
    if change is not None and change["to"] != plan.name:
        plan = _changed(story, plan, line, change)
        renewed = renewed if change["billed"] else None
    for amount, kind, at in ((x[1], x[0], period.start + x[2] * DAY + 5 * HOUR) for x in facts["extras"]):
        _extra(story, period, at, amount, kind)
    story.spends.append((period.start + 8 * DAY, facts["spend"]))
    return PLANS.named(renewed) or plan if renewed else plan


def _changed(story: Story, plan: Plan, line: InvoiceLine, change: Mapping[str, Any]) -> Plan:
    new = PLANS.named(change["to"])
    assert new is not None
    at = line.period.start + change["day"] * DAY
    paid = at + timedelta(minutes=5)
    period = Period(start=at, end=line.period.end)
    own = _line(f"{line.line_id}_change", new, period, paid, change=True) if change["billed"] else None
    story.changes.append((at, new, own))
    if new.rank > plan.rank:
        due = Due(
            plan=new,
            period=line.period,
            instant=paid if own else at,
            line=own,
            change=True,
            allowance=new.credits,
        )
        _handled(story, due, change)
    return new


def _extra(story: Story, period: Period, at: datetime, amount: int, kind: EntryKind) -> None:
    """A gift, a purchase, a stray grant; the last only where no window could take it for a wrong amount."""
    if kind is EntryKind.GRANT:
        windows = [(due.opens(), due.closes()) for due in story.dues if due.line is not None]
        clear = at < period.end - DAY - HOUR and not any(opens <= at <= closes for opens, closes in windows)
        if not clear or amount < 0:
            return
    story.loose.append(story.entry(at, amount, kind))


def _a_year(story: Story, start: datetime, facts: Mapping[str, Any]) -> None:
    """A year of Starter by the month, or of Pro Plus up front."""
    plan = PLANS.named("starter" if facts["first"] == "starter" else "pro_plus")
    assert plan is not None
    term = Period(start=start, end=add_months(start, 12))
    line = _line("il_year", plan, term, start)
    story.terms.append(line)
    if facts["first"] != "starter":
        _handled(
            story,
            Due(plan=plan, period=term, instant=start, line=line, allowance=12 * plan.credits),
            facts["months"][0],
        )
        return
    for number, month in enumerate(facts["months"]):
        period = Period(start=add_months(start, number), end=add_months(start, number + 1))
        due = Due(plan=plan, period=period, instant=period.start, line=line, allowance=plan.credits)
        _handled(story, due, month)


def _handled(story: Story, due: Due, facts: Mapping[str, Any]) -> None:
    other = 5000 if due.plan.name == "pro_plus" else 15_000
    alone = facts.get("change") is None and facts.get("renew_as") is None and not due.change
    amounts = (due.allowance - 1, due.allowance + 501, due.allowance // 10 + 3, other if alone else due.allowance + 7)
    wrong = amounts[facts["wrong"]]
    story.grant(due, facts["webhook"], facts["delay"] * HOUR, wrong)


def _line(name: str, plan: Plan, period: Period, paid: datetime, *, change: bool = False) -> InvoiceLine:
    return InvoiceLine(
        invoice_id=f"in_{name}",
        line_id=name,
        subscription_id=SUBSCRIPTION,
        status=InvoiceStatus.PAID,
        period=period,
        plan=plan,
        raw_plan=plan.name,
        paid_at=paid,
        change=change,
    )
