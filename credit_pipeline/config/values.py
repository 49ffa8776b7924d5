"""The kinds of value a `defs.yaml` may hold, each with its range and the sentence for a value outside it."""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from string import Formatter
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from credit_pipeline.config.yaml_text import SECRETS

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")

REFERENCE_FIELDS = ("account", "plan", "period_start", "subscription", "invoice")
"""What a grant's reference may be made of; `period_start` is in seconds since 1970, UTC."""
_ONCE_A_PERIOD = {"period_start", "invoice"}
_MOST_PERIODS = 12
_LONGEST = timedelta(days=366)
_LOOKBACK = (timedelta(days=31), timedelta(days=400))

_SNAPSHOT_AGE = (timedelta(minutes=1), timedelta(hours=24))
_CLOCK_SKEW = (timedelta(seconds=1), timedelta(minutes=10))
_CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_LONGEST_JITTER = timedelta(minutes=59)
_FLAP_WINDOW = (timedelta(hours=1), timedelta(days=31))
MOST_ROWS = 200
"""A batch is one transaction under locks that the product waits for; the database refuses more."""

_UNITS = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


class Section(BaseModel):
    """One mapping of the file, and the configuration itself. Unknown keys are errors; no input is echoed: it might be a
    secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_by_name=True)


def refused(text: str) -> PydanticCustomError:
    """The error that says `text` of a value; it gets the value's key, line and carets later."""
    return PydanticCustomError("sentence", "{text}", {"text": text})


def _no_secret(text: str) -> str:
    if SECRETS.search(text):
        raise refused(
            "this looks like a secret or a template: put only the name of an environment variable in the file"
        )
    return text


def _env_name(text: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,99}", text):
        raise refused("this must be the name of an environment variable in capitals, such as ACME_DATABASE_URL")
    return text


def _word(text: str) -> str:
    if not NAME.fullmatch(text):
        raise refused("a name is lower-case letters, digits and `_`, starting with a letter, at most 41 long")
    return text


