"""The sandbox's billing server, asked over loopback by a plain HTTP client: Wix's shapes, faults, and its process."""

import json
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from credit_pipeline.domain.errors import ConfigurationError, SourceError
from credit_pipeline.sandbox.billing import process as billing_process
from credit_pipeline.sandbox.billing.server import BillingServer
from credit_pipeline.sandbox.billing.state import ServerState
from credit_pipeline.sandbox.faults.faults import Fault, FaultBook, FaultKind
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.wix.book import BillingBook, Instance, wire_time
from credit_pipeline_tests.sandbox.stripe.stripe_rows import a_customer, a_subscription

SINCE = datetime(2026, 1, 31, 10, tzinfo=UTC)


@pytest.fixture
def clock() -> list[float]:
    return [1_000_000.0]


@pytest.fixture
def server(clock, tmp_path) -> Iterator[BillingServer]:
    book = BillingBook(path=tmp_path / "book.json")
    book.put("free-1")
    book.put("pro-1", is_free=False, package_name="pro", time_stamp=SINCE, owner_email="ann@example.com")
    with BillingServer(book, clock=lambda: clock[0]) as running:
        yield running


@pytest.fixture
def http(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, trust_env=False) as client:
        yield client


def ask_token(
    http: httpx.Client, server: BillingServer, instance_id: str = "pro-1", **overrides: Any
) -> httpx.Response:
    asked = {
        "grant_type": "client_credentials",
        "client_id": server.credentials.app_id,
        "client_secret": server.credentials.app_secret,
        "instance_id": instance_id,
    }
    return http.post("/oauth2/token", json=asked | overrides)


def token(http: httpx.Client, server: BillingServer, instance_id: str = "pro-1") -> str:
    granted: str = ask_token(http, server, instance_id).json()["access_token"]
    return granted


def instance(http: httpx.Client, authorization: str) -> httpx.Response:
    return http.get("/apps/v1/instance", headers={"Authorization": authorization})


def code(response: httpx.Response) -> str:
    found: str = response.json()["details"]["applicationError"]["code"]
    return found


def control(http: httpx.Client, server: BillingServer, path: str, body: Any = None) -> httpx.Response:
    headers = {"X-Sandbox-Token": server.credentials.control_token}
    method = "GET" if body is None else "POST"
    return http.request(method, f"/_sandbox/{path}", headers=headers, json=body)


def test_a_token_is_granted_in_the_documented_shape(http, server):
    response = ask_token(http, server)

    granted = response.json()
    assert response.status_code == 200
    assert granted["access_token"].startswith("OauthNG.JWS.")
    assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 14_400)


@pytest.mark.parametrize(
    ("overrides", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "another"}, 401, "invalid_client"),
        ({"grant_type": "authorization_code"}, 400, "unsupported_grant_type"),
        ({"instance_id": ""}, 400, "invalid_request"),
        ({"instance_id": 7}, 400, "invalid_request"),
    ],
)
def test_a_token_is_refused_in_ietf_style(http, server, overrides, status, error):
    response = ask_token(http, server, **overrides)

    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response.headers["X-Wix-Request-Id"]


def test_a_body_that_is_not_json_gets_no_token(http):
    response = http.post("/oauth2/token", content=b"client_id=x")

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


def test_an_uninstalled_instance_gets_no_token_with_either_status(http, server):
    for number in range(20):
        server.book.put(f"left-{number}", uninstalled=True)

    responses = [ask_token(http, server, f"left-{number}") for number in range(20)]

    assert {response.json()["error"] for response in responses} == {"invalid_grant"}
    assert {response.status_code for response in responses} == {400, 403}


