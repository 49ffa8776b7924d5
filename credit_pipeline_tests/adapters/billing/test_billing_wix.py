"""The Wix client against the sandbox's server over loopback: the contract, and the end of every kind of fault.

Waits between tries are milliseconds here; each test of a fault also asserts, on the server's side, that it fired.
"""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from credit_pipeline.adapters.billing.http.client import RetryPolicy
from credit_pipeline.adapters.billing.wix.billing import WixBilling
from credit_pipeline.domain.errors import ConfigurationError, SourceError
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.wix.book import BillingBook
from credit_pipeline_tests.contracts.billing import NOW, SINCE, BillingContract, ids

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


@contextmanager
def a_client(server: BillingServer, **overrides) -> Iterator[WixBilling]:
    settings = {
        "system": "wix_app",
        "base_url": server.base_url,
        "app_id": server.credentials.app_id,
        "app_secret": server.credentials.app_secret,
        "retry_policy": IMPATIENT,
    } | overrides
    with WixBilling(**settings) as client:
        yield client


class TestContract(BillingContract):
    @contextmanager
    def open(self, book):
        with BillingServer(book) as server, a_client(server) as client:
            yield client


@pytest.fixture
def server() -> Iterator[BillingServer]:
    book = BillingBook()
    for name in ("a", "b", "c"):
        book.put(name, is_free=False, package_name="pro", time_stamp=SINCE)
    with BillingServer(book) as running:
        yield running


def lookups(pull) -> dict[str, str]:
    return dict(zip(pull.table["billing_id"].to_pylist(), pull.table["lookup"].to_pylist(), strict=True))


def detail(pull, billing_id: str) -> str:
    details = dict(zip(pull.table["billing_id"].to_pylist(), pull.table["detail"].to_pylist(), strict=True))
    return details[billing_id]


@pytest.mark.parametrize("endpoint", ["instance", "token"])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("flaky", {"times": 2}),
        ("lookup_error", {"times": 1}),
        ("rate_limited", {"retry_after": "0"}),
        ("rate_limited", {"retry_after": None}),
        ("rate_limited", {"retry_after": "soon"}),
        ("truncated", {"times": 2}),
        ("html_200", {"times": 2}),
        ("bad_json", {"times": 2}),
        ("bad_json", {"times": 1, "body": "{}"}),
        ("reset", {"times": 2}),
        ("gzip", {"times": 2}),
    ],
)
def test_a_passing_fault_is_retried_until_answered(server, kind, values, endpoint):
    server.faults.add(kind, instances=["b"], endpoint=endpoint, **values)

    with a_client(server) as client:
        pull = client.pull(ids("a", "b", "c"), NOW)

    assert lookups(pull) == {"a": "answered", "b": "answered", "c": "answered"}
    assert (pull.level, pull.problems) == ("L3", ())
    fired = values.get("times", 1)
    assert server.faults.fired[kind] == fired
    assert server.faults.requests[endpoint] == 3 + fired


@pytest.mark.parametrize(
    ("kind", "tries", "reason"),
    [
        ("lookup_error", 3, r"HTTP 500 \(request [0-9a-f]{32}\)"),
        ("rate_limited", 3, r"HTTP 429 \(request [0-9a-f]{32}\)"),
        ("truncated", 3, "the connection broke"),
        ("reset", 3, "the connection broke"),
        ("html_200", 3, r"HTTP 200 with something other than JSON \(request .*"),
        ("bad_json", 3, r"HTTP 200 with not JSON \(request .*"),
        ("gzip", 3, r"HTTP 200 with a compressed body.*"),
        ("slow_drip", 1, "the answer took too long"),
        ("slow_headers", 1, "the answer took too long"),
        ("huge", 1, "an answer of more than 10,000,000 bytes"),
        ("wrong_instance", 1, "answered about another instance"),
        ("redirect", 1, r"HTTP 302: redirects are not followed \(request .*"),
        ("html_404", 1, r"HTTP 404 for the instance \(request .*"),
        ("forbidden", 1, r"HTTP 403 for the instance \(request .*"),
    ],
)
def test_a_lasting_fault_ends_as_one_unanswered_row_with_its_reason(server, kind, tries, reason):
    server.faults.add(kind, instances=["b"], times=None, retry_after="0")
    dripping = kind.startswith("slow")
    retry_policy = replace(IMPATIENT, request=timedelta(seconds=2 if dripping else 30))

    with a_client(server, retry_policy=retry_policy) as client:
        began = time.monotonic()
        pull = client.pull(ids("a", "b", "c"), NOW)

    assert lookups(pull) == {"a": "answered", "b": "error", "c": "answered"}
    assert (pull.level, pull.enumerated, pull.asked, pull.unanswered) == ("L1", True, 3, 1)
    assert re.fullmatch(reason, detail(pull, "b"))
    assert pull.problems[0].startswith("1/3 instances were not answered (1 × ")
    assert server.faults.fired[kind] == tries
    assert time.monotonic() - began < 30


