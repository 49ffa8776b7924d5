"""The eight checks and the story of a ledger's subject, over single deviations from a healthy one."""

from typing import Any

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.services.explain.explanation import Check
from credit_pipeline.services.explain.ledger_checks import ledger_checks
from credit_pipeline.services.explain.timeline import timeline
from credit_pipeline_tests.domain.builders import NOW, rules
from credit_pipeline_tests.domain.ledger_builders import AUTH, a_claim, a_ledger, a_user, an_entry, an_identity

HEALTHY = dict.fromkeys(
    [
        "user_exists",
        "mapping_exists",
        "subscription_exists",
        "metadata_resolved",
        "balance_exists",
        "balance_reasonable_for_plan",
        "ledger_explains_balance",
        "can_deduct",
    ],
    True,
)


def asked(*, executable: bool | None = True, **overrides: Any) -> dict[str, Check]:
    judgement = classify(a_user(**overrides), rules())
    return {check.name: check for check in ledger_checks(judgement, executable=executable)}


@pytest.mark.parametrize(
    ("deviation", "changed"),
    [
        ({}, {}),
        (
            {"identity": an_identity(claims=(a_claim(2),))},
            {"mapping_exists": False, "balance_reasonable_for_plan": False},
        ),
        (
            {"identity": an_identity(claims=(a_claim(1),), without_metadata=(AUTH,))},
            {"metadata_resolved": False},
        ),
        ({"identity": an_identity(claims=(a_claim(1),))}, {"metadata_resolved": None}),
        ({"entries": ()}, {"balance_reasonable_for_plan": False, "can_deduct": False}),
        ({"gap": -200}, {"ledger_explains_balance": False}),
        ({"spent": 5000}, {"can_deduct": False}),
        ({"label": "free"}, {"balance_reasonable_for_plan": False}),
        ({"label": None}, {"subscription_exists": False, "balance_reasonable_for_plan": False}),
        ({"status": BillingStatus.DUNNING}, {}),
        ({"ledger": a_ledger(unknown_types=("gift",))}, {"ledger_explains_balance": None}),
    ],
)
def test_each_deviation_shows_in_its_own_check(deviation: dict[str, Any], changed: dict[str, bool | None]) -> None:
    assert {name: check.ok for name, check in asked(**deviation).items()} == HEALTHY | changed


def test_without_an_answer_of_billing_the_subscription_stays_open() -> None:
    assert asked(lookup=Lookup.ERROR)["subscription_exists"].ok is None


@pytest.mark.parametrize(("executable", "ok"), [(True, True), (False, False), (None, None)])
def test_the_power_to_deduct_is_asked_and_never_assumed(executable: bool | None, *, ok: bool | None) -> None:
    assert asked(executable=executable)["can_deduct"].ok is ok


def test_a_missing_balance_row_fails_its_check_and_leaves_what_follows_open() -> None:
    found = {name: check.ok for name, check in asked(used=None, ledger=a_ledger(entries=(), spent=0, rows=0)).items()}
    assert found["balance_exists"] is False
    assert found["ledger_explains_balance"] is found["can_deduct"] is None


def test_the_story_tells_transactions_invoices_and_the_subscription_in_time_order() -> None:
    entry = an_entry(entry_id="txn_2", amount=300, kind=EntryKind.PURCHASE, type="purchase", reference=None)
    judgement = classify(a_user(entries=(an_entry(), entry)), rules())
    told = list(timeline(judgement, [], in_store=True, now=NOW))
    texts = [one.text for one in told]
    assert any(text.startswith("+5,000 by a transaction of type subscription_grant, reference ") for text in texts)
    assert "+300 by a transaction of type purchase" in texts
    assert "invoice in_1 for pro, 2026-03-01 to 2026-04-01: paid" in texts
    assert "subscription sub_1 to pro began" in texts
    assert [one.at for one in told] == sorted(one.at for one in told)
    assert any(
        text.startswith("expected: label pro and a grant of 5,000 for the period from 2026-03-01") for text in texts
    )
