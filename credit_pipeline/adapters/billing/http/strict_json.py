"""A strict JSON parser for payloads from outside.

Python's `json` silently accepts NaN, duplicate keys and lone surrogates, on which Postgres and Arrow fail much later.
This parser rejects them at once.
"""

import json
import math
from typing import Any

MAX_DEPTH = 32
MAX_DIGITS = 19


class NotStrictJson(ValueError):
    """The bytes are not acceptable JSON. The message gives the reason and quotes nothing."""


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`: UTF-8, unique keys, finite numbers, integers of at most 19 digits, at most 32 levels.

    Raises NotStrictJson for anything else.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_bounded_int,
            parse_float=_finite_float,
        )
    except NotStrictJson:
        raise
    except RecursionError:
        raise NotStrictJson("nested too deeply") from None
    except ValueError:
        raise NotStrictJson("not JSON") from None
    if not isinstance(value, dict):
        raise NotStrictJson("not a JSON object")
    _check_depth_and_text(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotStrictJson("a key occurs twice")
    return found


def _no_constant(_: str) -> float:
    raise NotStrictJson("NaN or Infinity instead of a number")


def _bounded_int(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise NotStrictJson("a number of too many digits")
    return int(digits)


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrictJson("a number out of range")
    return number


def _check_depth_and_text(root: dict[str, Any]) -> None:
    waiting: list[tuple[int, Any]] = [(1, root)]
    while waiting:
        depth, value = waiting.pop()
        if depth > MAX_DEPTH:
            raise NotStrictJson("nested too deeply")
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                _check_text(key)
                waiting.append((depth + 1, inner))
        elif isinstance(value, list):
            waiting.extend((depth + 1, inner) for inner in value)


def _check_text(text: str) -> None:
    """Postgres cannot store NUL, and neither it nor Arrow a lone surrogate."""
    if "\x00" in text:
        raise NotStrictJson("a NUL character in a text")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise NotStrictJson("a lone surrogate in a text")