def test_a_missing_instance_is_not_asked_twice(server):
    server.faults.add("not_found", instances=["b"])

    with a_client(server) as client:
        pull = client.pull(ids("a", "b"), NOW)

    assert lookups(pull) == {"a": "answered", "b": "missing"}
    assert (pull.level, pull.unanswered, server.faults.fired["not_found"]) == ("L3", 0, 1)


def test_a_404_of_another_server_is_no_proof_of_absence(server):
    with a_client(server, base_url=f"{server.base_url}/elsewhere") as client:
        pull = client.pull(ids("a", "b"), NOW)

    assert lookups(pull) == {"a": "error", "b": "error"}
    assert detail(pull, "a") == "HTTP 404 for the token"


def test_a_403_that_is_not_wixs_own_is_no_proof_of_removal(server):
    server.faults.add("forbidden", instances=["b"], endpoint="token")

    with a_client(server) as client:
        pull = client.pull(ids("a", "b"), NOW)

    assert lookups(pull) == {"a": "answered", "b": "error"}
    assert detail(pull, "b").startswith("HTTP 403 for the token")
    assert server.faults.fired["forbidden"] == 1


def test_an_expired_token_is_replaced_once(server):
    server.faults.add("expired_token", instances=["b"])

    with a_client(server) as client:
        pull = client.pull(ids("b"), NOW)

    assert lookups(pull) == {"b": "answered"}
    assert server.faults.fired["expired_token"] == 1
    assert server.faults.counters()["requests"] == {"token": 2, "instance": 2}


def test_a_token_refused_twice_ends_that_id(server):
    server.faults.add("expired_token", instances=["b"], times=None)

    with a_client(server) as client:
        pull = client.pull(ids("a", "b"), NOW)

    assert lookups(pull) == {"a": "answered", "b": "error"}
    assert detail(pull, "b").startswith("HTTP 401 for the instance")
    assert server.faults.fired["expired_token"] == 2


def test_tokens_are_kept_between_pulls_and_instances_are_not(server):
    with a_client(server) as client:
        client.pull(ids("a", "b"), NOW)
        client.pull(ids("a", "b"), NOW)

    assert server.faults.counters()["requests"] == {"token": 2, "instance": 4}


def test_a_token_is_not_used_in_its_last_minute(server):
    seconds = [0.0]
    with a_client(server, clock=lambda: seconds[0]) as client:
        client.pull(ids("a"), NOW)
        seconds[0] = 14_400 - 61
        client.pull(ids("a"), NOW)
        tokens_before = server.faults.requests["token"]
        seconds[0] = 14_400 - 59
        client.pull(ids("a"), NOW)

    assert (tokens_before, server.faults.requests["token"]) == (1, 2)


@pytest.mark.parametrize("wrong", [{"app_secret": "s3cret-not-this"}, {"app_id": "another-app"}])
def test_refused_credentials_are_one_sentence_at_once_and_not_a_row_each(server, wrong):
    many = ids(*(f"id-{n}" for n in range(500)))
    with (
        a_client(server, credentials_name="WIX_APP_ID and WIX_APP_SECRET", **wrong) as client,
        pytest.raises(SourceError) as caught,
    ):
        client.pull(many, NOW)

    host = server.base_url.removeprefix("http://")
    assert str(caught.value) == (
        f"wix_app: the billing API at {host} refuses the app's credentials: correct WIX_APP_ID and WIX_APP_SECRET"
    )
    assert server.faults.counters()["requests"] == {}


def test_a_server_that_is_not_there_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused, and nobody else gets it
        port = taken.getsockname()[1]
        client = WixBilling(
            system="wix_app",
            base_url=f"http://127.0.0.1:{port}",
            app_id="x",
            app_secret="y",
            retry_policy=IMPATIENT,
            base_url_name="WIX_BASE_URL",
        )
        with client, pytest.raises(SourceError) as caught:
            client.pull(ids(*(str(n) for n in range(200))), NOW)

    assert str(caught.value) == (
        f"wix_app: the billing API at 127.0.0.1:{port} cannot be reached (no connection): "
        "start it or correct WIX_BASE_URL"
    )


