from datetime import UTC, datetime, timedelta

import pytest

from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.report.report import Report, Source

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_report(history: str, opened_at: datetime) -> Report:
    mismatch = Mismatch(
        fingerprint="f",
        account_id=AccountId("site-1"),
        code="plan_mismatch",
        secondary=("grant_missing",),
        severity="error",
        lane="auto",
        first_seen=opened_at,
        opened_at=opened_at,
    )
    return Report(
        system="wix_app",
        run_id="r",
        as_of=NOW.isoformat(),
        source=Source(provider="wix", complete=True, level="L2", records=1, unanswered=0),
        population=1,
        in_sync=0,
        exempt=0,
        classes={"plan_mismatch": 1},
        direction="both",
        mismatches=(mismatch,),
        identities={},
        history=history,
        facts={},
    )


@pytest.mark.parametrize(("history", "opened"), [("evaluated", "2026-03-01T06:00:00+00:00"), ("not_evaluated", None)])
def test_a_mismatch_is_written_as_check_promises(history: str, opened: str | None) -> None:
    [written] = a_report(history, NOW - timedelta(hours=6)).as_json()["mismatches"]
    assert written == {
        "fingerprint": "f",
        "account_id": "site-1",
        "billing_id": None,
        "code": "plan_mismatch",
        "secondary": ("grant_missing",),
        "severity": "error",
        "lane": "auto",
        "expected": {},
        "actual": {},
        "delta": None,
        "evidence": {},
        "first_seen": "2026-03-01T06:00:00+00:00",
        "aged": False,
        "opened_at": opened,
    }


@pytest.mark.parametrize("history", ["evaluated", "not_evaluated"])
def test_a_report_is_read_back_as_it_was(history: str) -> None:
    report = a_report(history, NOW)
    assert Report.from_record(report.to_record()) == report
