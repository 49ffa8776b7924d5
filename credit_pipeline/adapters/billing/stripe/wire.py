"""Parses Stripe's pages, errors, customers and subscriptions into rows of LISTED_SUBSCRIPTIONS.

Both API generations are supported: since 2025-03-31 the period is on the items, before that on the subscription.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from credit_pipeline.adapters.billing.json_values import WireError, flag, identity, instant, integer, mapping, text
from credit_pipeline.adapters.billing.stripe.paths import text_at
from credit_pipeline.adapters.billing.subscription_rows import listed_row
from credit_pipeline.domain.plans.periods import Cycle
from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.email_digest import email_digest
from credit_pipeline.domain.subjects.ids import BillingId

STATUSES = {
    "active": BillingStatus.ACTIVE,
    "trialing": BillingStatus.TRIALING,
    "past_due": BillingStatus.DUNNING,
    "unpaid": BillingStatus.DUNNING,
    "paused": BillingStatus.DUNNING,
    "incomplete": BillingStatus.DUNNING,
    "canceled": BillingStatus.ENDED,
    "incomplete_expired": BillingStatus.ENDED,
}
_CYCLES = {("month", 1): Cycle.MONTHLY, ("year", 1): Cycle.YEARLY}
_IDENTIFIER = re.compile(r"[a-z0-9_]{1,40}")

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How this system's subscriptions are parsed: paths to user and plan, and the name that keys e-mail digests."""

    system: str
    subject: tuple[str, ...]
    plan: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list: objects with an id, and whether more follow."""

    rows: tuple[dict[str, Any], ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One subscription as a row of LISTED_SUBSCRIPTIONS, without invoices yet."""

    row: dict[str, Any]
    latest_invoice: str | None
    more_items: bool

    @property
    def billing_id(self) -> BillingId:
        """The customer's id."""
        return BillingId(self.row["billing_id"])

    @property
    def running(self) -> bool:
        """Whether it has not ended, so its current period matters."""
        return self.row["status"] not in (None, BillingStatus.ENDED.value)


def parse_page(body: Object, path: str, *, dated: bool) -> Page:
    """The list object of this path. `dated`: rows must have `created` and `livemode`, as all but nested rows do.

    Refunds have no `livemode`. Raises WireError for anything else.
    """
    rows, more = body.get("data"), body.get("has_more")
    if body.get("object") != "list" or not isinstance(rows, list) or not isinstance(more, bool):
        raise WireError("the answer is not a list object")
    if str(body.get("url")).partition("?")[0] != path:
        raise WireError("the list is another one than requested")
    for row in rows:
        if not isinstance(row, dict) or not text(row, "id"):
            raise WireError("a row has no id")
        modeless = row.get("object") == "refund" and "livemode" not in row
        if dated and (instant(row, "created") is None or not (modeless or isinstance(row.get("livemode"), bool))):
            raise WireError("a row has no created or no livemode")
    return Page(rows=tuple(rows), more=more)


def parse_subscription(raw: Object, reading: Reading, items: Sequence[Object] | None = None) -> Subscription:
    """A subscription. `items`: all its items, if the payload holds only the first.

    Raises WireError without a customer; any other defect makes a row of lookup `error`.
    """
    billing_id = identity(raw, "customer")
    if billing_id is None:
        raise WireError("customer is missing")
    row = listed_row(BillingId(billing_id), Lookup.ANSWERED) | _customer_fields(raw, reading)
    row["subscription_id"] = text(raw, "id")
    try:
        embedded = mapping(raw, "items")
        return Subscription(
            row=row | _facts(raw, reading, items if items is not None else _objects(embedded)),
            latest_invoice=identity(raw, "latest_invoice"),
            more_items=items is None and flag(embedded, "has_more"),
        )
    except WireError as error:
        return Subscription(
            row=unread(row, f"the subscription cannot be read: {error}"), latest_invoice=None, more_items=False
        )


def parse_customer(raw: Object, billing_id: BillingId, reading: Reading) -> dict[str, Any] | None:
    """The row of a customer without subscriptions; None if it was deleted. Raises WireError."""
    if raw.get("object") != "customer" or text(raw, "id") != billing_id:
        raise WireError("the answer is about another object")
    if flag(raw, "deleted"):
        return None
    if not isinstance(raw.get("livemode"), bool):
        raise WireError("livemode is missing")
    row = listed_row(billing_id, Lookup.ANSWERED) | {"status": BillingStatus.FREE.value}
    return row | _customer_fields({"customer": raw}, reading)


