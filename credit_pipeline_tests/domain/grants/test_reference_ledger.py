"""The judgement of a ledger agrees with a slow, obvious reference model, over random histories.

Set LEDGER_EXAMPLES for more of them; a failing one is printed with its story and the blob that replays it.
"""

import os
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, note, settings

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.codes import Code
from credit_pipeline.domain.corrections.correction import GrantCredits, Lane
from credit_pipeline.domain.findings import Finding
from credit_pipeline.domain.subjects.account import Account
from credit_pipeline_tests.domain.builders import rules
from credit_pipeline_tests.domain.grants.ledger_stories import MOMENTS, STORIES, last_start, told
from credit_pipeline_tests.domain.grants.reference_ledger import Said

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "600"))
ABOUT_GRANTS = {
    Code.GRANT_MISSING,
    Code.GRANT_LOST,
    Code.GRANT_DUPLICATE,
    Code.GRANT_AMOUNT_MISMATCH,
    Code.GRANT_UNEXPECTED,
    Code.REFUNDED,
    Code.PENDING_SETTLEMENT,
}


def said(found: Finding) -> Said:
    facts = found.evidence
    unexpected = found.code is Code.GRANT_UNEXPECTED
    at = datetime.fromisoformat(facts["at"] if unexpected else facts["period_start"])
    return Said(found.code, None if unexpected else facts["plan"], at, found.lane)


def judged(account: Account, now: datetime) -> Counter[Said]:
    findings = classify(account, rules(now=now)).findings
    return Counter(said(f) for f in findings if f.code in ABOUT_GRANTS)


def automatic(account: Account, now: datetime) -> list[GrantCredits]:
    made = classify(account, rules(now=now)).corrections
    return [step for one in made if one.lane is Lane.AUTO for step in one.steps if isinstance(step, GrantCredits)]


@settings(max_examples=EXAMPLES, print_blob=True)
@given(facts=STORIES, moment=MOMENTS)
def test_the_judgement_says_what_the_story_knows(facts: Mapping[str, Any], moment: timedelta) -> None:
    story = told(facts)
    now = last_start(story) + moment
    note(f"{now:%Y-%m-%d %H:%M} of {story}")
    assert judged(story.account(now), now) == story.must_say(now)
