"""Typed access to the fields of a provider's JSON objects."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MAX_TEXT = 1_000
_LATEST = 253_402_300_800
"""The year 10000 in Unix seconds; a time in milliseconds is larger."""


class WireError(ValueError):
    """The JSON does not have the documented shape. The message names the field and quotes no value."""


def mapping(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object in this field; empty if missing or null. Raises WireError for another type."""
    value = payload.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WireError(f"{name} is not an object")
    return value


def text(payload: Mapping[str, Any], name: str) -> str | None:
    """The text in this field; None if missing, null or empty. Raises WireError for another type."""
    value = payload.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise WireError(f"{name} is not a text of at most {MAX_TEXT} characters")
    return value


def identity(payload: Mapping[str, Any], name: str) -> str | None:
    """The id in this field, given as text or as an expanded object; None if missing. Raises WireError."""
    value = payload.get(name)
    return text(value, "id") if isinstance(value, dict) else text(payload, name)


def instant(payload: Mapping[str, Any], name: str) -> datetime | None:
    """The time in this field (Unix seconds) in UTC; None if missing or null. Raises WireError for another value."""
    seconds = integer(payload, name)
    if seconds is None:
        return None
    if not 0 <= seconds < _LATEST:
        raise WireError(f"{name} is not a time in unix seconds")
    return datetime.fromtimestamp(seconds, UTC)


def integer(payload: Mapping[str, Any], name: str) -> int | None:
    """The integer in this field; None if missing or null. Raises WireError for another type."""
    value = payload.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise WireError(f"{name} is not a whole number")
    return value


def flag(payload: Mapping[str, Any], name: str) -> bool:
    """The boolean in this field; False if missing or null. Raises WireError for another type."""
    value = payload.get(name)
    if value is not None and not isinstance(value, bool):
        raise WireError(f"{name} is neither true nor false")
    return bool(value)
