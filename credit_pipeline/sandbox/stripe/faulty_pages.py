"""Faulty pages of Stripe's lists: repeated rows, lost rows, lists that never end."""

import re
from dataclasses import replace
from typing import Any

from credit_pipeline.sandbox.faults.faults import FaultKind
from credit_pipeline.sandbox.stripe.lists import Listing, Object
from credit_pipeline.sandbox.stripe.query import Cursor

ELSEWHERE = "https://billing.example.net"
_INVENTED = "_invented_"


def faulty_page(kind: FaultKind, listing: Listing, cursor: Cursor) -> Object:
    """The list object that the fault sends in place of the right one. Raises Refused if it sends an error."""
    if kind is FaultKind.OTHER_ORIGIN:
        return listing.body(cursor) | {"url": ELSEWHERE + listing.url}
    if kind in (FaultKind.REPEATED_ROWS, FaultKind.CHANGED_ROWS):
        return _repeated(listing, cursor, changed=kind is FaultKind.CHANGED_ROWS)
    if kind is FaultKind.LOST_PAGE:
        return _lost(listing, cursor)
    if kind is FaultKind.EARLY_END:
        return listing.body(cursor) | {"has_more": False}
    if kind is FaultKind.ENDLESS:
        return _endless(listing, cursor)
    if kind is FaultKind.CYCLIC:
        rows = listing.body(cursor)["data"] or listing.body(_from_the_start(cursor))["data"]
        return listing.body_of(rows, more=True)
    if kind is FaultKind.RESTART:
        return listing.body(_from_the_start(cursor))
    if kind is FaultKind.EMPTY_PAGE:
        return listing.body_of([], more=True)
    if cursor.after is None and cursor.before is None:
        return listing.body(cursor)
    raise listing.unknown(cursor)


def other_mode(value: Any) -> Any:
    """The same objects in the other mode."""
    if isinstance(value, dict):
        return {name: not part if name == "livemode" else other_mode(part) for name, part in value.items()}
    return [other_mode(part) for part in value] if isinstance(value, list) else value


def _repeated(listing: Listing, cursor: Cursor, *, changed: bool) -> Object:
    """The page with the cursor's row in front again; on a first page with its first row twice."""
    body = listing.body(cursor if cursor.limit == 1 else replace(cursor, limit=cursor.limit - 1))
    again = listing.one(cursor.after) if cursor.after is not None else next(iter(body["data"]), None)
    if again is None:
        return body
    return body | {"data": [_changed(again) if changed else again, *body["data"]]}


def _changed(row: Object) -> Object:
    if "status" in row:
        return row | {"status": "active" if row["status"] == "canceled" else "canceled"}
    return row | {"created": row.get("created", 0) + 1}


def _lost(listing: Listing, cursor: Cursor) -> Object:
    skipped = listing.body(cursor)
    if not skipped["data"]:
        return skipped
    return listing.body(replace(cursor, after=skipped["data"][-1]["id"], before=None))


def _endless(listing: Listing, cursor: Cursor) -> Object:
    invented = re.fullmatch(rf"(.+){_INVENTED}(\d+)", cursor.after or "")
    if invented is None:
        rows = listing.body(cursor)["data"]
        if rows:
            return listing.body_of(rows, more=True)
        last, number = cursor.after or "", 0
    else:
        last, number = invented[1], int(invented[2])
    row = listing.one(last) or {"id": last}
    names = range(number + 1, number + 1 + cursor.limit)
    return listing.body_of([row | {"id": f"{last}{_INVENTED}{name}"} for name in names], more=True)


def _from_the_start(cursor: Cursor) -> Cursor:
    return Cursor(limit=cursor.limit)
