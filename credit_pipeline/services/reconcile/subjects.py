"""Rows of suspects → Account objects for the pure judgement of a ledger: who, what billed, what held, what remembered.

Decides nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from credit_pipeline.domain.grants.entitlements import grant_period
from credit_pipeline.domain.grants.invoices import InvoiceLine, InvoiceStatus
from credit_pipeline.domain.grants.ledger import Entry, EntryKind, Ledger
from credit_pipeline.domain.plans.catalogue import Resolved
from credit_pipeline.domain.plans.periods import Cycle, Period
from credit_pipeline.domain.policy import Policy
from credit_pipeline.domain.subjects.account import Account, Balance, Billing, Local, Lookup, Memory
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.identity import Claim, Identity, Layer, Naming, Suggestion
from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId
from credit_pipeline.domain.subjects.subscription_state import the_one
from credit_pipeline.services.reconcile.plan_words import PlanWords
from credit_pipeline.services.reconcile.ports import MemoryStore

NO_ANSWER = "billing's list did not end by itself, so it cannot say that nothing is paid here"

READ_BACK = timedelta(days=1)
"""Entries are read further back than they are judged, at least by so much: a grant may lie a day before its period."""

Row = Mapping[str, Any]


def read_since(policy: Policy, now: datetime) -> datetime:
    """From when on a snapshot of `now` surely holds every entry of a ledger."""
    return now - policy.lookback - READ_BACK


def subjects_of(
    rows: Sequence[Row],
    words: PlanWords,
    memory: MemoryStore | None,
    now: datetime,
    *,
    since: datetime,
    complete: bool = True,
) -> list[Account]:
    """The suspects with all that is known of them; memory is None where nothing is installed.

    `since`: from when on the ledger's entries were read. `complete`: billing's list ended, so that a subject without a
    subscription has none.
    """
    remembered = memory.remembered([AccountId(row["account_id"]) for row in rows], now) if memory and rows else {}
    return [
        _account(
            row,
            words,
            remembered.get(AccountId(row["account_id"]), Memory()) if memory else None,
            now,
            since=since,
            complete=complete,
        )
        for row in rows
    ]


def judged_on(rows: Iterable[Row], words: PlanWords, now: datetime) -> Billing:
    """What a customer's (or subject's) subscriptions come to: the one that counts, free where there is none."""
    return the_one(_billings(rows, words, now), free=words.catalogue.free)


def billing_of(row: Row, words: PlanWords, now: datetime) -> Billing:
    """One row of LISTED_SUBSCRIPTIONS in the domain's words, with the period that one grant is for now."""
    told = Billing(
        lookup=Lookup(row["lookup"]),
        billing_id=BillingId(row["billing_id"]),
        status=BillingStatus(row["status"]) if row["status"] else None,
        raw_plan=row["raw_plan"],
        resolution=words.resolve(row),
        subscription_id=row["subscription_id"],
        cycle=Cycle(row["cycle"]) if row["cycle"] else None,
        changed_at=_utc(row["changed_at"]),
        ends_at=_utc(row["ends_at"]),
        auto_renews=row["auto_renews"],
        detail=row["detail"],
        term=_period(row),
        started_at=_utc(row["started_at"]),
        quantity=row["quantity"],
        items=row["items"],
        invoices=tuple(_lines(row, words)),
    )
    return replace(told, period=grant_period(told, now)) if isinstance(told.resolution, Resolved) else told


def _billings(rows: Iterable[Row], words: PlanWords, now: datetime) -> tuple[Billing, ...]:
    """Customers without a subscription are in no list, and say nothing where they were asked for either."""
    listed = (row for row in rows if row["lookup"] == Lookup.ERROR or row["subscription_id"] is not None)
    return tuple(billing_of(row, words, now) for row in listed)


def _account(
    row: Row, words: PlanWords, memory: Memory | None, now: datetime, *, since: datetime, complete: bool
) -> Account:
    subscriptions = _billings(row["subscriptions"] or (), words, now)
    held = row["balance"]
    label = held["label"] if held else None
    resolution = words.catalogue.resolve_label(label)
    if not complete and not subscriptions and _may_pay(row, paid=not (label is None or _is_free(resolution))):
        subscriptions = (Billing(lookup=Lookup.ERROR, billing_id=BillingId(row["customer"] or ""), detail=NO_ANSWER),)
    billing = the_one(subscriptions, free=words.catalogue.free)
    if not subscriptions and row["customer"]:
        billing = replace(billing, billing_id=BillingId(row["customer"]))
    return Account(
        account_id=AccountId(row["account_id"]),
        billing=billing,
        balance=Balance(
            label=label,
            resolution=resolution,
            total=held["total"] if held else 0 if row["store_ids"] else None,
            used=held["used"] if held else None,
        ),
        memory=memory,
        ledger=_ledger(held, since) if row["store_ids"] else None,
        identity=_identity(row),
        local=_local(held) if held and held["local"] else None,
        subscriptions=subscriptions,
    )


