"""A sample of recorded judgements, judged again by today's code. A change of a rule renews it: `--sample`."""

from credit_pipeline.domain.codes import CODES
from credit_pipeline_tests.judgements.__main__ import SAMPLE, judgements, replay


def test_todays_code_judges_the_sample_as_it_was_judged() -> None:
    assert replay(SAMPLE) == 0


def test_the_sample_shows_every_code_of_a_subject() -> None:
    shown = {
        code
        for one in judgements(SAMPLE)
        for code in (
            *one["outcome"]["classes"],
            *(code for _, code, *_ in one["outcome"]["remembered"].get("found", ())),
        )
    }
    assert {code.value for code in CODES} - shown == set()
