"""How often, and after how long: the waits between attempts."""

from datetime import timedelta

import pytest

from credit_pipeline.domain.retry_schedule import SYNCS, WEBHOOKS, Retrying


def test_a_webhook_is_tried_eight_times_with_growing_waits() -> None:
    minutes = [WEBHOOKS.after(attempt) for attempt in range(1, 9)]
    assert minutes == [timedelta(minutes=m) for m in (1, 5, 30, 120, 300, 600, 840)] + [None]


@pytest.mark.parametrize("retrying", [WEBHOOKS, SYNCS])
def test_waits_never_shrink_and_there_is_a_last_attempt(retrying: Retrying) -> None:
    waits = [retrying.after(attempt) for attempt in range(1, retrying.most)]
    assert None not in waits
    assert waits == sorted(waits)
    assert retrying.after(retrying.most) is None
    assert retrying.after(retrying.most + 5) is None
