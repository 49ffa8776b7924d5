"""A correction survives being stored, and an edited row is noticed."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.adapters.plans.correction_rows import columns, stored_correction
from credit_pipeline.domain.corrections.correction import (
    AdjustCredits,
    Correction,
    CreateBalance,
    GrantCredits,
    GrantKey,
    Lane,
    LinkIdentity,
    Seen,
    SetPlan,
    SetResolvedId,
    SetSubscription,
    Step,
)
from credit_pipeline.domain.errors import PlanError
from credit_pipeline.domain.subjects.identity import Layer
from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId
from credit_pipeline_tests.adapters.products.counter_product import a_correction, a_grant, an_adjustment, an_upgrade

CREDITS = st.integers(min_value=-(2**62), max_value=2**62)
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
INSTANTS = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 (hypothesis adds the zone)
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)
PLANS = st.sampled_from(["pro", "a/b"])
LABELS = st.builds(SetPlan, plan=WORDS, label=WORDS)
ADJUSTMENTS = st.builds(AdjustCredits, delta=CREDITS, correction_key=WORDS, cause=WORDS, lower_used=st.booleans())


@st.composite
def corrections(draw: st.DrawFn) -> Correction:
    account = AccountId(draw(WORDS))
    keys = st.builds(GrantKey, account_id=st.just(account), plan=PLANS, period_start=INSTANTS)
    grants = st.builds(GrantCredits, delta=CREDITS, grant_key=keys, period_end=INSTANTS, reset_used=st.booleans())
    steps = [
        *draw(st.lists(grants, max_size=1)),
        *draw(st.lists(LABELS, max_size=1)),
        *draw(st.lists(ADJUSTMENTS, max_size=3)),
    ]
    return Correction(
        account_id=account,
        billing_id=BillingId(draw(WORDS)),
        lane=draw(st.sampled_from([Lane.AUTO, Lane.APPROVE])),
        codes=tuple(draw(st.lists(WORDS, max_size=3))),
        steps=tuple(draw(st.permutations(steps))),
        reasons=tuple(draw(st.lists(WORDS, max_size=3))),
        seen=Seen(label=draw(st.none() | WORDS), total=draw(CREDITS), used=draw(CREDITS)),
        billed_plan=draw(st.none() | WORDS),
    )


@given(corrections())
def test_a_correction_read_back_is_the_one_stored(correction: Correction) -> None:
    stored = stored_correction(columns(correction))
    assert stored == correction
    assert stored.digest == correction.digest


@given(corrections())
def test_the_columns_carry_out_the_correction_s_whole_delta(correction: Correction) -> None:
    row = columns(correction)
    assert (row["grant_credits"] or 0) + row["total_delta"] - row["used_delta"] == correction.delta


def test_the_columns_name_every_key_one_by_one() -> None:
    steps = (an_adjustment(50, "restore:f1"), a_grant("a", 1000), an_adjustment(30, "renewal:f2", lower_used=True))
    row = columns(a_correction("a", *steps, seen=("pro", 0, 0)))
    assert row["key"] == "a/pro/1772323200|restore:f1|renewal:f2"
    assert row["keys"] == ["a/pro/1772323200", "restore:f1", "renewal:f2"]
    assert (row["grant_credits"], row["total_delta"], row["used_delta"]) == (1000, 50, -30)


@pytest.mark.parametrize(
    ("column", "value"),
    [("grant_credits", 999_999), ("set_label", "enterprise"), ("account", "mine"), ("keys", []), ("seen_total", 1)],
)
def test_a_column_edited_after_saving_is_refused(column: str, value: object) -> None:
    row = columns(an_upgrade("a")) | {column: value}
    with pytest.raises(PlanError, match="was changed in the database"):
        stored_correction(row)


def test_content_edited_after_saving_is_refused() -> None:
    row = columns(an_upgrade("a"))
    content = json.loads(row["content"])
    content["steps"][0]["delta"] = 999_999
    with pytest.raises(PlanError, match="was changed in the database"):
        stored_correction(row | {"content": json.dumps(content)})


@pytest.mark.parametrize(
    "step",
    [
        CreateBalance(),
        SetSubscription(status="active", period_start=datetime(2026, 3, 1, tzinfo=UTC), period_end=None),
        LinkIdentity(auth_id=AuthId("u"), store_id=AccountId("a"), layer=Layer.METADATA),
        SetResolvedId(auth_id=AuthId("u"), store_id=AccountId("a")),
    ],
    ids=lambda step: type(step).__name__,
)
def test_a_step_beside_the_credits_is_kept_whole_and_has_no_column_of_its_own(step: Step) -> None:
    alone = a_correction("a", step, seen=(None, 0, None))
    row = columns(alone)
    assert stored_correction(row) == alone
    assert (row["key"], row["keys"], row["seen_used"], row["set_label"]) == (None, [], None, None)
    with pytest.raises(PlanError, match="several steps of one kind"):
        columns(a_correction("a", step, step, seen=(None, 0, None)))


def test_a_ledger_s_grant_keeps_its_reference() -> None:
    grant = replace(a_grant("a", 800), reference="in_1")
    stored = stored_correction(columns(a_correction("a", grant, seen=("pro", 0, 0))))
    assert stored.grant == grant


def test_two_grants_of_one_account_do_not_share_a_row() -> None:
    both = a_correction("a", a_grant("a", 1000, plan="starter"), a_grant("a", 5000), seen=("pro", 0, 0))
    with pytest.raises(PlanError, match="one after the other"):
        columns(both)