@pytest.mark.parametrize("prefix", ["", "Bearer "])
def test_an_instance_is_answered_in_the_documented_shape(http, server, prefix):
    response = instance(http, prefix + token(http, server))

    answer = response.json()
    assert response.status_code == 200
    assert response.headers["X-Wix-Request-Id"]
    assert answer["instance"]["instanceId"] == "pro-1"
    assert answer["instance"]["isFree"] is False
    assert answer["instance"]["billing"] == {
        "packageName": "pro",
        "billingCycle": "MONTHLY",
        "timeStamp": "2026-01-31T10:00:00.000Z",
        "source": "",
    }
    assert answer["site"]["ownerInfo"] == {"email": "ann@example.com", "emailStatus": "VERIFIED_OPT_IN"}


def test_a_free_instance_has_no_billing(http, server):
    answer = instance(http, token(http, server, "free-1")).json()

    assert answer["instance"]["isFree"] is True
    assert "billing" not in answer["instance"]


def test_a_trial_and_a_term_are_sent_where_they_are_in_the_book():
    book = BillingBook()
    book.put(
        "a",
        is_free=False,
        free_trial="IN_PROGRESS",
        free_trial_ends=SINCE,
        expiration_date=SINCE,
        auto_renewing=False,
        time_stamp="not a time",
    )

    assert book.payload("a")["instance"]["billing"] == {
        "billingCycle": "MONTHLY",
        "timeStamp": "not a time",
        "expirationDate": "2026-01-31T10:00:00.000Z",
        "autoRenewing": False,
        "source": "",
        "freeTrialInfo": {"status": "IN_PROGRESS", "endDate": "2026-01-31T10:00:00.000Z"},
    }


def test_a_token_that_is_missing_forged_or_of_a_wrong_shape_is_unauthenticated(http, server):
    good = token(http, server)
    forged = good[:-1] + ("0" if good[-1] != "0" else "1")

    responses = [instance(http, value) for value in ("", "x", "OauthNG.JWS.", "OauthNG.JWS.a.b", forged)]

    assert [(response.status_code, code(response)) for response in responses] == [(401, "UNAUTHENTICATED")] * 5
    assert instance(http, good).status_code == 200


def test_a_token_lives_four_hours(http, server, clock):
    granted = token(http, server)
    clock[0] += 14_399
    in_time = instance(http, granted).status_code
    clock[0] += 1

    assert (in_time, instance(http, granted).status_code) == (200, 401)


def test_an_unknown_id_and_a_lost_one_are_not_found(http, server):
    server.book.put("lost-1", not_found=True)

    responses = [instance(http, token(http, server, name)) for name in ("never-heard-of", "lost-1")]

    assert [(response.status_code, code(response)) for response in responses] == [(404, "NOT_FOUND")] * 2


def test_an_instance_removed_after_its_token_was_granted_is_denied(http, server):
    granted = token(http, server)
    server.book.patch("pro-1", uninstalled=True)

    response = instance(http, granted)

    assert (response.status_code, code(response)) == (403, "PERMISSION_DENIED")


def test_each_instance_has_its_own_requests_per_minute(http, server, clock):
    granted = token(http, server)
    statuses = [instance(http, granted).status_code for _ in range(199)]
    over = instance(http, granted)
    other = instance(http, token(http, server, "free-1"))
    clock[0] += 60

    assert set(statuses) == {200}
    assert (over.status_code, code(over), "Retry-After" in over.headers) == (429, "RESOURCE_EXHAUSTED", False)
    assert other.status_code == 200
    assert instance(http, granted).status_code == 200


@pytest.mark.parametrize("path", ["health", "counters", "faults", "instances", "stripe"])
@pytest.mark.parametrize("headers", [{}, {"X-Sandbox-Token": "guess"}])
def test_the_control_api_is_closed_without_its_token(http, server, path, headers):
    method = "GET" if path in ("health", "counters") else "POST"

    response = http.request(method, f"/_sandbox/{path}", headers=headers, content=b'{"remove": ["pro-1"]}')

    assert response.status_code == 403
    assert server.book.get("pro-1") is not None


