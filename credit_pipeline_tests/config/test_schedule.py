"""`schedule` in `defs.yaml`: each job's line, zone and shift; the short words; and what is refused, with its place."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from credit_pipeline.config.loader import load_file
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.timetable import Timetable, Timetables
from credit_pipeline_tests.config.test_loader import ACME, a_system

HEAD = ACME[: ACME.index("  schedule:")]


def timetables(folder: Path, schedule: str) -> Timetables:
    return load_file(a_system(folder, f"{HEAD}  schedule: {schedule}\n")).schedule


def test_what_is_left_out_is_every_six_hours_and_half_past_each(tmp_path: Path) -> None:
    told = load_file(a_system(tmp_path, HEAD)).schedule
    assert told == Timetables(reconcile=Timetable(cron="0 */6 * * *"), health=Timetable(cron="30 * * * *"))


def test_each_job_has_a_line_a_zone_and_a_shift_of_its_own(tmp_path: Path) -> None:
    told = timetables(
        tmp_path,
        '{reconcile: {cron: "5 3 * * *", timezone: Europe/Berlin, jitter: 54 min}, health: {cron: "*/10 * * * *"}}',
    )
    assert told.reconcile == Timetable(cron="5 3 * * *", timezone="Europe/Berlin", jitter=timedelta(minutes=54))
    assert told.health == Timetable(cron="*/10 * * * *")


def test_the_words_of_old_still_are_the_reconcile_jobs(tmp_path: Path) -> None:
    told = timetables(tmp_path, '{cron: "1 2 * * *", timezone: Asia/Tokyo}')
    assert told == Timetables(reconcile=Timetable(cron="1 2 * * *", timezone="Asia/Tokyo"))


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        ('{cron: "1 2 * * *", reconcile: {}}', "`schedule.cron` is short for `schedule.reconcile.cron`: write one"),
        ("{timezone: UTC, reconcile: {}}", "`schedule.timezone` is short for `schedule.reconcile.timezone`"),
        ('{reconcile: {cron: "*/5 * * * *", jitter: 3 min}}', "`*/5` is not one: write a number from 0 to 56"),
        ('{health: {cron: "10,40 * * * *", jitter: 3 min}}', "`10,40` is not one: write a number from 0 to 56"),
        ("{health: {jitter: 30 min}}", "would move the minute 30 into the next hour: write one from 0 to 29"),
        ("{health: {jitter: 60 min}}", "`schedule.health.jitter`: a shift is whole minutes within the hour"),
        ("{health: {jitter: 90 s}}", "`schedule.health.jitter`: a shift is whole minutes within the hour"),
        ('{reconcile: {cron: "0 25 * * *"}}', "`schedule.reconcile.cron`: the hour of a cron line is from 0 to 23"),
        ('{reconcile: {cron: "61 2 * * *"}}', "the minute of a cron line is from 0 to 59"),
        ('{reconcile: {cron: "0 2 0 * *"}}', "the day of a cron line is from 1 to 31"),
        ('{health: {cron: "0 2 1 13 *"}}', "`schedule.health.cron`: the month of a cron line is from 1 to 12"),
        ('{health: {cron: "0 2 * * 1-8"}}', "the weekday of a cron line is from 0 to 7"),
        ("{health: {timezone: Mars}}", "`schedule.health.timezone`: no time zone has this name"),
        ("{sweep: {}}", "`sweep` is not a key of `schedule`: it has `cron`, `health`, `reconcile`, `timezone`"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_line(tmp_path: Path, schedule: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(sentence)) as refused:
        timetables(tmp_path, schedule)
    assert f"line {len(HEAD.splitlines()) + 1}:" in str(refused.value)
    assert "^" in str(refused.value)


def test_steps_names_and_lists_of_a_line_are_no_numbers_out_of_range(tmp_path: Path) -> None:
    line = "*/90 0-23/2 1,31 JAN-DEC MON,7"
    assert timetables(tmp_path, f'{{health: {{cron: "{line}"}}}}').health.cron == line
