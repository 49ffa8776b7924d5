"""Stripe's prices as JSON, as they appear in items and lines."""

from typing import Any

from credit_pipeline.sandbox.stripe.rows import Item


def price(item: Item, *, livemode: bool) -> dict[str, Any]:
    """The price of an item."""
    return {
        "id": item.price_id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "currency": "usd",
        "livemode": livemode,
        "lookup_key": item.lookup_key,
        "metadata": dict(item.price_metadata),
        "nickname": None,
        "product": product(item.price_id),
        "recurring": {"interval": item.interval, "interval_count": 1, "usage_type": "licensed"},
        "type": "recurring",
        "unit_amount": item.unit_amount,
        "unit_amount_decimal": str(item.unit_amount),
    }


def plan(item: Item, *, livemode: bool) -> dict[str, Any]:
    """The legacy form of a price, which items still have."""
    return {
        "id": item.price_id,
        "object": "plan",
        "active": True,
        "amount": item.unit_amount,
        "currency": "usd",
        "interval": item.interval,
        "interval_count": 1,
        "livemode": livemode,
        "metadata": dict(item.price_metadata),
        "product": product(item.price_id),
        "usage_type": "licensed",
    }


def product(price_id: str) -> str:
    """The product of a price. Each price has its own."""
    return f"prod_{price_id.removeprefix('price_')}"