def _identifier(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", text):
        raise refused("a table or column name is letters, digits and `_`, at most 63 long, without its schema")
    return text


def _time(value: Any) -> timedelta:
    found = re.fullmatch(r"(\d{1,6}) ?(s|min|h|d)", value) if isinstance(value, str) else None
    if not found:
        raise refused("a time is a whole number and a unit: `60 min`, `24 h` or `2 d`, and `30 s` for a clock")
    return int(found[1]) * _UNITS[found[2]]


def _duration(value: Any) -> timedelta:
    span = _time(value)
    if span > _LONGEST:
        raise refused(f"a time is at most `{_LONGEST.days} d`")
    return span


def _within(least: timedelta, most: timedelta) -> Callable[[Any], timedelta]:
    def checked(value: Any) -> timedelta:
        span = _time(value)
        if not least <= span <= most:
            raise refused(f"this time is out of range: it must be from `{_written(least)}` to `{_written(most)}`")
        return span

    return checked


def _jitter(value: Any) -> timedelta:
    span = _time(value)
    if span > _LONGEST_JITTER or span % timedelta(minutes=1):
        raise refused("a shift is whole minutes within the hour, from `1 min` to `59 min`")
    return span


def _written(span: timedelta) -> str:
    unit = next(unit for unit in reversed(_UNITS) if span % _UNITS[unit] == timedelta())
    return f"{span // _UNITS[unit]} {unit}"


def _catch_up(value: Any) -> int:
    if value == "current":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_PERIODS:
        raise refused(
            "write `current`, for the current period alone, or how many periods before it are granted automatically "
            f"too, from 1 to {_MOST_PERIODS}"
        )
    return value


def _reference(text: str) -> str:
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        raise refused("a brace is not closed or not opened: write fields as `{account}`") from None
    fields = {name for _, name, _, _ in parts if name is not None}
    if fields - set(REFERENCE_FIELDS) or any(form or conversion for _, _, form, conversion in parts):
        raise refused(f"this has a field that is not known: the fields are {_braced(REFERENCE_FIELDS)}")
    if not fields & _ONCE_A_PERIOD:
        raise refused(f"this is the same in every period: add {_braced(sorted(_ONCE_A_PERIOD, reverse=True), ' or ')}")
    return text


def _braced(fields: Iterable[str], between: str = ", ") -> str:
    return between.join(f"`{{{field}}}`" for field in fields)


def _subject(path: str) -> str:
    if not re.fullmatch(r"(?:customer\.)?metadata\.\S.*", path):
        raise refused("a path that names the user is `metadata.KEY` or `customer.metadata.KEY`: an address is no id")
    return path


def _plan_path(path: str) -> str:
    if not re.fullmatch(r"(?:metadata|price|item)\.[^\s.].*", path):
        raise refused("a path that names the plan is `price.metadata.KEY`, `item.metadata.KEY` or `metadata.KEY`")
    return path


def _api_version(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?", text):
        raise refused("a version of the API is a date with its name, such as `2026-10-28.endive`")
    return text


def _https(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise refused("this must be a plain address such as https://api.example.com")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"}):
        raise refused("the billing API is only read over https (http is for 127.0.0.1): change the address")
    return url.rstrip("/")


def _cron(text: str) -> str:
    if not re.fullmatch(r"[\d*/,-]+( [\d*/,a-zA-Z-]+){4}", text):
        raise refused("a cron line has five fields: minute, hour, day, month, weekday, such as `0 */6 * * *`")
    for field, (name, least, most) in zip(text.split(" "), _CRON_FIELDS, strict=True):
        if any(not least <= int(number) <= most for number in re.findall(r"(?<!/)(?<!\d)\d+", field)):
            raise refused(f"the {name} of a cron line is from {least} to {most}: correct it")
    return text


def _timezone(text: str) -> str:
    try:
        return text if text == "UTC" else str(ZoneInfo(text))
    except (KeyError, ValueError, OSError):
        raise refused("no time zone has this name: use one such as `UTC` or `Europe/Berlin`") from None


Text = Annotated[str, Field(max_length=4000), AfterValidator(_no_secret)]
Name = Annotated[str, AfterValidator(_no_secret), AfterValidator(_word)]
EnvName = Annotated[str, AfterValidator(_env_name)]
Identifier = Annotated[str, AfterValidator(_no_secret), AfterValidator(_identifier)]
Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "examples": ["60 min"]})]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**12)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Few = Annotated[int, Field(strict=True, ge=1, le=100)]
BatchRows = Annotated[int, Field(strict=True, ge=1, le=MOST_ROWS)]
Address = Annotated[Text, AfterValidator(_https)]
Cron = Annotated[Text, AfterValidator(_cron)]
TimeZone = Annotated[Text, AfterValidator(_timezone)]


Lookback = Annotated[
    timedelta, BeforeValidator(_within(*_LOOKBACK)), WithJsonSchema({"type": "string", "examples": ["62 d"]})
]
SnapshotAge = Annotated[
    timedelta, BeforeValidator(_within(*_SNAPSHOT_AGE)), WithJsonSchema({"type": "string", "examples": ["30 min"]})
]
ClockSkew = Annotated[
    timedelta, BeforeValidator(_within(*_CLOCK_SKEW)), WithJsonSchema({"type": "string", "examples": ["30 s"]})
]
Jitter = Annotated[timedelta, BeforeValidator(_jitter), WithJsonSchema({"type": "string", "examples": ["20 min"]})]
FlapWindow = Annotated[
    timedelta, BeforeValidator(_within(*_FLAP_WINDOW)), WithJsonSchema({"type": "string", "examples": ["24 h"]})
]
CatchUp = Annotated[
    int,
    BeforeValidator(_catch_up),
    WithJsonSchema({"anyOf": [{"const": "current"}, {"type": "integer", "minimum": 1, "maximum": _MOST_PERIODS}]}),
]
Reference = Annotated[str, Field(max_length=200), AfterValidator(_no_secret), AfterValidator(_reference)]
SubjectPath = Annotated[Text, AfterValidator(_subject)]
PlanPath = Annotated[Text, AfterValidator(_plan_path)]
ApiVersion = Annotated[Text, AfterValidator(_api_version)]


def listed(names: Iterable[str]) -> str:
    """`a`, `b`, `c`: names for a sentence."""
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"
