"""The moments the sandbox is planted at: where months, years and clocks turn, and ordinary days between."""

from datetime import UTC, datetime

WORST = ("2026-12-01 09:30", "2027-03-01 00:05", "2028-02-29 23:40")
"""A day after a short month, the shortest month's end, a leap day that ends while the sandbox is planted."""
MOMENTS = (
    *WORST,
    "2026-12-02 00:01",
    "2026-12-15 12:00",
    "2026-12-30 18:30",
    "2026-12-31 23:50",  # New Year's Eve, and the year turns while the tests run
    "2026-12-31 23:59",
    "2027-01-01 00:01",
    "2027-01-02 08:00",
    "2027-01-15 03:00",
    "2027-01-28 10:00",
    "2027-01-29 10:00",
    "2027-01-30 10:00",
    "2027-01-31 10:00",
    "2027-01-31 23:58",
    "2027-02-01 00:00",
    "2027-02-14 14:00",
    "2027-02-27 23:55",
    "2027-02-28 10:30",
    "2027-02-28 23:30",
    "2027-03-02 06:00",
    "2027-03-14 10:30",  # American clocks went forward this morning
    "2027-03-15 10:30",
    "2027-03-28 00:59",  # European clocks go forward a minute later
    "2027-03-29 09:00",
    "2027-03-30 09:00",
    "2027-03-31 22:00",
    "2027-04-01 00:02",
    "2027-04-30 23:57",
    "2027-05-01 07:00",
    "2027-05-31 10:01",
    "2027-06-30 12:00",
    "2027-07-01 00:00",
    "2027-07-31 23:45",
    "2027-08-31 10:00",
    "2027-09-01 01:00",
    "2027-09-15 15:00",
    "2027-10-01 11:00",
    "2027-10-31 01:00",  # European clocks went back
    "2027-11-01 09:00",
    "2027-11-07 06:30",  # American clocks went back
    "2027-11-08 06:30",
    "2027-11-30 23:59",
    "2028-02-28 23:59",
    "2028-02-29 00:01",
    "2028-02-29 10:00",
    "2028-03-01 00:01",
    "2028-03-31 10:30",
    "2029-02-28 12:00",
)


def parse(moment: str) -> datetime:
    """A date, or a date and a time, in UTC; noon where no time is given."""
    found = datetime.fromisoformat(moment if " " in moment or "T" in moment else f"{moment} 12:00")
    return found.replace(tzinfo=UTC)
