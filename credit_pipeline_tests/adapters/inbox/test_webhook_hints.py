"""What a webhook's body says, from well-formed to hostile: an id, nothing, or a sentence; never an exception."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.adapters.inbox.webhook_hints import hint_of
from credit_pipeline.services.sync.ports import Hint

WIX = {"eventType": "PaidPlanPurchased", "instanceId": "site-1", "data": json.dumps({"vendorProductId": "pro"})}
STRIPE = {
    "id": "evt_1",
    "type": "customer.subscription.updated",
    "data": {"object": {"object": "subscription", "id": "sub_1", "customer": "cus_1"}},
}
POISON = {
    "NUL": b'{"instanceId": "a\\u0000b"}',
    "a lone surrogate": b'{"instanceId": "\\ud800"}',
    "depth": b'{"a":' * 50 + b"1" + b"}" * 50,
    "a hundred thousand levels": b"[" * 100_000,
    "a huge integer": b'{"n": ' + b"9" * 5000 + b"}",
    "NaN": b'{"n": NaN}',
    "a key twice": b'{"instanceId": "a", "instanceId": "b"}',
    "no JSON": b"<html>",
    "no UTF-8": b"\xff\xfe\x00",
    "nothing": b"",
    "a list": b"[]",
}


def raw(body: Any) -> bytes:
    return json.dumps(body).encode()


def token(claims: Any) -> bytes:
    parts = ({"alg": "RS256"}, claims)
    encoded = [base64.urlsafe_b64encode(raw(part)).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b"c2ln"])


@pytest.mark.parametrize(
    "body",
    [raw(WIX), raw({"data": json.dumps(WIX), "iat": 1}), token({"data": json.dumps(WIX), "iat": 1, "exp": 2})],
    ids=["the event", "the claims", "the token"],
)
def test_a_wix_event_names_its_instance_in_every_envelope(body: bytes) -> None:
    assert hint_of("wix", body) == Hint(type="PaidPlanPurchased", names=("site-1",))


@pytest.mark.parametrize(
    "thing",
    [
        {"object": "subscription", "id": "sub_1", "customer": "cus_1"},
        {"object": "invoice", "customer": {"id": "cus_1", "object": "customer"}},
        {"object": "customer", "id": "cus_1"},
    ],
    ids=["an id", "expanded", "itself"],
)
def test_a_stripe_event_names_its_customer(thing: dict[str, Any]) -> None:
    body = STRIPE | {"data": {"object": thing}}
    assert hint_of("stripe", raw(body)) == Hint(type="customer.subscription.updated", names=("cus_1",))


@pytest.mark.parametrize("body", POISON.values(), ids=POISON)
@pytest.mark.parametrize("provider", ["wix", "stripe"])
def test_a_poisonous_body_is_a_sentence_that_quotes_nothing_of_it(provider: str, body: bytes) -> None:
    hint = hint_of(provider, body)
    assert hint.names == ()
    assert hint.fault is not None
    assert len(hint.fault) < 100
    assert hint.fault.isascii()


def test_where_the_product_says_whose_it_is_the_body_is_not_read() -> None:
    for body in (None, *POISON.values()):
        assert hint_of("wix", body, type_="x", account="site-9") == Hint(type="x", names=("site-9",))


def test_an_event_of_another_kind_asks_for_nothing() -> None:
    hint = hint_of("stripe", raw({"type": "product.updated", "data": {"object": {"id": "prod_1"}}}))
    assert (hint.type, hint.names, hint.fault) == ("product.updated", (), None)
    assert hint.silent == "an event of type `product.updated` names no customer: there is nothing to repair"
    assert hint_of("wix", raw({"eventType": "SiteRenamed"})).silent


def test_an_event_of_an_unknown_kind_that_names_somebody_is_a_hint_like_any() -> None:
    assert hint_of("wix", raw(WIX | {"eventType": "PlanInvented"})).names == ("site-1",)


@pytest.mark.parametrize(
    "body", [{"type": "invoice.paid", "data": {}}, {"type": "invoice.paid", "data": {"object": {"customer": 7}}}, {}]
)
def test_an_event_that_ought_to_name_somebody_and_does_not_is_a_fault(body: dict[str, Any]) -> None:
    assert hint_of("stripe", raw(body)).fault == "the body names no customer: the account is unknown"


def test_without_a_body_or_a_known_provider_an_account_is_needed() -> None:
    assert "neither an account nor a body" in str(hint_of("wix", None).fault)
    assert "`paddle` are not supported" in str(hint_of("paddle", b"{}").fault)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["instanceId", "data", "customer"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "instanceId", "eventType", "type", "object", "customer", "id"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=200), JSON.map(raw), JSON.map(lambda one: token({"data": json.dumps(one)}))))
def test_no_body_whatever_raises(body: bytes) -> None:
    for provider in ("wix", "stripe"):
        hint = hint_of(provider, body)
        assert sum((bool(hint.names), hint.fault is not None, hint.silent is not None)) == 1
        assert all(0 < len(name) <= 200 and "\x00" not in name for name in hint.names)
