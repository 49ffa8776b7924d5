"""The kinds of scalar a `defs.yaml` may hold, each with its range and the sentence for a value outside it."""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from credit_pipeline.adapters.yaml_text import SECRETS

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")

_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def _sentence(text: str) -> PydanticCustomError:
    return PydanticCustomError("sentence", "{text}", {"text": text})


def _no_secret(text: str) -> str:
    if SECRETS.search(text):
        raise _sentence(
            "this looks like a secret or a template: put only the name of an environment variable in the file"
        )
    return text


def _env_name(text: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,99}", text):
        raise _sentence("this must be the name of an environment variable in capitals, such as ACME_DATABASE_URL")
    return text


def _word(text: str) -> str:
    if not NAME.fullmatch(text):
        raise _sentence("a name is lower-case letters, digits and `_`, starting with a letter, at most 41 long")
    return text


def _identifier(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", text):
        raise _sentence("a table or column name is letters, digits and `_`, at most 63 long, without its schema")
    return text


def _duration(value: Any) -> timedelta:
    found = re.fullmatch(r"(\d{1,6}) ?(min|h|d)", value) if isinstance(value, str) else None
    if not found:
        raise _sentence("a time is a whole number and a unit: `60 min`, `24 h` or `2 d`")
    span = int(found[1]) * _UNITS[found[2]]
    if span > timedelta(days=366):
        raise _sentence("a time is at most `366 d`")
    return span


def _https(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise _sentence("this must be a plain address such as https://www.wixapis.com")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"}):
        raise _sentence("the billing API is only read over https (http is for 127.0.0.1): change the address")
    return url.rstrip("/")


def _cron(text: str) -> str:
    if not re.fullmatch(r"[\d*/,-]+( [\d*/,a-zA-Z-]+){4}", text):
        raise _sentence("a cron line has five fields: minute, hour, day, month, weekday, such as `0 */6 * * *`")
    return text


def _timezone(text: str) -> str:
    try:
        return text if text == "UTC" else str(ZoneInfo(text))
    except (KeyError, ValueError, OSError):
        raise _sentence("no time zone has this name: use one such as `UTC` or `Europe/Berlin`") from None


Text = Annotated[str, Field(max_length=4000), AfterValidator(_no_secret)]
Name = Annotated[str, AfterValidator(_no_secret), AfterValidator(_word)]
EnvName = Annotated[str, AfterValidator(_env_name)]
Identifier = Annotated[str, AfterValidator(_no_secret), AfterValidator(_identifier)]
Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "examples": ["60 min"]})]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0, le=10**12)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Address = Annotated[Text, AfterValidator(_https)]
Cron = Annotated[Text, AfterValidator(_cron)]
TimeZone = Annotated[Text, AfterValidator(_timezone)]


def listed(names: Iterable[str]) -> str:
    """`a`, `b`, `c`: names for a sentence."""
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"
