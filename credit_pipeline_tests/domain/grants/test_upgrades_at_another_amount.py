"""A ledger's upgrade in mid-period after a plan's amount was changed in that period: it was sold with the new one."""

from dataclasses import replace
from datetime import timedelta

import pytest

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.corrections.correction import GrantCredits, correction_fields, correction_from
from credit_pipeline.domain.grants.invoices import InvoiceLine
from credit_pipeline.domain.guards.row_guards import credits_due
from credit_pipeline.domain.judgement import Judgement
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline_tests.domain.builders import START, rules
from credit_pipeline_tests.domain.grants.test_amounts_in_force import since_changed
from credit_pipeline_tests.domain.invoice_builders import CHANGED, a_line, an_upgrade, with_lines
from credit_pipeline_tests.domain.ledger_builders import a_reference, an_entry

DEARER = since_changed("pro", 6_000, 5_000, at=CHANGED - timedelta(days=5))
OLD = an_entry(amount=1_000, reference=a_reference("starter"), entry_id="old")


def upgraded(*granted: int, invoiced: bool = True) -> Judgement:
    """Starter since the period's start, Pro since CHANGED, five days after Pro was made dearer."""

    def of(line: InvoiceLine) -> InvoiceLine:
        return replace(line, plan=DEARER.named(line.plan.name if line.plan else ""))

    lines = [of(line) for line in (a_line("starter"), *([an_upgrade()] if invoiced else []))]
    entries = [an_entry(amount=n, at=CHANGED + timedelta(minutes=6), reference=None, entry_id=f"t{n}") for n in granted]
    account: Account = with_lines(*lines, catalogue=DEARER, entries=(OLD, *entries), spent=100)
    return classify(account, rules(catalogue=DEARER))


def codes(judgement: Judgement) -> list[str]:
    return [found.code.value for found in judgement.findings]


def grant(judgement: Judgement) -> GrantCredits:
    (correction,) = judgement.corrections
    assert correction.grant is not None
    return correction.grant


def test_it_is_granted_with_the_amount_it_was_sold_with() -> None:
    assert codes(upgraded(6_000)) == []
    assert codes(upgraded(5_000)) == ["grant_amount_mismatch"]


def test_missing_it_is_given_that_amount_and_says_when_it_was_bought() -> None:
    found = upgraded()
    step = grant(found)
    assert (step.delta, step.grant_key.period_start, step.sold_at) == (6_000, START, CHANGED)
    (made,) = found.corrections
    assert made.lane.value == "auto"
    assert correction_from(correction_fields(made)) == made
    assert credits_due(made, DEARER, ()) == 6_000, "the row guard goes by the same day"
    elsewhere = replace(step, sold_at=START - timedelta(days=1))
    assert credits_due(replace(made, steps=(elsewhere,)), DEARER, ()) == 0


@pytest.mark.parametrize("amount", [5_000, 6_000])
def test_where_billing_does_not_say_when_it_was_bought_either_amount_is_its_grant(amount: int) -> None:
    assert codes(upgraded(amount, invoiced=False)) == []


def test_where_billing_does_not_say_when_it_was_bought_a_person_decides() -> None:
    found = upgraded(invoiced=False)
    assert [(one.lane.value, one.grant and one.grant.delta) for one in found.corrections] == [("approve", 5_000)]
    (missing,) = (one for one in found.findings if one.code.value == "grant_missing")
    assert missing.evidence["holds"] == [
        "the plan's amount was changed in this period, and billing does not say when it was bought"
    ]
