"""Stripe's book as a JSON file: rows to plain values and back."""

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.sandbox.stripe.rows import (
    ACCOUNT,
    Customer,
    Dispute,
    Event,
    Invoice,
    Item,
    Line,
    Refund,
    Row,
    Subscription,
)

KINDS: Mapping[str, type[Row]] = {
    "customers": Customer,
    "subscriptions": Subscription,
    "invoices": Invoice,
    "refunds": Refund,
    "disputes": Dispute,
    "events": Event,
}
_PARTS: Mapping[tuple[type, str], type] = {(Subscription, "items"): Item, (Invoice, "lines"): Line}
_INSTANTS = frozenset(
    {
        "created",
        "canceled_at",
        "ended_at",
        "trial_start",
        "trial_end",
        "billing_cycle_anchor",
        "period_start",
        "period_end",
        "paid_at",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The content of a file."""

    customers: list[Customer]
    subscriptions: list[Subscription]
    invoices: list[Invoice]
    refunds: list[Refund]
    disputes: list[Dispute]
    events: list[Event]
    livemode: bool
    account: str


def unix(moment: datetime) -> int:
    """Whole seconds since the epoch; fractions are cut off, as at Stripe."""
    assert moment.tzinfo is not None, "an instant needs its time zone"
    return int(moment.timestamp())


def values_of(row: object) -> dict[str, Any]:
    """A row as plain JSON values, without default values."""
    values: dict[str, Any] = {}
    for known in fields(row):  # type: ignore[arg-type]
        value = getattr(row, known.name)
        default = known.default_factory() if known.default_factory is not MISSING else known.default
        if value != default:
            values[known.name] = _plain(value)
    return values


def row_from(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """The row with these plain values. Raises TypeError or ValueError for values of another shape."""
    return kind(**changes_from(kind, values))


def changes_from(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of some fields, converted to the row's types."""
    return {name: _own(kind, name, value) for name, value in values.items()}


def read(path: Path) -> Stored:
    """The rows of a file. Raises ConfigurationError if it cannot be read."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        rows = {name: [row_from(kind, values) for values in stored[name]] for name, kind in KINDS.items()}
        return Stored(**rows, livemode=bool(stored["livemode"]), account=str(stored.get("account", ACCOUNT)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"sandbox: {path.name} cannot be read as Stripe's book ({type(error).__name__}): plant the sandbox again"
        ) from error


def write(book: Stored, path: Path) -> None:
    """Writes the file atomically, readable by its owner only, since it holds e-mail addresses.

    Rows are stored oldest first, so that rows of the same instant keep their order.
    """
    stored: dict[str, Any] = {"livemode": book.livemode, "account": book.account}
    for name in KINDS:
        stored[name] = [values_of(row) for row in reversed(list(getattr(book, name)))]
    scratch = path.with_name(path.name + ".new")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(json.dumps(stored))  # one string: json.dump writes many small parts and is several times slower
    scratch.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return unix(value)
    if isinstance(value, tuple):
        return [values_of(part) for part in value]
    return dict(value) if isinstance(value, Mapping) else value


def _own(kind: type[Any], name: str, value: Any) -> Any:
    part = _PARTS.get((kind, name))
    if part is not None:
        return tuple(row_from(part, one) for one in value)
    if name in _INSTANTS and value is not None:
        return datetime.fromtimestamp(value, UTC)
    return value
