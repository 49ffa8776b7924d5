"""Configured paths into Stripe's objects, such as `price.lookup_key` or `metadata.user_id`.

A metadata key may contain dots, so everything after `metadata.` is one key.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from credit_pipeline.domain.errors import ConfigurationError

_SUBJECT = re.compile(r"(?:customer\.)?metadata\..+", re.DOTALL)
_PLAN = re.compile(r"metadata\..+|(?:price|item)\.[^.].*", re.DOTALL)


def checked_subject(system: str, paths: Iterable[str]) -> tuple[str, ...]:
    """The paths to a user id: metadata only, because e-mail addresses and names do not identify a user.

    Raises ConfigurationError for any other path.
    """
    return _checked(system, "subject", paths, _SUBJECT, "`metadata.KEY` or `customer.metadata.KEY`")


def checked_plan(system: str, paths: Iterable[str]) -> tuple[str, ...]:
    """The paths to a plan, most trusted first. Raises ConfigurationError for a path into another object."""
    return _checked(system, "plan", paths, _PLAN, "`price.…`, `item.…` or `metadata.KEY`")


def text_at(root: Mapping[str, Any], path: str) -> str | None:
    """The text at the path, stripped; None if it is missing, blank or no text."""
    before, found, key = path.partition("metadata.")
    steps = [step for step in before.split(".") if step] + (["metadata", key] if found else [])
    value: Any = root
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value.strip() or None if isinstance(value, str) else None


def _checked(system: str, option: str, paths: Iterable[str], wanted: re.Pattern[str], form: str) -> tuple[str, ...]:
    kept = tuple(dict.fromkeys(paths))
    for path in kept:
        if not wanted.fullmatch(path):
            raise ConfigurationError(f"{system}: `billing.{option}` names the path “{path}”: write it as {form}")
    return kept