def error_of(body: Object | None) -> tuple[str | None, str | None]:
    """Code and parameter of an error object; None if missing or not a plain identifier."""
    error = body.get("error") if body is not None else None
    if not isinstance(error, dict):
        return None, None
    return plain_word(error.get("code")), plain_word(error.get("param"))


def unread(row: Mapping[str, Any], detail: str) -> dict[str, Any]:
    """The row as lookup `error` with the reason; ids, subjects and e-mail digest stay."""
    kept = {name: row[name] for name in ("subscription_id", "subjects", "email_hash")}
    return listed_row(BillingId(row["billing_id"]), Lookup.ERROR, detail) | kept


def _facts(raw: Object, reading: Reading, items: Sequence[Object]) -> dict[str, Any]:
    status, provider_status = _status(raw)
    granting = [item for item in items if _may_grant(item)] or list(items)
    item = granting[0] if granting else {}
    price = mapping(item, "price")
    start, end = _period(item) or _period(raw) or (None, None)
    cycle, odd_cycle = _cycle(mapping(price, "recurring"))
    quantity = integer(item, "quantity")
    created, began = instant(raw, "created"), instant(raw, "start_date")
    roots = {"price": price, "item": item, "metadata": raw.get("metadata")}
    return {
        "status": status.value,
        "raw_plan": text(price, "id"),
        "lookup_key": text(price, "lookup_key"),
        "metadata": next(filter(None, (text_at(roots, path) for path in reading.plan)), None),
        "cycle": cycle.value if cycle else None,
        "anchor": start,
        "period_start": start,
        "period_end": end,
        # A backdated subscription bills nothing before its creation; a scheduled one starts later.
        "started_at": max((moment for moment in (created, began) if moment), default=None),
        "quantity": 1 if quantity is None else quantity,
        "items": max(1, len(granting)),
        "detail": "; ".join(part for part in (provider_status, odd_cycle) if part) or None,
        **_ending(raw, status, end),
    }


def _status(raw: Object) -> tuple[BillingStatus, str | None]:
    """The status, and Stripe's own name for one that is neither active nor a trial."""
    name = text(raw, "status")
    status = STATUSES.get(name or "")
    if status is None:
        raise WireError(f"its status “{plain_word(name) or '?'}” is not known")
    if status.live:
        return (status, None) if raw.get("pause_collection") is None else (BillingStatus.DUNNING, "paused")
    return status, name


def _may_grant(item: Object) -> bool:
    """Whether the item may grant credits: not if it is metered, free or of quantity 0."""
    price = mapping(item, "price")
    metered = mapping(price, "recurring").get("usage_type") == "metered"
    return not metered and integer(price, "unit_amount") != 0 and integer(item, "quantity") != 0


def _period(holder: Object) -> tuple[datetime, datetime] | None:
    start, end = instant(holder, "current_period_start"), instant(holder, "current_period_end")
    if start is None or end is None:
        return None
    if end <= start:
        raise WireError("its period ends before it starts")
    return start, end


def _cycle(recurring: Object) -> tuple[Cycle | None, str | None]:
    """The cycle, or a description of one that we do not support."""
    interval, count = plain_word(recurring.get("interval")), integer(recurring, "interval_count")
    cycle = _CYCLES.get((interval or "", count or 1))
    if cycle is not None:
        return cycle, None
    return None, f"billed every {count or 1} {interval}s" if interval else "billed in no known cycle"


def _ending(raw: Object, status: BillingStatus, term_end: datetime | None) -> dict[str, Any]:
    if status is BillingStatus.ENDED:
        return {"ends_at": instant(raw, "ended_at") or instant(raw, "canceled_at"), "auto_renews": False}
    cancel_at = instant(raw, "cancel_at")
    stops = flag(raw, "cancel_at_period_end")
    within = cancel_at is not None and (term_end is None or cancel_at <= term_end)
    return {"ends_at": cancel_at or (term_end if stops else None), "auto_renews": not (stops or within)}


def _customer_fields(root: Object, reading: Reading) -> dict[str, Any]:
    customer = root.get("customer")
    email = customer.get("email") if isinstance(customer, dict) else None
    named = ((path, text_at(root, path)) for path in reading.subject)
    return {
        "subjects": [{"source": path, "id": found} for path, found in named if found is not None],
        "email_hash": email_digest(reading.system, email) if isinstance(email, str) else None,
    }


def _objects(listing: Object) -> list[Object]:
    rows = listing.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WireError("items is not a list object")
    return rows


def plain_word(value: object) -> str | None:
    """The value if it is a plain identifier, which is safe to show."""
    return value if isinstance(value, str) and _IDENTIFIER.fullmatch(value) else None
