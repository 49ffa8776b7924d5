"""Stripe's list of undelivered events over loopback: what is asked for, what comes back, and how a gap is told."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from credit_pipeline.adapters.billing.json_values import WireError
from credit_pipeline.adapters.billing.stripe.events import TYPES, parse_event
from credit_pipeline.adapters.inbox.webhook_hints import hint_of
from credit_pipeline.domain.errors import SourceError
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.events import an_event, event_body, event_id
from credit_pipeline.services.sync.ports import EventSource
from credit_pipeline_tests.adapters.billing.test_billing_stripe import a_client
from credit_pipeline_tests.sandbox.stripe.stripe_rows import a_customer, a_subscription, an_invoice

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
LONG = timedelta(minutes=1)
MANY = 250


@pytest.fixture
def server() -> Iterator[BillingServer]:
    with BillingServer(stripe=StripeBook(), per_second=10_000) as running:
        yield running


@pytest.fixture(scope="module")
def outage() -> Iterator[BillingServer]:
    """Three pages of payments that nobody heard of, a minute apart."""
    events = [an_event("invoice.paid", an_invoice(f"in_{n}"), NOW - timedelta(minutes=n)) for n in range(MANY)]
    with BillingServer(stripe=StripeBook(events=events), per_second=10_000) as running:
        yield running


def read(server: BillingServer, oldest: datetime = NOW - DAY, newest: datetime = NOW, **settings):
    with a_client(server, **settings) as client:
        assert isinstance(client, EventSource)
        return client.undelivered(oldest, newest, LONG)


def test_an_event_comes_as_its_webhook_would_have_and_names_its_customer(server):
    for row, kind in (
        (an_invoice(customer="cus_a"), "invoice.paid"),
        (a_subscription(customer="cus_b"), "customer.subscription.deleted"),
        (a_customer("cus_c"), "customer.updated"),
    ):
        server.stripe.add(an_event(kind, row, NOW - timedelta(hours=len(server.stripe.events) + 1)))

    found = read(server)

    assert found.doubts == ()
    hints = [hint_of("stripe", event.body) for event in found.events]
    assert [hint.names for hint in hints] == [("cus_c",), ("cus_b",), ("cus_a",)], "oldest first"
    assert [hint.type for hint in hints] == ["customer.updated", "customer.subscription.deleted", "invoice.paid"]
    [body] = [json.loads(event.body) for event in found.events if b"in_1" in event.body]
    assert (body["id"], body["object"]) == (found.events[-1].event_id, "event")
    assert found.events[-1].created == NOW - timedelta(hours=1)


def test_only_what_was_not_delivered_in_that_time_and_matters_is_asked_for(server):
    def at(hours: float, name: str, kind: str = "invoice.paid", **words):
        server.stripe.add(an_event(kind, an_invoice(name), NOW - timedelta(hours=hours), **words))

    at(2, "in_lost")
    at(2, "in_delivered", delivered=True)
    at(2, "in_noise", "invoice.created")
    at(30, "in_before")
    at(0.5, "in_after")
    at(5, "in_first")
    at(1, "in_last")

    found = read(server, NOW - timedelta(hours=5), NOW - timedelta(hours=1))

    names = [json.loads(event.body)["data"]["object"]["id"] for event in found.events]
    assert names == ["in_first", "in_lost", "in_last"], "both ends belong to it"
    assert server.faults.requests == {"events": 1}


def test_several_pages_are_one_list(outage):
    found = read(outage)
    assert (len({event.event_id for event in found.events}), found.doubts) == (MANY, ())
    assert [event.created for event in found.events] == sorted(event.created for event in found.events)


@pytest.mark.parametrize("kind", ["flaky", "lookup_error", "rate_limited", "truncated", "html_200", "reset"])
def test_a_passing_fault_is_retried(server, kind):
    server.stripe.add(an_event("invoice.paid", an_invoice(), NOW))
    server.faults.add(kind, endpoint="events", times=1, **({"retry_after": "0"} if kind == "rate_limited" else {}))
    found = read(server)
    assert (len(found.events), found.doubts) == (1, ())
    assert server.faults.fired[kind] == 1


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("lookup_error", "the list of events ended early after 100 rows: HTTP 500"),
        ("truncated", "the list of events ended early after 100 rows: the connection broke"),
        ("forgotten_cursor", "the list of events ended early after 100 rows: Stripe no longer knew the cursor"),
        ("restart", "the list of events ended early after 100 rows: a page announced more rows"),
        ("empty_page", "the list of events ended early after 100 rows: a page announced more rows"),
        ("repeated_rows", "the list of events has 2 repeated rows"),
        ("other_origin", "the list of events ended early after 100 rows: HTTP 200, but the list is another"),
        ("wrong_livemode", "the answers mix test mode and live mode"),
        ("endless", "it did not end within 5 pages"),
    ],
)
def test_a_list_that_may_lack_events_says_so_and_keeps_what_was_read(outage, kind, said):
    outage.faults.add(kind, endpoint="events", skip=1, times=None)
    try:
        found = read(outage)
    finally:
        outage.faults.clear()
    assert len(found.events) >= 100
    assert any(said in doubt for doubt in found.doubts), found.doubts
    assert found.too_many == (kind == "endless")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("down", "answered nothing that can be used"),
        ("forbidden", "give the Stripe key the right to read events"),
        ("expired_token", "refuses the key"),
        ("lookup_error", "answered nothing that can be used"),
    ],
)
def test_where_nothing_can_be_read_it_is_one_sentence(server, kind, said):
    server.faults.add(kind, **({} if kind == "down" else {"endpoint": "events", "times": None}))
    with pytest.raises(SourceError, match=f"^bestauth: the billing API at .*{said}"):
        read(server)


def test_the_key_of_another_mode_is_a_doubt():
    event = an_event("invoice.paid", an_invoice(), NOW)
    with BillingServer(stripe=StripeBook(events=[event], livemode=True)) as live:
        found = read(live)
    assert len(found.events) == 1
    assert found.doubts[0].startswith("the answers are of live mode and the key is of test mode")


@pytest.mark.parametrize("changed", [{"object": "list"}, {"type": "issuing_card.created"}, {"type": None}, {"id": ""}])
def test_anything_but_an_event_that_was_asked_for_is_refused(changed):
    body = event_body(an_event("invoice.paid", an_invoice(), NOW))
    assert parse_event(body).event_id == body["id"]
    with pytest.raises(WireError):
        parse_event(body | changed)


def test_stripe_takes_so_many_types_and_every_one_can_be_read_as_a_webhook():
    assert len(set(TYPES)) == len(TYPES) <= 20
    for kind in TYPES:
        nameless = json.dumps({"type": kind, "data": {"object": {}}}).encode()
        assert hint_of("stripe", nameless).fault, f"{kind} without a customer is dead and not passed over"


def test_the_same_happening_is_the_same_event():
    first, again = (an_event("invoice.paid", an_invoice(), NOW + timedelta(milliseconds=n)) for n in (0, 300))
    assert first.id == again.id
    assert first.id != event_id("invoice.paid", "in_2", NOW)
