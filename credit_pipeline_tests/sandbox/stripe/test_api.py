"""The sandbox's Stripe, asked over loopback by a plain HTTP client: keys, versions, lists, objects, errors, rate."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.versions import version_date
from credit_pipeline_tests.sandbox.stripe.stripe_rows import (
    END,
    START,
    a_customer,
    a_dispute,
    a_line,
    a_refund,
    a_subscription,
    an_event,
    an_invoice,
    an_item,
)

OLD = "2024-06-20"
STATUSES = ("active", "trialing", "past_due", "canceled", "unpaid", "paused", "incomplete", "incomplete_expired")


@pytest.fixture
def clock() -> list[float]:
    return [END.timestamp()]


@pytest.fixture
def server(clock, tmp_path) -> Iterator[BillingServer]:
    book = StripeBook([a_customer()], [a_subscription()], [an_invoice()], path=tmp_path / "stripe.json")
    with BillingServer(stripe=book, clock=lambda: clock[0]) as running:
        yield running


@pytest.fixture
def http(server, clock) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, auth=(server.credentials.stripe_key, ""), trust_env=False) as client:
        yield client


def get(http: httpx.Client, path: str, **headers: str) -> dict[str, Any]:
    response = http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def ids(body: dict[str, Any]) -> list[str]:
    return [row["id"] for row in body["data"]]


def error(response: httpx.Response) -> tuple[int, str | None, str | None]:
    found = response.json()["error"]
    assert found["message"]
    assert found["type"] in ("invalid_request_error", "api_error")
    return response.status_code, found.get("code"), found.get("param")


def test_either_scheme_opens_and_every_answer_has_a_request_id(server):
    key = server.credentials.stripe_key
    basic = base64.b64encode(f"{key}:".encode()).decode()

    answers = [
        httpx.get(f"{server.base_url}/v1/customers", headers={"Authorization": given}, trust_env=False)
        for given in (f"Bearer {key}", f"Basic {basic}")
    ]

    assert key.startswith("rk_test_")
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.headers["Request-Id"] for answer in answers}) == 2
    assert all(answer.headers["Request-Id"].startswith("req_") for answer in answers)


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer rk_test_wrong", "Basic !!", "Basic /w==", "Digest x"])
def test_without_the_key_nothing_is_answered_and_none_is_repeated(server, given):
    headers = {} if given is None else {"Authorization": given}

    answer = httpx.get(f"{server.base_url}/v1/subscriptions", headers=headers, trust_env=False)

    assert error(answer) == (401, None, None)
    assert answer.headers["Request-Id"]
    assert "rk_test_wrong" not in answer.text


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
def test_a_restricted_key_reads_and_does_nothing_else(http, server, method):
    answer = http.request(method, "/v1/subscriptions/sub_1")

    assert error(answer) == (403, None, None)
    assert server.stripe.get("sub_1") == a_subscription()


def test_an_unknown_path_is_an_error_object(http):
    assert error(http.get("/v1/payouts")) == (404, None, None)


def test_the_version_asked_for_is_echoed_and_without_one_it_is_the_accounts(http, server):
    asked = http.get("/v1/account", headers={"Stripe-Version": OLD})
    own = http.get("/v1/account")

    assert asked.headers["Stripe-Version"] == OLD
    assert own.headers["Stripe-Version"] == "2026-10-28.endive"
    assert own.json() == {"id": server.stripe.account, "object": "account"}


@pytest.mark.parametrize("version", ["", "newest", "2026-10-28", "2024-06-20.acacia", "2026-13-28.endive"])
def test_a_version_that_is_none_is_refused(http, version):
    answer = http.get("/v1/account", headers={"Stripe-Version": version})

    assert error(answer) == (400, None, None)
    assert "Stripe-Version" not in answer.headers
    assert version_date(version) is None


def test_a_list_is_an_object_with_its_url_and_ten_rows_unless_told_otherwise(http, server):
    server.stripe.add(*(a_customer(f"cus_{number}") for number in range(2, 13)))

    body = get(http, "/v1/customers")

    assert {name: body[name] for name in ("object", "url", "has_more")} == {
        "object": "list",
        "url": "/v1/customers",
        "has_more": True,
    }
    assert ids(body) == [f"cus_{number}" for number in range(12, 2, -1)]


def test_a_cursor_gives_the_same_page_each_time_whatever_comes_meanwhile(http, server):
    server.stripe.add(*(a_customer(f"cus_{number}") for number in range(2, 6)))
    path = "/v1/customers?limit=2&starting_after=cus_4"

    first = get(http, path)
    server.stripe.add(a_customer("late", created=END))

    assert get(http, path) == first
    assert (ids(first), first["has_more"]) == (["cus_3", "cus_2"], True)
    assert ids(get(http, "/v1/customers?limit=2&ending_before=cus_1")) == ["cus_3", "cus_2"]
    assert get(http, "/v1/customers?limit=2&starting_after=cus_2") | {"data": []} == first | {
        "data": [],
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=0", (400, "parameter_invalid_integer", "limit")),
        ("limit=101", (400, "parameter_invalid_integer", "limit")),
        ("limit=ten", (400, "parameter_invalid_integer", "limit")),
        ("limit=", (400, "parameter_invalid_empty", "limit")),
        ("starting_after=sub_1&ending_before=sub_1", (400, None, None)),
        ("starting_after=sub_gone", (400, "resource_missing", "starting_after")),
        ("ending_before=sub_gone", (400, "resource_missing", "ending_before")),
        ("status=cancelled", (400, None, "status")),
        ("customer=cus_gone", (400, "resource_missing", "customer")),
        ("price=price_gone", (400, "resource_missing", "price")),
        ("created[gte]=yesterday", (400, "parameter_invalid_integer", "created[gte]")),
        ("expand[]=data.secrets", (400, None, "expand")),
        ("colour=red", (400, "parameter_unknown", "colour")),
    ],
)
def test_a_wrong_parameter_is_named(http, query, expected):
    assert error(http.get(f"/v1/subscriptions?{query}")) == expected


@pytest.mark.parametrize("kind", ["subscriptions", "customers", "invoices", "events", "invoices/in_0/lines"])
def test_an_unknown_id_is_missing(http, kind):
    answer = http.get(f"/v1/{kind}/no_such" if "/" not in kind else f"/v1/{kind}")

    assert error(answer) == (404, "resource_missing", "id")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", set(STATUSES) - {"canceled"}),
        ("&status=all", set(STATUSES)),
        ("&status=ended", {"canceled", "incomplete_expired"}),
        *((f"&status={status}", {status}) for status in STATUSES),
    ],
)
def test_subscriptions_by_status_and_by_default_without_the_canceled(http, server, query, expected):
    server.stripe.remove("sub_1")
    server.stripe.add(*(a_subscription(f"sub_{status}", status=status) for status in STATUSES))

    body = get(http, f"/v1/subscriptions?limit=100{query}")

    assert {row["status"] for row in body["data"]} == expected


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ("created[gte]={1}&created[lte]={1}", ["sub_1"]),
        ("created={1}", ["sub_1"]),
        ("created[gt]={0}&created[lt]={2}", ["sub_1"]),
        ("created[gte]={1}", ["sub_2", "sub_1"]),
        ("created[lt]={1}", ["sub_0"]),
        ("created[gt]={2}", []),
    ],
)
def test_subscriptions_by_creation(http, server, bounds, expected):
    server.stripe.add(*(a_subscription(f"sub_{n}", created=START + timedelta(days=n)) for n in range(3)))
    days = [int((START + timedelta(days=n)).timestamp()) for n in range(3)]

    assert ids(get(http, f"/v1/subscriptions?{bounds.format(*days)}")) == expected


def test_subscriptions_by_customer_and_by_price(http, server):
    server.stripe.add(a_customer("cus_2"), a_subscription("sub_2", customer="cus_2", items=(an_item(price_id="p"),)))

    assert ids(get(http, "/v1/subscriptions?customer=cus_2")) == ["sub_2"]
    assert ids(get(http, "/v1/subscriptions?price=price_pro")) == ["sub_1"]
    assert ids(get(http, "/v1/subscriptions?customer=cus_2&price=price_pro")) == []


def test_a_subscription_of_today_has_its_period_on_its_items(http):
    row = get(http, "/v1/subscriptions/sub_1")
    item = row["items"]["data"][0]

    assert "current_period_start" not in row
    assert (item["current_period_start"], item["current_period_end"]) == (START.timestamp(), END.timestamp())
    assert {name: row[name] for name in ("object", "customer", "status", "latest_invoice", "livemode")} == {
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "latest_invoice": "in_1",
        "livemode": False,
    }
    assert row["items"]["url"] == "/v1/subscription_items?subscription=sub_1"
    assert item["price"]["recurring"]["interval"] == "month"
    assert (item["price"]["id"], item["price"]["lookup_key"], item["quantity"]) == ("price_pro", "pro_monthly", 1)


@pytest.mark.parametrize("version", [OLD, "2025-02-24.acacia"])
def test_a_subscription_of_an_old_version_has_its_period_on_top(http, version):
    row = get(http, "/v1/subscriptions/sub_1", Stripe_Version=version)

    assert (row["current_period_start"], row["current_period_end"]) == (START.timestamp(), END.timestamp())
    assert "current_period_start" not in row["items"]["data"][0]


def test_an_account_pinned_to_an_old_version_answers_in_it():
    book = StripeBook([a_customer()], [a_subscription()])
    with BillingServer(stripe=book, stripe_version=OLD) as server:
        auth = (server.credentials.stripe_key, "")
        answer = httpx.get(f"{server.base_url}/v1/subscriptions/sub_1", auth=auth, trust_env=False)

    assert answer.headers["Stripe-Version"] == OLD
    assert "current_period_start" in answer.json()


def test_a_subscription_may_have_its_period_on_top_under_any_version(http, server):
    server.stripe.patch("sub_1", period_on="subscription")

    row = get(http, "/v1/subscriptions/sub_1")

    assert row["current_period_start"] == START.timestamp()
    assert "current_period_start" not in row["items"]["data"][0]


def test_the_end_of_a_subscription_a_trial_and_a_pause_are_sent(http, server):
    server.stripe.patch(
        "sub_1",
        cancel_at_period_end=True,
        canceled_at=START,
        ended_at=END,
        trial_start=START,
        trial_end=END,
        pause_collection="void",
    )

    row = get(http, "/v1/subscriptions/sub_1")

    assert row["cancel_at_period_end"] is True
    assert (row["cancel_at"], row["canceled_at"], row["ended_at"]) == (
        END.timestamp(),
        START.timestamp(),
        END.timestamp(),
    )
    assert (row["trial_start"], row["trial_end"]) == (START.timestamp(), END.timestamp())
    assert row["pause_collection"] == {"behavior": "void", "resumes_at": None}


def test_customers_and_invoices_are_expanded_where_asked(http, server):
    server.stripe.add(a_customer("cus_2", deleted=True), a_subscription("sub_2", customer="cus_2"))

    rows = get(http, "/v1/subscriptions?expand[]=data.customer&expand[1]=data.latest_invoice")["data"]
    one = get(http, "/v1/subscriptions/sub_1?expand[]=customer")

    assert rows[0]["customer"] == {"id": "cus_2", "object": "customer", "deleted": True}
    assert rows[0]["latest_invoice"] is None
    assert rows[1]["customer"]["metadata"] == {"user_id": "user of cus_1"}
    assert rows[1]["latest_invoice"]["id"] == "in_1"
    assert one["customer"]["email"] == "cus_1@example.com"
    assert one["latest_invoice"] == "in_1"


def test_a_deleted_customer_is_answered_by_id_and_not_listed(http, server):
    server.stripe.patch("cus_1", deleted=True)

    assert get(http, "/v1/customers/cus_1") == {"id": "cus_1", "object": "customer", "deleted": True}
    assert ids(get(http, "/v1/customers")) == []
    assert ids(get(http, "/v1/subscriptions?customer=cus_1")) == ["sub_1"]


def test_more_than_ten_items_are_paged_beside_the_subscription(http, server):
    server.stripe.patch("sub_1", items=tuple(an_item(price_id=f"price_{number}") for number in range(12)))

    inside = get(http, "/v1/subscriptions/sub_1")["items"]
    first = get(http, "/v1/subscription_items?subscription=sub_1")
    rest = get(http, f"/v1/subscription_items?subscription=sub_1&starting_after={ids(first)[-1]}")
    back = get(http, f"/v1/subscription_items?subscription=sub_1&limit=3&ending_before={ids(rest)[0]}")

    assert (inside["has_more"], ids(inside)) == (True, ids(first))
    assert [row["price"]["id"] for row in first["data"] + rest["data"]] == [f"price_{n}" for n in range(12)]
    assert (first["has_more"], rest["has_more"], ids(back), back["has_more"]) == (True, False, ids(first)[7:], True)


def test_items_are_asked_for_with_their_subscription(http):
    assert error(http.get("/v1/subscription_items")) == (400, "parameter_missing", "subscription")
    assert error(http.get("/v1/subscription_items?subscription=x")) == (400, "resource_missing", "subscription")


def test_a_paid_invoice_of_today_names_subscription_and_price_below_its_parts(http):
    row = get(http, "/v1/invoices/in_1")
    line = row["lines"]["data"][0]

    assert row["parent"]["subscription_details"]["subscription"] == "sub_1"
    assert "subscription" not in row
    assert row["status_transitions"]["paid_at"] == START.timestamp() + 3_600
    assert (row["status"], row["billing_reason"], row["amount_paid"], row["total"]) == (
        "paid",
        "subscription_cycle",
        1_000,
        1_000,
    )
    assert line["pricing"]["price_details"] == {"price": "price_pro", "product": "prod_pro"}
    assert line["parent"]["subscription_item_details"]["proration"] is False
    assert line["period"] == {"start": START.timestamp(), "end": END.timestamp()}
    assert "price" not in line


def test_an_invoice_of_an_old_version_names_them_on_top(http, server):
    server.stripe.patch("in_1", lines=(a_line(proration=True), a_line("il_2", price_id="price_never_subscribed")))

    row = get(http, "/v1/invoices/in_1", Stripe_Version=OLD)
    first, second = row["lines"]["data"]

    assert (row["subscription"], "parent" in row) == ("sub_1", False)
    assert (first["price"]["id"], first["price"]["lookup_key"], first["proration"]) == (
        "price_pro",
        "pro_monthly",
        True,
    )
    assert (first["subscription"], second["price"]["id"]) == ("sub_1", "price_never_subscribed")


def test_a_payment_is_on_top_of_an_old_invoice_and_in_a_list_of_a_new_one(http):
    old = get(http, "/v1/invoices/in_1", Stripe_Version=OLD)
    new = get(http, "/v1/invoices/in_1?expand[]=payments")

    assert (old["payment_intent"], old["charge"], "payments" in old) == ("pi_1", "ch_1", False)
    assert new["payments"]["data"][0]["payment"] == {"type": "payment_intent", "payment_intent": "pi_1"}
    assert new["payments"]["data"] == get(http, "/v1/invoice_payments?invoice=in_1")["data"]
    assert "payments" not in get(http, "/v1/invoices/in_1")
    refused = http.get("/v1/invoices?expand[]=data.payments", headers={"Stripe-Version": OLD})
    assert error(refused) == (400, None, "expand")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["3", "2", "1"]),
        ("?limit=1", ["3"]),
        ("?limit=1&starting_after={}_3", ["2"]),
        ("?payment_intent=pi_1", ["2", "1"]),
        ("?charge=ch_2", ["3"]),
        (f"?created[gte]={int(START.timestamp()) + 2 * 86_400 + 60}", ["3", "2"]),
    ],
)
@pytest.mark.parametrize(("path", "prefix"), [("/v1/refunds", "re"), ("/v1/disputes", "dp")])
def test_refunds_and_disputes_are_listed_by_time_and_by_payment(http, server, path, prefix, query, expected):
    make = a_refund if prefix == "re" else a_dispute
    server.stripe.add(an_invoice("in_2"))
    for number, invoice in enumerate(["in_1", "in_1", "in_2"], start=1):
        created = START + timedelta(days=2, minutes=number - 1)
        server.stripe.add(make(f"{prefix}_{number}", invoice=invoice, created=created))

    rows = get(http, path + query.format(prefix))["data"]

    assert [row["id"] for row in rows] == [f"{prefix}_{number}" for number in expected]
    assert all(("livemode" in row) is (prefix == "dp") for row in rows)


@pytest.mark.parametrize("path", ["/v1/refunds", "/v1/disputes"])
def test_a_payment_that_nobody_made_is_an_error(http, path):
    assert error(http.get(f"{path}?payment_intent=pi_9")) == (400, "resource_missing", "payment_intent")
    assert error(http.get(f"{path}?charge=pi_1")) == (400, "resource_missing", "charge")


@pytest.mark.parametrize(("status", "expected"), [("paid", (7, 0)), ("open", (0, 7))])
def test_what_was_given_back_is_told_apart_by_whether_it_had_been_paid(http, server, status, expected):
    server.stripe.patch("in_1", status=status, credit_notes=7)

    row = get(http, "/v1/invoices/in_1")

    assert (row["post_payment_credit_notes_amount"], row["pre_payment_credit_notes_amount"]) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=paid", ["in_2", "in_1"]),
        ("status=open", ["in_3"]),
        ("subscription=sub_2", ["in_3", "in_2"]),
        ("customer=cus_2", ["in_3"]),
        ("customer=cus_1&subscription=sub_2&status=paid", ["in_2"]),
        (f"created[gte]={int(END.timestamp())}", ["in_3"]),
    ],
)
def test_invoices_by_what_is_asked(http, server, query, expected):
    server.stripe.add(
        a_customer("cus_2"),
        a_subscription("sub_2"),
        an_invoice("in_2", subscription="sub_2"),
        an_invoice("in_3", subscription="sub_2", customer="cus_2", status="open", created=END, paid_at=None),
    )

    assert ids(get(http, f"/v1/invoices?{query}")) == expected


def test_more_than_ten_lines_are_paged_beside_the_invoice(http, server):
    server.stripe.patch("in_1", lines=tuple(a_line(f"il_{number}") for number in range(11)))

    inside = get(http, "/v1/invoices/in_1")["lines"]
    beside = get(http, "/v1/invoices/in_1/lines?limit=100")

    assert (len(inside["data"]), inside["has_more"], inside["url"]) == (10, True, "/v1/invoices/in_1/lines")
    assert (ids(beside), beside["has_more"]) == ([f"il_{number}" for number in range(11)], False)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["evt_late", "evt_lost", "evt_1"]),
        ("type=invoice.paid", ["evt_lost", "evt_1"]),
        ("types[]=invoice.paid&types[]=customer.subscription.updated", ["evt_late", "evt_lost", "evt_1"]),
        ("delivery_success=false", ["evt_lost"]),
        ("delivery_success=true&type=invoice.paid", ["evt_1"]),
        (f"created[gt]={int(END.timestamp()) - 86_400}", ["evt_late"]),
    ],
)
def test_events_of_the_last_thirty_days_by_what_is_asked(http, server, query, expected):
    server.stripe.add(
        an_event("evt_old", created=END - timedelta(days=30)),
        an_event(created=END - timedelta(days=20)),
        an_event("evt_lost", created=END - timedelta(days=20), delivered=False),
        an_event("evt_late", created=END, type="customer.subscription.updated"),
    )

    assert ids(get(http, f"/v1/events?{query}")) == expected


def test_an_event_carries_its_snapshot_and_whether_it_waits(http, server):
    server.stripe.add(an_event(delivered=False))

    row = get(http, "/v1/events/evt_1")

    assert (row["data"]["object"], row["pending_webhooks"]) == ({"id": "in_1", "object": "invoice"}, 1)
    assert error(http.get("/v1/events?type=a&types[]=b")) == (400, None, None)
    many = "&".join(f"types[]=t{number}" for number in range(21))
    assert error(http.get(f"/v1/events?{many}")) == (400, None, "types")


def test_each_endpoint_has_its_own_requests_per_second(http, clock):
    statuses = [http.get("/v1/subscriptions").status_code for _ in range(25)]
    over = http.get("/v1/subscriptions")
    other = http.get("/v1/customers")
    clock[0] += 1

    assert set(statuses) == {200}
    assert error(over) == (429, "rate_limit", None)
    assert "Stripe-Should-Retry" not in over.headers
    assert other.status_code == 200
    assert http.get("/v1/subscriptions").status_code == 200


def test_production_says_that_it_is(server):
    with BillingServer(stripe=StripeBook([a_customer()], livemode=True)) as live:
        answer = httpx.get(
            f"{live.base_url}/v1/customers", auth=(live.credentials.stripe_key, ""), trust_env=False
        ).json()

    assert [row["livemode"] for row in answer["data"]] == [True]
