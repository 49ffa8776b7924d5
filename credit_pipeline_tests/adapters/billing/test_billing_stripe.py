"""The Stripe client against the sandbox's server over loopback: the contract, and the end of every kind of fault.

Waits between tries are milliseconds here; each test of a fault also asserts, on the server's side, that it fired.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

from credit_pipeline.adapters.billing.http.client import RetryPolicy
from credit_pipeline.adapters.billing.stripe.billing import StripeBilling
from credit_pipeline.domain.errors import ConfigurationError, SourceError
from credit_pipeline.sandbox.billing.book_billing import StripeBookBilling
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.objects import StripeObjects
from credit_pipeline_tests.contracts.billing import NOW, READING, ListingContract, ids
from credit_pipeline_tests.sandbox.stripe.stripe_rows import (
    START,
    a_customer,
    a_dispute,
    a_line,
    a_refund,
    a_subscription,
    an_invoice,
    an_item,
)

IMPATIENT = RetryPolicy(
    attempts=3,
    wait_initial=timedelta(milliseconds=1),
    wait_max=timedelta(milliseconds=2),
    wait_jitter=timedelta(0),
    retry_after_cap=timedelta(milliseconds=150),
    connect=timedelta(seconds=10),
    read=timedelta(seconds=10),
    request=timedelta(seconds=30),
)
VERSION, OLD = "2026-10-28.endive", "2024-06-20"
MANY = 450
NEEDED = "subscriptions, customers, invoices, refunds (charges) and disputes"


@contextmanager
def a_client(server: BillingServer, **overrides) -> Iterator[StripeBilling]:
    settings = {
        **READING,
        "base_url": server.base_url,
        "key": server.credentials.stripe_key,
        "version": VERSION,
        "per_second": 10_000,
        "retry_policy": IMPATIENT,
    } | overrides
    with StripeBilling(**settings) as client:
        yield client


@pytest.mark.parametrize("version", [VERSION, OLD])
class TestContractOverHttp(ListingContract):
    @pytest.fixture
    def billing(self, book, version):
        with BillingServer(stripe=book, per_second=10_000) as server, a_client(server, version=version) as client:
            yield client

    def open(self, book):
        raise AssertionError("opened by the fixture, once a version")


class TestContractOfTheBook(ListingContract):
    def open(self, book):
        return nullcontext(StripeBookBilling(book, **READING))


def a_book(count: int) -> StripeBook:
    """So many customers with a subscription and its invoice each, the lowest number the newest."""
    book = StripeBook()
    for number in range(count):
        created = START - timedelta(minutes=number)
        item = an_item(period_start=created)
        book.add(
            a_customer(f"cus_{number}", created=created),
            a_subscription(f"sub_{number}", customer=f"cus_{number}", created=created, items=(item,)),
            an_invoice(
                f"in_{number}",
                customer=f"cus_{number}",
                subscription=f"sub_{number}",
                created=created,
                lines=(a_line(f"il_{number}", period_start=created),),
            ),
        )
    return book


@pytest.fixture
def server() -> Iterator[BillingServer]:
    with BillingServer(stripe=a_book(3), per_second=10_000) as running:
        yield running


@pytest.fixture
def large() -> Iterator[BillingServer]:
    with BillingServer(stripe=a_book(MANY), per_second=10_000) as running:
        yield running


def named(pull) -> list[str]:
    return pull.table["subscription_id"].to_pylist()


def everyone(count: int) -> list[str]:
    return [f"sub_{number}" for number in range(count)]


def test_several_pages_are_one_list_and_are_read_twice(large):
    with a_client(large) as client:
        pull = client.pull(None, NOW)

    assert named(pull) == everyone(MANY)
    assert [len(lines) for lines in pull.table["invoices"].to_pylist()] == [1] * MANY
    assert (pull.level, pull.enumerated, pull.problems, pull.asked) == ("L2", True, (), MANY)
    assert large.faults.counters()["requests"] == {
        "subscriptions": 10,
        "invoices": 5,
        "refunds": 2,
        "disputes": 2,
    }


@pytest.mark.parametrize("endpoint", ["subscriptions", "invoices", "refunds", "disputes"])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("flaky", {"times": 2}),
        ("lookup_error", {"times": 1}),
        ("rate_limited", {"retry_after": "0"}),
        ("rate_limited", {"retry_after": None}),
        ("lock_timeout", {"times": 1}),
        ("truncated", {"times": 2}),
        ("html_200", {"times": 2}),
        ("bad_json", {"times": 2}),
        ("bad_json", {"times": 1, "body": "{}"}),
        ("bad_json", {"times": 1, "body": '{"object": "list", "data": [], "has_more": false, "url": "/v1/events"}'}),
        ("reset", {"times": 2}),
        ("gzip", {"times": 2}),
    ],
)
def test_a_passing_fault_is_retried_until_answered(server, kind, values, endpoint):
    server.faults.add(kind, endpoint=endpoint, **values)

    with a_client(server) as client:
        pull = client.pull(None, NOW)

    assert (named(pull), pull.level, pull.enumerated, pull.problems) == (everyone(3), "L2", True, ())
    assert server.faults.fired[kind] == values.get("times", 1)


def test_the_header_about_retries_has_the_last_word(server):
    server.faults.add("not_found", endpoint="invoices", times=1, should_retry=True)
    with a_client(server) as client:
        told_to = client.pull(None, NOW)
    asked = server.faults.requests["invoices"]
    server.faults.clear()
    server.faults.add("lookup_error", endpoint="invoices", should_retry=False)
    with a_client(server) as client:
        told_not_to = client.pull(None, NOW)

    assert (told_to.enumerated, asked) == (True, 2)
    assert (told_not_to.enumerated, server.faults.fired["lookup_error"]) == (False, 1)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("repeated_rows", "the list of subscriptions has 4 repeated rows"),
        ("changed_rows", "the list of subscriptions has 4 repeated rows, 4 of them changed"),
        ("restart", "the list of subscriptions ended early after 100 rows: .* had no new ones"),
        ("cyclic", "the list of subscriptions ended early after 450 rows: .* had no new ones"),
        ("endless", "the list of subscriptions ended early after 1,950 rows: it did not end within 20 pages"),
        ("forgotten_cursor", "the list of subscriptions ended early after 100 rows: Stripe no longer knew the cursor"),
        ("empty_page", "the list of subscriptions ended early after 100 rows: .* had no new ones"),
        ("early_end", "the list of subscriptions lacks at least one that an invoice names and Stripe knows"),
        ("lost_page", "the list of subscriptions lacks at least one that an invoice names and Stripe knows"),
        ("truncated", "the list of subscriptions ended early after 100 rows: the connection broke"),
        ("lookup_error", r"the list of subscriptions ended early after 100 rows: HTTP 500 \(request req_\w+\)"),
        ("html_404", r"the list of subscriptions ended early after 100 rows: HTTP 404 \(request req_\w+\)"),
        ("expired_token", r"the list of subscriptions ended early after 100 rows: HTTP 401 api_key_expired \(.*"),
        ("other_origin", "the list of subscriptions ended early after 100 rows: HTTP 200, but the list is another .*"),
        ("huge", "the list of subscriptions ended early after 100 rows: an answer of more than 10,000,000 bytes"),
        ("wrong_livemode", "the answers mix test mode and live mode"),
    ],
)
def test_a_list_that_may_lack_rows_is_an_incomplete_source_with_what_was_read(large, kind, sentence):
    large.faults.add(kind, endpoint="subscriptions", skip=1, times=None)

    with a_client(large, max_pages=20) as client:
        pull = client.pull(None, NOW)

    assert (pull.enumerated, pull.level) == (False, "L0")
    assert re.fullmatch(sentence, pull.problems[0]), pull.problems
    assert named(pull)[:100] == everyone(100)
    assert {"active"} == set(pull.table["status"].to_pylist()[:100])
    assert large.faults.fired[kind] > 0


@pytest.mark.parametrize("kind", ["repeated_rows", "changed_rows", "cyclic", "endless", "empty_page", "truncated"])
def test_invoices_that_may_lack_rows_make_the_source_incomplete_as_well(large, kind):
    large.faults.add(kind, endpoint="invoices", skip=1, times=None)

    with a_client(large, max_pages=20) as client:
        pull = client.pull(None, NOW)

    assert (pull.enumerated, named(pull)) == (False, everyone(MANY))
    assert pull.problems[0].startswith("the list of invoices ")
    assert large.faults.fired[kind] > 0


@pytest.mark.parametrize("kind", ["lost_page", "early_end"])
def test_lost_invoices_are_missed_where_a_subscription_names_them(large, kind):
    large.faults.add(kind, endpoint="invoices", skip=1, times=1)

    with a_client(large) as client:
        pull = client.pull(None, NOW)

    assert (pull.enumerated, pull.problems) == (
        False,
        ("the list of invoices lacks at least one that a subscription names and Stripe knows",),
    )


@pytest.mark.parametrize("kind", ["lost_page", "early_end"])
def test_a_page_lost_without_any_invoice_shows_in_the_second_pass(large, kind):
    large.stripe.remove(*(f"in_{number}" for number in range(MANY)))
    large.faults.add(kind, endpoint="subscriptions", skip=1, times=1)

    with a_client(large) as client:
        pull = client.pull(None, NOW)

    assert pull.enumerated is False
    assert re.fullmatch(r"a second pass over the subscriptions differs in \d+ rows from the first", pull.problems[0])
    assert large.faults.fired[kind] == 1


def test_a_forgotten_cursor_starts_the_list_anew_once(large):
    large.faults.add("forgotten_cursor", skip=1, times=1)

    with a_client(large) as client:
        pull = client.pull(None, NOW)

    assert (pull.enumerated, pull.level, named(pull)) == (True, "L2", everyone(MANY))
    assert large.faults.fired["forgotten_cursor"] == 1


def test_rows_created_while_the_list_is_read_are_not_in_it(large):
    later = NOW + timedelta(seconds=1)
    large.stripe.add(a_customer("cus_new", created=later), a_subscription("sub_new", customer="cus_new", created=later))
    large.stripe.add(an_invoice("in_new", customer="cus_new", subscription="sub_new", created=later))

    with a_client(large) as client:
        pull = client.pull(None, NOW)

    assert (pull.enumerated, named(pull)) == (True, everyone(MANY))


def test_rows_missing_for_a_good_reason_are_no_loss(server):
    server.stripe.patch("sub_0", latest_invoice="in_deleted")
    server.stripe.add(an_invoice("in_other", customer="cus_0", subscription="sub_never_heard_of"))

    with a_client(server) as client:
        pull = client.pull(None, NOW)

    assert (pull.enumerated, pull.problems) == (True, ())
    assert server.faults.requests["subscription"] == server.faults.requests["invoice"] == 1


def test_longer_periods_whose_invoices_are_not_answered_make_the_source_incomplete(server):
    long_ago = NOW - timedelta(days=200)
    for number in range(3):
        server.stripe.patch(f"sub_{number}", items=(an_item(interval="year", period_start=long_ago),))
    server.faults.add("lookup_error", endpoint="invoices", skip=1, times=None)

    with a_client(server, in_flight=1) as client:
        pull = client.pull(None, NOW)

    assert (pull.enumerated, named(pull)) == (False, everyone(3))
    assert re.match(r"3/3 customers with longer periods: the list of invoices ended .* HTTP 500", pull.problems[0])


def test_a_key_of_the_other_mode_is_an_incomplete_source():
    book = a_book(3)
    book.livemode = True
    with BillingServer(stripe=book) as server, a_client(server, credentials_name="STRIPE_KEY") as client:
        pulls = [client.pull(None, NOW), client.pull(ids("cus_1"), NOW)]

    assert [pull.enumerated for pull in pulls] == [False, False]
    assert [pull.problems for pull in pulls] == [
        ("the answers are of live mode and the key is of test mode: correct STRIPE_KEY",)
    ] * 2


def test_one_subscription_that_cannot_be_read_is_one_unanswered_customer(server):
    server.stripe.patch("sub_1", status="frozen")

    with a_client(server) as client:
        listed, asked = client.pull(None, NOW), client.pull(ids("cus_0", "cus_1"), NOW)

    assert [row["lookup"] for row in listed.table.to_pylist()] == ["answered", "error", "answered"]
    assert [row["lookup"] for row in asked.table.to_pylist()] == ["answered", "error"]
    reason = "the subscription cannot be read: its status “frozen” is not known"
    assert listed.problems == (f"1/3 customers were not answered (1 × {reason})",)
    assert (listed.enumerated, listed.unanswered, asked.unanswered, asked.level) == (True, 1, 1, "L1")
    assert listed.table["subjects"].to_pylist()[1] == [{"source": READING["subject"][1], "id": "user of cus_1"}]


def test_a_refused_key_is_one_sentence_at_once(server):
    for asked in (None, ids(*(f"cus_{n}" for n in range(200)))):
        with (
            a_client(server, key="rk_test_s3cret", credentials_name="STRIPE_KEY") as client,
            pytest.raises(SourceError) as caught,
        ):
            client.pull(asked, NOW)

        assert re.fullmatch(
            rf"bestauth: the billing API at 127\.0\.0\.1:{server.port} refuses the key "
            r"\(HTTP 401 \(request req_\w+\)\): correct STRIPE_KEY",
            str(caught.value),
        )
    assert server.faults.counters()["requests"] == {}


def test_a_key_that_may_not_read_is_told_what_it_needs(server):
    server.faults.add("forbidden", endpoint="subscriptions")
    with a_client(server, credentials_name="STRIPE_KEY") as client, pytest.raises(SourceError) as caught:
        client.pull(None, NOW)
    assert str(caught.value).endswith(f"give STRIPE_KEY the right to read {NEEDED}")

    server.faults.clear()
    server.faults.add("forbidden", endpoint="invoices")
    with a_client(server) as client:
        pull = client.pull(None, NOW)
    assert (pull.enumerated, named(pull)) == (False, everyone(3))
    assert pull.problems[0].endswith("give the key the right to read invoices")


@pytest.mark.parametrize("endpoint", ["refunds", "disputes"])
def test_a_key_that_may_not_read_what_was_returned_is_told_what_it_needs(server, endpoint):
    server.faults.add("forbidden", endpoint=endpoint, times=None)
    with a_client(server, credentials_name="STRIPE_KEY") as client:
        pull = client.pull(None, NOW)
        with pytest.raises(SourceError) as caught:
            client.pull(ids("cus_1"), NOW)

    assert (pull.enumerated, pull.level, named(pull)) == (False, "L0", everyone(3))
    assert pull.problems[0].endswith(f"give the key the right to read {endpoint}")
    assert str(caught.value).endswith(f"give STRIPE_KEY the right to read {NEEDED}")


def a_refunded_book() -> StripeBook:
    """Several pages of customers, each with a refund and a lost dispute."""
    book = a_book(250)
    for number in range(250):
        created = START - timedelta(minutes=number)
        book.add(a_refund(f"re_{number}", invoice=f"in_{number}", created=created))
        book.add(a_dispute(f"dp_{number}", invoice=f"in_{number}", created=created, status="lost"))
    return book


@pytest.mark.parametrize("endpoint", ["refunds", "disputes"])
@pytest.mark.parametrize(
    ("kind", "times"),
    [(kind, None) for kind in ("repeated_rows", "cyclic", "endless", "empty_page", "truncated", "lookup_error")]
    + [("lost_page", 1), ("early_end", 1)],
)
def test_refunds_and_disputes_that_may_lack_rows_make_the_source_incomplete(kind, times, endpoint):
    with BillingServer(stripe=a_refunded_book(), per_second=10_000) as server:
        server.faults.add(kind, endpoint=endpoint, skip=1, times=times)
        with a_client(server, max_pages=6) as client:
            pull = client.pull(None, NOW)

        assert server.faults.fired[kind] > 0
    assert (pull.enumerated, pull.level, named(pull)) == (False, "L0", everyone(250))
    assert re.search(rf"the (list of )?{endpoint} ", pull.problems[0]), pull.problems


def test_refunds_on_several_pages_are_all_read():
    with BillingServer(stripe=a_refunded_book(), per_second=10_000) as server, a_client(server) as client:
        pull = client.pull(None, NOW)

    (lines,) = zip(*pull.table["invoices"].to_pylist(), strict=True)
    assert (pull.enumerated, pull.problems, len(lines)) == (True, (), 250)
    assert {(line["status"], line["refunded"], line["disputed"]) for line in lines} == {("refunded", 1_000, "lost")}


@pytest.mark.parametrize("version", [VERSION, OLD])
def test_a_customer_costs_the_refunds_and_disputes_of_each_payment_and_no_other(server, version):
    server.stripe.add(an_invoice("in_open", customer="cus_1", subscription="sub_1", status="open", amount_paid=0))
    with a_client(server, version=version) as client:
        client.pull(ids("cus_1"), NOW)

    asked = {"subscriptions": 1, "invoices": 1, "refunds": 1, "disputes": 1}
    assert server.faults.counters()["requests"] == asked


def test_all_payments_of_an_invoice_are_read_where_it_shows_only_the_first():
    paths = ("/v1/subscriptions", "/v1/invoices", "/v1/invoice_payments", "/v1/refunds", "/v1/disputes")
    bodies = {path: empty_list(path) for path in paths}
    book = a_book(1)
    objects = StripeObjects(book=book)
    (subscription,), (invoice,) = book.subscriptions, book.invoices
    bodies["/v1/subscriptions"]["data"] = [objects.subscription(subscription, frozenset({"customer"}))]
    raw = objects.invoice(invoice, frozenset({"payments"}))
    (first,) = raw["payments"]["data"]
    second = first | {"id": "inpay_second", "payment": {"type": "payment_intent", "payment_intent": "pi_second"}}
    bodies["/v1/invoices"]["data"] = [raw | {"payments": raw["payments"] | {"has_more": True}}]
    bodies["/v1/invoice_payments"]["data"] = [first, second]
    refund = objects.refund(a_refund(created=START)) | {"payment_intent": "pi_second", "amount": 7}
    bodies["/v1/refunds"]["data"] = [refund]
    with Heard(bodies) as heard, StripeBilling(base_url=heard.base_url, key="k", version=VERSION, **READING) as client:
        pull = client.pull(None, NOW)

    (lines,) = pull.table["invoices"].to_pylist()
    assert (pull.enumerated, [(line["status"], line["refunded"]) for line in lines]) == (True, [("refunded", 7)])


def test_an_answer_about_another_payment_is_no_answer(server):
    paths = ("/v1/subscriptions", "/v1/invoices", "/v1/refunds", "/v1/disputes")
    objects = StripeObjects(book=server.stripe)
    bodies = {path: empty_list(path) for path in paths}
    bodies["/v1/subscriptions"]["data"] = [objects.subscription(server.stripe.subscriptions.get("sub_0"))]
    bodies["/v1/invoices"]["data"] = [objects.invoice(server.stripe.invoices.get("in_0"), frozenset({"payments"}))]
    bodies["/v1/refunds"]["data"] = [objects.refund(a_refund(invoice="in_1", created=START))]
    with Heard(bodies) as heard, StripeBilling(base_url=heard.base_url, key="k", version=VERSION, **READING) as client:
        pull = client.pull(ids("cus_0"), NOW)

    assert pull.table["detail"].to_pylist() == ["answered about another payment"]


def test_an_unanswered_refund_of_a_customer_is_no_answer_about_them(server):
    server.faults.add("lookup_error", endpoint="refunds", times=None)

    with a_client(server) as client:
        pull = client.pull(ids("cus_1"), NOW)

    assert (pull.table["lookup"].to_pylist(), pull.level) == (["error"], "L1")


def test_a_server_that_is_not_there_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused, and nobody else gets it
        port = taken.getsockname()[1]
        settings = {**READING, "key": "rk_test_x", "version": VERSION, "retry_policy": IMPATIENT}
        client = StripeBilling(base_url=f"http://127.0.0.1:{port}", base_url_name="STRIPE_BASE_URL", **settings)
        for asked in (None, ids(*(f"cus_{n}" for n in range(200)))):
            with pytest.raises(SourceError) as caught:
                client.pull(asked, NOW)
            assert str(caught.value) == (
                f"bestauth: the billing API at 127.0.0.1:{port} cannot be reached (no connection): "
                "start it or correct STRIPE_BASE_URL"
            )
        client.close()


@pytest.mark.parametrize("kind", ["html_200", "lookup_error", "html_404"])
def test_where_nothing_at_all_is_learnt_the_pull_ends_with_a_sentence(large, kind):
    large.faults.add(kind, endpoint="stripe")

    with a_client(large) as client:
        with pytest.raises(SourceError, match="answered nothing that can be used"):
            client.pull(None, NOW)
        with pytest.raises(SourceError, match="answered nothing that can be used"):
            client.pull(ids(*(f"cus_{n}" for n in range(300))), NOW)

    assert large.faults.fired[kind] < 100


def test_one_customer_without_an_answer_does_not_stop_the_others(server):
    server.faults.add("lookup_error", endpoint="customer", instances=["cus_free"])
    server.stripe.add(a_customer("cus_free"))

    with a_client(server) as client:
        pull = client.pull(ids("cus_0", "cus_free", "cus_1"), NOW)

    assert pull.table["lookup"].to_pylist() == ["answered", "error", "answered"]
    assert (pull.level, pull.enumerated, pull.asked, pull.unanswered) == ("L1", True, 3, 1)
    assert pull.problems == ("1/3 customers were not answered (1 × HTTP 500)",)


def test_an_unfinished_list_of_a_customer_is_no_answer_about_them(server):
    server.faults.add("empty_page", endpoint="invoices")

    with a_client(server) as client:
        pull = client.pull(ids("cus_0"), NOW)

    assert (pull.table["lookup"].to_pylist(), pull.table["invoices"].to_pylist()) == (["error"], [[]])


def test_an_api_that_dies_in_the_middle_leaves_an_incomplete_pull(large):
    asked = [f"cus_{number}" for number in range(MANY)]
    large.faults.add("lookup_error", endpoint="subscriptions", skip=100)

    with a_client(large, in_flight=2, breaker=3) as client:
        pull = client.pull(ids(*asked), NOW)

    assert pull.table["lookup"].to_pylist()[:90] == ["answered"] * 90
    assert (pull.enumerated, pull.asked, pull.table["billing_id"].to_pylist()) == (False, MANY, asked)
    assert re.fullmatch(r"the pull was given up after \d+/450 customers: run it again", pull.problems[-1])
    assert large.faults.fired["lookup_error"] < 40


def test_the_pull_ends_at_its_deadline(large):
    large.faults.add("slow_drip", endpoint="subscriptions", skip=1, times=None)

    with a_client(large, deadline=timedelta(seconds=3)) as client:
        began = time.monotonic()
        pull = client.pull(None, NOW)
        took = time.monotonic() - began

    assert (pull.enumerated, named(pull), took < 30) == (False, everyone(100), True)


def test_the_client_keeps_below_its_rate(server):
    with BillingServer(stripe=a_book(40), per_second=10) as strict, a_client(strict, per_second=10) as client:
        began = time.monotonic()
        pull = client.pull(ids(*(f"cus_{n}" for n in range(12))), NOW)
        took = time.monotonic() - began

    assert (pull.unanswered, pull.level, took >= 2) == (0, "L3", True)


class Heard:
    """What a hand-written server was asked, and what it answers: the first body whose path fits."""

    def __init__(self, bodies: dict[str, dict]) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.command, self.path, dict(self.headers)))
                body = json.dumps(bodies[urlsplit(self.path).path]).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


def empty_list(path: str) -> dict:
    return {"object": "list", "url": path, "data": [], "has_more": False}


def test_what_is_sent_is_get_with_key_and_version_and_asks_for_every_status_until_now():
    paths = ("/v1/subscriptions", "/v1/invoices", "/v1/refunds", "/v1/disputes")
    with Heard({path: empty_list(path) for path in paths}) as heard:
        settings = {**READING, "key": "rk_live_abc", "version": VERSION, "lookback": timedelta(days=62)}
        with StripeBilling(base_url=heard.base_url, **settings) as client:
            client.pull(None, NOW)

    assert {(method, headers["Authorization"], headers["Stripe-Version"]) for method, _, headers in heard.requests} == {
        ("GET", "Bearer rk_live_abc", VERSION)
    }
    since, until = str(int((NOW - timedelta(days=63)).timestamp())), str(int(NOW.timestamp()))
    asked = [(urlsplit(path).path, dict(parse_qsl(urlsplit(path).query))) for _, path, _ in heard.requests]
    listed = {"limit": "100", "status": "all", "created[lte]": until}
    assert asked == [
        ("/v1/subscriptions", listed | {"expand[]": "data.customer"}),
        ("/v1/invoices", {"limit": "100", "created[gte]": since, "expand[]": "data.payments"}),
        ("/v1/subscriptions", listed),
        *[("/v1/refunds", {"limit": "100", "created[gte]": since, "created[lte]": until})] * 2,
        *[("/v1/disputes", {"limit": "100", "created[gte]": since, "created[lte]": until})] * 2,
    ]


def test_rows_out_of_order_or_outside_the_time_asked_for_are_an_incomplete_source():
    def a_row(row_id: str, created: int) -> dict:
        return {"id": row_id, "object": "subscription", "created": created, "livemode": False, "customer": "cus_1"}

    for times in ([1, 2], [int(NOW.timestamp()) + 1]):
        rows = [a_row(f"sub_{place}", created) for place, created in enumerate(times)]
        bodies = {
            "/v1/subscriptions": empty_list("/v1/subscriptions") | {"data": rows},
            **{path: empty_list(path) for path in ("/v1/invoices", "/v1/refunds", "/v1/disputes")},
        }
        with Heard(bodies) as heard, StripeBilling(base_url=heard.base_url, key="k", version="v", **READING) as client:
            pull = client.pull(None, NOW)

        sentence = "the list of subscriptions is not in the order or time range requested"
        assert (pull.enumerated, sentence in pull.problems) == (False, True)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"base_url": "http://api.stripe.com"}, "use https"),
        ({"base_url": "https://sk_live_s3cret@api.stripe.com"}, "not of the form"),
        ({"key": ""}, "the Stripe key is empty"),
        ({"key": "rk_live_s3cret\n"}, "the Stripe key is empty or holds blanks"),
        ({"key": "rk live s3cret"}, "correct it"),
        ({"version": "2026 endive"}, "the API version"),
        ({"subject": ("customer.email",)}, "`billing.subject` names the path “customer.email”"),
        ({"subject": ("metadata",)}, "write it as `metadata.KEY`"),
        ({"plan": ("product.name",)}, "`billing.plan` names the path"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_quoting_a_secret(wrong, why):
    settings = {**READING, "base_url": "https://api.stripe.com", "key": "rk_live_x", "version": VERSION} | wrong
    with pytest.raises(ConfigurationError, match=why) as caught:
        StripeBilling(**settings)

    assert str(caught.value).startswith("bestauth: ")
    assert "s3cret" not in str(caught.value)


def test_no_key_and_no_address_is_in_any_representation_or_table(server):
    with a_client(server) as client:
        table = client.pull(None, NOW).table.to_pylist()
        shown = repr(client)

    assert shown == f"StripeBilling('bestauth', '127.0.0.1:{server.port}')"
    assert "@" not in str(table)
    assert all(re.fullmatch("[0-9a-f]{32}", row["email_hash"]) for row in table)


def test_a_failing_progress_ends_the_pull_with_its_error(large):
    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        raise Interrupted

    with a_client(large, retry_policy=replace(IMPATIENT, attempts=2)) as client:
        for asked in (None, ids(*(f"cus_{n}" for n in range(MANY)))):
            with pytest.raises(Interrupted):
                client.pull(asked, NOW, interrupt)

    assert large.faults.requests["subscriptions"] < 200
