"""Stripe's API versions, and the difference between old and new ones."""

import re
from datetime import UTC, date, datetime

VERSION = "2026-10-28.endive"
_PERIOD_ON_ITEMS = date(2025, 3, 31)
_NAMED = date(2024, 9, 30)
"""Versions from this date on have a name."""


def version_date(version: str) -> date | None:
    """The date of an API version; None for an invalid one."""
    found = re.fullmatch(r"(\d{4}-\d{2}-\d{2})(\.[a-z]+)?", version, re.ASCII)
    if found is None:
        return None
    try:
        moment = datetime.strptime(found[1], "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return moment if (found[2] is not None) == (moment >= _NAMED) else None


def is_old(version: str) -> bool:
    """Whether the period is on the subscription, and an invoice names its subscription at the top level."""
    known = version_date(version)
    return known is not None and known < _PERIOD_ON_ITEMS
