"""The books as billing providers keep the same promises as the clients over HTTP, and say the same."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.adapters.billing.stripe.billing import StripeBilling
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.domain.subjects.ids import BillingId
from credit_pipeline.sandbox.billing.book_billing import BookBilling, StripeBookBilling
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.rows import Invoice, Item, Subscription
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline.services.collect.tables import LISTED_SUBSCRIPTIONS
from credit_pipeline_tests.contracts.billing import NOW, BillingContract, ids
from credit_pipeline_tests.sandbox.stripe.stripe_rows import (
    a_customer,
    a_dispute,
    a_line,
    a_refund,
    a_subscription,
    an_invoice,
    an_item,
)


class TestContract(BillingContract):
    def open(self, book):
        return nullcontext(BookBilling(book))


def test_removing_an_instance_from_the_book_makes_it_missing():
    book = BillingBook()
    book.put("a")
    billing = BookBilling(book)
    before = billing.pull(ids("a"), NOW).table["lookup"].to_pylist()

    book.remove(["a"])

    assert (before, billing.pull(ids("a"), NOW).table["lookup"].to_pylist()) == (["answered"], ["missing"])


READING: dict[str, Any] = {
    "system": "bestauth",
    "subject": ("metadata.user_id", "customer.metadata.user_id"),
    "plan": ("price.metadata.plan",),
}
STATUSES = ("active", "active", "active", "trialing", "past_due", "canceled", "unpaid", "paused", "incomplete_expired")
DISPUTED = ("won", "lost", "needs_response")


@contextmanager
def the_client(book: StripeBook, **overrides: Any) -> Iterator[StripeBilling]:
    with BillingServer(stripe=book, per_second=10_000) as server:
        values = {
            "base_url": server.base_url,
            "key": server.credentials.stripe_key,
            "version": "2026-10-28.endive",
            "per_second": 10_000,
        }
        with StripeBilling(**{**READING, **values, **overrides}) as client:
            yield client


def a_book(*, seed: int, customers: int = 60) -> StripeBook:
    """Customers of every kind: several subscriptions, none, years, many items, changes, refunds, deleted."""
    chance = random.Random(seed)
    book = StripeBook()
    for number in range(customers):
        customer = f"cus_{number}"
        created = NOW - timedelta(days=chance.uniform(1, 700))
        metadata = {"user_id": f"user-{number}"} if chance.random() < 0.6 else {}
        book.add(a_customer(customer, created=created, metadata=metadata, deleted=chance.random() < 0.1))
        for place in range(chance.choice((0, 1, 1, 1, 2))):
            add_subscription(book, chance, f"sub_{number}_{place}", customer, created)
    return book


def add_subscription(book: StripeBook, chance: random.Random, row_id: str, customer: str, created: datetime) -> None:
    yearly = chance.random() < 0.3
    step = 12 if yearly else 1
    starts = [created]
    while (start := add_months(created, len(starts) * step)) <= NOW:
        starts.append(start)
    ends = [add_months(created, number * step) for number in range(1, len(starts) + 1)]
    count = chance.choice((1, 1, 1, 2, 12))
    items = tuple(
        an_item(
            price_id=f"price_{place}_{yearly}",
            interval="year" if yearly else "month",
            quantity=chance.choice((1, 1, 3)),
            price_metadata={"plan": "pro"} if chance.random() < 0.5 else {},
            unit_amount=chance.choice((0, 900)),
            period_start=starts[-1],
            period_end=ends[-1],
        )
        for place in range(count)
    )
    status = chance.choice(STATUSES)
    book.add(
        a_subscription(
            row_id,
            customer=customer,
            status=status,
            items=items,
            created=created,
            metadata={"user_id": row_id} if chance.random() < 0.5 else {},
            cancel_at_period_end=chance.random() < 0.2,
            ended_at=NOW if status == "canceled" else None,
            pause_collection="void" if chance.random() < 0.1 else None,
            period_on=chance.choice(("items", "subscription")),
        )
    )
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        invoice = bill(chance, f"in_{row_id}_{place}", book.subscriptions.get(row_id), items, start, end)
        book.add(invoice)
        if invoice.paid_by is not None and chance.random() < 0.3:
            at, amount = start + timedelta(days=chance.uniform(0, 20)), chance.choice((100, 900))
            status = chance.choice(("succeeded", "pending", "failed"))
            book.add(a_refund(f"re_{row_id}_{place}", invoice=invoice.id, created=at, amount=amount, status=status))
            book.add(a_dispute(f"dp_{row_id}_{place}", invoice=invoice.id, created=at, status=chance.choice(DISPUTED)))


def bill(
    chance: random.Random, row_id: str, subscription: Subscription | None, items: tuple[Item, ...], start: Any, end: Any
) -> Invoice:
    assert subscription is not None
    lines = [
        a_line(
            f"il_{row_id}_{place}", price_id=item.price_id, amount=item.unit_amount, period_start=start, period_end=end
        )
        for place, item in enumerate(items)
    ]
    if chance.random() < 0.2:
        change = {"proration": True, "period_start": start + (end - start) / 3, "period_end": end}
        lines += [a_line(f"il_{row_id}_gone", amount=-500, **change), a_line(f"il_{row_id}_come", amount=700, **change)]
    status = chance.choice(("paid", "paid", "paid", "open", "draft", "void", "uncollectible"))
    return an_invoice(
        row_id,
        customer=subscription.customer,
        subscription=subscription.id,
        status=status,
        created=start,
        paid_at=start + timedelta(hours=1) if status == "paid" else None,
        billing_reason=chance.choice(("subscription_cycle", "subscription_update", "subscription_create")),
        lines=tuple(lines),
        amount_paid=900 if status == "paid" else 0,
        credit_notes=chance.choice((0, 0, 0, 900)),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("version", ["2026-10-28.endive", "2024-06-20"])
def test_stripes_book_and_the_client_over_the_server_say_the_same(seed, version):
    book = a_book(seed=seed)
    straight = StripeBookBilling(book, **READING).pull(None, NOW)

    with the_client(book, version=version) as client:
        over_http = client.pull(None, NOW)

    assert straight.table.schema.equals(LISTED_SUBSCRIPTIONS)
    assert straight.table.num_rows == len(book) > 30
    assert straight.table.to_pylist() == over_http.table.to_pylist()
    assert (straight.level, straight.enumerated, straight.problems) == ("L2", True, over_http.problems)
    assert (straight.level, straight.asked, straight.unanswered) == (
        over_http.level,
        over_http.asked,
        over_http.unanswered,
    )
    assert sum(len(row["invoices"]) for row in straight.table.to_pylist()) > 50


@pytest.mark.parametrize("seed", range(2))
def test_they_say_the_same_about_customers_asked_for_by_id(seed):
    book = a_book(seed=seed)
    asked = [BillingId(row.id) for row in reversed(list(book.customers))] + ids("cus_never", "cus_1")
    straight = StripeBookBilling(book, **READING).pull(asked, NOW)

    with the_client(book) as client:
        over_http = client.pull(asked, NOW)

    assert straight.table.to_pylist() == over_http.table.to_pylist()
    assert set(straight.table["lookup"].to_pylist()) == {"answered", "missing"}
    assert (straight.level, straight.asked, straight.problems) == ("L3", over_http.asked, over_http.problems)


def test_a_subscription_of_tomorrow_is_not_listed_yet():
    book = StripeBook([a_customer()], [a_subscription(created=NOW), a_subscription("sub_2", created=NOW)])
    book.patch("sub_2", created=NOW + timedelta(days=1))
    straight = StripeBookBilling(book, **READING).pull(None, NOW)

    with the_client(book) as client:
        over_http = client.pull(None, NOW)

    assert straight.table["subscription_id"].to_pylist() == ["sub_1"]
    assert straight.table.to_pylist() == over_http.table.to_pylist()


def test_changes_of_stripes_book_show_in_the_next_pull():
    book = StripeBook([a_customer()], [a_subscription()], [an_invoice(status="open", paid_at=None)])
    billing = StripeBookBilling(book, **READING)
    before = billing.pull(None, NOW).table.to_pylist()[0]

    book.patch("sub_1", status="past_due")
    book.patch("in_1", status="paid", paid_at=NOW)
    book.patch("cus_1", metadata={"user_id": "somebody else"})
    after = billing.pull(None, NOW).table.to_pylist()[0]

    assert (before["status"], before["invoices"][0]["status"]) == ("active", "open")
    assert (after["status"], after["invoices"][0]["paid_at"]) == ("dunning", NOW)
    assert [subject["id"] for subject in after["subjects"]] == ["somebody else"]


def test_progress_over_stripes_book_ends_at_the_total():
    seen: list[tuple[int, int]] = []
    billing = StripeBookBilling(StripeBook([a_customer()], [a_subscription()]), **READING)

    billing.pull(None, NOW, lambda done, total: seen.append((done, total)))
    billing.pull(ids("cus_1", "cus_2"), NOW, lambda done, total: seen.append((done, total)))

    assert seen == [(1, 1), (2, 2)]
