"""What can go wrong with Stripe's lists and answers: switched on as Wix's faults are, seen by a plain HTTP client."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.faults.faults import OF_PAGES, FaultBook, FaultKind
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline_tests.sandbox.stripe.stripe_rows import a_customer, a_subscription, an_invoice

WHOLE = [f"sub_{number}" for number in range(6, -1, -1)]


@pytest.fixture(scope="module")
def running() -> Iterator[BillingServer]:
    book = StripeBook([a_customer()], [a_subscription(row_id) for row_id in reversed(WHOLE)], [an_invoice()])
    with BillingServer(stripe=book, per_second=1_000) as server:
        yield server


@pytest.fixture
def server(running) -> Iterator[BillingServer]:
    yield running
    running.faults.clear()


@pytest.fixture
def http(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, auth=(server.credentials.stripe_key, ""), trust_env=False) as client:
        yield client


def page(http: httpx.Client, cursor: str | None = None, limit: int = 3) -> dict[str, Any]:
    query = {"limit": limit} | ({} if cursor is None else {"starting_after": cursor})
    response = http.get("/v1/subscriptions", params=query)
    response.raise_for_status()
    body: dict[str, Any] = response.json()
    return body


def pages(http: httpx.Client, limit: int = 3, most: int = 8) -> list[list[str]]:
    """The ids of each page, read as a trusting client would, for at most so many pages."""
    found: list[list[str]] = []
    cursor: str | None = None
    while len(found) < most:
        body = page(http, cursor, limit)
        found.append([row["id"] for row in body["data"]])
        if not body["has_more"]:
            break
        cursor = found[-1][-1] if found[-1] else cursor
    return found


def flat(found: list[list[str]]) -> list[str]:
    return [row_id for rows in found for row_id in rows]


def error(response: httpx.Response) -> tuple[int, str | None]:
    return response.status_code, response.json()["error"].get("code")


def test_without_a_fault_the_pages_are_the_list(http):
    assert pages(http) == [WHOLE[:3], WHOLE[3:6], WHOLE[6:]]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_rows_are_repeated_and_the_list_still_ends(http, server, limit):
    server.faults.add("repeated_rows")

    found = flat(pages(http, limit, most=20))

    assert list(dict.fromkeys(found)) == WHOLE
    assert len(found) > len(WHOLE)


def test_a_repeated_row_may_say_something_else(http, server):
    first = page(http)["data"][-1]
    server.faults.add("changed_rows")

    again = page(http, first["id"])["data"][0]

    assert again["id"] == first["id"]
    assert (first["status"], again["status"]) == ("active", "canceled")


def test_one_page_is_lost_without_a_trace(http, server):
    server.faults.add("lost_page", skip=1, times=1)

    assert flat(pages(http)) == [*WHOLE[:3], *WHOLE[6:]]


def test_a_list_ends_too_early(http, server):
    server.faults.add("early_end", skip=1)

    assert pages(http) == [WHOLE[:3], WHOLE[3:6]]


def test_a_list_never_ends_and_its_rows_look_new(http, server):
    server.faults.add("endless")

    found = flat(pages(http, most=50))

    assert found[: len(WHOLE)] == WHOLE
    assert len(found) == len(set(found)) >= 140


def test_a_list_never_ends_and_its_rows_come_again(http, server):
    server.faults.add("cyclic")

    found = pages(http, most=9)

    assert found == [WHOLE[:3], WHOLE[3:6], WHOLE[6:]] * 3


def test_an_unknown_cursor_begins_the_list_anew(http, server):
    server.faults.add("restart", skip=1, times=1)

    assert pages(http) == [WHOLE[:3], WHOLE[:3], WHOLE[3:6], WHOLE[6:]]


def test_an_unknown_cursor_is_an_error_and_a_first_page_is_not(http, server):
    server.faults.add("forgotten_cursor")
    first = page(http)

    answer = http.get("/v1/subscriptions", params={"starting_after": first["data"][-1]["id"]})

    assert error(answer) == (400, "resource_missing")
    assert answer.json()["error"]["param"] == "starting_after"


def test_a_page_is_empty_and_says_that_there_is_more(http, server):
    server.faults.add("empty_page", skip=1)

    assert pages(http, most=4) == [WHOLE[:3], [], [], []]


def test_rows_are_of_the_other_mode(http, server):
    server.faults.add("wrong_livemode")

    body = page(http)

    assert {row["livemode"] for row in body["data"]} == {True}
    assert body["data"][0]["items"]["data"][0]["price"]["livemode"] is True


def test_a_list_says_that_it_is_of_another_host(http, server):
    server.faults.add("other_origin")

    assert page(http)["url"] == "https://billing.example.net/v1/subscriptions"


@pytest.mark.parametrize(
    ("kind", "expected", "should_retry"),
    [
        ("lookup_error", (500, None), None),
        ("flaky", (503, None), None),
        ("rate_limited", (429, "rate_limit"), None),
        ("lock_timeout", (429, "lock_timeout"), "true"),
        ("expired_token", (401, "api_key_expired"), None),
        ("forbidden", (403, None), None),
        ("not_found", (404, "resource_missing"), None),
    ],
)
def test_errors_are_stripes_own(http, server, kind, expected, should_retry):
    server.faults.add(kind, endpoint="subscriptions")

    answer = http.get("/v1/subscriptions")

    assert error(answer) == expected
    assert answer.headers.get("Stripe-Should-Retry") == should_retry
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Version"]


def test_stripe_may_say_itself_whether_to_ask_again(http, server):
    server.faults.add("lookup_error", endpoint="subscriptions", should_retry=False, times=1)
    server.faults.add("flaky", endpoint="subscriptions", should_retry=True, skip=1, times=1)

    said = [http.get("/v1/subscriptions").headers.get("Stripe-Should-Retry") for _ in range(3)]

    assert said == ["false", "true", None]


def test_a_burst_ends_by_itself(http, server):
    server.faults.add("rate_limited", endpoint="subscriptions", times=3, retry_after="7")

    answers = [http.get("/v1/subscriptions") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [429, 429, 429, 200]
    assert answers[0].headers["Retry-After"] == "7"


def test_a_login_page_half_an_answer_and_a_redirect_are_no_json(http, server):
    server.faults.add("html_200", endpoint="subscriptions", times=1)
    server.faults.add("bad_json", endpoint="subscriptions", body='{"object": "list"', skip=1, times=1)
    server.faults.add("redirect", endpoint="subscriptions", skip=2, times=1)

    html, half, redirect = (http.get("/v1/subscriptions") for _ in range(3))

    assert (html.status_code, html.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert half.text == '{"object": "list"'
    assert (redirect.status_code, bool(redirect.headers["Location"])) == (302, True)


def test_a_body_is_cut_off_and_a_connection_is_reset(http, server):
    server.faults.add("truncated", endpoint="subscriptions", times=1)
    server.faults.add("reset", endpoint="subscriptions", skip=1, times=1)

    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/v1/subscriptions")
    with pytest.raises(httpx.TransportError):
        http.get("/v1/subscriptions")
    assert http.get("/v1/subscriptions").status_code == 200


def test_a_body_drips_for_longer_than_anybody_waits(http, server):
    server.faults.add("slow_drip", endpoint="subscriptions")

    with http.stream("GET", "/v1/subscriptions") as answer:
        assert next(answer.iter_raw()).strip() == b""
        assert int(answer.headers["Content-Length"]) == 3_000


def test_one_row_is_answered_with_another(http, server):
    server.faults.add("wrong_instance", endpoint="subscription", instances=["sub_1"])

    assert http.get("/v1/subscriptions/sub_1").json()["id"] == "sub_1_other"
    assert http.get("/v1/subscriptions/sub_2").json()["id"] == "sub_2"


@pytest.mark.parametrize("path", ["customers", "invoices", "invoices/in_1/lines", "subscription_items", "events"])
def test_every_list_can_be_spoilt_and_the_others_stay_right(http, server, path):
    query = {"subscription": "sub_1"} if path == "subscription_items" else {}
    server.faults.add("empty_page", endpoint="lines" if path.endswith("lines") else path)

    spoilt = http.get(f"/v1/{path}", params=query).json()

    assert (spoilt["data"], spoilt["has_more"]) == ([], True)
    assert pages(http) == [WHOLE[:3], WHOLE[3:6], WHOLE[6:]]


def test_a_fault_of_all_of_stripe_hits_lists_and_rows_and_not_wix(http, server):
    server.faults.add("lookup_error", endpoint="stripe")

    paths = ("/v1/subscriptions", "/v1/subscriptions/sub_1", "/v1/account", "/v1/customers/cus_1")

    assert {http.get(path).status_code for path in paths} == {500}
    assert server.faults.pick("sub_1", "instance") is None


@pytest.mark.parametrize("kind", sorted(OF_PAGES))
@pytest.mark.parametrize("endpoint", ["any", "stripe"])
def test_a_fault_of_pages_hits_nothing_but_lists(kind, endpoint):
    faults = FaultBook()
    faults.add(kind, endpoint=endpoint)

    assert [name for name in ("token", "instance", "subscription", "account") if faults.pick("x", name)] == []
    assert faults.pick("", "invoices") is not None


def test_the_faults_of_wix_leave_stripe_alone():
    faults = FaultBook()
    for kind in FaultKind:
        if kind not in OF_PAGES | {FaultKind.DOWN, FaultKind.LOCK_TIMEOUT, FaultKind.WRONG_LIVEMODE}:
            faults.add(kind)

    assert faults.pick("", "subscriptions") is None


def test_a_fault_comes_after_the_key(server):
    server.faults.add("wrong_livemode")

    answer = httpx.get(f"{server.base_url}/v1/subscriptions", auth=("rk_test_wrong", ""), trust_env=False)

    assert answer.status_code == 401
