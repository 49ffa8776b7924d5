"""Random lives against known truth: no automatic credit for a grant the product made; a missing one is never silent."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import GrantCredits, Lane
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline_tests.domain.lives.life import Life
from credit_pipeline_tests.domain.lives.product import PLANS, Delivery, GrantsBy, Product, Stamp

BORN = datetime(2026, 1, 30, 6, tzinfo=UTC)

INTERVALS = st.fixed_dictionaries(
    {
        "hours": st.sampled_from([6, 6, 6, 6, 1, 12, 30, 240, 700]),
        "event": st.one_of(
            st.none(),
            st.tuples(st.just("plan"), st.sampled_from(PLANS), st.sampled_from(list(Delivery))),
            st.tuples(st.just("plan"), st.sampled_from(["starter", "pro"]), st.sampled_from(list(Delivery))),
            st.tuples(st.just("label"), st.none(), st.none()),
            st.tuples(st.just("credits"), st.sampled_from([0.1, 0.6, 1.0]), st.none()),
        ),
        "spend": st.sampled_from([0, 0, 0.1, 0.5, 1]),
        "spend_after": st.sampled_from([0, 0, 0.1, 0.9, 1]),
        "resets": st.sampled_from([True, True, False]),
        "answer": st.sampled_from(["yes", "yes", "yes", "yes", "error", "gone", "unmapped"]),
    }
)


FIRST = [
    ("free", 100, 0),
    ("free", 5000, 3000),
    ("starter", 1000, 0),
    ("starter", 6000, 5000),  # an upgrade folds it into the same total
    ("starter", 6000, 5400),  # and this into a lower one
    ("starter", 5000, 300),  # setting it to Pro's allowance changes no total
]


def play(product: Product, interval: Mapping[str, Any], *, live: bool, settle: bool) -> None:
    """One interval between two runs, then the run and what must hold after it."""
    life = product.life
    product.pass_time(interval["hours"], resets=interval["resets"])
    product.deliver_late()
    product.spend(interval["spend"])
    kind, what, how = interval["event"] or (None, None, None)
    if kind == "plan" and what != life.billed:
        product.change_plan(what, how)
    elif kind == "label":
        product.lose_label()
    elif kind == "credits" and product.term.looked_at and life.states[-1].seen_until == life.runs[-1]:
        lose_credits_unseen_by_nothing_else(product, what)
        interval = {**interval, "spend_after": 0, "answer": "yes"}  # a look without an answer sees no loss
    product.spend(interval["spend_after"])
    billed = life.billed
    life.lookup = {"error": Lookup.ERROR, "gone": Lookup.GONE}.get(interval["answer"], Lookup.ANSWERED)
    if interval["answer"] == "unmapped" and billed != "free":
        life.billed = "premuim"
        life.at(product.clock, live=live, settle=settle)
        life.billed = billed
        return
    product.look(live=live, settle=settle)
    if life.lookup is Lookup.ANSWERED:
        check_nothing_is_missed(product, live=live)


def lose_credits_unseen_by_nothing_else(product: Product, share: float) -> None:
    """A loss is provable only where neither a reset nor a grant happened between the same two looks."""
    last = product.life.states[-1]
    if (last.total, last.label) == (product.life.total, product.life.label) and last.used <= product.life.used:
        product.lose_credits(share)


def check_nothing_is_missed(product: Product, *, live: bool) -> None:
    life, term = product.life, product.term
    assert life.judgement is not None
    found = life.judgement.findings
    lost = sum(int(m.evidence["loss"]) for m in life.open_codes(Code.UNEXPLAINED_DECREASE))
    assert lost >= product.losses, "a loss vanished from view"
    missing = term.owed and not (term.granted or term.by_us or term.late or term.had_key)
    if missing and term.knowable:
        standing = [f for f in found if f.code is Code.GRANT_MISSING and f.evidence["plan"] == term.plan]
        assert standing, "a missing grant vanished from view"
        assert life.judgement.pending or not live or standing[0].is_event, "proven and applied, or an event"
    planned = [s for c in life.judgement.corrections if c.lane is Lane.AUTO for s in c.steps]
    if any(isinstance(step, GrantCredits) for step in planned) and not live:
        assert not term.granted, "a dry run plans a grant that the product made"


@pytest.mark.parametrize("live", [True, False], ids=["live", "dry"])
@settings(max_examples=400, print_blob=True)
@given(
    grants_by=st.sampled_from(list(GrantsBy)),
    stamp=st.sampled_from(list(Stamp)),
    settle=st.booleans(),
    first=st.sampled_from(FIRST),
    intervals=st.lists(INTERVALS, min_size=1, max_size=30),
)
def test_no_grant_is_paid_twice_and_none_is_lost_from_view(
    live: bool,
    grants_by: GrantsBy,
    stamp: Stamp,
    settle: bool,
    first: tuple[str, int, int],
    intervals: list[Mapping[str, Any]],
) -> None:
    life = Life(label="free", total=100, billed="free")
    product = Product(life=life, grants_by=grants_by, stamp=stamp, clock=BORN)
    product.change_plan(first[0], Delivery.NOW)
    product.term.granted = True
    life.label, life.total, life.used = first
    product.look(live=live, settle=settle)
    for interval in intervals:
        play(product, interval, live=live, settle=settle)
