"""The shift of a cron line: decided by the name alone, within its hour, and spread over it."""

from collections import Counter
from datetime import timedelta

from credit_pipeline.domain.timetable import Timetable, Timetables

TWENTY = Timetable(cron="10 */6 * * *", jitter=timedelta(minutes=20))


def test_without_jitter_a_line_stays_as_it_was_written() -> None:
    assert Timetable(cron="*/15 8-18 * * 1-5").line_for("wix_app_reconcile") == "*/15 8-18 * * 1-5"
    assert Timetables().reconcile.line_for("a") == "0 */6 * * *"
    assert Timetables().health.line_for("a") == "30 * * * *"


def test_a_name_has_the_same_minute_every_day_and_on_every_machine() -> None:
    assert TWENTY.line_for("wix_app_reconcile") == "23 */6 * * *"
    assert TWENTY.line_for("bestauth_reconcile") == "11 */6 * * *"
    assert TWENTY.line_for("wix_app_health") == "11 */6 * * *"


def test_names_are_spread_over_the_minutes_allowed_and_no_others() -> None:
    minutes = Counter(int(TWENTY.line_for(f"system_{n}").split()[0]) for n in range(2_100))
    assert set(minutes) == set(range(10, 31))
    assert max(minutes.values()) < 2 * min(minutes.values())
