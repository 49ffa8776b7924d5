"""The section `schedule` of `defs.yaml`: when the jobs of a system start by themselves."""

from collections.abc import Iterator
from typing import Self

from pydantic import model_validator

from credit_pipeline.config.values import Cron, Jitter, Section, TimeZone, refused
from credit_pipeline.domain.timetable import HEALTH, MINUTE, RECONCILE, Timetable, Timetables

LAST_MINUTE = 59


class _Times(Section):
    """When one job runs by itself."""

    cron: Cron
    timezone: TimeZone = "UTC"
    jitter: Jitter | None = None

    @model_validator(mode="after")
    def _stays_within_its_hour(self) -> Self:
        if not self.jitter:
            return self
        minute, most = self.cron.partition(" ")[0], LAST_MINUTE - self.jitter // MINUTE
        if not minute.isdecimal():
            raise refused(
                f"`jitter` moves the line's minute, and `{minute}` is not one: write a number from 0 to {most}"
            )
        if int(minute) > most:
            raise refused(f"`jitter` would move the minute {minute} into the next hour: write one from 0 to {most}")
        return self


class ReconcileTimes(_Times):
    """When both sides are compared."""

    cron: Cron = RECONCILE


class HealthTimes(_Times):
    """When the health monitor looks."""

    cron: Cron = HEALTH


class ScheduleSection(Section):
    """When the jobs run by themselves. `cron` and `timezone` directly under it are the reconcile job's, as they once
    were for all there was."""

    cron: Cron | None = None
    timezone: TimeZone | None = None
    reconcile: ReconcileTimes = ReconcileTimes()
    health: HealthTimes = HealthTimes()


def declared_twice(words: ScheduleSection) -> Iterator[tuple[str, str]]:
    """(key, sentence) of each short word that stands beside the section it is short for."""
    for key in ("cron", "timezone"):
        if getattr(words, key) is not None and "reconcile" in words.model_fields_set:
            yield key, f"`schedule.{key}` is short for `schedule.reconcile.{key}`: write one of them"


def timetables(words: ScheduleSection) -> Timetables:
    """The times as the jobs are given them."""
    short = {key: value for key in ("cron", "timezone") if (value := getattr(words, key)) is not None}
    return Timetables(reconcile=_timetable(words.reconcile.model_copy(update=short)), health=_timetable(words.health))


def _timetable(words: _Times) -> Timetable:
    return Timetable(cron=words.cron, timezone=words.timezone, jitter=words.jitter or 0 * MINUTE)
