"""Payloads of Wix's Get App Instance, each a single deviation from a healthy one, and the rows they become."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.adapters.billing.subscription_rows import pull_of, unanswered
from credit_pipeline.adapters.billing.wix.wire import WireError, error_code, parse_instance, parse_time, parse_token
from credit_pipeline.domain.subjects.ids import BillingId

ID = BillingId("07864c16-3a6f-4dd2-9973-028705762b2c")
DOCUMENTED = {
    "instance": {
        "appName": "MY_SHINY_APP",
        "appVersion": "0.0.53",
        "billing": {
            "billingCycle": "MONTHLY",
            "packageName": "e8f429d4-0a6a-468f-8044-87f519a53202",
            "source": "Wix discount coupon",
        },
        "instanceId": str(ID),
        "isFree": False,
        "permissions": ["WIX_DEVELOPERS.MANAGE_APP_INSTANCE"],
    },
    "site": {"locale": "he", "ownerInfo": {"email": "site-owner@test.com"}, "siteId": "64fc2d7e"},
}


def a_payload(*, billing=None, **instance):
    payload = {"instance": DOCUMENTED["instance"] | instance, "site": DOCUMENTED["site"]}
    if billing is not None:
        payload["instance"]["billing"] = DOCUMENTED["instance"]["billing"] | billing
    return payload


def test_the_documented_example_is_an_active_subscription():
    row = parse_instance(ID, DOCUMENTED)

    assert (row["lookup"], row["status"], row["cycle"], row["anchor"]) == ("answered", "active", "monthly", None)
    assert row["raw_plan"] == "e8f429d4-0a6a-468f-8044-87f519a53202"
    assert row["detail"] == "Wix discount coupon"


@pytest.mark.parametrize(
    ("sent", "cycle"),
    [
        ("MONTHLY", "monthly"),
        ("YEARLY", "yearly"),
        ("TWO_YEARS", "yearly"),
        ("FIVE_YEARS", "yearly"),
        ("ONE_TIME", "one_time"),
        ("NO_CYCLE", None),
        ("A_NEW_ONE", None),
        (7, None),
    ],
)
def test_billing_cycles(sent, cycle):
    assert parse_instance(ID, a_payload(billing={"billingCycle": sent}))["cycle"] == cycle


@pytest.mark.parametrize(("trial", "status"), [("IN_PROGRESS", "trialing"), ("ENDED", "active"), (None, "active")])
def test_a_running_trial_is_trialing_and_pays_for_its_plan(trial, status):
    row = parse_instance(ID, a_payload(billing={"freeTrialInfo": {"status": trial}}))

    assert (row["status"], row["raw_plan"]) == (status, "e8f429d4-0a6a-468f-8044-87f519a53202")


@pytest.mark.parametrize("billing", [{"packageName": None}, {"packageName": ""}])
def test_paying_without_a_package_name_is_an_unknown_plan_and_never_free(billing):
    row = parse_instance(ID, a_payload(billing=billing))

    assert (row["status"], row["raw_plan"]) == ("active", None)


def test_a_free_instance_keeps_no_plan_even_where_billing_is_sent():
    row = parse_instance(ID, a_payload(isFree=True))

    assert (row["status"], row["raw_plan"], row["anchor"]) == ("free", None, None)


def test_an_answer_about_another_instance_is_no_answer():
    row = parse_instance(ID, a_payload(instanceId="another"))

    assert (row["lookup"], row["detail"], row["status"]) == ("error", "answered about another instance", None)


def test_guids_are_the_same_in_either_case():
    assert parse_instance(BillingId(ID.upper()), DOCUMENTED)["lookup"] == "answered"


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"instance": None},
        {"instance": []},
        {"error": "x"},
        a_payload(isFree="false"),
        a_payload(isFree=None),
        a_payload(instanceId=None),
        a_payload(instanceId=3),
        a_payload() | {"instance": DOCUMENTED["instance"] | {"billing": "pro"}},
        a_payload(billing={"packageName": 12}),
        a_payload(billing={"packageName": "x" * 2_000}),
        a_payload(billing={"freeTrialInfo": "IN_PROGRESS"}),
    ],
)
def test_another_shape_is_an_error_that_quotes_no_value(payload):
    with pytest.raises(WireError) as caught:
        parse_instance(ID, payload)

    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T10:00:00.000Z", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T10:00:00.123456Z", datetime(2026, 1, 31, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T10:00:00", None),
        ("2026-02-30T10:00:00.000Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("", None),
        (1_700_000_000, None),
        (None, None),
    ],
)
def test_only_an_unmistakable_instant_is_one(text, moment):
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"access_token": "", "expires_in": 1},
        {"access_token": "a\nb", "expires_in": 1},
        {"access_token": "ü", "expires_in": 1},
        {"access_token": "a", "expires_in": "14400"},
        {"access_token": "a", "expires_in": True},
        {"access_token": "a", "expires_in": 0},
    ],
)
def test_a_token_that_could_not_be_sent_or_timed_is_refused(payload):
    with pytest.raises(WireError):
        parse_token(payload)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (None, None),
        ({}, None),
        ({"error": "invalid_grant"}, "invalid_grant"),
        ({"details": {"applicationError": {"code": "NOT_FOUND"}}}, "NOT_FOUND"),
        ({"details": {"applicationError": {"code": 5}}}, None),
        ({"details": []}, None),
        ({"details": {"applicationError": "x"}}, None),
    ],
)
def test_error_codes_of_both_shapes(body, code):
    assert error_code(body) == code


def test_problems_count_reasons_without_their_request_ids():
    rows = [unanswered(BillingId(str(n)), f"HTTP 503 (request {n})") for n in range(3)]

    assert pull_of(rows).problems == ("3/3 instances were not answered (3 × HTTP 503)",)


SCALARS = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | st.text(max_size=9)
ANYTHING = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=2)
TIMES = st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
BILLINGS = st.fixed_dictionaries(
    {},
    optional={
        "packageName": ANYTHING,
        "billingCycle": ANYTHING | st.just("MONTHLY"),
        "timeStamp": ANYTHING | TIMES,
        "expirationDate": ANYTHING | TIMES,
        "autoRenewing": ANYTHING,
        "source": ANYTHING,
        "freeTrialInfo": ANYTHING,
    },
)


@given(instance_id=ANYTHING | st.just(str(ID)), is_free=ANYTHING | st.just(False), billing=ANYTHING | BILLINGS)
def test_whatever_is_sent_becomes_a_row_that_fits_the_table_or_a_wire_error(instance_id, is_free, billing):
    payload = {"instance": {"instanceId": instance_id, "isFree": is_free, "billing": billing}}
    try:
        row = parse_instance(ID, payload)
    except WireError:
        return

    assert pull_of([row]).table.to_pylist() == [row]
    assert row["lookup"] == "error" or row["status"] == ("free" if is_free else "active")
