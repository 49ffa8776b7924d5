"""What the body of a webhook says of whose it is, by provider. Pure, and read strictly: the bodies come from strangers.

Nothing in it is believed. A signature is not looked at either: the product did, when it was due.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from credit_pipeline.adapters.billing.http.strict_json import NotStrictJson, read_object
from credit_pipeline.services.sync.ports import Hint

_LAYERS = 3
"""Wix puts JSON as text into JSON into a token."""
_TOKEN = re.compile(rb"\s*[\w-]+\.([\w-]+)\.[\w-]*\s*")
_ID = re.compile(r"[^\s\x00-\x1f]{1,200}")

WIX_TYPES = frozenset(
    {"AppInstalled", "AppRemoved", "PaidPlanPurchased", "PaidPlanChanged", "PaidPlanAutoRenewalCancelled"}
    | {"PlanConvertedToPaid", "PlanReactivated", "PlanTransferred", "InvoiceStatusUpdated"}
)
STRIPE_TYPES = ("customer.", "invoice.", "invoice_payment.", "checkout.session.", "charge.", "subscription_schedule.")
"""Beginnings of the types that concern a customer."""


def hint_of(provider: str, raw: bytes | None, *, type_: str | None = None, account: str | None = None) -> Hint:
    """Whose webhook it is. Where the product says so, the body is not read at all, whatever it holds."""
    if account is not None:
        return Hint(type=type_, names=(account,))
    if raw is None:
        return Hint(type=type_, fault="there is neither an account nor a body: nothing says whose it is")
    reader = _READERS.get(provider)
    if reader is None:
        return Hint(type=type_, fault=f"bodies of `{provider[:40]}` cannot be read here: have the account recorded too")
    try:
        return reader(raw, type_)
    except NotStrictJson as error:
        return Hint(type=type_, fault=f"the body cannot be read: {error}")


def _wix(raw: bytes, type_: str | None) -> Hint:
    said = _wix_event(raw)
    found, instance = _text(said.get("eventType")), _text(said.get("instanceId"))
    return _named("instance", found or type_, (instance,) if instance else (), known=found in WIX_TYPES)


def _wix_event(raw: bytes) -> Mapping[str, Any]:
    """The event inside its envelopes: a token, its claims, an event as text in them."""
    said = read_object(_claims(raw))
    for _ in range(_LAYERS):
        inner = said.get("data")
        if "instanceId" in said or not isinstance(inner, str):
            break
        said = read_object(inner.encode())
    return said


def _claims(raw: bytes) -> bytes:
    token = _TOKEN.fullmatch(raw)
    if token is None:
        return raw
    try:
        return base64.urlsafe_b64decode(token[1] + b"=" * (-len(token[1]) % 4))
    except binascii.Error:
        raise NotStrictJson("neither JSON nor a token") from None


def _stripe(raw: bytes, type_: str | None) -> Hint:
    said = read_object(raw)
    found = _text(said.get("type"))
    data = said.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    customer = None
    if isinstance(thing, dict):
        customer = thing.get("id") if thing.get("object") == "customer" else thing.get("customer")
        customer = customer.get("id") if isinstance(customer, dict) else customer
    named = _text(customer)
    return _named("customer", found or type_, (named,) if named else (), known=(found or "").startswith(STRIPE_TYPES))


def _named(what: str, type_: str | None, names: tuple[str, ...], *, known: bool) -> Hint:
    if names:
        return Hint(type=type_, names=names)
    if known or type_ is None:
        return Hint(type=type_, fault=f"the body names no {what}: nothing says whose it is")
    return Hint(type=type_, silent=f"an event of type `{type_[:80]}` names no {what}: there is nothing to repair")


def _text(value: object) -> str | None:
    """An id or a word; anything else counts as absent."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


_READERS: Mapping[str, Callable[[bytes, str | None], Hint]] = {"wix": _wix, "stripe": _stripe}
