"""The query parameters of Stripe's API, checked as Stripe does: an unknown parameter is an error."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from credit_pipeline.sandbox.stripe.errors import Refused

MAX_LIMIT = 100
DEFAULT_LIMIT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The page of a list that a request asks for."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A range of unix seconds, with optional bounds."""

    at_least: int | None = None
    at_most: int | None = None

    def holds(self, second: int) -> bool:
        """Whether a second is in the range."""
        return (self.at_least is None or second >= self.at_least) and (self.at_most is None or second <= self.at_most)


class Query:
    """The parameters of one request. `finish` refuses those that the endpoint did not read."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._given: dict[str, list[str]] = {}
        for name, value in pairs:
            self._given.setdefault(re.sub(r"\[\d+\]$", "[]", name), []).append(value)

    def text(self, name: str) -> str | None:
        """The value, the last one of several; None if it is absent."""
        values = self._given.pop(name, None)
        if values is None:
            return None
        if values[-1] == "":
            raise Refused(400, f"You passed an empty string for '{name}'.", code="parameter_invalid_empty", param=name)
        return values[-1]

    def word(self, name: str, words: frozenset[str]) -> str | None:
        """The value, which must be one of `words`."""
        value = self.text(name)
        if value is not None and value not in words:
            known = ", ".join(sorted(words))
            raise Refused(400, f"Invalid {name}: must be one of {known}", param=name)
        return value

    def many(self, name: str) -> list[str]:
        """All values of a list parameter, `name[]`."""
        return self._given.pop(f"{name}[]", [])

    def flag(self, name: str) -> bool | None:
        """True or False; None if it is absent."""
        value = self.word(name, frozenset({"true", "false"}))
        return None if value is None else value == "true"

    def integer(self, name: str) -> int | None:
        """A whole number."""
        value = self.text(name)
        if value is None:
            return None
        if re.fullmatch(r"-?\d{1,18}", value, re.ASCII) is None:
            raise Refused(400, f"Invalid integer: {value}", code="parameter_invalid_integer", param=name)
        return int(value)

    def range(self, name: str) -> Range:
        """`name=…` for one second, or the bounds `name[gt]`, `[gte]`, `[lt]` and `[lte]`."""
        exactly = self.integer(name)
        above, below = self.integer(f"{name}[gt]"), self.integer(f"{name}[lt]")
        lower = [exactly, self.integer(f"{name}[gte]"), None if above is None else above + 1]
        upper = [exactly, self.integer(f"{name}[lte]"), None if below is None else below - 1]
        return Range(
            at_least=max((bound for bound in lower if bound is not None), default=None),
            at_most=min((bound for bound in upper if bound is not None), default=None),
        )

    def expand(self, allowed: frozenset[str]) -> frozenset[str]:
        """The properties to expand, which must be in `allowed`."""
        asked = frozenset(self.many("expand"))
        for path in sorted(asked - allowed):
            raise Refused(400, f"This property cannot be expanded ({path}).", param="expand")
        return asked

    def cursor(self) -> Cursor:
        """`limit`, and `starting_after` or `ending_before`."""
        limit = self.integer("limit")
        if limit is not None and not 1 <= limit <= MAX_LIMIT:
            bound = "greater than or equal to 1" if limit < 1 else f"less than or equal to {MAX_LIMIT}"
            message = f"Invalid integer: {limit}. This value must be {bound}."
            raise Refused(400, message, code="parameter_invalid_integer", param="limit")
        after, before = self.text("starting_after"), self.text("ending_before")
        if after is not None and before is not None:
            raise Refused(400, "You may only specify one of these parameters: starting_after, ending_before.")
        return Cursor(limit=DEFAULT_LIMIT if limit is None else limit, after=after, before=before)

    def finish(self) -> None:
        """Refuses parameters that were not read."""
        for name in self._given:
            raise Refused(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