def test_faults_are_switched_on_counted_and_switched_off_by_the_control_api(http, server):
    granted = token(http, server)
    control(http, server, "faults", {"add": [{"kind": "lookup_error", "instances": ["pro-1"]}]})
    spoilt = instance(http, granted)
    control(http, server, "faults", {"clear": True})

    assert (spoilt.status_code, code(spoilt)) == (500, "INTERNAL")
    assert instance(http, granted).status_code == 200
    assert control(http, server, "counters").json() == {
        "requests": {"token": 1, "instance": 2},
        "fired": {"lookup_error": 1},
    }


def test_instances_changed_by_the_control_api_are_answered_and_saved(http, server, tmp_path):
    asked = {
        "put": {"new-1": {"is_free": False, "package_name": "starter"}},
        "patch": {"pro-1": {"package_name": "Pro+"}},
        "remove": ["free-1"],
    }
    response = control(http, server, "instances", asked)

    assert response.json() == {"ok": True, "instances": 2}
    assert instance(http, token(http, server)).json()["instance"]["billing"]["packageName"] == "Pro+"
    assert instance(http, token(http, server, "free-1")).status_code == 404
    stored = BillingBook.load(tmp_path / "book.json")
    assert stored.ids == ["pro-1", "new-1"]
    assert stored.get("new-1") == Instance(is_free=False, package_name="starter")
    assert stat.S_IMODE((tmp_path / "book.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("faults", {"add": [{"kind": "typo"}]}, "not a fault"),
        ("faults", {"add": [{"kind": "flaky", "tmies": 3}]}, "not a fault"),
        ("instances", {"put": {"x": {"is_fre": True}}}, "no value 'is_fre'"),
        ("instances", {"patch": {"nobody": {}}}, "put it before you patch it"),
        ("stripe", {"put": {"prices": []}}, "has no 'prices'"),
        ("stripe", {"put": {"customers": [{"id": "cus_1"}]}}, "created"),
        ("stripe", {"patch": {"nobody": {}}}, "add it before you patch it"),
    ],
)
def test_a_wrong_control_request_is_told_what_is_wrong(http, server, path, body, why):
    response = control(http, server, path, body)

    assert response.status_code == 400
    assert why in response.json()["message"]


def test_a_share_of_requests_is_spoilt_the_same_way_for_the_same_seed():
    def spoilt(seed: int) -> list[bool]:
        faults = FaultBook()
        faults.add("flaky", share=0.3, times=None, seed=seed)
        return [faults.pick(f"id-{number % 50}", "instance") is not None for number in range(1_000)]

    assert spoilt(1) == spoilt(1)
    assert spoilt(1) != spoilt(2)
    assert 230 < sum(spoilt(1)) < 370


def test_a_fault_with_times_hits_the_first_requests_of_each_instance_to_its_endpoint():
    faults = FaultBook()
    faults.add("flaky", instances=["a", "b"])

    hits = [faults.pick(name, "instance") is not None for name in ("a", "a", "b", "a", "b", "b", "c")]

    assert hits == [True, True, True, False, True, False, False]
    assert faults.pick("a", "token") is None
    assert faults.counters() == {"requests": {"instance": 7, "token": 1}, "fired": {"flaky": 4}}


def test_only_the_first_fault_that_hits_fires():
    faults = FaultBook()
    faults.add("not_found", instances=["a"])
    faults.add("down")

    assert faults.pick("a", "instance") == Fault(kind=FaultKind.NOT_FOUND, instances=frozenset({"a"}))
    assert faults.counters()["fired"] == {"not_found": 1}


def test_a_book_survives_its_file(tmp_path):
    book = BillingBook()
    book.put("a", is_free=False, package_name="Pro+", time_stamp=SINCE, uninstalled=True, owner_email="b@example.com")
    book.put("b")

    book.save(tmp_path / "book.json")
    read = BillingBook.load(tmp_path / "book.json")

    assert (read.ids, read.get("a"), read.get("b")) == (["a", "b"], book.get("a"), Instance())
    assert json.loads((tmp_path / "book.json").read_text())["instances"]["b"] == {}


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"instances": {"a": {"is_fre": 1}}}', '{"instances": [1]}'])
def test_a_file_that_is_no_book_is_one_sentence(tmp_path, content):
    path = tmp_path / "book.json"
    path.write_text(content)

    with pytest.raises(ConfigurationError, match=r"^sandbox: "):
        BillingBook.load(path)


