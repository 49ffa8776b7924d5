"""The text of an audit row, parsed as the database parses it. It is the part of a row that is hashed."""

import json
from collections.abc import Mapping
from typing import Any

from credit_pipeline.domain.corrections.audit import COLUMNS


class UnreadableText(ValueError):
    """A text that the write path does not write."""


class AuditedChange:
    """One change, as its text tells it. `before` and `after` are available credits; None where there was no balance.

    Raises UnreadableText where the text is not of the write path's shape.
    """

    __slots__ = (
        "account",
        "after",
        "approver",
        "before",
        "codes",
        "correction",
        "delta",
        "fields",
        "keys",
        "plan_id",
        "seq",
        "system",
    )

    def __init__(self, payload: str) -> None:
        try:
            self._read(json.loads(payload))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UnreadableText(type(error).__name__) from None

    def _read(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self.system: str = _of(str, fields["system"])
        self.seq: int = _of(int, fields["seq"])
        self.plan_id: str = _of(str, fields["plan_id"])
        self.correction: int = _of(int, fields["correction"])
        self.account: str = _of(str, fields["account"])
        self.codes: list[str] = [_of(str, code) for code in _of(list, fields["codes"])]
        self.keys: list[str] = [_of(str, key) for key in _of(list, fields["keys"])]
        self.delta: int = _of(int, fields["delta"])
        self.before: int | None = _of(int, _of(dict, fields["before"])["available"], None)
        self.after: int | None = _of(int, _of(dict, fields["after"])["available"], None)
        self.approver: str | None = _of(str, fields["approver"], None)

    @property
    def columns(self) -> tuple[str | int | None, ...]:
        """What the columns beside the text must hold."""
        return tuple(_at(self.fields, path) for _, path in COLUMNS)


def _of(kind: type, value: Any, *also: None) -> Any:
    if type(value) is not kind and not (also and value is None):  # true is an int to isinstance
        raise TypeError
    return value


def _at(fields: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        fields = fields.get(name)
    return fields
