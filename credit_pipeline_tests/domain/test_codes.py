"""The table of codes (semantics §7): every code has all its facts, and the precedence decides the primary one."""

from itertools import permutations

import pytest

from credit_pipeline.domain.codes import CODES, UNKNOWN, Code, Direction, Group, by_precedence
from credit_pipeline.domain.corrections.correction import Lane
from credit_pipeline.domain.findings import EVENTS


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_all_its_facts(code: Code) -> None:
    facts = CODES[code]
    assert facts.sentence[0].islower()
    assert facts.recovery[0].islower()
    assert not facts.sentence.endswith(".")
    assert not facts.recovery.endswith(".")
    assert len(facts.sentence) > 20
    assert len(facts.recovery) > 20


def test_the_table_holds_the_codes_and_nothing_else() -> None:
    assert set(CODES) == set(Code)
    assert len({facts.sentence for facts in CODES.values()}) == len(Code)


@pytest.mark.parametrize(
    ("code", "group", "lane"),
    [
        (Code.SOURCE_LOOKUP_ERROR, Group.SOURCE, Lane.REVIEW),
        (Code.SOURCE_GONE, Group.SOURCE, Lane.NONE),
        (Code.PENDING_SETTLEMENT, Group.SOURCE, Lane.NONE),
        (Code.PLAN_MISMATCH, Group.SUBSCRIPTION, Lane.AUTO),
        (Code.PLAN_UNMAPPED, Group.SUBSCRIPTION, Lane.REVIEW),
        (Code.SUBSCRIPTION_MISSING_AT_SOURCE, Group.SUBSCRIPTION, Lane.REVIEW),
        (Code.SUBSCRIPTION_ENDED, Group.SUBSCRIPTION, Lane.NONE),
        (Code.DUNNING, Group.SUBSCRIPTION, Lane.NONE),
        (Code.GRANT_MISSING, Group.GRANTS, Lane.AUTO),
        (Code.GRANT_LOST, Group.GRANTS, Lane.APPROVE),
        (Code.GRANT_DUPLICATE, Group.GRANTS, Lane.APPROVE),
        (Code.RENEWAL_MISSING, Group.GRANTS, Lane.APPROVE),
        (Code.BALANCE_MISSING, Group.BALANCE, Lane.REVIEW),
        (Code.BALANCE_NEGATIVE, Group.BALANCE, Lane.REVIEW),
        (Code.UNEXPLAINED_DECREASE, Group.BALANCE, Lane.APPROVE),
        (Code.UNEXPLAINED_INCREASE, Group.BALANCE, Lane.NONE),
    ],
)
def test_room_and_default_lane(code: Code, group: Group, lane: Lane) -> None:
    assert (CODES[code].group, CODES[code].lane) == (group, lane)


def test_nothing_that_favours_the_customer_is_taken_back_automatically() -> None:
    assert [c for c in Code if CODES[c].direction is Direction.OVER and CODES[c].lane is Lane.AUTO] == []


def test_precedence_is_source_identity_subscription_grants_balance() -> None:
    assert [g.name for g in sorted(Group)] == ["SOURCE", "IDENTITY", "SUBSCRIPTION", "GRANTS", "BALANCE"]
    chosen = [Code.UNEXPLAINED_DECREASE, Code.GRANT_MISSING, Code.PLAN_MISMATCH, Code.SOURCE_LOOKUP_ERROR]
    for order in permutations(chosen):
        assert by_precedence(order) == chosen[::-1]


def test_precedence_names_each_code_once() -> None:
    assert by_precedence([Code.GRANT_LOST, Code.GRANT_LOST]) == [Code.GRANT_LOST]
    assert by_precedence([]) == []


def test_events_and_unknowns() -> None:
    assert {c.value for c in EVENTS} == {
        "unexplained_decrease",
        "renewal_missing",
        "grant_lost",
        "grant_duplicate",
    }
    assert {c.value for c in UNKNOWN} == {"plan_unmapped", "source_lookup_error", "id_conflict"}
