"""Rows of SUBSCRIPTIONS and LISTED_SUBSCRIPTIONS, and the Pull made of them: its level and its problems."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from credit_pipeline.domain.subjects.account import Lookup
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.services.collect.ports import Pull
from credit_pipeline.services.collect.tables import LISTED_SUBSCRIPTIONS, SUBSCRIPTIONS

REASONS_SHOWN = 3
MAX_DETAIL = 200


def blank_row(billing_id: BillingId, lookup: Lookup) -> dict[str, Any]:
    """A row with the result of the look-up and nothing else."""
    return dict.fromkeys(SUBSCRIPTIONS.names) | {"billing_id": str(billing_id), "lookup": lookup.value}


def gone(billing_id: BillingId) -> dict[str, Any]:
    """The row of an instance that uninstalled the app: an answer without a plan."""
    return blank_row(billing_id, Lookup.GONE)


def missing(billing_id: BillingId) -> dict[str, Any]:
    """The row of an id that the provider does not know."""
    return blank_row(billing_id, Lookup.MISSING)


def unanswered(billing_id: BillingId, detail: str) -> dict[str, Any]:
    """The row of an id whose look-up failed, with a short reason."""
    return blank_row(billing_id, Lookup.ERROR) | {"detail": detail[:MAX_DETAIL]}


def listed_row(billing_id: BillingId, lookup: Lookup, detail: str | None = None) -> dict[str, Any]:
    """A row of LISTED_SUBSCRIPTIONS with the result of the look-up and nothing else."""
    blank: dict[str, Any] = dict.fromkeys(LISTED_SUBSCRIPTIONS.names)
    return blank | {
        "billing_id": str(billing_id),
        "lookup": lookup.value,
        "detail": detail[:MAX_DETAIL] if detail is not None else None,
        "quantity": 1,
        "items": 1,
        "subjects": [],
        "invoices": [],
    }


def pull_of(rows: Sequence[dict[str, Any]], *, gave_up: bool = False) -> Pull:
    """The Pull of these rows: L3 only if every id was proven present or absent, else L1."""
    unanswered = [row for row in rows if row["lookup"] == Lookup.ERROR]
    return Pull(
        table=pa.Table.from_pylist(list(rows), schema=SUBSCRIPTIONS),
        level="L1" if unanswered or gave_up else "L3",
        enumerated=not gave_up,
        asked=len(rows),
        unanswered=len(unanswered),
        problems=tuple(_problems(rows, unanswered, gave_up)),
    )


def listed_pull(rows: Sequence[dict[str, Any]], *, level: str, doubts: Iterable[str] = ()) -> Pull:
    """The Pull of a provider that lists subscriptions; `asked` and `unanswered` count customers.

    Any doubt makes it incomplete (L0): its rows are good for a report only.
    """
    asked = len({row["billing_id"] for row in rows})
    failed = {row["billing_id"]: row for row in rows if row["lookup"] == Lookup.ERROR}
    sentences = tuple(dict.fromkeys(doubts))
    reasons = _reasons(failed.values())
    problems = [f"{len(failed):,}/{asked:,} customers were not answered ({reasons})"] if failed else []
    return Pull(
        table=pa.Table.from_pylist(list(rows), schema=LISTED_SUBSCRIPTIONS),
        level="L0" if sentences else level,
        enumerated=not sentences,
        asked=asked,
        unanswered=len(failed),
        problems=(*problems, *sentences),
    )


def _problems(rows: Sequence[dict[str, Any]], unanswered: Sequence[dict[str, Any]], gave_up: bool) -> list[str]:
    sentences = []
    if unanswered:
        sentences.append(f"{len(unanswered):,}/{len(rows):,} instances were not answered ({_reasons(unanswered)})")
    if gave_up:
        asked = sum(1 for row in rows if not str(row["detail"]).startswith("not asked"))
        sentences.append(f"the pull was given up after {asked:,}/{len(rows):,} instances: run it again")
    gone = sum(1 for row in rows if row["lookup"] == Lookup.GONE)
    if gone and gone == len(rows) - len(unanswered) and gone > 1:
        sentences.append(f"every answer ({gone:,}/{len(rows):,}) says that the app is uninstalled: check the app id")
    return sentences


def _reasons(unanswered: Iterable[dict[str, Any]]) -> str:
    reasons = Counter(_without_request_id(row["detail"]) for row in unanswered).most_common(REASONS_SHOWN)
    return "; ".join(f"{count:,} × {reason}" for reason, count in reasons)


def _without_request_id(detail: str) -> str:
    return detail.partition(" (request ")[0]