def test_an_instant_is_written_as_wix_writes_it():
    assert wire_time(datetime(2026, 1, 31, 10, 0, 0, 123_456, tzinfo=UTC)) == "2026-01-31T10:00:00.123Z"


@pytest.fixture
def home(tmp_path) -> Iterator[Path]:
    path = tmp_path / "a home"
    path.mkdir()
    yield path
    billing_process.stop_process(path)


@pytest.fixture
def book_path(home) -> Path:
    book = BillingBook()
    book.put("pro-1", is_free=False, package_name="pro")
    book.save(home / "book.json")
    return home / "book.json"


def health(state: ServerState) -> dict[str, Any]:
    headers = {"X-Sandbox-Token": state.control_token}
    answer: dict[str, Any] = httpx.get(f"{state.base_url}/_sandbox/health", headers=headers, trust_env=False).json()
    return answer


def test_a_process_serves_the_book_in_a_session_of_its_own(home, book_path):
    state = billing_process.start_process(home, book_path)

    assert health(state) == {"ok": True, "instances": 1}
    assert billing_process.running(home) == state
    assert os.getsid(state.pid) == state.pid
    assert stat.S_IMODE(billing_process.state_path(home).stat().st_mode) == 0o600
    assert state.app_id == "sandbox-app"
    assert state.app_secret not in repr(state)


def test_a_process_over_the_same_book_is_kept(home, book_path):
    first = billing_process.start_process(home, book_path)

    assert billing_process.start_process(home, book_path) == first


def test_another_book_gets_a_new_process_and_the_old_one_ends(home, book_path):
    first = billing_process.start_process(home, book_path)
    BillingBook().save(home / "other.json")

    second = billing_process.start_process(home, home / "other.json")

    assert first.process() is None
    assert health(second)["instances"] == 0


def test_a_stopped_process_is_gone_and_its_successor_keeps_the_secret(home, book_path):
    first = billing_process.start_process(home, book_path)

    assert billing_process.stop_process(home) is True
    assert billing_process.running(home) is None
    assert billing_process.stop_process(home) is False
    with pytest.raises(httpx.ConnectError):
        health(first)
    second = billing_process.start_process(home, book_path)
    assert (second.app_secret, second.pid != first.pid) == (first.app_secret, True)
    assert billing_process.log_path(home).read_text() == ""


def test_a_process_that_died_unasked_is_not_running(home, book_path):
    state = billing_process.start_process(home, book_path)
    process = psutil.Process(state.pid)
    process.kill()
    process.wait(5)

    assert billing_process.running(home) is None
    assert health(billing_process.start_process(home, book_path))["ok"] is True


def test_a_pid_given_to_another_process_since_is_neither_running_nor_ended(home, book_path):
    state = billing_process.start_process(home, book_path)
    billing_process.stop_process(home)
    stored = json.loads(billing_process.state_path(home).read_text())
    billing_process.state_path(home).write_text(json.dumps(stored | {"pid": os.getpid()}))

    assert state.pid != os.getpid()
    assert billing_process.running(home) is None
    assert billing_process.stop_process(home) is False


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": 1}'])
def test_a_state_file_that_is_none_is_nothing_running(home, content):
    billing_process.state_path(home).write_text(content)

    assert billing_process.running(home) is None


def test_a_process_that_cannot_start_is_one_sentence_that_names_its_log(home):
    with pytest.raises(SourceError) as caught:
        billing_process.start_process(home, home / "no-such-book.json")

    log = billing_process.log_path(home)
    assert str(caught.value) == f"sandbox: the billing server did not start: read {log}"
    assert "no-such-book.json cannot be read" in log.read_text()


