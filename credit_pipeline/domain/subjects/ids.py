"""Ids of three worlds. They look alike and are never interchangeable, so each is a type of its own."""

from typing import NewType

AccountId = NewType("AccountId", str)
"""An account of the product's store."""
AuthId = NewType("AuthId", str)
"""A user of the product's authentication system."""
BillingId = NewType("BillingId", str)
"""A customer, instance or subscription holder at the billing provider."""