def test_a_name_that_does_not_resolve_is_one_sentence():
    client = WixBilling(
        system="wix_app", base_url="https://wix.invalid", app_id="x", app_secret="y", retry_policy=IMPATIENT
    )
    with client, pytest.raises(SourceError, match=r"^wix_app: the billing API at wix\.invalid:443 cannot be reached"):
        client.pull(ids("a"), NOW)


def test_a_dead_api_ends_the_pull_long_before_all_are_asked(server):
    server.faults.add("lookup_error", endpoint="any")
    many = ids(*(f"id-{n}" for n in range(2_000)))

    with a_client(server, in_flight=4, breaker=5) as client, pytest.raises(SourceError) as caught:
        client.pull(many, NOW)

    assert "answered about none of the first" in str(caught.value)
    assert "HTTP 500" in str(caught.value)
    assert server.faults.fired["lookup_error"] <= 3 * (4 + 5 + 4)


def test_an_api_that_dies_in_the_middle_leaves_an_incomplete_pull(server):
    many = [f"id-{n}" for n in range(400)]
    for name in many:
        server.book.put(name)
    server.faults.add("down", instances=many[100:])

    with a_client(server, in_flight=4, breaker=5) as client:
        pull = client.pull(ids(*many), NOW)

    found = pull.table["lookup"].to_pylist()
    assert found[:100] == ["answered"] * 100
    assert set(found[100:]) == {"error"}
    assert (pull.enumerated, pull.level, pull.asked, pull.unanswered) == (False, "L1", 400, 300)
    assert detail(pull, "id-399") == "not asked: the pull was given up"
    assert re.fullmatch(r"the pull was given up after 1\d\d/400 instances: run it again", pull.problems[1])
    assert server.faults.fired["down"] > 0


def test_a_cluster_of_dead_ids_does_not_open_the_breaker(server):
    dead = [f"dead-{n}" for n in range(8)]
    alive = [f"alive-{n}" for n in range(50)]
    for name in alive:
        server.book.put(name)
    server.faults.add("lookup_error", instances=dead)

    with a_client(server, in_flight=4, breaker=5) as client:
        pull = client.pull(ids(*dead, *alive), NOW)

    assert (pull.enumerated, pull.unanswered) == (True, 8)
    assert pull.table["lookup"].to_pylist() == ["error"] * 8 + ["answered"] * 50


def test_half_of_all_requests_failing_still_ends_with_every_id_told_apart(server):
    many = [f"id-{n}" for n in range(200)]
    for name in many:
        server.book.put(name)
    server.faults.add("flaky", share=0.5, times=None, endpoint="any", seed=3)

    with a_client(server) as client:
        pull = client.pull(ids(*many), NOW)

    found = pull.table["lookup"].to_pylist()
    assert set(found) == {"answered", "error"}
    assert (pull.unanswered, pull.enumerated) == (found.count("error"), True)
    assert server.faults.fired["flaky"] > 100


def test_a_wait_asked_for_is_kept_up_to_the_cap(server):
    server.faults.add("rate_limited", instances=["a"], retry_after="3600")

    with a_client(server) as client:
        began = time.monotonic()
        pull = client.pull(ids("a"), NOW)
        took = time.monotonic() - began

    assert lookups(pull) == {"a": "answered"}
    assert 0.15 <= took < 60


def test_a_wait_may_be_given_as_a_date(server):
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.faults.add("rate_limited", instances=["a"], retry_after=in_an_hour)

    with a_client(server) as client:
        began = time.monotonic()
        pull = client.pull(ids("a"), NOW)

    assert lookups(pull) == {"a": "answered"}
    assert time.monotonic() - began >= 0.15


def test_the_pull_ends_at_its_deadline_whatever_is_still_dripping(server):
    many = [f"id-{n}" for n in range(40)]
    server.faults.add("slow_drip", instances=many)
    for name in many:
        server.book.put(name)

    with a_client(server, in_flight=4, deadline=timedelta(seconds=3)) as client:
        began = time.monotonic()
        pull = client.pull(ids("a", *many), NOW)
        took = time.monotonic() - began

    assert (pull.enumerated, pull.unanswered) == (False, 40)
    assert lookups(pull)["a"] == "answered"
    assert took < 30
    assert server.faults.fired["slow_drip"] >= 4


