"""Reads from a webhook's body which account it is about, by provider.

Bodies are untrusted: they are parsed strictly and only used as hints. Signatures are not checked here; the product
checks them on receipt.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from credit_pipeline.adapters.billing.http.strict_json import NotStrictJson, read_object
from credit_pipeline.services.sync.ports import Hint

_LAYERS = 3
"""Wix nests JSON as text inside JSON inside a token."""
_TOKEN = re.compile(rb"\s*[\w-]+\.([\w-]+)\.[\w-]*\s*")
_ID = re.compile(r"[^\s\x00-\x1f]{1,200}")

WIX_TYPES = frozenset(
    {"AppInstalled", "AppRemoved", "PaidPlanPurchased", "PaidPlanChanged", "PaidPlanAutoRenewalCancelled"}
    | {"PlanConvertedToPaid", "PlanReactivated", "PlanTransferred", "InvoiceStatusUpdated"}
)
STRIPE_TYPES = ("customer.", "invoice.", "invoice_payment.", "checkout.session.", "charge.", "subscription_schedule.")
"""Prefixes of the event types that concern a customer."""


def hint_of(provider: str, raw: bytes | None, *, type_: str | None = None, account: str | None = None) -> Hint:
    """Which account the webhook is about. If the product recorded `account`, the body is not read."""
    if account is not None:
        return Hint(type=type_, names=(account,))
    if raw is None:
        return Hint(type=type_, fault="neither an account nor a body was recorded: the account is unknown")
    reader = _READERS.get(provider)
    if reader is None:
        return Hint(
            type=type_, fault=f"webhook bodies of `{provider[:40]}` are not supported: record the account as well"
        )
    try:
        return reader(raw, type_)
    except NotStrictJson as error:
        return Hint(type=type_, fault=f"the body cannot be read: {error}")


def _wix(raw: bytes, type_: str | None) -> Hint:
    event = _wix_event(raw)
    found, instance = _text(event.get("eventType")), _text(event.get("instanceId"))
    return _hint("instance", found or type_, (instance,) if instance else (), known=found in WIX_TYPES)


def _wix_event(raw: bytes) -> Mapping[str, Any]:
    """The event inside its envelopes: a token with claims that hold the event as text."""
    event = read_object(_claims(raw))
    for _ in range(_LAYERS):
        inner = event.get("data")
        if "instanceId" in event or not isinstance(inner, str):
            break
        event = read_object(inner.encode())
    return event


def _claims(raw: bytes) -> bytes:
    token = _TOKEN.fullmatch(raw)
    if token is None:
        return raw
    try:
        return base64.urlsafe_b64decode(token[1] + b"=" * (-len(token[1]) % 4))
    except binascii.Error:
        raise NotStrictJson("neither JSON nor a token") from None


def _stripe(raw: bytes, type_: str | None) -> Hint:
    event = read_object(raw)
    found = _text(event.get("type"))
    data = event.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    customer = None
    if isinstance(thing, dict):
        customer = thing.get("id") if thing.get("object") == "customer" else thing.get("customer")
        customer = customer.get("id") if isinstance(customer, dict) else customer
    named = _text(customer)
    return _hint("customer", found or type_, (named,) if named else (), known=(found or "").startswith(STRIPE_TYPES))


def _hint(what: str, type_: str | None, names: tuple[str, ...], *, known: bool) -> Hint:
    if names:
        return Hint(type=type_, names=names)
    if known or type_ is None:
        return Hint(type=type_, fault=f"the body names no {what}: the account is unknown")
    return Hint(type=type_, silent=f"an event of type `{type_[:80]}` names no {what}: there is nothing to repair")


def _text(value: object) -> str | None:
    """The value if it is an id or a name, else None."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


_READERS: Mapping[str, Callable[[bytes, str | None], Hint]] = {"wix": _wix, "stripe": _stripe}