def test_what_the_control_api_changes_outlives_the_process(home, book_path):
    state = billing_process.start_process(home, book_path)
    headers = {"X-Sandbox-Token": state.control_token}
    httpx.post(
        f"{state.base_url}/_sandbox/instances",
        headers=headers,
        json={"patch": {"pro-1": {"uninstalled": True}}},
        trust_env=False,
    ).raise_for_status()
    billing_process.stop_process(home)

    assert BillingBook.load(book_path).get("pro-1") == Instance(is_free=False, package_name="pro", uninstalled=True)


@pytest.fixture
def stripe_path(home) -> Path:
    StripeBook([a_customer()], [a_subscription()]).save(home / "stripe.json")
    return home / "stripe.json"


def stripe(state: ServerState, path: str) -> httpx.Response:
    return httpx.get(f"{state.base_url}/v1/{path}", auth=(state.stripe_key, ""), trust_env=False)


def test_one_process_serves_both_providers_from_one_port(home, book_path, stripe_path):
    state = billing_process.start_process(home, book_path, stripe_book=stripe_path)

    assert health(state) == {"ok": True, "instances": 1, "subscriptions": 1}
    assert [row["id"] for row in stripe(state, "subscriptions").json()["data"]] == ["sub_1"]
    assert state.stripe_key.startswith("rk_test_")
    assert state.stripe_key not in repr(state)
    assert billing_process.running(home) == state


def test_a_process_without_a_book_of_stripes_speaks_none(home, book_path):
    state = billing_process.start_process(home, book_path)

    assert stripe(state, "subscriptions").status_code == 404


def test_a_second_book_gets_a_new_process_and_the_key_stays(home, book_path, stripe_path):
    first = billing_process.start_process(home, book_path)

    second = billing_process.start_process(home, book_path, stripe_book=stripe_path)

    assert first.process() is None
    assert (second.app_secret, second.stripe_key) == (first.app_secret, first.stripe_key)
    assert billing_process.start_process(home, book_path, stripe_book=stripe_path) == second


def test_the_process_of_an_earlier_version_is_found_and_gets_a_key_at_its_next_start(home, book_path):
    first = billing_process.start_process(home, book_path)
    stored = json.loads(billing_process.state_path(home).read_text())
    older = {name: value for name, value in stored.items() if not name.startswith("stripe_")}
    billing_process.state_path(home).write_text(json.dumps(older))
    found = billing_process.running(home)

    billing_process.stop_process(home)
    second = billing_process.start_process(home, book_path)

    assert found is not None
    assert (found.pid, found.stripe_key) == (first.pid, "")
    assert second.app_secret == first.app_secret
    assert second.stripe_key.startswith("rk_test_")


def test_what_the_control_api_changes_at_stripe_is_answered_and_outlives_the_process(home, book_path, stripe_path):
    state = billing_process.start_process(home, book_path, stripe_book=stripe_path)
    second = {"id": "cus_2", "email": "b@example.com", "created": 1_790_000_000}

    httpx.post(
        f"{state.base_url}/_sandbox/stripe",
        headers={"X-Sandbox-Token": state.control_token},
        json={
            "put": {"customers": [second]},
            "patch": {"sub_1": {"status": "past_due", "canceled_at": 1_790_000_000}},
            "remove": ["cus_1"],
        },
        trust_env=False,
    ).raise_for_status()

    served = stripe(state, "subscriptions/sub_1").json()
    assert (served["status"], served["canceled_at"]) == ("past_due", 1_790_000_000)
    assert [row["id"] for row in stripe(state, "customers").json()["data"]] == ["cus_2"]
    billing_process.stop_process(home)
    stored = StripeBook.load(stripe_path)
    assert stored.get("cus_1") is None
    assert stored.subscriptions.get("sub_1").status == "past_due"


def test_a_file_that_is_no_book_of_stripes_is_named_in_the_log(home, book_path):
    with pytest.raises(SourceError):
        billing_process.start_process(home, book_path, stripe_book=home / "no-such-book.json")

    assert "no-such-book.json cannot be read as Stripe's book" in billing_process.log_path(home).read_text()