def test_no_wait_goes_beyond_the_deadline(server):
    server.faults.add("rate_limited", instances=["b"], retry_after="60", times=None)
    patient = RetryPolicy(attempts=3, retry_after_cap=timedelta(seconds=120))

    with a_client(server, retry_policy=patient, deadline=timedelta(seconds=40)) as client:
        began = time.monotonic()
        pull = client.pull(ids("a", "b"), NOW)

    assert lookups(pull) == {"a": "answered", "b": "error"}
    assert time.monotonic() - began < 30
    assert server.faults.fired["rate_limited"] == 1


def test_the_client_keeps_below_the_limit_per_instance(server):
    with a_client(server, per_minute_per_instance=3, deadline=timedelta(seconds=3)) as client:
        first = client.pull(ids("a", "b"), NOW)
        second = client.pull(ids("a"), NOW)
        third = client.pull(ids("a", "c"), NOW)

    assert (first.level, second.level) == ("L3", "L3")
    assert lookups(third) == {"a": "error", "c": "answered"}
    assert detail(third, "a") == "its requests per minute are used up"
    assert server.faults.counters()["requests"] == {"token": 3, "instance": 4}


def test_the_servers_own_limit_is_an_unanswered_row():
    with BillingServer(BillingBook(), per_minute=3) as server:
        server.book.put("a")
        with a_client(server) as client:
            pulls = [client.pull(ids("a"), NOW) for _ in range(3)]

    assert [pull.level for pull in pulls] == ["L3", "L3", "L1"]
    assert detail(pulls[2], "a").startswith("HTTP 429")


@pytest.mark.parametrize(
    "body",
    [
        '{"instance": {"instanceId": "b", "isFree": true, "isFree": false}}',
        '{"instance": {"instanceId": "b", "isFree": true, "x": NaN}}',
        '{"instance": {"instanceId": "b", "isFree": false, "billing": {"packageName": "\\ud800"}}}',
        '{"instance": {"instanceId": "b", "isFree": true, "x": 99999999999999999999999}}',
        '{"instance": {"instanceId": "b"}}',
        '{"instances": []}',
        "[]",
        "null",
        "",
    ],
)
def test_json_that_cannot_be_trusted_is_no_answer(server, body):
    server.faults.add("bad_json", instances=["b"], body=body)

    with a_client(server) as client:
        pull = client.pull(ids("a", "b"), NOW)

    assert lookups(pull) == {"a": "answered", "b": "error"}
    assert detail(pull, "b").startswith("HTTP 200")
    assert server.faults.fired["bad_json"] == 3


def test_every_instance_uninstalled_is_a_problem_worth_saying(server):
    for name in ("a", "b", "c"):
        server.book.patch(name, uninstalled=True)

    with a_client(server) as client:
        pull = client.pull(ids("a", "b", "c"), NOW)

    assert set(lookups(pull).values()) == {"gone"}
    assert pull.problems == ("every answer (3/3) says that the app is uninstalled: check the app id",)


def test_a_failing_progress_ends_the_pull_with_its_error(server):
    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        raise Interrupted

    with a_client(server) as client, pytest.raises(Interrupted):
        client.pull(ids(*(f"id-{n}" for n in range(2_000))), NOW, interrupt)

    assert server.faults.requests["instance"] < 1_000


@pytest.mark.parametrize(
    ("base_url", "why"),
    [
        ("http://www.wixapis.com", "use https"),
        ("ftp://www.wixapis.com", "not of the form"),
        ("www.wixapis.com", "not of the form"),
        ("https://user:s3cret@www.wixapis.com", "not of the form"),
        ("https://www.wixapis.com?key=s3cret", "not of the form"),
        ("https://[", "not of the form"),
        ("", "not of the form"),
    ],
)
def test_a_base_url_that_could_leak_secrets_is_refused_without_quoting_it(base_url, why):
    with pytest.raises(ConfigurationError, match=why) as caught:
        WixBilling(system="wix_app", base_url=base_url, app_id="x", app_secret="y")

    assert str(caught.value).startswith("wix_app: ")
    assert "s3cret" not in str(caught.value)


def test_no_secret_or_token_is_in_any_representation(server):
    with a_client(server) as client:
        client.pull(ids("a"), NOW)
        shown = repr(client)

    assert server.credentials.app_secret not in shown
    assert "OauthNG" not in shown
    assert shown == f"WixBilling('wix_app', '{server.base_url.removeprefix('http://')}')"


def test_proxies_of_the_environment_are_not_used(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    with a_client(server) as client:
        assert lookups(client.pull(ids("a"), NOW)) == {"a": "answered"}