def _may_pay(row: Row, *, paid: bool) -> bool:
    """Whether the product's own tables know of a customer or of a paid plan."""
    return bool(row["customer"]) or paid


def _is_free(resolution: object) -> bool:
    return isinstance(resolution, Resolved) and resolution.plan.free


def _identity(row: Row) -> Identity:
    claims = (
        Claim(
            layer=Layer(said["layer"]),
            auth_id=AuthId(said["auth_id"]),
            store_id=AccountId(said["account"]),
            source=said["source"],
            exists=said["known"],
        )
        for said in row["claims"] or ()
    )
    namings = (
        Naming(
            billing_id=BillingId(said["billing_id"]),
            subscription_id=said["subscription_id"] or "",
            named=said["named"],
            auth_id=AuthId(said["auth_id"]) if said["auth_id"] else None,
            source=said["source"],
        )
        for said in row["namings"] or ()
    )
    suggested = (Suggestion(auth_id=AuthId(one), reason="the same e-mail address") for one in row["same_email"] or ())
    return Identity(
        auth_ids=tuple(sorted(map(AuthId, row["auth_ids"] or ()))),
        store_ids=tuple(sorted(map(AccountId, row["store_ids"] or ()))),
        billing_ids=tuple(sorted(map(BillingId, row["billing_ids"] or ()))),
        claims=tuple(sorted(claims, key=lambda one: (one.layer, one.auth_id, one.store_id, one.source))),
        namings=tuple(sorted(namings, key=lambda one: (one.billing_id, one.subscription_id, one.source, one.named))),
        without_metadata=tuple(sorted(map(AuthId, row["without_metadata"] or ()))),
        suggestions=tuple(sorted(suggested, key=lambda one: one.auth_id)),
    )


def _ledger(held: Row | None, since: datetime) -> Ledger:
    """The account's transactions; an account that only the mapping table names has none."""
    if held is None:
        return Ledger(spent=0, rows=0, since=since)
    entries = (
        Entry(
            entry_id=entry["entry_id"],
            at=_known(entry["at"]),
            amount=entry["amount"],
            kind=EntryKind(entry["kind"]),
            type=entry["type"],
            reference=entry["reference"],
        )
        for entry in held["entries"]
    )
    return Ledger(
        spent=held["spent"],
        rows=held["rows"],
        since=since,
        entries=tuple(sorted(entries, key=lambda entry: (entry.at, entry.entry_id))),
        unknown_types=tuple(sorted(held["unknown_types"])),
    )


def _local(held: Row) -> Local:
    return Local(
        label=held["label"],
        status=held["status"],
        period_start=_utc(held["period_start"]),
        period_end=_utc(held["period_end"]),
    )


def _lines(row: Row, words: PlanWords) -> Iterable[InvoiceLine]:
    found = (
        InvoiceLine(
            invoice_id=line["invoice_id"],
            line_id=line["line_id"],
            subscription_id=row["subscription_id"],
            status=InvoiceStatus(line["status"]),
            period=Period(start=_known(line["period_start"]), end=_known(line["period_end"])),
            plan=words.billed(line["raw_plan"]),
            raw_plan=line["raw_plan"],
            paid_at=_utc(line["paid_at"]),
            change=line["change"],
            # Snapshots of older versions lack these three.
            amount_paid=line.get("paid") or 0,
            amount_refunded=line.get("refunded") or 0,
            disputed=line.get("disputed"),
        )
        for line in row["invoices"] or ()
    )
    return sorted(found, key=lambda line: (line.period.start, line.invoice_id, line.line_id))


def _period(row: Row) -> Period | None:
    start, end = _utc(row["period_start"]), _utc(row["period_end"])
    return Period(start=start, end=end) if start and end else None


def _utc(value: datetime | None) -> datetime | None:
    return None if value is None else _known(value)


def _known(value: datetime) -> datetime:
    """DuckDB's times have no zone, Arrow's have UTC: both are UTC."""
    return value.replace(tzinfo=UTC)
