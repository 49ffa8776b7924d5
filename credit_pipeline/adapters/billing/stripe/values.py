"""Values out of Stripe's JSON objects, each checked for its kind. Which keys there are is for the wire modules."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MAX_TEXT = 1_000
_LATEST = 253_402_300_800
"""Unix seconds of the year 10000: a time in milliseconds lies beyond it."""


class WireError(ValueError):
    """The payload is JSON, but not of the documented shape. The message names the field and quotes no value."""


def mapping(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object of that name, empty where it is missing or null."""
    value = payload.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WireError(f"{name} is not an object")
    return value


def text(payload: Mapping[str, Any], name: str) -> str | None:
    """The text of that name; None where it is missing, null or empty."""
    value = payload.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise WireError(f"{name} is not a text of at most {MAX_TEXT} characters")
    return value


def identity(payload: Mapping[str, Any], name: str) -> str | None:
    """The id under that name, which is sent bare or as the `id` of the whole object; None where there is none."""
    value = payload.get(name)
    return text(value, "id") if isinstance(value, dict) else text(payload, name)


def instant(payload: Mapping[str, Any], name: str) -> datetime | None:
    """The instant of that name, which is sent in unix seconds; None where it is missing or null."""
    seconds = integer(payload, name)
    if seconds is None:
        return None
    if not 0 <= seconds < _LATEST:
        raise WireError(f"{name} is not a time in unix seconds")
    return datetime.fromtimestamp(seconds, UTC)


def integer(payload: Mapping[str, Any], name: str) -> int | None:
    """The whole number of that name; None where it is missing or null."""
    value = payload.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise WireError(f"{name} is not a whole number")
    return value


def flag(payload: Mapping[str, Any], name: str) -> bool:
    """The boolean of that name; False where it is missing or null."""
    value = payload.get(name)
    if value is not None and not isinstance(value, bool):
        raise WireError(f"{name} is neither true nor false")
    return bool(value)
